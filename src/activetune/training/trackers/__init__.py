"""Trackers, one module each: a new file is a new ``--track``. Their packages are imported when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

from activetune.base.discovery import classes_of
from activetune.base.errors import MissingExtra, unknown_name
from activetune.training.trackers._tracker import EXTRA, PROJECT, Tracker

__all__ = ["PROJECT", "Tracker", "asked_trackers", "trackers"]


def trackers() -> dict[str, type[Tracker]]:
    """The tracker classes by name."""
    return classes_of(__name__, Tracker)


def asked_trackers(track: str | Sequence[str] | None) -> dict[str, type[Tracker]]:
    """Those that are asked for.

    Args:
        track: names, as a sequence or with commas between.

    Raises:
        UsageError: no such tracker. MissingExtra: its package is not installed.
    """
    names = track.split(",") if isinstance(track, str) else track or ()
    known = trackers()
    found = {}
    for name in filter(None, (name.strip() for name in names)):
        if name not in known:
            raise unknown_name("tracker", name, known)
        found[name] = known[name]
    for tracker in found.values():
        _import(tracker.package)
    return found


def _import(package: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError:
        raise MissingExtra(package, EXTRA) from None
