"""The answers that agree least with the known ones, beside these: masks and boxes over the image, names, sentences."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from activetune.report.answered import Answered
from activetune.report.page import Card, Page
from activetune.report.panels._base import Panel
from activetune.report.pictures import picture
from activetune.report.subject import MODEL, Subject

SIDE = 420


class WorstAnswers(Panel):
    """See the module."""

    kinds = (MODEL,)
    needs = ("worst",)
    order = 56

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        answers = subject.worst
        assert answers is not None
        page.heading("Answers that agree least")
        page.figures(_spread(answers))
        page.cards(_cards(subject, answers), broad=True)
        page.note(f"Left the known answer, right the model's. Agreement: {subject.model.task.agrees_by}.")


def _spread(answers: Answered) -> Iterator[tuple[str, str]]:
    for share, told in (
        (0.1, "agreement that a tenth lies below"),
        (0.5, "that half lies below"),
        (0.9, "that nine tenths lie below"),
    ):
        yield told, f"{np.quantile(answers.agreement_N, share):.2f}"


def _cards(subject: Subject, answers: Answered) -> Iterator[Card]:
    classes = subject.model.classes
    for told in answers.worst:
        truth = picture(subject.pool, told.id, SIDE, (told.truth, answers.classes))
        answer = picture(subject.pool, told.id, SIDE, (told.answer, classes))
        lines = [f"agreement {told.agreement:.2f}", *([truth.problem] if truth.problem else [])]
        yield Card(truth.uri, told.id, lines, second=answer.uri)
