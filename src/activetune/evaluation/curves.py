"""A model's value by what was spent: training curves, and when they first reach a value (batches to accuracy, B2A)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Point = dict[str, float]
TOP1 = "val_top1"  # the column that classification is chosen by


def training_curve(history: Iterable[Mapping[str, Any]], measured: str = TOP1) -> list[Point]:
    """The values of a validation by batches, passes over items that scored them, and seconds until then.

    Args:
        history: rows as ``history.csv`` has them; those that count no batches are passed over. Their seconds hold
            selection and leave validation out.
        measured: the column of the metric that the task's models are chosen by.
    """
    found: list[Point] = []
    seconds = 0.0
    for row in history:
        if row.get("batches") and row.get(measured) not in (None, ""):
            seconds += float(row["seconds"])
            spent = {"batches": int(row["batches"]), "scored": count_of(row["scored"]), "seconds": round(seconds, 3)}
            found.append({**spent, measured: float(row[measured])})
    return found


def count_of(value: Any) -> float:
    """A count as it is told: whole numbers without a fraction, others to one digit."""
    number = round(float(value), 1)
    return int(number) if number.is_integer() else number


def first_at(curve: Sequence[Point], value: float, measured: str = TOP1) -> Point | None:
    """The first point at which the value is as high; None: never."""
    return next((point for point in curve if point[measured] >= value), None)
