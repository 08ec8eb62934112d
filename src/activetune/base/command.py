"""The command that was typed, for the manifests of what it makes; from Python there is none.

Options that say how a run begins and not what it makes are left out: a run that was cut off and gone on with ends with
the same bytes as one that was not. Passwords and signatures in addresses are left out, too.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

from activetune.base.urls import without_secrets

BEGINNINGS = frozenset({"--resume", "--overwrite", "--quiet"})
_TYPED: ContextVar[str | None] = ContextVar("typed", default=None)


@contextlib.contextmanager
def typed(arguments: Sequence[str]) -> Iterator[None]:
    """Within this block a command of these arguments runs."""
    token = _TYPED.set(
        shlex.join(["activetune", *(without_secrets(one) for one in arguments if one not in BEGINNINGS)])
    )
    try:
        yield
    finally:
        _TYPED.reset(token)


def typed_command() -> str | None:
    """The command line as a shell takes it; None where none was typed.

    >>> with typed(["select", "my features", "--budget", "9"]):
    ...     typed_command()
    "activetune select 'my features' --budget 9"
    """
    return _TYPED.get()
