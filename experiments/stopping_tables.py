"""The table of the experiment on stopping, from its results files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from stored import ROOT, lines, read

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
        {**{name: 100 * row[by][name] for name in ("gain", "low", "high")}, "real": 100 * row["real"]}
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
    """Of each pool and selector, what came and how far off it was said."""
    rows = []
    for content in contents():
        for method in ("random", "auto"):
            found = {by: cells(by, pool=content["pool"], method=method) for by in SAID}
            real = [one["real"] for one in found["alone"]]
            row = [content["pool"], content["role"], method, " ".join(f"{one:.1f}" for one in real)]
            for by in SAID:
                said = " ".join(f"{one['gain']:.1f}" for one in found[by])
                row += [said, f"{off(found[by]):.1f}", f"{held(found[by])} of {len(found[by])}"]
            rows.append(row)
    header = ["pool", "", "selector", "gained"]
    for told in SAID.values():
        header += [f"said, {told}", "off by", "interval holds"]
    return [lines(header, rows)]
