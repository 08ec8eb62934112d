"""How a training went: what was measured as it went on, phase by phase."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from activetune.evaluation.metrics import scale_of, told
from activetune.report.charts import Axis, Line, line_chart, wide_apart
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import MODEL, VISFT, Subject

PLACES = ("step", "batches", "epoch", "strength", "alpha")  # a curve goes along the first that a phase has
GROUPS = ("phase", "stage", "task", "probe_share")  # columns that tell one curve from another
NUMBERS = ("probe_share",)  # of these, told with their names
Rows = list[dict[str, str]]


class TrainingCourse(Panel):
    """See the module."""

    kinds = (MODEL, VISFT)
    needs = ("history",)
    order = 70

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        phases = _phases(subject.history or {})
        drawn = {title: chart for title, rows in phases.items() for chart in [_charts(rows)] if chart}
        if not drawn:
            return
        page.heading("Training")
        for title, charts in drawn.items():
            page.subheading(title)
            for chart in charts:
                page.add(chart)


def _phases(history: Mapping[str, Sequence[str]]) -> dict[str, Rows]:
    """The rows by phase, and what else tells them apart."""
    found: dict[str, Rows] = {}
    for number in range(len(next(iter(history.values())))):
        row = {name: str(column[number]) for name, column in history.items()}
        parts = [f"{name} {row[name]}" if name in NUMBERS else row[name] for name in GROUPS if row.get(name)]
        title = ", ".join(parts) or "training"
        found.setdefault(title, []).append(row)
    return found


def _charts(rows: Rows) -> list[str]:
    """A chart of the losses and one of the scores of a phase with at least two rows."""
    place = next((name for name in PLACES if len(_values(rows, name)) > 1), "")
    if not place:
        return []
    names = [name for name in rows[0] if name == "loss" or name.endswith("_loss") or name.startswith("val_")]
    losses = [name for name in names if name.endswith("loss")]
    charts = []
    for group in (losses, [name for name in names if name not in losses]):
        lines = [_line(rows, place, name, number) for number, name in enumerate(group)]
        lines = [line for line in lines if len(line.points) > 1]
        if lines:
            places = [x for line in lines for x, _ in line.points]
            axis = Axis(place, logarithmic=place == "strength" and wide_apart(places))
            charts.append(line_chart(lines, axis, Axis(_title(group)), diagonal=False))
    return charts


def _title(group: Sequence[str]) -> str:
    if group[0].endswith("loss"):
        return "loss on held-out items" if all(name.startswith("val_") for name in group) else "loss"
    metric = group[0].removeprefix("val_")
    return f"{told(metric)} on held-out items, {scale_of(metric).unit}" if len(group) == 1 else "on held-out items, %"


def _named(column: str) -> str:
    """A column of the history as a legend tells it.

    >>> _named("val_loss"), _named("train_captioning_loss"), _named("val_top1")
    ('held out', 'captioning', 'top-1')
    """
    if not column.endswith("loss"):
        return told(column.removeprefix("val_"))
    if column.startswith("val_"):
        return "held out"
    return column.removeprefix("train_").removesuffix("loss").rstrip("_").replace("_", " ") or "training"


def _line(rows: Rows, place: str, name: str, number: int) -> Line:
    factor = 1.0 if name.endswith("loss") else scale_of(name.removeprefix("val_")).factor
    points = sorted((float(row[place]), factor * float(row[name])) for row in rows if row.get(place) and row.get(name))
    return Line(_named(name), points, told=[f"{value:.4g}" for _, value in points], colour=number)


def _values(rows: Rows, name: str) -> set[float]:
    try:
        return {float(row[name]) for row in rows if row.get(name)}
    except ValueError:
        return set()
