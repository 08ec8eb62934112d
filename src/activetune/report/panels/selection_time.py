"""How long selections take, against their number of items."""

from __future__ import annotations

import numpy as np

from activetune.report.charts import Axis, Line, line_chart
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import SIMULATION, Subject

LEAST = 1e-4  # seconds that are told apart


class SelectionTime(Panel):
    """See the module; recipes that select themselves are left out, as their tables have these seconds."""

    kinds = (SIMULATION,)
    needs = ("results",)
    order = 26

    def stands(self, subject: Subject) -> bool:
        """See :class:`Panel`: where some method selects for a recipe."""
        return super().stands(subject) and subject.results is not None and bool(subject.results.unlooped)

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.results is not None
        results = subject.results
        lines = []
        for number, method in enumerate(results.methods):
            points = []
            for budget, count in zip(results.budgets, results.counts, strict=True):
                told = [results.seconds(recipe, method, budget) for recipe in results.unlooped]
                if seconds := [value for value in told if value is not None]:
                    points.append((count, max(float(np.mean(seconds)), LEAST)))
            if points:
                lines.append(Line(method, points, colour=number, style=number // 12))
        if not lines:
            return
        page.heading("Time to select")
        x = Axis("K", None, results.counts, logarithmic=True, told=lambda count: f"{count:,.0f}")
        page.add(line_chart(lines, x, Axis("seconds", logarithmic=True, told=lambda value: f"{value:.3g}")))
        page.note(
            "Seconds that a selection of K items takes, both axes logarithmic; a method that learns from labels counts "
            "all rounds that led there."
        )
