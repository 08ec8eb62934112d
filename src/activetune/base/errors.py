"""What can go wrong, in sentences: what was given, what is allowed, what to do next."""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable

import psutil

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
LONGEST_SENTENCE = 3_000  # signs: what is wrong stands at its beginning, what to do at its end
LONGEST_CAUSE = 300  # signs of what another library says
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")  # torch, of processors and Apple's GPUs
_WRAPPED = (*FULL, errno.EACCES, errno.EROFS)


class ActivetuneError(Exception):
    """Base class of every error that activetune explains; the command line ends with exit code 1.

    Attributes:
        exit_code: of the command line. everywhere: of several processes that share a run each one meets it, and the
            first alone says so.
    """

    exit_code = 1
    everywhere = False

    def __init__(self, message: str = ""):
        super().__init__(_bounded(_without_traceback(message, type(self).__name__)))


class UsageError(ActivetuneError):
    """The command or call itself is wrong (unknown name, impossible budget, bad file); exit code 2."""

    exit_code = 2
    everywhere = True


class RejectedImage(ActivetuneError):
    """One image that can't be used; the message is the reason written to ``rejected.csv``."""


class ReadingFault(ActivetuneError):
    """The bytes of an image can't be read at present, which says nothing of the image: no artefact is made of it."""


class MissingExtra(ActivetuneError):
    """A feature needs a package that is not installed."""

    def __init__(self, package: str, extra: str):
        super().__init__(f"this needs the package {package}; install it with: pip install 'activetune[{extra}]'")


def _without_traceback(message: str, kind: str) -> str:
    """The sentence alone: a decoding process hands its error on as text, with the traceback in it."""
    wrapped = "\nOriginal Traceback (most recent call" in message
    return message.rpartition(f"{kind}: ")[2].strip() if wrapped else message


def _bounded(message: str) -> str:
    """The sentence without its middle where it quotes something without end, such as a cell of a table."""
    if len(message) <= LONGEST_SENTENCE:
        return message
    return f"{message[: LONGEST_SENTENCE * 3 // 4]} … {message[-LONGEST_SENTENCE // 4 :]}"


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


def first_line(error: BaseException) -> str:
    """What an error says, in one line; its kind where it says nothing.

    >>> first_line(RuntimeError("these do not fit:\\n  a size of 3\\n  a size of 4"))
    'these do not fit: a size of 3'
    """
    lines = [line.strip() for line in str(error).strip().splitlines()] or [type(error).__name__]
    told = " ".join(lines[:2] if lines[0].endswith(":") else lines[:1])
    if len(told) <= LONGEST_CAUSE:
        return told
    kept = told[:LONGEST_CAUSE]
    return f"{kept.rpartition(' ')[0] or kept} …"


def repeated(names: Iterable[str]) -> list[str]:
    """Those names that occurred before, in their order."""
    seen: set[str] = set()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def explain_system_error(error: BaseException) -> str | None:
    """A sentence for a failure of the file system, be it what caused an error or wrapped in it; None: it is none."""
    chain: BaseException | None = error
    while chain is not None:
        if (sentence := _explain_one(chain)) is not None:
            return sentence
        chain = chain.__cause__ or chain.__context__
    return None


def _explain_one(error: BaseException) -> str | None:
    number = error.errno if isinstance(error, OSError) else None
    for known in _WRAPPED if number is None else ():  # safetensors and Arrow put the system's words into their own
        number = known if os.strerror(known) in str(error) else number
    if number is None:
        return None
    words = os.strerror(number).lower()
    name = getattr(error, "filename", None)
    place = None if name is None else os.fsdecode(name) if os.fsdecode(name).isprintable() else repr(os.fsdecode(name))
    if number in FULL:
        return (
            f"the disk is full{f' ({place})' if place else ''}; what was finished is kept: free some space and run the "
            "command again (with --resume where it has one)"
        )
    if number in _FORBIDDEN:
        return f"{place or 'the output'}: {words}; choose another --out"
    return f"{place}: {words}" if place else None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: Python's own, or torch's of a device or of the processor."""
    told = str(error)
    return (
        isinstance(error, MemoryError)
        or any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)  # torch is not loaded for this
        or (isinstance(error, RuntimeError) and any(words in told for words in _NO_MEMORY))
    )


def refuse_beyond_memory(what: object, size: int, instead: str) -> None:
    """Refuse what unpacks to more than fits.

    Args:
        what: is unpacked. size: to so many bytes. instead: what to do.

    Raises:
        UsageError: less memory is free.
    """
    free = psutil.virtual_memory().available
    if size > free:
        raise UsageError(
            f"{what} unpacks to {size / 2**30:,.1f} GB, and {free / 2**30:,.1f} GB of memory are free; {instead}"
        )


def is_disk_full(error: BaseException) -> bool:
    """Whether an error (or what caused it) says that there is no space left."""
    return (explain_system_error(error) or "").startswith("the disk is full")
