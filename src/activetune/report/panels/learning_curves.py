"""Learning curves: the score on held-out images against the number of labels, a line per method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activetune.base.tables import read_table
from activetune.evaluation.metrics import capital
from activetune.evaluation.statistics import mean_and_spread, spread
from activetune.report.charts import Axis, Line, line_chart, wide_apart
from activetune.report.demo_results import SCORES, summarise, told
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.simulation_results import EVERYTHING, Results
from activetune.report.subject import DEMO, SIMULATION, Subject

ALL_ON_ONE = "all on one test set: how much another one would change is not in them"
STYLES = 12  # colours, after which lines are dashed


class LearningCurves(Panel):
    """See the module."""

    kinds = (SIMULATION, DEMO)
    order = 20

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        if subject.results is None:
            _of_demo(subject, page)
            return
        results = subject.results
        if len(results.manifest["seeds"]) == 1:
            page.warning(
                "One seed shows nothing for sure: without a second there is no telling a better method from a lucky "
                "draw. Add some with --seeds 3 --resume."
            )
        bounds = common_bounds(results)
        for recipe in results.recipes:
            page.heading(f"Learning curves: {recipe}")
            page.add(curves(results, recipe, bounds))
        page.note(
            f"{capital(results.score_told)} on the test set, the mean over the seeds; bands are ± one sample "
            "standard deviation, "
            + (
                "each with a split of its own: they hold the difference between splits"
                if results.split_per_seed
                else ALL_ON_ONE
            )
            + ". A click in the legend hides a method, a double click shows it alone."
        )


def common_bounds(results: Results) -> tuple[float, float]:
    """Bounds of all recipes' scores with their bands: curves beside each other have one axis."""
    scale = results.scale
    cells = [scale.factor * np.asarray(cell[results.score]) for cell in results.cells.values()]
    widths = [spread(values) or 0.0 for values in cells]
    low = min((float(values.mean()) - width for values, width in zip(cells, widths, strict=True)), default=0.0)
    high = max(
        (float(values.mean()) + width for values, width in zip(cells, widths, strict=True)), default=scale.factor
    )
    room = max(0.05 * (high - low), 0.005 * scale.factor)
    return max(low - room, 0.0), min(high + room, 1.005 * max(scale.factor, high))


def curves(results: Results, recipe: str, bounds: tuple[float, float]) -> str:
    """Mean score against labels, a line and a band per method, on the bounds that all recipes have."""
    scale, budgets, whole = results.scale, results.budgets_of(recipe), results.whole_of(recipe)
    digits = 1 + scale.digits
    lines = []
    for number, method in enumerate(results.methods):
        found = [
            (count, scale.factor * float(np.mean(values)), scale.factor * (spread(values) or 0.0))
            for budget, count in budgets
            if (values := results.values(recipe, method, budget))
        ]
        if found:
            told = [f"{mean:.{digits}f} ± {width:.{digits}f}" for _, mean, width in found]
            points, widths = [(count, mean) for count, mean, _ in found], [width for _, _, width in found]
            lines.append(Line(method, points, widths, told, number, number // STYLES))
    rule = None
    if whole is not None and (values := results.values(recipe, results.methods[0], whole)):
        rule = (scale.factor * float(np.mean(values)), EVERYTHING)
    counts = [count for _, count in budgets]
    x = labels_axis("items per loop" if recipe in results.looped else "labels", counts)
    y = Axis(f"{results.score_told} on the test set, {scale.unit}", bounds, told=lambda value: f"{value:.10g}")
    return line_chart(lines, x, y, rule=rule)


def labels_axis(title: str, counts: Sequence[float]) -> Axis:
    """An axis with a tick at each number of labels."""
    return Axis(title, None, counts, wide_apart(counts), lambda count: f"{count:,.0f}")


def _of_demo(subject: Subject, page: Page) -> None:
    budgets, (score, name) = subject.manifest["budgets"], next(iter(SCORES.items()))
    lines = []
    for number, row in enumerate(summarise(read_table(subject.folder / "results.csv"))):
        found = [told(row[score][budget]) for budget in budgets]
        points = [(budget, mean) for budget, (mean, _) in zip(budgets, found, strict=True)]
        texts = [mean_and_spread(row[score][budget], factor=100) for budget in budgets]
        widths = [width for _, width in found]
        lines.append(Line(row["name"], points, widths, texts, number, 2 if "pixels" in row["name"] else 0))
    page.heading("Learning curves")
    page.add(line_chart(lines, labels_axis("labels", budgets), Axis(f"{name} on held-out images, %")))
    if subject.manifest["seeds"] > 1:
        page.note("Bands are ± one sample standard deviation over the seeds.")
