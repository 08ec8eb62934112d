"""How the loops come by the losses of items, and what that costs in passes over images.

Shape legend: S scored items, L labelled ones, D feature size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.features.distances import Float32
from activetune.networks.backbones import Backbone, multiplications, resized, share_of
from activetune.networks.regression import LinearHead
from activetune.recipes.vecaf.noted import Notes
from activetune.recipes.vecaf.scoring import OneVsAll, Scored, make_objective, score, score_across, score_features
from activetune.recipes.vecaf.settings import LoopSettings
from activetune.tasks import Batch
from activetune.training.job import Job


@dataclass(frozen=True)
class PretrainedFeatures:
    """Features (L, D) of labelled items by the pretrained network, and the positions (L,) of these items, ascending."""

    positions: IntArray
    features_LD: Float32

    def of(self, positions: IntArray) -> Float32:
        """The rows of some of the items."""
        return self.features_LD[np.searchsorted(self.positions, positions)]


class LoopScorer:
    """Scores items for the selection of a loop, as ``LoopSettings`` says.

    Attributes:
        candidates: positions of the items that are not held out. fit: a linear head on items' pretrained features.
        losses_L: what was last known of each item, by position; NaN of one that nothing is known of.
        work: of a pass that scores alone, on an image, as a share of that of a forward pass in training.
    """

    def __init__(self, job: Job, options: LoopSettings, candidates: IntArray, fit: Callable[[IntArray], LinearHead]):
        self.job, self.options, self.candidates, self.fit = job, options, candidates, fit
        self.objective = make_objective(options.objective, job.labels.classes)
        self.first: Scored | None = None
        self.losses_L = np.full(len(job.labels), np.nan, dtype=np.float32)
        self.notes = Notes(self.objective, job.labels.indices)
        self.work = multiplications(self.backbone()) / multiplications(job.backbone) if options.score_size < 1 else 1.0

    def backbone(self) -> Backbone:
        """The network as it is, for the images of a pass that scores alone.

        Raises:
            UsageError: it can't read smaller ones.
        """
        if self.options.score_size == 1:
            return self.job.backbone
        return resized(self.job.backbone, share_of(self.job.backbone, self.options.score_size))

    # The first loop -----------------------------------------------------------------------------------------------

    def start(self, known: PretrainedFeatures, strength: float | None) -> None:
        """Score the items of the first loop, as far as the first classifier has not seen them.

        Args:
            strength: regularisation of the probe that is the classifier; None where the classifier is no probe.
        """
        drawn = np.intersect1d(known.positions, self.candidates)
        given = self.job, drawn, known.of(drawn), self.objective
        if strength is not None:
            scored = score_across(*given, probs=self._wants_probs, strength=strength)
        else:
            scored = score_features(*given, probs=self._wants_probs)
            # A classifier at zero knows classes at most, not items: one against all, the first loop would train on
            # that class alone, and the second would have to unlearn it (experiments/LOG.md).
            scored = replace(scored, losses_S=np.full_like(scored.losses_S, scored.losses_S.mean()))
        reduced = self.options.warm_up == "none"  # otherwise these features are those of the first classifier too
        passes = len(drawn) * (self.work if reduced else 1.0)
        self.first = replace(scored, fresh=np.arange(len(drawn)), passes=passes)
        self.losses_L[drawn] = scored.losses_S

    # A loop -------------------------------------------------------------------------------------------------------

    def score(self, loop: int, before: IntArray) -> Scored:
        """The items that a loop selects from, with their losses.

        Args:
            before: positions of the items that earlier loops have selected.
        """
        options, first = self.options, self.first
        assert first is not None
        if not loop:
            return first
        again = replace(first, fresh=NO_INDICES, passes=0.0)
        if options.score_loops == "first":
            return again
        if options.scoring == "noted":
            return replace(again, losses_S=self.losses_L[first.positions], probs_SC=None)
        if options.scoring in ("head", "proxy"):
            head = self.fit(before) if options.scoring == "proxy" else None
            given = self.job, first.positions, first.features_SD, self.objective
            return score_features(*given, probs=self._wants_probs, head=head)
        if options.score_part == "uncertain":
            return self._scored_where_uncertain(loop, again)
        drawn = options.looked_at(self.candidates, self.job.labels.indices, loop, self.job.seed)
        return self._looked_at(drawn)

    def _scored_where_uncertain(self, loop: int, known: Scored) -> Scored:
        """The items of the first loop, of which those with the highest losses are looked at; equal ones by chance."""
        losses_S = self.losses_L[known.positions]
        rng = np.random.default_rng([self.job.seed, 12, loop])
        order = np.lexsort((rng.random(len(losses_S)), -losses_S))
        fresh = np.sort(order[: max(1, round(self.options.score_share * len(order)))])
        found = self._looked_at(known.positions[fresh])
        losses_S[fresh] = found.losses_S
        return replace(known, losses_S=losses_S, probs_SC=None, fresh=fresh, passes=found.passes)

    def _looked_at(self, drawn: IntArray) -> Scored:
        """Items by a pass of the network as it is."""
        found = score(self.job, drawn, self.objective, probs=self._wants_probs, backbone=self.backbone())
        return replace(found, fresh=np.arange(len(drawn)), passes=len(drawn) * self.work)

    @property
    def _wants_probs(self) -> bool:
        selector = self.options.selector()
        return selector is not None and "probs_NC" in selector.needs | selector.uses

    def weighed(self, scored: Scored) -> Float32:
        """The losses (S,) that select: as the objective makes them of all together, and as ``loss_balance`` says.

        Equal losses are those of a classifier that knows nothing, and none of them is of any class.
        """
        targets_S, losses_S = self.job.labels.indices[scored.positions], scored.losses_S
        if isinstance(self.objective, OneVsAll) and np.ptp(losses_S) > 0:
            losses_S = self.objective.evened(losses_S, targets_S)
        return balanced(losses_S, targets_S, self.options.loss_balance)

    # What is learnt of items between the loops ----------------------------------------------------------------------

    @property
    def remembers(self) -> bool:
        """Whether what was last known of an item counts later."""
        return self.options.scoring == "noted" or self.options.score_part == "uncertain"

    def note(self, batch: Batch, logits_BC: Tensor) -> None:
        """Note the losses of a part of a batch that is trained on."""
        if self.remembers:
            self.notes.add(batch, logits_BC)

    def take_notes(self) -> None:
        """Remember what was noted since the last call, in all processes."""
        if self.remembers:
            self.remember(*self.notes.take())

    def remember(self, positions: IntArray, losses: FloatArray) -> None:
        """Take losses for what is last known of items."""
        self.losses_L[positions] = losses


def balanced(losses_S: Float32, targets_S: IntArray, balance: float) -> Float32:
    """Losses (S,) of which each class has a share that is the less its own size the higher ``balance``, in [0, 1].

    An item's loss is divided by the size of its class to the power of ``balance``; the mean of all stays what it was.
    With 1, a class of 800 items and one of 40 whose mean losses are equal have equal sums.
    """
    if not balance:
        return losses_S
    sizes_S = np.bincount(targets_S)[targets_S].astype(np.float64)
    found = losses_S / sizes_S**balance
    scaled: Float32 = (found * losses_S.mean(dtype=np.float64) / max(found.mean(), 1e-12)).astype(np.float32)
    return scaled
