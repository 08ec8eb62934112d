"""The tables of the experiment with the pool, from its results files."""

from __future__ import annotations

import tomllib
from typing import Any

import numpy as np
from stored import ROOT, lines, read

from activetune.evaluation.statistics import mean_and_spread

FOLDER = "experiments/pool"
METHODS = {"random": "random", "k_means": "k-means", "activeft": "ActiveFT"}
LONG_TAIL = "CIFAR-10, long tail, frozen"  # even test images: top-1 there is balanced accuracy


def runs() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each run of ``here.toml`` that was measured, with its rows."""
    content = tomllib.loads((ROOT / FOLDER / "here.toml").read_text(encoding="utf-8"))
    paths = [f"{FOLDER}/results/here-{number + 1}.json" for number in range(len(content["runs"]))]
    return [
        (run, read(path)["rows"]) for run, path in zip(content["runs"], paths, strict=True) if (ROOT / path).is_file()
    ]


def tables() -> list[str]:
    """Of the sets that settings were chosen on, and of the others."""
    return [frozen("design"), frozen("confirm")]


def frozen(role: str) -> str:
    """The probe, and how much the pool adds, by set, selector and budget."""
    rows = []
    for run, cells in runs():
        if run["role"] != role or not run["name"].endswith(", frozen"):
            continue
        found = {(cell["method"], cell["recipe"], cell["budget"]): cell["top1"] for cell in cells}
        budgets = sorted({cell["budget"] for cell in cells}, key=int)
        rows.append([f"**{run['name'].removesuffix(', frozen')}**", *(f"**{int(one):,}**" for one in budgets)])
        for method, name in METHODS.items():
            pairs = [
                [found.get((method, recipe, one), []) for recipe in ("linear_probe", "pool_probe")] for one in budgets
            ]
            rows.append([name, *(_told(*pair) if all(pair) else "" for pair in pairs)])
    columns = max(map(len, rows), default=1)
    return lines(["", *["labels"] * (columns - 1)], [[*row, *[""] * (columns - len(row))] for row in rows])


def _told(alone: list[float], pool: list[float]) -> str:
    """``81.2 ± 0.5, +3.0 ± 0.2``: the probe, and the difference seed by seed."""
    differences = np.asarray(pool) - np.asarray(alone)
    return f"{mean_and_spread(alone, factor=100)}, {mean_and_spread(differences, factor=100, sign=True)}"


def gains(role: str, *, shots: int | None = None) -> list[float]:
    """Points that the pool adds, a mean over the seeds, of each set, selector and budget.

    Args:
        shots: labels per class of the set's lowest budget, at which a run's budgets begin; None: all budgets.
    """
    found = []
    for run, cells in runs():
        if run["role"] != role or not run["name"].endswith(", frozen"):
            continue
        by = {(cell["method"], cell["recipe"], cell["budget"]): cell["top1"] for cell in cells}
        budgets = sorted({cell["budget"] for cell in cells}, key=int)[: shots or None]
        for method in METHODS:
            for budget in budgets:
                pair = [by.get((method, recipe, budget), []) for recipe in ("pool_probe", "linear_probe")]
                if all(pair):
                    found.append(100 * float(np.mean(pair[0]) - np.mean(pair[1])))
    return found


def orders() -> tuple[int, int]:
    """Of how many sets and budgets the probe's best selector is the best with the pool too, up to a point; all."""
    kept, count = 0, 0
    for run, cells in runs():
        if not run["name"].endswith(", frozen"):
            continue
        by = {
            (cell["recipe"], cell["budget"], cell["method"]): float(np.mean(cell["top1"]))
            for cell in cells
            if cell["top1"]
        }
        for budget in {cell["budget"] for cell in cells}:
            there = [method for method in METHODS if ("pool_probe", budget, method) in by]
            best = max(there, key=lambda method: by["linear_probe", budget, method])
            values = [by["pool_probe", budget, method] for method in there]
            kept += by["pool_probe", budget, best] >= max(values) - 0.01
            count += 1
    return kept, count
