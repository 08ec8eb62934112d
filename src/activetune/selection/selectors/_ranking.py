"""Selectors that score every item by itself and take the candidates of the highest scores.

Ties are broken at random, so that items of one file order are not preferred where a model is sure of everything.
Shape legend: N items, C classes, K budget.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray
from activetune.evaluation.doubt import entropies
from activetune.features.distances import pieces
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector

Field = TypeVar("Field")
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranking(Selector):
    """The K candidates of the highest scores, highest first: the scores and their wording are a method's own."""

    ordered: ClassVar[bool] = True
    randomised: ClassVar[bool] = False  # but for ties

    @abstractmethod
    def scores(self, evidence: Evidence) -> Float64:
        """The score of every item (N,), finite."""

    @abstractmethod
    def reason(self, score: float) -> str:
        """What a score says, for people."""

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`."""
        scores_M = self.scores(evidence)[evidence.candidates]
        best = np.lexsort((rng.permutation(len(scores_M)), -scores_M))[:budget]
        return Picks(evidence.candidates[best], scores_M[best], [self.reason(score) for score in scores_M[best]])


def given(value: Field | None) -> Field:
    """A field of the evidence that the selector ``needs``, which the caller has filled in."""
    assert value is not None
    return value


def entropy(probs_NC: FloatArray) -> Float64:
    """``- sum_c p_c log p_c`` of each row in nats, (N,); 0 log 0 is 0."""
    nats_N = np.empty(len(probs_NC))
    for part in pieces(*probs_NC.shape):
        nats_N[part] = entropies(np.asarray(probs_NC[part], dtype=np.float64), axis=1)
    return nats_N


def less_the_margin(probs_NC: FloatArray) -> Float64:
    """``1 - (p_(1) - p_(2))`` of each row, (N,): one less the margin between its two likeliest classes."""
    top_N2 = two_likeliest(probs_NC)
    return 1 - (top_N2[:, 0] - top_N2[:, 1])


def two_likeliest(probs_NC: FloatArray) -> Float64:
    """The highest and the second highest probability of each row, (N, 2); the second is 0 where C is 1."""
    top_N2 = np.zeros((len(probs_NC), 2))
    for part in pieces(*probs_NC.shape):
        count = min(2, probs_NC.shape[1])
        top_N2[part, :count] = -np.partition(-np.asarray(probs_NC[part]), count - 1, axis=1)[:, :count]
    return top_N2
