"""What ViSFT changed: each task's own score before and after the backbone was finetuned, and how far it moved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activetune.evaluation.metrics import scale_of, told, told_value
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import VISFT, Subject


class Domains(Panel):
    """See the module."""

    kinds = (VISFT,)
    order = 20

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        figures = subject.manifest["figures"]
        page.heading("Before and after")
        page.figures(_moved(figures))
        rows = [_row(name, found) for name, found in figures.get("in_domain", {}).items()]
        if rows:
            page.table(["task", "metric", "items", "before", "after", "difference"], rows, texts=2)
            page.note("On the held-out items of each task, by the same frozen head over the backbone before and after.")


def _moved(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How far the backbone moved."""
    cosine = figures.get("feature_cosine", {})
    drift = figures.get("weight_drift")
    weights = [("relative change of the weights", f"{100 * drift:.3g} %")] if drift is not None else []
    return weights + [(f"cosine to the features before, {name}", f"{value:.4f}") for name, value in cosine.items()]


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    metric = next(iter(found["frozen"]))
    before, after = (float(found[when][metric]) for when in ("frozen", "joint"))
    scale = scale_of(metric)
    change = f"{scale.factor * (after - before):+.{2 + scale.digits}f}"
    items = f"{found['joint'].get('n', 0):,}"
    return [name, told(metric), items, told_value(metric, before), told_value(metric, after), change]
