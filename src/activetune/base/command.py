"""The command that was typed, for the manifests of what it makes; from Python there is none."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

_TYPED: ContextVar[str | None] = ContextVar("typed", default=None)


@contextlib.contextmanager
def typed(arguments: Sequence[str]) -> Iterator[None]:
    """Within this block a command of these arguments runs."""
    token = _TYPED.set(shlex.join(["activetune", *arguments]))
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
