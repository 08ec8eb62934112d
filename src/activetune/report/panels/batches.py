"""Batches to an accuracy (B2A): training curves of recipes that select themselves and count batches."""

from __future__ import annotations

import numpy as np

from activetune.evaluation.statistics import spreads
from activetune.report.charts import Axis, Line, line_chart
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.simulation_results import Results, efficiency_rows
from activetune.report.subject import SIMULATION, Subject


class Batches(Panel):
    """See the module."""

    kinds = (SIMULATION,)
    needs = ("results",)
    order = 24

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.results is not None
        results = subject.results
        for recipe in (recipe for recipe in results.recipes if recipe in results.looped):
            page.heading(f"Batches to an accuracy: {recipe}")
            for budget, _ in results.budgets_of(recipe):
                if any((recipe, method, budget) in results.curves for method in results.methods):
                    page.subheading(f"{budget} a loop")
                    page.add(_curves(results, recipe, budget))
                    page.table(*efficiency_rows(results, recipe, budget))
            page.note(
                "Accuracy on the held-out part of the pool as training goes on, mean over the seeds. The table has the "
                "batches and seconds until it first reached a value. Seconds hold scoring the pool and selecting, not "
                "validation."
            )


def _curves(results: Results, recipe: str, budget: str) -> str:
    """Mean validation accuracy against batches, a line per method."""
    lines = []
    for number, (method, curves) in enumerate(results.training(recipe, budget).items()):
        if curves:
            count = min(map(len, curves))
            top1 = 100 * np.asarray([[point["val_top1"] for point in curve[:count]] for curve in curves])
            seconds = np.mean([[point["seconds"] for point in curve[:count]] for curve in curves], axis=0)
            means, widths = top1.mean(axis=0).tolist(), spreads(top1).tolist()
            batches = [point["batches"] for point in curves[0][:count]]
            told = [
                f"{mean:.1f} ± {width:.1f} after {spent:,.0f} s"
                for mean, width, spent in zip(means, widths, seconds.tolist(), strict=True)
            ]
            lines.append(Line(method, list(zip(batches, means, strict=True)), told=told, colour=number))
    return line_chart(lines, Axis("batches"), Axis("top-1 on the held-out part, %"))
