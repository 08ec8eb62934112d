"""ALFA-Mix (Parvaneh et al., "Active Learning by Feature Mixing", CVPR 2022).

A feature z is mixed with an anchor z*, the mean feature of a labelled class: ``(1 - alpha) z + alpha z*``, one alpha a
coordinate, chosen to raise the loss of the predicted class y the most within a norm of eps (the paper's closed form):

    alpha = eps |z* - z| g / (|g| (z* - z)),  g = grad_z CE(head(z), y) = W^T (p - onehot(y))

Items whose prediction turns with any anchor are the candidates; k-means parts them into K clusters, and the item
nearest to each centre is picked. With this alpha the mixture is ``z + eps |z* - z| g / |g|``: a step along the
gradient, as long as eps times the way to the anchor. Logits of a linear head are linear along it, so an item that has
turned stays turned: the farthest anchor decides, and the least eps that turns an item has a closed form too. That is
what is computed here, without mixing anything; W g needs but the C x C product of W with itself.
Deviations: a coordinate in which z* equals z moves like the others (the quotient's limit; the paper divides by zero).
With fewer candidates than K all are taken and the smallest margins fill up; the released code fills up at random.
``search=released`` is what that code computes: eps / sqrt(D), raised in steps of itself until more than K items turn.
Shape legend: N items, n of a piece, D feature size, C classes, A anchors, K budget.
Cost: 2 N D (C + A) + 2 N C^2 operations and k-means on the candidates, O(N + chunk) memory. Not ordered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.features.distances import Float32, pieces
from activetune.selection.problem import Classifier, Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._ranking import Float64, given
from activetune.selection.selectors.k_means import KMeans
from activetune.selection.selectors.margin import Margin


@dataclass(frozen=True)
class AlfaMix(Selector):
    """Items whose prediction turns on the way to a class they were not given. Score: the size of the pick's cluster.

    Attributes:
        eps: bound on alpha's norm, > 0.
        search: ``paper`` (eps as it is) or ``released`` (eps / sqrt(D), raised until more than K items turn).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"features_ND", "head", "answers_L", "probs_NC"})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"eps": 0.2, "search": "paper"},
        "released": {"eps": 0.2, "search": "released"},
    }

    eps: float = 0.2
    search: Literal["paper", "released"] = "paper"

    def __post_init__(self) -> None:
        if not 0 < self.eps < np.inf:
            raise UsageError(f"alfa_mix: eps can't be {self.eps}; it is a share of the way to an anchor, above 0")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; ``figures`` holds the eps used, and how many items turn within it (``turned``)."""
        rows, features_ND = evidence.candidates, evidence.features_ND
        least_N = np.full(len(features_ND), np.inf)
        least_N[rows] = turning_eps(features_ND, rows, given(evidence.head), class_anchors(evidence))
        eps = self._eps(least_N[rows], budget, features_ND.shape[1])
        turned = rows[least_N[rows] < eps]
        figures = {"turned": float(len(turned)), "eps": eps}
        if len(turned) <= budget:
            return _all_and_more(evidence, turned[np.argsort(least_N[turned])], least_N, budget, rng, figures)
        others = np.setdiff1d(np.arange(len(features_ND)), turned, assume_unique=True)
        picks = KMeans().select(Evidence(features_ND, excluded=others, device=evidence.device), budget, rng)
        reasons = [_turns(least_N[row]) + _place(size) for row, size in zip(picks.positions, picks.scores, strict=True)]
        return Picks(picks.positions, picks.scores, reasons, figures)

    def _eps(self, least_M: Float64, budget: int, columns: int) -> float:
        """The eps below which an item counts as turned."""
        if self.search == "paper":
            return self.eps
        tried = self.eps / np.sqrt(columns) * np.arange(1, max(1, int(np.ceil(1 / self.eps))) + 1)
        enough = np.searchsorted(np.sort(least_M), tried) > budget
        return float(tried[enough.argmax()] if enough.any() else tried[-1])


def class_anchors(evidence: Evidence) -> Float32:
    """The mean feature of each class that has a known answer, (A, D)."""
    answers_L = given(evidence.answers_L)
    members = [evidence.labelled[answers_L == number] for number in np.unique(answers_L[answers_L >= 0])]
    anchors = [evidence.features_ND[rows].mean(axis=0) for rows in members]
    return np.asarray(anchors, dtype=np.float32).reshape(len(anchors), evidence.features_ND.shape[1])


def turning_eps(features_ND: Float32, rows: IntArray, head: Classifier, anchors_AD: Float32) -> Float64:
    """The least eps at which the prediction of each of the ``rows`` turns, infinite where none does, (M,)."""
    least_M = np.full(len(rows), np.inf)
    if not len(anchors_AD):
        return least_M
    gram_CC = head.weight_CD.astype(np.float64) @ head.weight_CD.T.astype(np.float64)
    for part in pieces(len(rows), len(head.bias_C) + len(anchors_AD) + features_ND.shape[1]):
        block = features_ND[rows[part]]
        logits_nC = (block @ head.weight_CD.T + head.bias_C).astype(np.float64)
        squared = (block**2).sum(axis=1) + ((anchors_AD**2).sum(axis=1)[:, None] - 2 * anchors_AD @ block.T)
        way = np.sqrt(np.maximum(squared.max(axis=0), 0))
        step = _turning_step(logits_nC, gram_CC)
        np.divide(step, way, out=least_M[part], where=way > 0)
    return least_M


def _turning_step(logits_nC: Float64, gram_CC: Float64) -> Float64:
    """How far along the gradient of its predicted class's loss each item's prediction turns, infinite for never."""
    every, predicted = np.arange(len(logits_nC)), logits_nC.argmax(axis=1)
    error = np.exp(logits_nC - logits_nC.max(axis=1, keepdims=True))
    error[every, predicted] = 0
    others = error.sum(axis=1, keepdims=True)
    np.divide(error, others, out=error, where=others > 0)  # p - onehot(y) up to a factor, which cancels in g / |g|
    error[every, predicted] = -(others[:, 0] > 0).astype(np.float64)
    rise = error @ gram_CC  # W g
    length = np.sqrt(np.maximum((error * rise).sum(axis=1), 0))  # |g|
    rise -= rise[every, predicted][:, None]
    gap = logits_nC[every, predicted][:, None] - logits_nC
    steps = np.full(gap.shape, np.inf)
    with np.errstate(over="ignore"):  # a step too long to write down is none
        np.divide(gap * length[:, None], rise, out=steps, where=rise > 0)
    nearest: Float64 = steps.min(axis=1)
    return nearest


def _all_and_more(
    evidence: Evidence,
    turned: IntArray,
    least_N: Float64,
    budget: int,
    rng: np.random.Generator,
    figures: Mapping[str, float],
) -> Picks:
    """All items that turn, the first to turn first (score 1), and the smallest margins among the others (score 0)."""
    reasons = [_turns(least_N[row]) + "; all such items are taken" for row in turned]
    positions = turned
    if len(turned) < budget:
        rest = replace(evidence, closed=np.concatenate([evidence.closed, turned]))
        more = Margin().select(rest, budget - len(turned), rng)
        positions = np.concatenate([turned, more.positions])
        reasons += [f"no more predictions turn: {reason}" for reason in more.reasons]
    return Picks(positions, np.repeat([1.0, 0.0], [len(turned), budget - len(turned)]), reasons, figures)


def _turns(eps: float) -> str:
    return f"prediction turns at eps {eps:.3f} on the way to a labelled class"


def _place(size: float) -> str:
    return f"; nearest to the centre of {size:,.0f} such items" if size else "; random among equal items"
