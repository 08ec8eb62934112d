"""Phase ``probe`` where logistic regression fits no head: one is trained by steps on the frozen backbone's features.

Features of all labelled items are computed once, under several views where that was asked for, so that an epoch costs
what the head costs. Targets that have a place in the image move with the views.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.progress import note
from activetune.base.ranks import from_first
from activetune.evaluation.estimate import estimate_by
from activetune.networks.heads import Head
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import DEFAULT_STRENGTH
from activetune.tasks import Crops
from activetune.training.dense_heads import DenseHeads
from activetune.training.head_choice import Candidate, LightHeads
from activetune.training.head_training import HeadTraining
from activetune.training.job import Job, Outcome
from activetune.training.views import Views, embed_views

LightHeadsOf = DenseHeads | LightHeads


def light_heads(
    job: Job, views: Views, training: HeadTraining, imbalance: Imbalance, strengths: Sequence[float] = (), **more: Any
) -> LightHeadsOf:
    """What fits light heads of the job's task on its cached features."""
    if job.task.placed:
        return DenseHeads(job, views, training, imbalance, present=more.get("present"))
    targets, classes = job.targets, len(job.labels.classes)
    given = {**({"strengths": strengths} if strengths else {}), **more}
    return LightHeads(
        views, targets, classes, training, imbalance, seed=job.seed, measure=job.measure, strata=job.strata, **given
    )


def run_frozen(
    job: Job,
    training: HeadTraining,
    imbalance: Imbalance,
    crops: Crops,
    *,
    views: int,
    keep_held_out: bool = False,
) -> Outcome:
    """Train the head that was asked for on cached features, and make it the network's; the first process trains it.

    Args:
        views: of each image; the first is not augmented. keep_held_out: leave the validation part out of the final fit.

    Returns:
        One row with the head's figure on the held-out items, where there are some.
    """

    def found() -> tuple[Outcome, Head]:
        kind = job.head or job.task.head_kinds()[0]
        started = time.perf_counter()
        tokens = job.task.head_class(kind).reads != "pooled"
        if not job.task.head_class(kind).decays and training.weight_decay != HeadTraining().weight_decay:
            note(f"head_weight_decay changes nothing here: the weights of {kind} do not decay", job.quiet)
        light = light_heads(job, embed_views(job, views, crops, tokens=tokens), training, imbalance)
        rows: list[dict[str, Any]] = []
        figures: dict[str, Any] = {}
        candidate = Candidate(kind)
        if len(job.held_out):
            rows, figures = _validated(job, light, candidate, job.held_out)
        kept: IntArray = job.not_held_out if keep_held_out else np.arange(len(job.labels))
        head = light.fit(candidate, kept, DEFAULT_STRENGTH).cpu()
        figures["trainable_parameters"] = sum(value.numel() for value in head.parameters())
        figures |= {"head": kind, "seconds": round(time.perf_counter() - started, 3)}
        return Outcome(rows, figures), head

    outcome, head = from_first(found)
    job.network.put_head(head, job.task.name)
    return outcome


def _validated(
    job: Job, light: LightHeadsOf, candidate: Candidate, held_out: IntArray
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The row and the figures of a head that was trained without the held-out items."""
    trial = light.score(candidate, [held_out])
    by, metric = "a held-out validation part", job.task.primary
    told = estimate_by(trial, job.labels.classes, of=f"the head {candidate}", by=by, metric=metric)
    row = {"phase": "probe", "head": candidate.kind, job.measured: trial.value, "val_loss": trial.loss}
    return [row], {job.measured: trial.value, "chosen_by": "validation", **told}
