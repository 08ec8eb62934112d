"""Whether a classifier is as often right as it is sure."""

from __future__ import annotations

import numpy as np

from activetune.evaluation.metrics import calibration_error
from activetune.report.charts import Axis, Line, line_chart
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import MODEL, Subject

BINS = 10


class Calibration(Panel):
    """See the module."""

    kinds = (MODEL,)
    needs = ("by_class",)
    order = 58

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        answers = subject.by_class
        assert answers is not None
        sure_N, right_N = answers.sure_N.astype(np.float64), answers.agreement_N
        place_N = np.clip(np.ceil(sure_N * BINS).astype(int) - 1, 0, BINS - 1)
        points, told = [], []
        for number in np.unique(place_N).tolist():
            rows = place_N == number
            points.append((100 * float(sure_N[rows].mean()), 100 * float(right_N[rows].mean())))
            told.append(f"{points[-1][1]:.1f} % right of {int(rows.sum()):,}")
        percent = "{:.0f}".format
        x, y = Axis("sure, %", (0, 100), told=percent), Axis("right, %", (0, 100), told=percent)
        error = calibration_error(sure_N, right_N == 1)
        page.heading("Calibration")
        page.add(line_chart([Line("answers", points, told=told)], x, y, diagonal=True))
        gap = 100 * (float(sure_N.mean()) - float(right_N.mean()))
        word = "surer" if gap > 0 else "less sure"
        page.note(
            f"How often answers are right, by how sure the model is of them; on the dashed line both are alike. "
            f"Expected calibration error {100 * error:.1f} %; on average the model is {abs(gap):.1f} points {word} "
            "than it is right."
        )
