"""Accuracy by what was spent: training curves, and when they first reach a value (batches to accuracy, B2A)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Point = dict[str, float]


def training_curve(history: Iterable[Mapping[str, Any]]) -> list[Point]:
    """Validation accuracy (``val_top1``) by batches, items scored and seconds until then.

    Args:
        history: rows as ``history.csv`` has them; those that count no batches are passed over. Their seconds hold
            selection and leave validation out.
    """
    found: list[Point] = []
    seconds = 0.0
    for row in history:
        if row.get("batches") and row.get("val_top1") not in (None, ""):
            seconds += float(row["seconds"])
            spent = {"batches": int(row["batches"]), "scored": int(row["scored"]), "seconds": round(seconds, 3)}
            found.append({**spent, "val_top1": float(row["val_top1"])})
    return found


def first_at(curve: Sequence[Point], top1: float) -> Point | None:
    """The first point at which accuracy is as high; None: never."""
    return next((point for point in curve if point["val_top1"] >= top1), None)
