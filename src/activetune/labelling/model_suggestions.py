"""Suggestions by a finetuned model: its answers to the selection's images, batch by batch as they come."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence

from activetune.base.errors import UsageError
from activetune.base.run import Run
from activetune.base.runtime import resolve_runtime
from activetune.data.pool import Pool
from activetune.evaluation.model import Model, load, predictions
from activetune.labelling.suggestions import Show, Suggested, named_by
from activetune.tasks import ClassTask

BATCH = 16
EVERY = 1.0  # seconds between two states that are shown


def model_that_suggests(given: Model | str | os.PathLike[str]) -> Model:
    """The model, which must answer with classes per image.

    Raises:
        UsageError: it answers something else, or is no model.
    """
    model = given if isinstance(given, Model) else load(given)
    if not isinstance(model.task, ClassTask):
        raise UsageError(
            f"the model's task is {model.task.name}, and the page asks for classes per image; "
            "give a model of classification or multilabel"
        )
    return model


def by_model(
    model: Model, pool: Pool, ids: Sequence[str], run: Run, *, multilabel: bool, ended: Callable[[], bool]
) -> Callable[[Show], None]:
    """What asks a model about items of a pool, and shows its answers batch by batch.

    Args:
        ended: whether to stop.
    """

    def suggest(show: Show) -> None:
        task = model.task
        assert isinstance(task, ClassTask)
        known = [item for item in ids if item in pool.position]
        row = {item: number for number, item in enumerate(ids)}
        named: list[tuple[int, ...] | None] = [None] * len(ids)
        probabilities = [0.0] * len(ids)
        runtime, version, shown = resolve_runtime(run.device, run.precision), 0, time.monotonic()
        for batch in predictions(model, pool.subset(known), runtime=runtime, batch_size=BATCH, workers=0, quiet=True):
            if batch.outputs is not None:
                found, sure = named_by(task.probabilities(batch.outputs).cpu().numpy(), multilabel=multilabel)
                for position, names, probability in zip(batch.positions, found, sure, strict=True):
                    named[row[known[position]]] = names
                    probabilities[row[known[position]]] = probability
            if ended():
                return
            if time.monotonic() - shown > EVERY:
                version, shown = version + 1, time.monotonic()
                show(Suggested(version, model.classes, list(named), list(probabilities), "by the model"))
        show(Suggested(version + 1, model.classes, named, probabilities, "by the model"))

    return suggest
