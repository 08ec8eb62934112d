"""A head on each frozen backbone, for answers that have a place in the image: same images, labels and seed for both."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest_json, record_of
from activetune.base.progress import notes_withheld
from activetune.base.run import RunOptions
from activetune.evaluation.model import Model, predictions
from activetune.studies.compare.probe import Probe, Row, rows_of
from activetune.studies.compare.sampled import Sampled
from activetune.studies.compare.side import Side
from activetune.studies.compare.tested import Answered, answered_digests, answered_sides, share_of
from activetune.tasks import Task, task_of
from activetune.training.finetune import finetune


@dataclass(frozen=True)
class Taught:
    """A head on one backbone, with what it has learned from and what it is tested on."""

    task: Task
    model: Model
    side: Side
    test: Answered

    def answers(self) -> Iterator[tuple[str, Any, Any]]:
        """Id, truth, and what the model says, of each test image."""
        pool, labels = self.test
        truth = dict(zip(labels.ids, labels.answers, strict=True))
        run, runtime = self.side.run, self.side.runtime
        told = predictions(self.model, pool, runtime=runtime, workers=run.workers, quiet=run.quiet, all_usable=True)
        for batch in told:
            settings = self.model.backbone.settings
            found = self.task.decode(batch.outputs, batch.sizes, settings, self.model.classes)
            for position, answer in zip(batch.positions, found, strict=True):
                yield pool.ids[position], truth[pool.ids[position]], answer


@dataclass(frozen=True)
class HeadProbe(Probe):
    """Base class of the probes that train a head of a task on the frozen backbone.

    Attributes:
        pool, labels: images and their answers. test, test_labels: others, or ``test = "30%"`` of these.
        size: of the images, ``352x464``; empty: the backbone's own. head: a fresh one for each backbone. steps: of its
            training; 0 takes the recipe's default. most: images to learn from; 0 is all.
        task, metric: of the figure.
    """

    task: ClassVar[str]
    metric: ClassVar[str]

    pool: str = ""
    labels: str = ""
    test: str = "30%"
    test_labels: str = ""
    size: str = ""
    head: str = ""
    steps: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        check_settings(f"the probe {self.task}", ("steps", self.steps, 0, np.inf), ("most", self.most, 0, np.inf))
        if self.test_labels and share_of(self.test, or_pool=True) is not None:
            raise UsageError(
                f"the probe {self.task}: test_labels are answers to another pool, and test = {self.test!r} holds out a "
                "part of this one; give test = FOLDER, or leave test_labels out"
            )

    @abstractmethod
    def figure(self, taught: Taught) -> Sampled:
        """How well the head answers."""

    def shown(self, seed: int) -> list[str]:
        """See :class:`Probe`."""
        return answered_digests(
            task_of(self.task, self.head), self.pool, self.labels, self.test, test_labels=self.test_labels
        )

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        task = task_of(self.task, self.head)
        known, test = answered_sides(
            task, self.pool, self.labels, self.test, seed=seed, test_labels=self.test_labels, most=self.most
        )
        what = f"{self.head} head on {len(known.labels):,} images"

        def told(side: Side) -> dict[str, Sampled]:
            return {what: self.figure(Taught(task, self._model(side, known, seed), side, test))}

        return rows_of(self.metric, told, a, b)

    def _model(self, side: Side, known: Answered, seed: int) -> Model:
        """A head on a frozen backbone; one that an earlier run has trained is read."""
        options: RunOptions = {**side.run.within(), "seed": seed, "resume": True}
        with notes_withheld():
            return finetune(
                known.pool,
                task=self.task,
                labels=known.labels,
                head=self.head,
                backbone=side.at(self.size),
                weights=side.weights,
                recipe="linear_probe",
                settings={"head_steps": self.steps} if self.steps else None,
                out=side.work / f"{self.task}-{digest_json(record_of(self))}",  # another probe has a head of its own
                **options,
            )
