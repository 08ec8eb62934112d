"""Selectors by name; one module a method, the module's name is the method's name on the command line.

Adding a selector is adding a file with one class derived from :class:`Selector` (docs: CONTRIBUTING.md).
"""

from __future__ import annotations

from typing import Any

from activetune.base.config import build
from activetune.base.discovery import classes_of
from activetune.selection.selectors._base import Selector

__all__ = ["Selector", "make_selector", "selectors"]


def selectors() -> dict[str, type[Selector]]:
    """The selector classes by name."""
    return classes_of(__name__, Selector)


def make_selector(method: str, preset: str | None = None, settings: dict[str, Any] | None = None) -> Selector:
    """Build a selector from its name, a preset and single settings (these win).

    Raises:
        UsageError: unknown method, preset or setting (the nearest is named), or a value of the wrong kind.
    """
    return build(selectors(), method, preset, settings or {}, kind="selector")
