"""What to do next with a folder, as commands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from shlex import quote

from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import EMBEDDINGS, MODEL, SELECTION, Subject
from activetune.selection.artefact import ANSWERS
from activetune.tasks import DEFAULT, make_task

Step = tuple[str, str]  # a sentence, and the command


class NextSteps(Panel):
    """See the module."""

    kinds = (EMBEDDINGS, SELECTION, MODEL)
    order = 90

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        page.heading("Next")
        for sentence, command in _STEPS[subject.kind](subject):
            page.paragraph(sentence)
            page.code(command)


def _of_embeddings(subject: Subject) -> list[Step]:
    folder = quote(str(subject.folder))
    return [("Choose which images to label:", f"activetune select {folder} --budget 100 --out SEL")]


def _of_selection(subject: Subject) -> list[Step]:
    folder, pool = str(subject.folder), quote(str(subject.manifest.get("pool") or "POOL"))
    labels = quote(str(subject.folder / ANSWERS))
    return [
        ("Label the picks on a local page:", f"activetune label {quote(folder)} --classes a,b,c"),
        ("Train a model on the labels:", f"activetune finetune {pool} --labels {labels} --out MODEL"),
    ]


def _of_model(subject: Subject) -> list[Step]:
    folder = quote(str(subject.folder))
    answers = f"ANSWERS{make_task(subject.manifest.get('task', DEFAULT)).form(()).suffix}"
    steps = [("Let it answer:", f"activetune predict {folder} POOL --out {answers} --draw PICTURES")]
    if subject.answered is None:
        seen = f"activetune report {folder} --pool POOL --labels FILE --overwrite"
        steps.insert(0, ("See its mistakes on images that it was not trained on:", seen))
    if subject.scores is None:
        scored = f"activetune evaluate {folder} POOL --labels FILE"
        steps.insert(0, ("Score it on images that it was not trained on:", scored))
    return steps


_STEPS: Mapping[str, Callable[[Subject], list[Step]]] = {
    EMBEDDINGS: _of_embeddings,
    SELECTION: _of_selection,
    MODEL: _of_model,
}
