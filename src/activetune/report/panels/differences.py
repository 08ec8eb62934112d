"""What two backbones differ in: a table with paired intervals, and the intervals drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activetune.report.charts import interval_chart
from activetune.report.comparison import notes_of
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import COMPARISON, Subject

CLEAR = 0.05


class Differences(Panel):
    """See the module."""

    kinds = (COMPARISON,)
    needs = ("differences",)
    order = 20

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        rows = subject.differences or ()
        page.heading("Differences")
        page.add(interval_chart([_interval(row) for row in rows], "B - A, points", "points"))
        page.table(
            ["probe", "figure", "metric", "items", "A, %", "B, %", "B - A", "95 % interval", "p (Holm)"],
            [_cells(row) for row in rows],
            frozenset(number for number, row in enumerate(rows) if row["p_holm"] < CLEAR),
            texts=3,
        )
        for line in notes_of(rows):
            page.paragraph(line)
        page.note(
            "Intervals and p-values: paired bootstrap over the test images of each probe, the same draws for A and B. "
            "p is corrected for the number of rows by Holm. Rows in bold differ clearly. An interval tells how a "
            f"figure varies with the test images, not with the labels that were learned from.{_least(subject.manifest)}"
        )


def _interval(row: Mapping[str, Any]) -> tuple[str, float, float, float, bool]:
    name = f"{row['probe']}: {row['what']} ({row['metric']})"
    return name, 100 * row["difference"], 100 * row["low"], 100 * row["high"], row["p_holm"] < CLEAR


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [
        str(row["probe"]),
        str(row["what"]),
        str(row["metric"]),
        f"{row['n']:,}",
        f"{100 * row['a']:.1f}",
        f"{100 * row['b']:.1f}",
        f"{100 * row['difference']:+.1f}",
        f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f}",
        f"{row['p_holm']:.3f}",
    ]


def _least(manifest: Mapping[str, Any]) -> str:
    """How small p can get; nothing where a comparison of an earlier version does not say how often it drew."""
    figures = manifest["figures"]
    if "draws" not in figures:
        return ""
    least = 2 / (figures["draws"] + 1)
    corrected = min(1.0, least * len(figures["rows"]))
    return (
        f" Test items were drawn {figures['draws']:,} times, so p can't be below {least:.2g}, and that of the clearest "
        f"row not below {corrected:.2g} after the correction."
    )
