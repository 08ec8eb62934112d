"""Label propagation: pseudo-labels of a pool's items, from a few labels and a classifier that has learned these.

For an item i and a class c, with the classifier's probabilities p:

    Q = (1 - alpha) (I - alpha S)^-1 Y           labels Y spread over S, the graph of nearest neighbours
    q_ic = Q_ic / sum_c Q_ic                     propagated probabilities; zeros where no label arrives
    m_ic = lambda p_ic + (1 - lambda) q_ic       mixed probabilities
    y_i = argmax_c m_ic                          pseudo-label; a labelled item keeps its label
    omega_i = 1 - H(m_i / sum_c m_ic) / log C    certainty, with the entropy H; 1 for a labelled item

Q is label spreading: Zhou et al., "Learning with Local and Global Consistency", NeurIPS 2003, solved by
``features/graph.py``. Pseudo-labels from it with that certainty (equation 11) are Iscen et al., "Label Propagation for
Deep Semi-supervised Learning", CVPR 2019. We deviate from them: the classifier has its share lambda, which is 0 there;
and certainties are not divided by the largest of them, as their code does. Q is solved up to a tolerance, so that q is
inexact at items that hardly any label reaches.
Shape legend: N items of the pool, L labelled ones, D feature size, C classes, B classes at a time, P items at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.features.distances import Float32, pieces, unit_rows
from activetune.features.graph import Graph, nearest_neighbours
from activetune.networks.regression import LinearHead

AT_ONCE = 2**25  # numbers of N x B that spread together
TINY = 1e-12  # keeps quotients and logarithms finite


@dataclass(frozen=True)
class PseudoLabels:
    """A class for each of N items, where one is labelled its label.

    Attributes:
        classes_N: y, class indices.
        certainty_N: omega, in [0, 1]; 1 where an item is labelled.
    """

    classes_N: IntArray
    certainty_N: FloatArray

    def at(self, positions: IntArray) -> PseudoLabels:
        """Those of some of the items."""
        return PseudoLabels(self.classes_N[positions], self.certainty_N[positions])

    @property
    def prior_N(self) -> FloatArray:
        """(N,) the prior of each item's class: its items' certainties, added up; never zero.

        >>> PseudoLabels(np.array([0, 0, 1]), np.array([0.5, 0.25, 1.0])).prior_N.tolist()
        [0.75, 0.75, 1.0]
        """
        prior_C = np.bincount(self.classes_N, self.certainty_N)
        found: FloatArray = np.maximum(prior_C, TINY)[self.classes_N]
        return found


def mixed(classifier: FloatArray, propagated: FloatArray, probe_share: float) -> FloatArray:
    """m, from p, the classifier's probabilities, and q, the propagated ones.

    Args:
        probe_share: lambda.
    """
    found: FloatArray = probe_share * classifier + (1 - probe_share) * propagated
    return found


class LabelPropagation:
    """Propagates labels over a pool's graph of neighbours.

    Methods take ``training``: the labelled items whose labels may be used, as rows of L. All others count as
    unlabelled.

    Args:
        features_ND: of the whole pool.
        positions_L: the labelled items. indices_L: their class indices. classes: C.
        neighbours: of each item in the graph.
    """

    def __init__(
        self,
        features_ND: Float32,
        positions_L: IntArray,
        indices_L: IntArray,
        classes: int,
        neighbours: int,
        *,
        seed: int,
        quiet: bool = True,
    ):
        self.features_ND, self.positions_L, self.indices_L, self.classes = features_ND, positions_L, indices_L, classes
        found = nearest_neighbours(unit_rows(features_ND), neighbours, seed=seed, quiet=quiet)
        self.graph = Graph.of(*found, neighbours)

    def propagate(self, training: IntArray, alpha: float) -> Iterator[tuple[slice, Float32]]:
        """Propagated probabilities q of some classes after the others: which ones, and (N, B).

        They add up to one where a label has reached an item, and are zero where none has.
        """
        size = len(self.features_ND)
        any_N1 = np.zeros((size, 1), dtype=np.float32)
        any_N1[self.positions_L[training]] = 1
        total_N1 = np.maximum(self.graph.spread(any_N1, alpha), TINY)  # spreading is linear: the sum over all classes
        step = max(1, AT_ONCE // size)
        for start in range(0, self.classes, step):
            block = slice(start, min(start + step, self.classes))
            labels_NB = np.zeros((size, block.stop - block.start), dtype=np.float32)
            inside = training[(self.indices_L[training] >= block.start) & (self.indices_L[training] < block.stop)]
            labels_NB[self.positions_L[inside], self.indices_L[inside] - block.start] = 1
            yield block, np.divide(self.graph.spread(labels_NB, alpha), total_N1, dtype=np.float32)

    def pseudo_label(self, training: IntArray, head: LinearHead, alpha: float, probe_share: float) -> PseudoLabels:
        """Pseudo-labels of all N items, from some of the labels and a classifier that has learned these.

        Args:
            head: the classifier, of which p are the probabilities: a probe, or the head of a tuned network.
            alpha: how far the labels spread.
            probe_share: lambda, the classifier's share of the mixed probabilities.
        """
        size = len(self.features_ND)
        found = _MostProbable(size)
        norm_N = np.concatenate(
            [np.logaddexp.reduce(head.logits(self.features_ND[part]), axis=1) for part in pieces(size, self.classes)]
        )
        for block, propagated_NB in self.propagate(training, alpha):
            layer = LinearHead(head.weight_CD[block], head.bias_C[block])
            for part in pieces(size, block.stop - block.start):
                classifier_PB = np.exp(layer.logits(self.features_ND[part]) - norm_N[part, None])
                found.add(part, block.start, mixed(classifier_PB, propagated_NB[part], probe_share))
        classes_N, certainty_N = found.classes_N, found.certainty_N(self.classes)
        known = self.positions_L[training]
        classes_N[known], certainty_N[known] = self.indices_L[training], 1.0
        return PseudoLabels(classes_N, certainty_N)


class _MostProbable:
    """The most probable class of N items and how certain it is, from probabilities that come some classes at a time.

    Attributes:
        classes_N: y, of the classes so far.
    """

    def __init__(self, size: int):
        self.classes_N: IntArray = np.zeros(size, dtype=np.int64)
        self._highest_N = np.full(size, -1.0)
        self._sum_N, self._entropy_N = np.zeros(size), np.zeros(size)  # of m, which need not add up to one

    def add(self, part: slice, first: int, mixed_PB: FloatArray) -> None:
        """Take in m of some items and classes.

        Args:
            part: the items. first: the first of the classes.
        """
        highest_P = mixed_PB.max(axis=1)
        better_P = highest_P > self._highest_N[part]
        self.classes_N[part][better_P] = mixed_PB.argmax(axis=1)[better_P] + first
        self._highest_N[part][better_P] = highest_P[better_P]
        self._entropy_N[part] -= (mixed_PB * np.log(np.maximum(mixed_PB, TINY))).sum(axis=1)
        self._sum_N[part] += mixed_PB.sum(axis=1)

    def certainty_N(self, classes: int) -> FloatArray:
        """omega, when the probabilities of all classes are in.

        With s the sum of m, H(m / s) is -sum m log m / s + log s.
        """
        sum_N = np.maximum(self._sum_N, TINY)
        entropy_N = self._entropy_N / sum_N + np.log(sum_N)
        found: FloatArray = np.clip(1 - entropy_N / np.log(max(2, classes)), 0, 1)
        return found
