"""What came out of the demo, by selector and budget."""

from __future__ import annotations

from typing import Any

import numpy as np

from activetune.evaluation.statistics import spread


def summarise(results: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Rows of the table, from ``results.csv``: name, {budget: (mean, std)} of top-1, mean seconds of a selection."""
    columns = (results["method"], results["features"], results["budget"], results["top1"], results["seconds"])
    found: dict[str, dict[str, Any]] = {}
    for method, features, budget, top1, seconds in zip(*columns, strict=True):
        name = method if features == "bundled" else f"{method}, raw pixels"
        row = found.setdefault(name, {"name": name, "values": {}, "times": []})
        row["values"].setdefault(int(budget), []).append(float(top1))
        row["times"].append(float(seconds))
    return [
        {
            "name": name,
            "values": row["values"],
            "top1": {budget: (float(np.mean(v)), spread(v) or 0.0) for budget, v in row["values"].items()},
            "seconds": float(np.mean(row["times"])),
        }
        for name, row in found.items()
    ]
