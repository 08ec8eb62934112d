"""Warnings of other packages that tell a user nothing, kept off the screen in one thread.

``warnings.catch_warnings`` puts aside the filters of the whole process: of two threads that are inside at a time, the
one that leaves last restores what the other had set, and what a third one warns of meanwhile is lost. So one filter
stays among the process's for good, and asks whether the thread that warns is to be quiet.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Iterator
from typing import Any, cast


class _Quiet(threading.local):
    """Stands in a filter where the pattern of its texts is; that of each thread's own."""

    def __init__(self) -> None:
        self.beginnings: list[tuple[str, ...]] = []

    def match(self, text: str) -> bool:
        return any(text.startswith(beginnings) for beginnings in self.beginnings)

    def __reduce__(self) -> str:
        return "_quiet"  # scikit-learn sends the filters to the processes that it starts


_quiet = _Quiet()
_FILTER = ("ignore", _quiet, Warning, None, 0)
_lock = threading.Lock()


@contextlib.contextmanager
def quietly(*beginnings: str) -> Iterator[None]:
    """Inside, this thread warns of nothing, or of nothing that begins with one of these texts."""
    _stand_first()
    _quiet.beginnings.append(beginnings or ("",))
    try:
        yield
    finally:
        _quiet.beginnings.pop()


def _stand_first() -> None:
    """Put the filter before those that others have set; it may also be gone, with filters that they had put aside."""
    filters = cast(list[Any], warnings.filters)
    if filters and filters[0] is _FILTER:
        return
    with _lock:
        filters.insert(0, _FILTER)
        while _FILTER in filters[1:]:
            del filters[filters.index(_FILTER, 1)]
