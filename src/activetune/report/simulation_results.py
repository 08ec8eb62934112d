"""What came out of a simulation: its finished cells by recipe, method and budget, and the tables made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.artefact import read_manifest
from activetune.base.tables import read_own_table
from activetune.evaluation.curves import Point, first_at
from activetune.evaluation.metrics import Scale, scale_of
from activetune.evaluation.statistics import mean_and_spread

RESULTS, PER_CLASS, CURVES, FAILED = "results.csv", "per_class.csv", "curves.csv", "failed.csv"
AGAIN = "simulate again with --overwrite"
POINT = ("batches", "scored", "seconds", "val_top1")  # columns of a training curve
EVERYTHING = "everything"  # the row of training on everything, beside a recipe's selections
TARGETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975)  # accuracies whose first time is told


@dataclass(frozen=True)
class Results:
    """The finished cells by (recipe, method, budget), each column a list over the seeds.

    Attributes:
        curves: training curves, one per seed, of recipes that select themselves and count batches.
    """

    folder: Path
    manifest: dict[str, Any]
    cells: dict[tuple[str, str, str], dict[str, list[float]]]
    failed: dict[str, list[Any]]
    curves: dict[tuple[str, str, str], list[list[Point]]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """The results in a finished folder."""
        manifest = read_manifest(folder, "simulation")
        scored = _score(manifest)["name"]
        columns = read_own_table(folder / RESULTS, ("recipe", "method", "budget", "seed", scored), AGAIN)
        cells: dict[tuple[str, str, str], dict[str, list[float]]] = {}
        for row, key in enumerate(zip(columns["recipe"], columns["method"], columns["budget"], strict=True)):
            cell = cells.setdefault(key, {})
            for name in ("seed", scored, "balanced_accuracy", "select_seconds"):
                if name in columns:
                    cell.setdefault(name, []).append(float(columns[name][row]))
        failed = read_own_table(folder / FAILED, (), AGAIN)
        return cls(folder, manifest, cells, failed, _read_curves(folder / CURVES))

    @property
    def score(self) -> str:
        """The column of the score that models are compared by."""
        return _score(self.manifest)["name"]

    @property
    def score_told(self) -> str:
        """That score as it is told, for instance ``mean IoU``."""
        return _score(self.manifest)["told"]

    @property
    def methods(self) -> list[str]:
        """As they were asked for."""
        return list(self.manifest["methods"])

    @property
    def recipes(self) -> list[str]:
        """As they were asked for."""
        return list(self.manifest["recipes"])

    @property
    def budgets(self) -> list[str]:
        """As they were asked for, in ascending order."""
        return [budget["text"] for budget in self.manifest["budgets"]]

    @property
    def counts(self) -> list[int]:
        """The budgets as numbers of items."""
        return [int(budget["k"]) for budget in self.manifest["budgets"]]

    @property
    def whole(self) -> str | None:
        """The budget that is the whole pool, if there is one beside others."""
        last = self.manifest["budgets"][-1]
        return str(last["text"]) if len(self.counts) > 1 and last["k"] == self.manifest["pool_items"] else None

    @property
    def split_per_seed(self) -> bool:
        """Whether each seed has a test set of its own."""
        return self.manifest.get("splits") == "per-seed"  # older folders have one split and do not say so

    @property
    def looped(self) -> frozenset[str]:
        """The recipes that select themselves."""
        return frozenset(recipe for recipe, _, _ in self.curves)

    @property
    def unlooped(self) -> list[str]:
        """The others: a method selects for them, and its labels are all that they train on."""
        return [recipe for recipe in self.recipes if recipe not in self.looped]

    def whole_of(self, recipe: str) -> str | None:
        """The budget at which a recipe that selects itself trains on everything, the same for all methods."""
        return self.whole if recipe in self.looped else None

    def budgets_of(self, recipe: str) -> list[tuple[str, int]]:
        """The budgets at which a recipe's methods differ, in ascending order, with their numbers of items."""
        whole = self.whole_of(recipe)
        return [(text, count) for text, count in zip(self.budgets, self.counts, strict=True) if text != whole]

    def training(self, recipe: str, budget: str) -> dict[str, list[list[Point]]]:
        """Training curves by method, one per seed, and those of training on everything beside them."""
        found = {method: self.curves.get((recipe, method, budget), []) for method in self.methods}
        everything = self.curves.get((recipe, self.methods[0], self.whole or ""), [])
        return {**found, EVERYTHING: everything} if everything else found

    def values(self, recipe: str, method: str, budget: str, name: str = "") -> list[float]:
        """A column of one cell over its seeds, by default of the score; empty where all of them failed."""
        return self.cells.get((recipe, method, budget), {}).get(name or self.score, [])

    def told(self, recipe: str, method: str, budget: str, name: str = "") -> str:
        """Mean ± standard deviation; which seeds are missing, if any."""
        values, seeds = self.values(recipe, method, budget, name), len(self.manifest["seeds"])
        if not values:
            return "failed"
        missing = f" ({len(values)} of {seeds})" if len(values) < seeds else ""
        return f"{self.spread_of(values, name)}{missing}"

    def spread_of(self, values: Sequence[float], name: str = "", *, sign: bool = False) -> str:
        """Mean ± standard deviation of a column's values, by default of the score's, as :attr:`scale` tells them."""
        scale = scale_of(name) if name else self.scale
        return mean_and_spread(values, digits=1 + scale.digits, factor=scale.factor, sign=sign)

    @property
    def scale(self) -> Scale:
        """How the score is told: a share in percent, or as it is."""
        return scale_of(self.score)

    def differences(self, recipe: str, method: str, budget: str) -> list[float]:
        """What a method has more than the reference, seed by seed, for the seeds that both finished."""
        ours, theirs = (self._by_seed(recipe, one, budget) for one in (method, self.reference))
        return [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())]

    @property
    def reference(self) -> str:
        """The method that others are compared with: random where it is there, otherwise the first."""
        return "random" if "random" in self.methods else self.methods[0]

    def _by_seed(self, recipe: str, method: str, budget: str) -> dict[float, float]:
        cell = self.cells.get((recipe, method, budget), {})
        return dict(zip(cell.get("seed", ()), cell.get(self.score, ()), strict=True))

    def seconds(self, recipe: str, method: str, budget: str) -> float | None:
        """Mean seconds of a selection, or of all selections of a recipe that selects itself."""
        found = self.values(recipe, method, budget, "select_seconds")
        return float(np.mean(found)) if found else None

    def heading(self, text: str, count: int) -> str:
        """A budget as it was asked for and the number of items that it is, about, where splits have other numbers."""
        if text.replace(",", "").replace("_", "") == str(count):
            return f"{count:,}"
        (told,) = (budget for budget in self.manifest["budgets"] if budget["text"] == text)
        return f"{text} ({'' if told.get('least') == told.get('most') else '~'}{count:,})"

    def ranks(self, recipe: str | None = None) -> dict[str, float]:
        """Mean rank of each method that finished everywhere: 1 is the highest mean score, equal ones share theirs.

        Args:
            recipe: that counts alone; None: all of them.
        """
        recipes = self.recipes if recipe is None else [recipe]
        blocks = [(one, budget) for one in recipes for budget, _ in self.budgets_of(one)]
        ranked = [method for method in self.methods if all(self.values(r, method, b) for r, b in blocks)]
        if not ranked:
            return {}
        means = np.asarray([[np.mean(self.values(r, method, b)) for r, b in blocks] for method in ranked])
        better = (means[None] > means[:, None]).sum(axis=1)
        equal = (means[None] == means[:, None]).sum(axis=1) - 1
        return dict(zip(ranked, (1 + better + equal / 2).mean(axis=1).tolist(), strict=True))


