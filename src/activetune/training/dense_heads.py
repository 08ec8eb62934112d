"""Light heads whose answers have a place in the image: trained on cached tokens, scored at the images' own sizes.

They are tried and chosen as those of one class per image are (``head_choice.py``), and trained by the same loop.
Shape legend: V views, L labelled items, B items of a batch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.base.fingerprint import as_json, digest, digest_array, digest_json
from activetune.base.settings import flatten
from activetune.networks.frofa import OPERATIONS
from activetune.networks.heads import Head
from activetune.networks.imbalance import Imbalance
from activetune.tasks import Batch, Sample, Task
from activetune.training.head_choice import Candidate, HeadTrial
from activetune.training.head_training import HeadTraining, head_outputs, train_head
from activetune.training.job import Job
from activetune.training.output import Checkpoint
from activetune.training.views import Views

BATCH = 32  # items whose outputs are scored together
NOTHING = torch.empty(0)


class DenseLesson:
    """Targets that were moved with their images.

    Args:
        task: with the settings of its loss.
    """

    def __init__(self, task: Task, strata: IntArray, balance: float, views: Views):
        self.task, self.strata, self.balance, self.views = task, strata, balance, views

    def targets(self, rows: IntArray, views: IntArray) -> Batch:
        """See :class:`Lesson`."""
        places = views * self.views.features.shape[1] + rows
        samples = [
            Sample(NOTHING, self.views.targets[place], row, self.views.sizes[row])
            for place, row in zip(places.tolist(), rows.tolist(), strict=True)
        ]
        return self.task.collate(samples).to(self.views.device)

    def loss(self, outputs: object, targets: Batch) -> Tensor:
        """See :class:`Lesson`."""
        found = self.task.loss(outputs, targets)
        return found.sum / max(found.weight, 1e-12)


@dataclass(frozen=True)
class DenseHeads:
    """Fits light heads of a job's task on the cached tokens of its labelled items.

    Attributes:
        views: the tokens, with the targets. present: the head on the network now, which the candidate ``keep`` is.
        training: how heads are trained. imbalance: what is done about classes of different size.
    """

    job: Job
    views: Views
    training: HeadTraining
    imbalance: Imbalance
    present: Head | None = None

    def fit(self, candidate: Candidate, rows: IntArray, strength: float = 0.0) -> Head:
        """Train a candidate on the items ``rows``.

        Raises:
            UsageError: an augmentation that moves the features from their places, or mixes items.
        """
        if candidate.kind == "keep":
            assert self.present is not None
            return self.present
        refuse_moving(candidate)
        job, smoothing = self.job, self.training.label_smoothing
        head = job.fresh_head(candidate.kind)
        head.adapt(self.views.features)
        drawn = self.imbalance.weights(job.strata[rows])
        task = job.task.prepared(job.labels, rows, self.imbalance, smoothing=smoothing, weights_L=drawn)
        lesson = DenseLesson(task, job.strata, self.imbalance.balance, self.views)
        learned = as_json({**flatten(self.training), **flatten(self.imbalance)})
        key = digest(self.views.key, str(candidate), digest_array(rows), job.task.name, digest_json(learned))
        train_head(
            head,
            self.views,
            lesson,
            rows,
            self.training,
            augmentation=candidate.augmentation,
            seed=job.seed,
            checkpoint=Checkpoint(job.work / f"head-{key}.pt", key, self.views.device),
            quiet=job.quiet,
        )
        return head

    def score(self, candidate: Candidate, splits: Sequence[IntArray]) -> HeadTrial:
        """Train a candidate on what each split leaves, and score it on the split, under view 0."""
        started = time.perf_counter()
        metric = self.job.task.metric(self.job.labels, self.job.backbone.settings)
        for split in splits:
            head = self.fit(candidate, np.setdiff1d(np.arange(len(self.job.labels)), split))
            self._update(metric, head, split)
        measured = metric.measured([metric.state()])
        seconds = round(time.perf_counter() - started, 3)
        return HeadTrial(**vars(measured), strength=0.0, candidate=candidate, seconds=seconds)

    def _update(self, metric: object, head: Head, rows: IntArray) -> None:
        head.to(self.views.device).eval()
        for part in np.array_split(rows, max(1, -(-len(rows) // BATCH))):
            with torch.inference_mode():
                outputs = head_outputs(head, self.views.batch(part), self.views)
            sizes = [self.views.sizes[row] for row in part.tolist()]
            metric.update(outputs, Batch(NOTHING, None, torch.from_numpy(part), float(len(part)), sizes))  # type: ignore[attr-defined]


def refuse_moving(candidate: Candidate) -> None:
    """Refuse an augmentation whose features no longer lie where their targets do."""
    moving = [str(one) for one in candidate.augmentation if one.name not in OPERATIONS or OPERATIONS[one.name].spatial]
    if moving:
        raise UsageError(f"{', '.join(moving)} moves features away from their answers; give brightness, contrast, …")
