"""What can go wrong, in sentences: what was given, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class ActivetuneError(Exception):
    """Base class of every error that activetune explains; the command line ends with exit code 1."""

    exit_code = 1


class UsageError(ActivetuneError):
    """The command or call itself is wrong (unknown name, impossible budget, bad file); exit code 2."""

    exit_code = 2


class RejectedImage(ActivetuneError):
    """One image that can't be used; the message is the reason written to ``rejected.csv``."""


class MissingExtra(ActivetuneError):
    """A feature needs a package that is not installed."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"this needs the package {package}; install it with: pip install 'activetune[{extra}]'")


def nearest(name: str, choices: Iterable[str], count: int = 5) -> list[str]:
    """The ``count`` names of ``choices`` that look most like ``name``, best first."""
    choices = list(choices)
    found = difflib.get_close_matches(name, choices, n=count, cutoff=0.0)
    return found


def unknown_name(kind: str, name: str, choices: Iterable[str]) -> UsageError:
    """A :class:`UsageError` for a name that does not exist, with the nearest ones that do."""
    choices = sorted(choices)
    if len(choices) <= 8:
        return UsageError(f"unknown {kind} {name!r}; there are: {', '.join(choices)}")
    return UsageError(f"unknown {kind} {name!r}; the nearest names are: {', '.join(nearest(name, choices))}")


def some(values: Iterable[object], count: int = 3) -> str:
    """A few of many values for a message: ``'a', 'b', 'c' and 7 more``."""
    listed = list(values)
    shown = ", ".join(repr(value) for value in listed[:count])
    return shown if len(listed) <= count else f"{shown} and {len(listed) - count:,} more"


def repeated(names: Iterable[str]) -> list[str]:
    """Those names that occurred before, in their order."""
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def is_disk_full(error: BaseException) -> bool:
    """Whether an error (or what caused it) says that there is no space left."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, OSError) and chain.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(chain):  # safetensors and Arrow wrap the system's error in their own
            return True
        chain = chain.__cause__ or chain.__context__
    return False
