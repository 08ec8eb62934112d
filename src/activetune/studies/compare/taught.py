"""A head on each frozen backbone, for answers that have a place in the image: same images, labels and seed for both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from activetune.data.labels import Labels, in_order
from activetune.data.pool import Pool
from activetune.evaluation.model import Model, predictions
from activetune.studies.compare.side import Side
from activetune.studies.compare.tested import divided, share_of, usable_pool
from activetune.tasks import Task
from activetune.training.finetune import finetune


@dataclass(frozen=True)
class Taught:
    """What heads learn from and are tested on.

    Attributes:
        taught: labels of images of ``pool``. truth: labels of all images of ``tested``.
    """

    task: Task
    pool: Pool
    taught: Labels
    tested: Pool
    truth: Labels

    @classmethod
    def of(cls, task: Task, pool: str, labels: str, test: str, test_labels: str, *, most: int, seed: int) -> Taught:
        """Two sides: other images with labels of their own, or ``test = "30%"`` of the ones given.

        Args:
            most: images to learn from, drawn at random; 0 is all.
        """
        opened = usable_pool(pool)
        known = task.labels_of(labels or None, opened, quiet=True)
        share = share_of(test)
        if share is None:
            other = usable_pool(test)
            kept, truth = list(known.ids), task.labels_of(test_labels or None, other, quiet=True)
            tested = other.subset(truth.ids)
        else:
            kept, held = divided(known.ids, share, seed)
            tested, truth = opened.subset(held), in_order(known, held)
        if most and most < len(kept):
            rows = np.sort(np.random.default_rng([seed, 19]).permutation(len(kept))[:most])
            kept = [kept[row] for row in rows.tolist()]
        return cls(task, opened, in_order(known, kept), tested, truth)

    def model(self, side: Side, name: str, *, size: str, head: str, steps: int, seed: int) -> Model:
        """A head on a frozen backbone; one that an earlier run has trained is read.

        Args:
            name: of its folder. size: of the images. steps: batches, 0 takes the recipe's default.
        """
        return finetune(
            self.pool,
            task=self.task.name,
            labels=self.taught,
            head=head,
            backbone=side.at(size),
            weights=side.weights,
            recipe="linear_probe",
            settings={"head_steps": steps} if steps else None,
            out=side.work / name,
            seed=seed,
            device=side.run.device,
            precision=side.run.precision,
            workers=side.run.workers,
            quiet=side.run.quiet,
            resume=True,
        )

    def answers(self, side: Side, model: Model) -> Iterator[tuple[str, Any, Any]]:
        """Id, truth, and what the model says, of each test image."""
        truth = dict(zip(self.truth.ids, self.truth.answers, strict=True))
        run = side.run
        for batch in predictions(model, self.tested, runtime=side.runtime, workers=run.workers, quiet=run.quiet):
            found = self.task.decode(batch.outputs, batch.sizes, model.backbone.settings, model.classes)
            for position, answer in zip(batch.positions, found, strict=True):
                item = self.tested.ids[position]
                yield item, truth[item], answer
