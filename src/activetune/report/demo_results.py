"""What came out of the demo, by selector and budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from activetune.evaluation.statistics import spread

SCORES = {"balanced_accuracy": "balanced accuracy", "top1": "top-1"}  # the columns, and their names


def summarise(results: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows of the table, from ``results.csv``: name, ``seconds`` (mean), and of each score ``{budget: values}``.

    What is no selector on the bundled backbone's features says so in its name.
    """
    found: dict[str, dict[str, Any]] = {}
    columns = [results[name] for name in ("method", "features", "budget", "seconds", *SCORES)]
    for method, features, budget, seconds, *scores in zip(*columns, strict=True):
        name = method if features == "bundled" else f"{method}, raw pixels"
        row = found.setdefault(name, {"name": name, "times": [], **{score: {} for score in SCORES}})
        row["times"].append(float(seconds))
        for score, value in zip(SCORES, scores, strict=True):
            row[score].setdefault(int(budget), []).append(float(value))
    return [{**row, "seconds": float(np.mean(row["times"]))} for row in found.values()]


def told(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation, in percent."""
    return 100 * float(np.mean(values)), 100 * (spread(list(values)) or 0.0)
