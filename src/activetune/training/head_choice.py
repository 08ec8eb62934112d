"""Which light head, and which frozen feature augmentation under it, by trials on items that a trial does not see.

The order of the trials is fixed, a budget cuts it off: every kind of head as it is; then, for a head that reads tokens,
brightness with a range for each channel, the single augmentation that helped most in "Frozen Feature Augmentation"
(CVPR 2024), at all its strengths, contrast and posterize at theirs, and the best so far followed by posterize.
Shape legend: V views, L labelled items, T tokens, D feature size.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import nn

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.progress import progress
from activetune.base.runtime import seeded
from activetune.evaluation.metrics import measure_top1
from activetune.networks.frofa import OPERATIONS, ScopedOperation
from activetune.networks.heads import ClassHead, heads, make_class_head
from activetune.networks.imbalance import PLAIN, Imbalance
from activetune.networks.regression import (
    STRENGTHS,
    Measure,
    StrengthTrial,
    best_strength,
    best_trial,
    choose_strength,
    fit_linear,
    measured_apart,
)
from activetune.training.head_training import ClassLesson, HeadTraining, head_logits, train_head
from activetune.training.views import Views

SEARCHED = (("c2frofa", "brightness"), ("c2frofa", "contrast"), ("cfrofa", "posterize"))
SEQUEL = ("cfrofa", "posterize")
ATTENTION = "map"  # the head of one class per image that augmentations are searched for


@dataclass(frozen=True)
class Candidate:
    """A kind of head, and the augmentation that it is trained under; ``keep`` is the classifier on the network now."""

    kind: str
    augmentation: tuple[ScopedOperation, ...] = ()

    def __str__(self) -> str:
        """``map with c2frofa:brightness:0.8``."""
        return " with ".join([self.kind, *([" + ".join(map(str, self.augmentation))] if self.augmentation else [])])


@dataclass(frozen=True)
class HeadTrial(StrengthTrial):
    """A candidate's score. Its strength is the logistic regression's C; other heads have none (0)."""

    candidate: Candidate = field(kw_only=True)
    seconds: float = field(kw_only=True)


@dataclass(frozen=True)
class LightHeads:
    """Fits light heads on the cached features of labelled items.

    Attributes:
        views: features of the L items. targets: (L,) class indices, or (L, C) ones and zeros.
        classes: C, those without a label included.
        training: of the heads that are trained by steps: ``map``, and any head under an augmentation. Without one, a
            head that is ``fixed`` below its classifier is fitted by logistic regression, at the best of ``strengths``.
        imbalance: what is done about classes of different size.
        present: the head on the network now, or its classifier where it is linear, which the candidate ``keep`` leaves
            as it is.
        measure: scores logits (N, C) against targets. strata: (L,) what ``balance`` evens out; the classes by default.
    """

    views: Views
    targets: IntArray
    classes: int
    training: HeadTraining
    imbalance: Imbalance = PLAIN
    strengths: Sequence[float] = STRENGTHS
    present: nn.Linear | ClassHead | None = None
    seed: int = 0
    measure: Measure = measure_top1
    strata: IntArray | None = None

    def fit(self, candidate: Candidate, rows: IntArray, strength: float) -> ClassHead:
        """Fit a candidate on the items ``rows``; ``strength`` is C, where it is a logistic regression."""
        if candidate.kind == "keep":
            return self._kept()
        head = self._empty(candidate.kind)
        if self._in_closed_form(candidate):
            found = fit_linear(
                self._pooled(candidate.kind)[:, rows],
                self.targets[rows],
                strength,
                classes=self.classes,
                imbalance=self.imbalance,
            )
            found.write_to(head.classifier)
            return head.eval()
        train_head(
            head,
            self.views,
            self._lesson(rows),
            rows,
            self.training,
            augmentation=candidate.augmentation,
            seed=self.seed,
        )
        return head

    def score(self, candidate: Candidate, splits: Sequence[IntArray]) -> HeadTrial:
        """Fit a candidate on what each split leaves, and score it on the split, under view 0."""
        started = time.perf_counter()
        if self._in_closed_form(candidate):
            tried = choose_strength(
                self._pooled(candidate.kind),
                self.targets,
                self.strengths,
                splits,
                imbalance=self.imbalance,
                measure=self.measure,
            )
            trial = best_strength(tried)
        else:
            trial = self._score_trained(candidate, splits)
        seconds = round(time.perf_counter() - started, 3)
        return HeadTrial(**vars(trial), candidate=candidate, seconds=seconds)

    def _score_trained(self, candidate: Candidate, splits: Sequence[IntArray]) -> StrengthTrial:
        logits = []
        for split in splits:
            head = self.fit(candidate, np.setdiff1d(np.arange(len(self.targets)), split), 0.0)
            logits.append(head_logits(head, self.views, split))
        measured = measured_apart(logits, self.targets, splits, self.measure)
        return StrengthTrial(**vars(measured), strength=0.0)

    def _in_closed_form(self, candidate: Candidate) -> bool:
        if candidate.kind == "keep" or candidate.augmentation:
            return False
        cls = heads()[candidate.kind]
        return issubclass(cls, ClassHead) and cls.fixed

    def _lesson(self, rows: IntArray) -> ClassLesson:
        smoothing = self.training.label_smoothing
        return ClassLesson(self.targets, self.classes, rows, self.imbalance, smoothing, self.views, self.strata)

    def _kept(self) -> ClassHead:
        assert self.present is not None
        if isinstance(self.present, ClassHead):
            return copy.deepcopy(self.present).eval()
        head = make_class_head("linear", self.present.in_features, self.classes)
        head.classifier.load_state_dict(self.present.state_dict())
        return head.eval()

    def _empty(self, kind: str) -> ClassHead:
        pooled = heads()[kind].reads == "pooled"
        size = self._pooled_features.shape[-1] if pooled else self.views.features.shape[-1]
        with seeded(self.seed):
            head = make_class_head(kind, size, self.classes)
        head.adapt(self.views.features)
        return head

    def _pooled(self, kind: str) -> FloatArray:
        """(V, L, D) float32: what the classifier of a head without other weights reads."""
        pooled = self._pooled_features
        head = make_class_head(kind, pooled.shape[-1], self.classes)
        return head.embedded(torch.from_numpy(pooled).flatten(0, 1)).numpy().reshape(pooled.shape)

    @cached_property
    def _pooled_features(self) -> FloatArray:
        """(V, L, D) float32."""
        return self.views.pooled()


class Fits(Protocol):
    """What fits and scores light heads."""

    def score(self, candidate: Candidate, splits: Sequence[IntArray]) -> HeadTrial:
        """Fit a candidate on what each split leaves, and score it on the split."""


def choose_head(
    heads: Fits,
    splits: Sequence[IntArray],
    kinds: Sequence[str],
    augmentations: Sequence[tuple[ScopedOperation, ...]] | None,
    trials: int,
    *,
    searched: str = ATTENTION,
    quiet: bool = True,
) -> list[HeadTrial]:
    """Score at most ``trials`` candidates; :func:`~activetune.networks.regression.best_trial` then chooses among them
    by smoothed accuracy.

    Args:
        kinds: of head, in the order in which they are tried.
        augmentations: those tried, ``()`` for none; None searches, under heads that read tokens.
        searched: the kind of head that augmentations are searched for. quiet: show no progress.

    Returns:
        The trials, in their order.
    """
    found: list[HeadTrial] = []
    if augmentations is None:
        candidates = _search(kinds, found, searched)
    else:
        candidates = (Candidate(kind, steps) for kind in kinds for steps in ([()] if kind == "keep" else augmentations))
    most = (
        trials if augmentations is None and searched in kinds else min(trials, len(kinds) * len(augmentations or [()]))
    )
    with progress(most, "head", unit="trials", quiet=quiet) as meter:
        for candidate, _ in zip(candidates, range(trials), strict=False):
            found.append(heads.score(candidate, splits))
            meter.advance()
    return found


def _search(kinds: Sequence[str], found: list[HeadTrial], searched: str) -> Iterator[Candidate]:
    """The candidates one after the other; ``found`` holds the trials of those given so far."""
    yield from map(Candidate, kinds)
    if searched not in kinds:
        return
    for scope, name in SEARCHED:
        for strength in OPERATIONS[name].tried:
            yield Candidate(searched, (ScopedOperation(scope, name, strength),))  # type: ignore[arg-type]
    others = [
        trial for trial in found if trial.candidate.augmentation and trial.candidate.augmentation[0].name != SEQUEL[1]
    ]
    first = best_trial(others, by="smoothed").candidate.augmentation
    for strength in OPERATIONS[SEQUEL[1]].tried:
        yield Candidate(searched, (*first, ScopedOperation(*SEQUEL, strength)))  # type: ignore[arg-type]
