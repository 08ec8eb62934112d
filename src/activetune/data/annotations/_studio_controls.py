"""Which results of an annotation in Label Studio answer a task, and which controls of its config they come from.

A config may ask several things of an image: boxes, and beside them whether it is blurred. Only what a task asks counts:
boxes, polygons and brushes where answers have a place, and of choices those about the whole image.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from activetune.base.errors import some

CHOICES_TYPE = "choices"
PLACED_TASKS = ("detection", "segmentation")
PLACED = ("rectanglelabels", "brushlabels", "polygonlabels")
COORDINATES = frozenset({"x", "points", "rle"})  # of a value that is about a part of the image

Result = Mapping[str, Any]


def about_task(results: Sequence[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    """The results that say something of what a task asks, all others left aside."""
    if task in PLACED_TASKS:
        return [result for result in results if result.get("type") != CHOICES_TYPE]
    if task != "multilabel":
        return list(results)
    regions = {result["id"] for result in results if result.get("type") in PLACED and isinstance(result.get("id"), str)}
    return [result for result in results if not _of_region(result, regions)]


def _of_region(result: Result, regions: set[str]) -> bool:
    """Whether choices say how one region is, and nothing of the image: both have one id."""
    value = result.get("value")
    drawn = isinstance(value, dict) and not COORDINATES.isdisjoint(value)
    named = isinstance(result.get("id"), str) and result["id"] in regions
    return result.get("type") == CHOICES_TYPE and (drawn or named)


def by_control(results: Iterable[Result]) -> dict[str, list[str]]:
    """The names that occur, sorted, by the control that they were chosen in; one that is not named is left aside."""
    found: dict[str, set[str]] = {}
    for result in results:
        kind, control, value = result.get("type"), result.get("from_name"), result.get("value")
        chosen = value.get(kind) if isinstance(value, dict) and kind in (CHOICES_TYPE, *PLACED) else None
        names = {name.strip() for name in chosen if isinstance(name, str)} if isinstance(chosen, list) else set()
        if names and isinstance(control, str) and control:
            found.setdefault(control, set()).update(names)
    return {control: sorted(found[control]) for control in sorted(found)}


def described(controls: Mapping[str, Sequence[str]], classes: Sequence[str] | None = None) -> str:
    """``the controls 'animal' (classes 'cat', 'dog') and …`` and what to do; empty where it is one control.

    Args:
        classes: those that count; None: all.
    """
    counting = {
        control: names for control, names in controls.items() if classes is None or not set(names).isdisjoint(classes)
    }
    if len(counting) < 2:
        return ""
    told = " and ".join(f"{control!r} ({some(names, 4)})" for control, names in list(counting.items())[:4])
    more = f" and {len(counting) - 4:,} more" if len(counting) > 4 else ""
    return f"of {len(counting):,} controls: {told}{more}; --classes with the names of one takes that one alone"
