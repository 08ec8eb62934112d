"""The tables of selection in rounds where the pool works too, from its results file."""

from __future__ import annotations

import functools

import numpy as np
from pool_tables import FOLDER, RECIPES, SEEDS, by_budget, by_cell, heading
from stored import lines, read

DOUBTS = {"linear_probe": "", "pool_probe": ", doubt with the pool"}
AT_ONCE = "`activeft` at once"
COVERAGE = "`activeft`"  # in rounds
BY_DOUBT = ("margin", "uncertainty_medoids", "uncertainty_herding", "alfa_mix", "drop_query")
Cells = dict[str, dict[int, tuple[float, float]]]


@functools.cache
def of_rounds() -> dict[str, Cells]:
    """By set, by method and budget: top-1 in % of the probe and of the probe with the pool, means over the seeds."""
    found: dict[str, dict[str, dict[int, list[tuple[float, float]]]]] = {}
    for row in read(f"{FOLDER}/results/rounds.json")["rows"]:
        if all(recipe in row for recipe in RECIPES):
            method = f"`{row['method']}`{DOUBTS[row['learner']]}"
            cells = found.setdefault(row["set"], {}).setdefault(method, {})
            cells.setdefault(row["budget"], []).append((row["linear_probe"], row["pool_probe"]))
    at_once = {name: cells for name, _, cells in by_cell("design", "confirm")}
    kept: dict[str, Cells] = {}
    for name, methods in found.items():
        budgets = sorted({budget for cells in methods.values() for budget in cells})
        first = {one: [at_once[name][recipe, str(one), "activeft"] for recipe in RECIPES] for one in budgets}
        whole = {
            method: {one: _means(np.transpose(values)) for one, values in cells.items() if len(values) == SEEDS}
            for method, cells in methods.items()
        }
        kept[name] = {AT_ONCE: {one: _means(values) for one, values in first.items()}, **whole}
    return kept


def _means(values: object) -> tuple[float, float]:
    alone, pool = (100 * float(np.mean(one)) for one in np.asarray(values))
    return alone, pool


def _told(alone: float, pool: float, best: float) -> str:
    bold = "**" if pool == best else ""
    return f"{alone:.1f}, {bold}{pool:.1f}{bold}"


def rounds() -> str:
    """The probe and the probe with the pool, by set, method and budget; the best with the pool bold."""
    rows = []
    for name, methods in of_rounds().items():
        budgets = sorted({budget for cells in methods.values() for budget in cells})
        rows.append([heading(name), *(f"**{one:,}**" for one in budgets)])
        best = {one: max(cells[one][1] for cells in methods.values() if one in cells) for one in budgets}
        for method, cells in methods.items():
            told = (_told(*cells[one], best[one]) if one in cells else "" for one in budgets)
            rows.append([method, *told])
    return by_budget(rows)


def over_coverage(method: str) -> dict[int, tuple[list[float], list[float]]]:
    """By labels per class that there were before: points by which a method is above ``activeft`` in rounds.

    Of each set, those of the probe and those of the probe with the pool.
    """
    found: dict[int, tuple[list[float], list[float]]] = {}
    for name, budgets, _ in by_cell("design", "confirm"):
        cells = of_rounds().get(name, {})
        before = dict(zip(budgets[1:], budgets, strict=False))  # the lowest is one label per class
        for one, value in cells.get(method, {}).items():
            there = cells[COVERAGE].get(one)
            if there:
                lists = found.setdefault(int(before[str(one)]) // int(budgets[0]), ([], []))
                for place in (0, 1):
                    lists[place].append(value[place] - there[place])
    return dict(sorted(found.items()))


def by_shots() -> str:
    """What each method gains over ``activeft`` in rounds, by labels per class that there were before."""
    methods = dict.fromkeys(method for cells in of_rounds().values() for method in cells)
    shots = sorted({one for method in methods for one in over_coverage(method)})
    rows = []
    for method in methods:
        found = over_coverage(method)
        told = [", ".join(f"{np.mean(points):+.1f}" for points in found.get(one, ())) for one in shots]
        rows += [[method, *told]] if method != COVERAGE else []
    return lines(["labels per class before", *map(str, shots)], rows)


def doubts_apart() -> list[float]:
    """Points with the pool by which methods that follow the doubt with the pool are above the same by the probe's."""
    ending = DOUBTS["pool_probe"]
    return [
        value[1] - cells[method.removesuffix(ending)][one][1]
        for cells in of_rounds().values()
        for method in cells
        if method.endswith(ending)
        for one, value in cells[method].items()
        if one in cells[method.removesuffix(ending)]
    ]
