"""The table of the experiment on stopping, from its results files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from stored import ROOT, lines, read

from activetune.evaluation.statistics import mean_and_spread

FOLDER = "experiments/stopping"
FILES = ("cifar10", "caltech101", "tiny_imagenet_100", "cifar10_lt")
SAID = {"alone": "labels alone", "audited": "with an audit of 50"}


def contents() -> Iterator[dict[str, Any]]:
    """What was measured of each pool."""
    for name in FILES:
        if (ROOT / FOLDER / f"results/{name}.json").is_file():
            yield read(f"{FOLDER}/results/{name}.json")


def cells(by: str, *, role: str = "", pool: str = "", method: str = "", from_labels: int = 0) -> list[dict[str, float]]:
    """What was said (``alone`` or ``audited``), and what came, in points."""
    return [
        {
            **{name: 100 * row[by][name] for name in ("gain", "low", "high")},
            **{"real": 100 * row["real"], "labels": row["labels"]},
        }
        for content in contents()
        if role in ("", content["role"]) and pool in ("", content["pool"])
        for row in content["rows"]
        if by in row and method in ("", row["method"]) and row["labels"] >= from_labels
    ]


def off(found: list[dict[str, float]]) -> float:
    """The mean distance between what was said and what came, in points."""
    return float(np.mean([abs(one["gain"] - one["real"]) for one in found]))


def held(found: list[dict[str, float]]) -> int:
    """How many intervals hold what came."""
    return sum(one["low"] <= one["real"] <= one["high"] for one in found)


def tables() -> list[str]:
    """Of each pool and selector, what came in each round (of the seeds), and how far off it was said."""
    rows = []
    for content in contents():
        for method in ("random", "auto"):
            row = [content["pool"], content["role"], method, _by_round("real", content["pool"], method, "alone")]
            for by in SAID:
                found = cells(by, pool=content["pool"], method=method)
                row.append(_by_round("gain", content["pool"], method, by))
                row += [f"{off(found):.1f}", f"{held(found)} of {len(found)}"]
            rows.append(row)
    header = ["pool", "", "selector", "gained"]
    for told in SAID.values():
        header += [f"said, {told}", "off by", "interval holds"]
    return [lines(header, rows)]


def _by_round(name: str, pool: str, method: str, by: str) -> str:
    """Mean and spread over the seeds, of each number of labels."""
    rounds: dict[float, list[float]] = {}
    for cell in cells(by, pool=pool, method=method):
        rounds.setdefault(cell["labels"], []).append(cell[name])
    return ", ".join(mean_and_spread(values) for _, values in sorted(rounds.items()))
