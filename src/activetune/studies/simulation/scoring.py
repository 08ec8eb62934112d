"""The scores of a simulation's models on its test set.

A model whose backbone is the simulation's own, unchanged, is scored on features that were computed once for all: the
pooled ones of both sides, or all tokens of the test set. Any other one runs over the images, as ``evaluate`` does.
Shape legend: N items of the test set, T tokens, D feature size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from activetune.base.runtime import Runtime
from activetune.data.labels import Labels, in_order
from activetune.data.pool import Pool
from activetune.evaluation.metrics import softmax
from activetune.evaluation.model import Model, checked
from activetune.evaluation.scores import ScoreKeeper, Scores
from activetune.features.artefact import Embeddings
from activetune.networks.regression import LinearHead
from activetune.tasks import Batch, Scored, Task

BATCH = 32


def scored_row(scores: Scored, task: Task) -> Mapping[str, Any]:
    """The columns of a row that tell a model's scores, the task's primary one first; and those by class."""
    if not isinstance(scores, Scores):
        content = scores.as_dict()
        shown = {name: content[name] for name in (task.primary, *task.shown)}
        return {**shown, "per_class": content.get("per_class", {})}
    against_rest = scores.against_rest()
    per_class = {name: {**row, "balanced_accuracy": against_rest[name]} for name, row in scores.per_class.items()}
    return {"top1": scores.top1, "balanced_accuracy": scores.balanced_accuracy, "per_class": per_class}


def score_head(head: LinearHead, classes: Sequence[str], test: Embeddings) -> Scores:
    """Scores of a classifier on features whose labels are known; a class that it does not know counts as wrong."""
    names = [str(name) for name in test.labels or ()]
    keeper = ScoreKeeper(classes, names)
    keeper.add(softmax(head.logits(test.features_ND)), names)
    return keeper.scores()


def score_on_features(
    model: Model, features: Embeddings, images: Pool, truth: Labels, runtime: Runtime
) -> Scored | None:
    """Score a model on the test set's features alone, where its backbone is the one that gave them.

    Args:
        features: (N, D) pooled ones, or (N, T, D) all tokens, of ``images`` that can be decoded.

    Returns:
        What :func:`activetune.evaluate` returns; None where the model needs other features.
    """
    head = model.network.head()
    pooled = head.reads == "pooled"
    if pooled != (features.features_ND.ndim == 2) or model.backbone.fingerprint != features.manifest.get("weights"):
        return None
    answers = in_order(truth, features.ids)
    scorer = model.task.scorer(answers, model.backbone.settings, model.classes)
    network = model.network.to(runtime.device).eval()
    for start in range(0, len(features), BATCH):
        rows = range(start, min(start + BATCH, len(features)))
        found = torch.from_numpy(features.features_ND[rows.start : rows.stop].copy()).float().to(runtime.device)
        with torch.inference_mode(), runtime.autocast():
            outputs = head(found if pooled else network.backbone.read(found, head.reads))
        sizes = [images.size(images.position[features.ids[row]]) for row in rows]
        scorer.update(checked(outputs, runtime), Batch.untaught(rows, sizes))
    return scorer.scores()
