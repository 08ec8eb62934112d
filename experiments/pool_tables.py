"""The tables of the experiment with the pool, from its results files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import numpy as np
from stored import ROOT, lines, read

from activetune.evaluation.statistics import mean_and_spread

FOLDER = "experiments/pool"
METHODS = {"random": "random", "k_means": "k-means", "activeft": "ActiveFT"}
RECIPES = ("linear_probe", "pool_probe")


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


def by_cell(*roles: str) -> Iterator[tuple[str, list[str], dict[tuple[str, str, str], list[float]]]]:
    """Of each set with a frozen backbone: its name, its budgets, and top-1 by (recipe, budget, method)."""
    for run, cells in runs():
        name = run["name"].removesuffix(", frozen")
        if run["role"] in roles and name != run["name"]:
            found = {(cell["recipe"], cell["budget"], cell["method"]): cell["top1"] for cell in cells if cell["top1"]}
            yield name, sorted({cell["budget"] for cell in cells}, key=int), found


def frozen(role: str) -> str:
    """The probe, and how much the pool adds, by set, selector and budget."""
    rows = []
    for name, budgets, found in by_cell(role):
        rows.append([f"**{name}**", *(f"**{int(one):,}**" for one in budgets)])
        for method, told_as in METHODS.items():
            pairs = [[found.get((recipe, one, method), []) for recipe in RECIPES] for one in budgets]
            rows.append([told_as, *(_told(*pair) if all(pair) else "" for pair in pairs)])
    columns = max(map(len, rows), default=1)
    return lines(["", *["labels"] * (columns - 1)], [[*row, *[""] * (columns - len(row))] for row in rows])


def _told(alone: list[float], pool: list[float]) -> str:
    """``81.2 ± 0.5, +3.0 ± 0.2``: the probe, and the difference seed by seed."""
    differences = np.asarray(pool) - np.asarray(alone)
    return f"{mean_and_spread(alone, factor=100)}, {mean_and_spread(differences, factor=100, sign=True)}"


def gains(role: str, *, lowest: int | None = None) -> list[float]:
    """Points that the pool adds, a mean over the seeds, of each set, selector and budget.

    Args:
        lowest: how many of a set's budgets count, from the lowest on; None: all.
    """
    gained = []
    for _, budgets, found in by_cell(role):
        for method in METHODS:
            for budget in budgets[:lowest]:
                alone, pool = (found.get((recipe, budget, method), []) for recipe in RECIPES)
                if alone and pool:
                    gained.append(100 * float(np.mean(pool) - np.mean(alone)))
    return gained


def orders() -> tuple[int, int]:
    """Of how many sets and budgets the probe's best selector is the best with the pool too, up to a point; all."""
    kept, count = 0, 0
    for _, budgets, found in by_cell("design", "confirm"):
        means = {key: float(np.mean(values)) for key, values in found.items()}
        for budget in budgets:
            there = [method for method in METHODS if ("pool_probe", budget, method) in means]
            best = max(there, key=lambda method: means["linear_probe", budget, method])
            kept += means["pool_probe", budget, best] >= max(means["pool_probe", budget, one] for one in there) - 0.01
            count += 1
    return kept, count
