"""Ctrl-C and SIGTERM: an exception where the program is, so that every ``finally`` keeps what is finished.

A signal may arrive where an exception is lost: in a destructor, or in an import that catches everything. So it is also
remembered, and raised again at the next step of the work (every progress meter calls :func:`raise_if_interrupted`).
The module loads nothing but the standard library: the command line calls :func:`answer_signals` before all else.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: answered like Ctrl-C, with another exit code."""


_received: list[int] = []  # the signals that arrived since answer_signals(), in their order
_patience: list[int] = []  # of each signals_wait() that the program is in


def answer_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT and :class:`Terminated` on SIGTERM; call it in the main thread.

    A signal that the caller of the program had ignored (``nohup``, a shell's background job) stays ignored.
    """
    _received.clear()
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _raise)


def ignore_signals() -> None:
    """From here on the work is done: what arrives now changes nothing."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def raise_if_interrupted() -> None:
    """Raise again what a signal raised and something else swallowed."""
    if _received:
        raise _exception(_received[0])


def interrupted() -> bool:
    """Whether a signal has arrived that ends the work."""
    return bool(_received)


@contextlib.contextmanager
def signals_wait(*, launched: bool) -> Iterator[None]:
    """Inside, a signal is answered where :func:`raise_if_interrupted` is called; the same one again at once.

    So a step is done whole, and its result can be kept, unless whoever sends the signals is in a hurry.

    Args:
        launched: a launcher hands on what it gets, also Ctrl-C, which has come to this process already: so all wait. It
            kills whom it has waited for in vain.
    """
    _patience.append(sys.maxsize if launched else 1)
    try:
        yield
    finally:
        _patience.pop()


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Processes that are started inside have these signals blocked from birth; here they come a moment later."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where a signal goes to one process alone
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _raise(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if not _patience or _received.count(number) > _patience[-1]:
        raise _exception(number)


def _exception(number: int) -> KeyboardInterrupt:
    return Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
