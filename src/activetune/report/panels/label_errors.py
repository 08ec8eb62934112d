"""Likely label errors, of a folder that holds a list of them (``label_errors.csv``)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from activetune.report.page import Card, Page
from activetune.report.panels._base import Panel
from activetune.report.pictures import picture
from activetune.report.subject import KINDS, Subject

SHOWN, SIDE = 36, 224


class LabelErrors(Panel):
    """See the module; whatever columns the list has beside ``id`` are told."""

    kinds = KINDS
    needs = ("label_errors",)
    order = 60

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        rows = subject.label_errors or {}
        page.heading("Likely label errors")
        page.cards(_cards(subject, rows))
        total = len(rows["id"])
        if total > SHOWN:
            page.note(f"The first {SHOWN} of {total:,}; all are in label_errors.csv.")
        page.note("Look at each before its label is changed: what a model does not expect is not always wrong.")


def _cards(subject: Subject, rows: Mapping[str, Sequence[Any]]) -> Iterator[Card]:
    others = [name for name in rows if name != "id"]
    for place, item in enumerate(map(str, rows["id"][:SHOWN])):
        shown = picture(subject.pool, item, SIDE)
        lines = [f"{name.replace('_', ' ')}: {_told(rows[name][place])}" for name in others]
        yield Card(shown.uri, item, [*lines, *([shown.problem] if shown.problem else [])], small=shown.small)


def _told(value: Any) -> str:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    return str(value) if number.is_integer() else f"{number:.3f}"
