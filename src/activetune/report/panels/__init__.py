"""The panels of a report, one file each; ``_base.py`` says what a panel is."""

from __future__ import annotations

from activetune.base.discovery import classes_of
from activetune.report.panels._base import Panel

__all__ = ["Panel", "panels"]


def panels() -> list[Panel]:
    """All panels, in the order in which a page has them."""
    found = [found() for found in classes_of(__name__, Panel).values()]
    return sorted(found, key=lambda panel: panel.order)
