"""The panels of a report, one file each; ``_base.py`` says what a panel is."""

from __future__ import annotations

from activetune.base.discovery import class_of, modules_of
from activetune.report.panels._base import Panel

__all__ = ["Panel", "panels"]


def panels() -> list[Panel]:
    """All panels, in the order in which a page has them."""
    found = [class_of(module, Panel)() for module in modules_of(__name__).values()]
    return sorted(found, key=lambda panel: panel.order)