def _score(manifest: dict[str, Any]) -> dict[str, str]:
    """Name of the score and how it is told; older folders are of classification and do not say so."""
    found: dict[str, str] = manifest.get("score", {"name": "top1", "told": "top-1"})
    return found


def _read_curves(path: Path) -> dict[tuple[str, str, str], list[list[Point]]]:
    """Points of the training curves by (recipe, method, budget) and seed, of recipes that count batches."""
    if not path.is_file():
        return {}
    columns = read_own_table(path, ("recipe", "method", "budget", "seed", *POINT), AGAIN)
    found: dict[tuple[str, str, str], dict[str, list[Point]]] = {}
    for row, seed in enumerate(columns["seed"]):
        key = (columns["recipe"][row], columns["method"][row], columns["budget"][row])
        point = {name: float(columns[name][row]) for name in POINT}
        found.setdefault(key, {}).setdefault(seed, []).append(point)
    return {key: list(seeds.values()) for key, seeds in found.items()}


def efficiency_rows(results: Results, recipe: str, budget: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of one recipe's B2A table: batches and seconds until validation reached an accuracy.

    The targets are the highest four that some method reached with every seed.
    """
    curves = results.training(recipe, budget)
    reached = {
        (method, target): [first_at(one, target) for one in curves[method]] for method in curves for target in TARGETS
    }
    told = [target for target in TARGETS if any(all(reached[m, target]) and reached[m, target] for m in curves)]
    header = ["selector", *(f"to {100 * target:g} %" for target in told[-4:])]
    rows = []
    for method in curves:
        cells = []
        for target in told[-4:]:
            points = [point for point in reached[method, target] if point]
            missing = len(reached[method, target]) - len(points)
            mean = {name: np.mean([point[name] for point in points]) for name in ("batches", "seconds") if points}
            text = f"{mean['batches']:,.0f} batches, {mean['seconds']:,.0f} s" if points else "never"
            cells.append(text + (f" ({len(points)} of {len(reached[method, target])})" if points and missing else ""))
        rows.append([method, *cells])
    return header, rows


def table(folder: Path) -> str:
    """The results as aligned text: a block a recipe, a line a method."""
    results = Results.read(folder)
    wide = max(len(text) for text in (*results.methods, *results.recipes)) + 2
    blocks = []
    for recipe in results.recipes:
        header, rows = table_rows(results, recipe)
        header = [recipe, *header[1:]]
        widths = [max(len(line[column]) for line in (header, *rows)) + 2 for column in range(1, len(header))]
        lines = [
            line[0].ljust(wide) + "".join(cell.rjust(w) for cell, w in zip(line[1:], widths, strict=True))
            for line in (header, *rows)
        ]
        blocks.append("\n".join(line.rstrip() for line in lines))
    return "\n\n".join(blocks)


def table_rows(results: Results, recipe: str, name: str = "") -> tuple[list[str], list[list[str]]]:
    """Header and rows of one recipe's table."""
    ranks, whole = results.ranks(recipe), results.whole_of(recipe)
    budgets = [budget for budget, _ in results.budgets_of(recipe)]
    header = [
        "selector",
        *(results.heading(text, count) for text, count in results.budgets_of(recipe)),
        "rank",
        "select, s",
    ]
    rows = []
    for method in results.methods:
        times = [results.seconds(recipe, method, budget) for budget in budgets]
        told = [seconds for seconds in times if seconds is not None]
        rows.append(
            [
                method,
                *(results.told(recipe, method, budget, name) for budget in budgets),
                f"{ranks[method]:.1f}" if method in ranks else "-",
                f"{np.mean(told):.3f}" if told else "-",
            ]
        )
    if whole is not None:
        told_of_all = results.told(recipe, results.methods[0], whole, name)
        rows.append([EVERYTHING, *[told_of_all] * len(budgets), "-", "-"])
    return header, rows


def difference_rows(results: Results, recipe: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what each method has more than the reference: mean ± spread of the differences by seed."""
    budgets = results.budgets_of(recipe)
    rows = []
    for method in results.methods:
        if method != results.reference:
            found = [results.differences(recipe, method, budget) for budget, _ in budgets]
            rows.append([method, *(results.spread_of(one, sign=True) if one else "-" for one in found)])
    return ["selector", *(results.heading(text, count) for text, count in budgets)], rows


def best_rows(results: Results, recipe: str, name: str = "") -> frozenset[int]:
    """The rows that are best at some budget."""
    best = set()
    for budget, _ in results.budgets_of(recipe):
        means = [np.mean(results.values(recipe, m, budget, name) or [-1.0]) for m in results.methods]
        best |= {int(np.argmax(means))} if max(means) >= 0 else set()
    return frozenset(best)
