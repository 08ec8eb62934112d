"""A model's scores on held-out items."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from activetune.evaluation.metrics import TOP, told, told_value
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import MODEL, Subject
from activetune.tasks import DEFAULT, make_task

FURTHER = {
    "ece": "calibration error",
    "top5": "top-5",
    "macro_f1": "macro F1",
    "f1_micro": "micro F1",
    "f1_macro": "macro F1",
    "bleu4": "BLEU-4",
}


class Scores(Panel):
    """See the module; where nothing was evaluated yet it says how to."""

    kinds = (MODEL,)
    order = 15

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        page.heading("Scores")
        scores = subject.scores
        if scores is None:
            estimate = subject.manifest["figures"].get("estimate") or {}
            if "value" in estimate:
                page.figures(_estimated(estimate))
            page.paragraph(
                "Not evaluated yet. Scores, mistakes and a map need items with known answers that the model was not "
                f"trained on: activetune report {subject.folder} --pool POOL, with --labels FILE where POOL has none."
            )
            return
        shown = make_task(subject.manifest.get("task", DEFAULT)).shown
        if len(subject.manifest.get("classes") or ()) <= TOP:
            scores = {name: value for name, value in scores.items() if name != "top5"}
        page.figures(_figures(scores, {**FURTHER, **shown}))
        if subject.answered is None:
            page.note(
                f"As activetune evaluate has left them in {subject.folder.name}/scores.json. Pictures of the mistakes "
                "and a map of the images need --pool POOL, and --labels where POOL has none."
            )


def _estimated(estimate: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    metric = str(estimate.get("metric", "top1"))
    yield f"{told(metric)}, {estimate.get('by', 'estimated')}", told_value(metric, float(estimate["value"]), 1)
    if interval := estimate.get("interval"):
        low, high = (told_value(metric, float(interval[end]), 1) for end in ("low", "high"))
        yield f"{100 * interval['level']:.0f} % interval", f"{low} to {high}"


def _figures(scores: Mapping[str, Any], names: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The primary score, the others, and the number of items."""
    primary = str(scores["primary"])
    for name in dict.fromkeys([primary, *(name for name, value in scores.items() if isinstance(value, float))]):
        yield names.get(name, told(name)), told_value(name, float(scores[name]), 1)
    yield "items", f"{scores['n']:,}"
