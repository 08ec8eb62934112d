"""Long work's progress lines, and notes, on stderr."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from activetune.base.interrupts import raise_if_interrupted
from activetune.base.printing import tell

_withheld = ContextVar("notes_withheld", default=False)


class Meter(Protocol):
    """Tells somebody how far long work has come."""

    def advance(self, count: int = 1) -> None:
        """Count ``count`` more items as done; a Ctrl-C that something swallowed is raised again here."""
        ...


@dataclass
class _Silent:
    def advance(self, count: int = 1) -> None:
        raise_if_interrupted()


class _Bar:
    """A rich progress bar on a terminal."""

    def __init__(self, total: int, label: str, unit: str, done: int):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.total, self.done, self.started, self.first = total, done, time.perf_counter(), done
        self.unit = unit
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self.task = self.bar.add_task(label, total=total, completed=done, rate="")
        self.bar.start()

    def advance(self, count: int = 1) -> None:
        raise_if_interrupted()
        self.done += count
        rate = (self.done - self.first) / max(time.perf_counter() - self.started, 1e-9)
        self.bar.update(self.task, completed=self.done, rate=_speed(rate, self.unit))

    def close(self) -> None:
        self.bar.stop()


class _Lines:
    """A plain line every ``every`` seconds, for logs and pipes."""

    def __init__(self, total: int, label: str, unit: str, done: int, every: float = 10.0):
        self.total, self.label, self.unit, self.every = total, label, unit, every
        self.done = self.first = done
        self.started = self.spoken = time.perf_counter()

    def advance(self, count: int = 1) -> None:
        raise_if_interrupted()
        self.done += count
        now = time.perf_counter()
        if now - self.spoken < self.every:
            return
        self.spoken = now
        rate = (self.done - self.first) / (now - self.started)
        left = (self.total - self.done) / max(rate, 1e-9)
        text = f"{self.label}: {self.done:,} of {self.total:,}, {_speed(rate, self.unit)}, {left:,.0f} s left"
        tell(text)

    def close(self) -> None:
        """Nothing to restore."""


def _speed(rate: float, unit: str) -> str:
    """``64 images/s``, ``0.25 cells/s``."""
    return f"{rate:,.0f} {unit}/s" if rate >= 10 else f"{rate:.2g} {unit}/s"


@contextlib.contextmanager
def progress(total: int, label: str, *, unit: str = "images", done: int = 0, quiet: bool = False) -> Iterator[Meter]:
    """Show on stderr how far work of ``total`` items has come, with its rate and the time left."""
    if quiet:
        yield _Silent()
        return
    meter = (_Bar if sys.stderr.isatty() else _Lines)(total, label, unit, done)
    try:
        yield meter
    finally:
        meter.close()


def note(text: str, quiet: bool = False) -> None:
    """One plain sentence on stderr."""
    if not quiet and not _withheld.get():
        tell(text)


@contextlib.contextmanager
def notes_withheld() -> Iterator[None]:
    """Say no notes in a block, but show its progress: they advise on a stage that nobody has asked for by itself."""
    before = _withheld.set(True)
    try:
        yield
    finally:
        _withheld.reset(before)
