"""A forward pass over items as they are evaluated: their features, and what an objective makes of their logits.

An objective gives each item a loss of at least 0 from logits (B, C) and classes (B,):

- ``cross_entropy``, over all classes;
- ``one_vs_all:NAME``: is it that class or not, binary cross-entropy of its logit against the log-sum-exp of the others.
  Of the scored items' losses the class has one half and the rest the other: otherwise a loop selects almost nothing but
  that class, the next one nothing of it, and so on (experiments/LOG.md);
- any function of Python.

Shape legend: S scored items, B of them in a batch, D feature size, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.errors import UsageError, nearest
from activetune.base.progress import progress
from activetune.data.loading import image_loader
from activetune.data.splits import stratified_folds
from activetune.features.distances import Float32, pieces
from activetune.networks.backbones import Backbone
from activetune.networks.regression import LinearHead, fit_linear
from activetune.training.finite import rates_among, refuse_outputs, settings_to_change
from activetune.training.job import Job

Objective = Callable[[Tensor, Tensor], Tensor]
BATCH = 64
FOLDS = 5
PIECE = 2_048  # numbers of a row, with its logits: for the size of a part


@dataclass(frozen=True)
class Scored:
    """Items of a job by position (S,): pooled features (S, D), not normalised, losses (S,), and, where they are asked
    for, class probabilities (S, C).

    Attributes:
        fresh: rows of the items whose images a pass has looked at for this.
        passes: what that cost, in forward passes over items at the size of training.
    """

    positions: IntArray
    features_SD: Float32
    losses_S: Float32
    probs_SC: Float32 | None
    fresh: IntArray = field(default_factory=lambda: NO_INDICES)
    passes: float = 0.0


def score(job: Job, positions: IntArray, objective: Objective, *, probs: bool, backbone: Backbone) -> Scored:
    """Run the network with its classifier, as it is now, over some items.

    Args:
        backbone: the job's, or the same for smaller images.
    """
    runtime = job.runtime
    backbone.eval()
    pool = job.pool.subset([job.pool.ids[position] for position in positions])

    def batches() -> Iterator[Tensor]:
        with progress(len(pool), "scoring the pool", quiet=job.quiet) as meter:
            loader = image_loader(
                pool,
                backbone.prepare,
                batch_size=BATCH,
                about=backbone.settings.enough,
                workers=job.workers,
                all_usable=True,
                device=runtime.device,
            )
            for batch in loader:
                with torch.inference_mode(), runtime.autocast():
                    found: Tensor = backbone(batch.images.to(runtime.device, non_blocking=True))
                yield found
                meter.advance(len(batch.images))

    return _collected(job, positions, batches(), objective, probs)


def score_features(
    job: Job,
    positions: IntArray,
    features_SD: Float32,
    objective: Objective,
    *,
    probs: bool,
    head: LinearHead | None = None,
) -> Scored:
    """Score items whose features have been computed before.

    Args:
        features_SD: of the items, pooled. head: gives the logits; None takes the network's own classifier.
    """
    parts = (torch.from_numpy(features_SD[part]).to(job.runtime.device) for part in pieces(len(features_SD), PIECE))
    return _collected(job, positions, parts, objective, probs, head)


def score_across(
    job: Job, positions: IntArray, features_SD: Float32, objective: Objective, *, probs: bool, strength: float
) -> Scored:
    """Score each item by a linear probe that was fitted without it (cross-validation over five folds).

    A probe that was fitted on an item has learned the item's answer, so its loss says little about how hard the item
    is. Of 1,000 items, for example, 200 are scored by a probe that was fitted on the other 800.

    Args:
        features_SD: of the items, pooled. strength: regularisation C of every probe.
    """
    targets_S, count = job.labels.indices[positions], len(job.labels.classes)
    fold_S = stratified_folds(targets_S, FOLDS, np.random.default_rng([job.seed, 8]))
    found: list[Scored] = []
    rows: list[IntArray] = []
    for number in range(-1, FOLDS):  # the only items of their class (-1) are scored by what all others teach
        part = np.flatnonzero(fold_S == number)
        rest = np.flatnonzero(fold_S != number)
        if len(part) and len(np.unique(targets_S[rest])) > 1:
            head = fit_linear(features_SD[rest], targets_S[rest], strength, classes=count)
            found.append(score_features(job, positions[part], features_SD[part], objective, probs=probs, head=head))
            rows.append(part)
    left = np.setdiff1d(np.arange(len(positions)), np.concatenate([NO_INDICES, *rows]))
    if len(left):  # nothing but one class is left to teach a probe by: scored as by one that knows nothing
        blank = LinearHead(np.zeros((count, features_SD.shape[1]), np.float32), np.zeros(count, np.float32))
        found.append(score_features(job, positions[left], features_SD[left], objective, probs=probs, head=blank))
        rows.append(left)
    order = np.argsort(np.concatenate(rows))
    losses_S = np.concatenate([part.losses_S for part in found])[order]
    probs_SC = np.concatenate([part.probs_SC for part in found if part.probs_SC is not None])[order] if probs else None
    return Scored(positions, features_SD, losses_S, probs_SC)


def _collected(
    job: Job,
    positions: IntArray,
    parts: Iterable[Tensor],
    objective: Objective,
    wants_probs: bool,
    head: LinearHead | None = None,
) -> Scored:
    """Losses and probabilities part by part: logits of a whole pool would be large.

    Raises:
        UsageError: an objective that does not give one finite loss of at least 0 for each item.
    """
    classifier = job.network.classifier()
    if head is not None:
        device = job.runtime.device
        classifier = torch.nn.Linear(classifier.in_features, classifier.out_features, device=device)
        head.write_to(classifier)
    targets_S = torch.from_numpy(job.labels.indices[positions])
    remedy = settings_to_change(job.runtime.precision, rates_among(job.settings, "lr"))
    features, losses, probs, start = [], [], [], 0
    for part in parts:
        with torch.inference_mode():
            logits_BC = classifier(part.float()).cpu()
            refuse_outputs(logits_BC, "the outputs", "where the pool is scored", remedy)
            loss_B = torch.as_tensor(objective(logits_BC, targets_S[start : start + len(part)])).float()
        start += len(part)
        if loss_B.shape != (len(part),) or not bool(loss_B.isfinite().all()) or float(loss_B.min()) < 0:
            raise UsageError(
                f"the objective gave {tuple(loss_B.shape)} numbers for {len(part)} items; it must give each a "
                "finite loss of at least 0"
            )
        features.append(part.float().cpu().numpy())
        losses.append(loss_B.numpy())
        if wants_probs:
            probs.append(torch.softmax(logits_BC, 1).numpy())
    found = np.concatenate(probs) if wants_probs else None
    return Scored(positions, np.concatenate(features), np.concatenate(losses), found)


def make_objective(given: str | Objective, classes: Sequence[str]) -> Objective:
    """An objective by its name, see above.

    Raises:
        UsageError: unknown name or class.
    """
    if not isinstance(given, str):
        return given
    name, _, wanted = given.partition(":")
    if name == "cross_entropy" and not wanted:
        return _cross_entropy
    if name == "one_vs_all" and wanted in classes:
        return OneVsAll(list(classes).index(wanted))
    if name == "one_vs_all":
        raise UsageError(f"there is no class {wanted!r}; the nearest are: {', '.join(nearest(wanted, classes, 3))}")
    raise UsageError(
        f"unknown objective {given!r}; there are: cross_entropy, one_vs_all:CLASS, or a function in Python"
    )


def _cross_entropy(logits_BC: Tensor, targets_B: Tensor) -> Tensor:
    return functional.cross_entropy(logits_BC, targets_B, reduction="none")


@dataclass(frozen=True)
class OneVsAll:
    """Whether an item is of the class of this index or of any other."""

    index: int

    def evened(self, losses_S: Float32, targets_S: IntArray) -> Float32:
        """The losses, scaled so that the class and the rest have the same sum, and the mean is what it was."""
        of_class = targets_S == self.index
        found = losses_S.astype(np.float64)
        for part in (of_class, ~of_class):
            found[part] *= 0.5 * losses_S.sum(dtype=np.float64) / max(found[part].sum(), 1e-12)
        return found.astype(np.float32)

    def __call__(self, logits_BC: Tensor, targets_B: Tensor) -> Tensor:
        """Binary cross-entropy (B,) of the class against the rest, from logits (B, C) and classes (B,)."""
        others = torch.cat([logits_BC[:, : self.index], logits_BC[:, self.index + 1 :]], 1)
        margin = logits_BC[:, self.index] - others.logsumexp(1)
        return functional.binary_cross_entropy_with_logits(
            margin, (targets_B == self.index).to(margin.dtype), reduction="none"
        )
