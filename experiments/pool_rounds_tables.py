"""The tables of selection in rounds where the pool works too, from its results file."""

from __future__ import annotations

import numpy as np
from pool_tables import FOLDER, RECIPES, SEEDS, by_budget, by_cell
from stored import read

DOUBTS = {"linear_probe": "", "pool_probe": ", doubt with the pool"}
AT_ONCE = "`activeft` at once"
FOLLOWED = ("margin", "uncertainty_medoids", "uncertainty_herding")  # asked by both learners
Cells = dict[str, dict[int, tuple[float, float]]]


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


def rounds() -> str:
    """The probe and the probe with the pool, by set, method and budget; the best with the pool bold."""
    rows = []
    for name, methods in of_rounds().items():
        budgets = sorted({budget for cells in methods.values() for budget in cells})
        rows.append([f"**{name}**", *(f"**{one:,}**" for one in budgets)])
        best = {one: max(cells[one][1] for cells in methods.values() if one in cells) for one in budgets}
        for method, cells in methods.items():
            told = [
                f"{cells[one][0]:.1f}, "
                + (f"**{cells[one][1]:.1f}**" if cells[one][1] == best[one] else f"{cells[one][1]:.1f}")
                if one in cells
                else ""
                for one in budgets
            ]
            rows.append([method, *told])
    return by_budget(rows)


def over_coverage(method: str, *, pool: bool, names: tuple[str, ...] | None = None) -> list[float]:
    """Points by which a method in rounds is above ``activeft`` in rounds, of each set and budget.

    Args:
        pool: whether the probe with the pool learns; otherwise the plain probe. names: of sets; None: all.
    """
    return [
        value[pool] - cells["`activeft`"][one][pool]
        for name, cells in of_rounds().items()
        if names is None or name in names
        for one, value in cells[method].items()
        if one in cells["`activeft`"]
    ]


def doubts_apart() -> list[float]:
    """Points with the pool by which methods that follow the doubt with the pool are above the same by the probe's."""
    return [
        value[1] - cells[f"`{method}`"][one][1]
        for cells in of_rounds().values()
        for method in FOLLOWED
        for one, value in cells[f"`{method}`{DOUBTS['pool_probe']}"].items()
        if one in cells[f"`{method}`"]
    ]
