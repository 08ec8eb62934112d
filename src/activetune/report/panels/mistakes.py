"""A classifier's mistakes: those that it is surest of, and those whose true class it holds least likely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from activetune.report.answered import Answered
from activetune.report.page import Card, Page
from activetune.report.panels._base import Panel
from activetune.report.pictures import picture
from activetune.report.subject import MODEL, Subject

SHOWN, SIDE = 18, 224


class Mistakes(Panel):
    """See the module."""

    kinds = (MODEL,)
    needs = ("by_class",)
    order = 54

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        answers = subject.by_class
        assert answers is not None
        wrong = np.flatnonzero(answers.agreement_N < 1)
        page.heading("Mistakes")
        if not len(wrong):
            page.paragraph(f"None of {len(answers.ids):,} answers is wrong.")
            return
        truth_N = _truth_probability(answers)
        confident = wrong[np.argsort(-answers.sure_N[wrong], kind="stable")][:SHOWN]
        page.paragraph(f"{len(wrong):,} of {len(answers.ids):,} answers are wrong.")
        page.subheading("The surest of them")
        page.cards(_cards(subject, answers, confident.tolist(), truth_N.tolist()))
        rest = np.setdiff1d(wrong, confident)
        worst = rest[np.lexsort((rest, truth_N[rest]))][:SHOWN]
        if len(worst):
            page.subheading("Further ones whose true class is held least likely")
            page.cards(_cards(subject, answers, worst.tolist(), truth_N.tolist()))
        page.note("Where a picture shows what was answered, the label may be the mistake.")


def _truth_probability(answers: Answered) -> np.ndarray:
    """(N,) probability of each item's true class; 0 of a class that the model does not know."""
    assert answers.truth_N is not None and answers.probs_NC is not None
    known_N = answers.truth_N < answers.probs_NC.shape[1]
    column_N = np.where(known_N, answers.truth_N, 0)
    found: np.ndarray = np.where(known_N, answers.probs_NC[np.arange(len(column_N)), column_N], 0.0)
    return found


def _cards(subject: Subject, answers: Answered, rows: Sequence[int], truth: Sequence[float]) -> Iterator[Card]:
    assert answers.truth_N is not None
    predicted_N = answers.predicted_N
    for row in rows:
        shown = picture(subject.pool, answers.ids[row], SIDE)
        name, answer = answers.classes[answers.truth_N[row]], answers.classes[predicted_N[row]]
        lines = [
            f"answered, {100 * answers.sure_N[row]:.0f} % sure",
            f"label: {name}, {100 * truth[row]:.1f} %",
            answers.ids[row],
            *([shown.problem] if shown.problem else []),
        ]
        yield Card(shown.uri, answer, lines, small=shown.small)
