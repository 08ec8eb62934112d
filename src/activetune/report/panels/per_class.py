"""Scores of every class: precision, recall and F1 of one class per image; of other tasks what they measure by class."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from activetune.evaluation.scores import Confusion
from activetune.report.page import Cell, Page, Share
from activetune.report.panels._base import Panel
from activetune.report.subject import MODEL, Subject

WHOLE = frozenset({"n", "pixels", "images", "objects", "items", "truths"})  # counts, not shares
TOLD = {
    "iou": "IoU",
    "ap": "AP",
    "ap50": "AP at IoU 0.5",
    "map": "AP",
    "map50": "AP at IoU 0.5",
    "f1": "F1",
    "n": "count",
}


class PerClass(Panel):
    """See the module."""

    kinds = (MODEL,)
    needs = ("scores",)
    order = 50

    def stands(self, subject: Subject) -> bool:
        """See :class:`Panel`: where scores are told by class."""
        return super().stands(subject) and bool((subject.scores or {}).get("per_class"))

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.scores is not None
        page.heading("Per class")
        if subject.scores["primary"] == "top1" and "confusion" in subject.scores:
            _of_classes(Confusion.from_dict(subject.scores["confusion"]), page)
            return
        rows = subject.scores["per_class"]
        names = list(dict.fromkeys(name for row in rows.values() for name in row))
        first = names[0]
        ordered = sorted(rows, key=lambda name: _number(rows[name].get(first)))
        header = ["class", *(TOLD.get(name, name.replace("_", " ")) for name in names), ""]
        page.table(header, [_row(name, rows[name], names) for name in ordered])
        page.note("In percent where it is a share; the lowest come first.")


def _of_classes(confusion: Confusion, page: Page) -> None:
    """Precision, recall and F1, the lowest F1 first."""
    counts = confusion.counts()
    found = []
    for number, name in enumerate(confusion.classes):
        right, true, predicted = (int(one[number]) for one in (counts.right_Y, counts.true_Y, counts.predicted_Y))
        if true or predicted:
            found.append((2 * right / (true + predicted), name, right, true, predicted))
    rows: list[list[Cell]] = []
    for f1, name, right, true, predicted in sorted(found):
        precision = f"{100 * right / predicted:.1f}" if predicted else "-"
        recall = f"{100 * right / true:.1f}" if true else "-"
        rows.append([name, precision, recall, f"{100 * f1:.1f}", Share(f1), f"{true:,}", f"{predicted:,}"])
    page.table(["class", "precision", "recall", "F1", "", "items", "answered"], rows)
    page.note(
        "In percent, the lowest F1 first. Precision: of the items answered with the class, those that are of it. "
        "Recall: of the items that are of it, those answered with it."
    )


def _row(name: str, row: Mapping[str, Any], names: list[str]) -> list[Cell]:
    cells = [_told(column, row.get(column)) for column in names]
    return [name, *cells, Share(max(0.0, _number(row.get(names[0]))))]


def _told(column: str, value: Any) -> str:
    number = _finite(value)
    if number is None:
        return "-"
    return f"{int(number):,}" if column in WHOLE else f"{100 * number:.1f}"


def _number(value: Any) -> float:
    number = _finite(value)
    return -1.0 if number is None else number


def _finite(value: Any) -> float | None:
    """What a scores file holds, as a number; None where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
