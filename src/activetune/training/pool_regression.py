"""A linear classifier that learns from a few labelled items and from all others of their pool.

What the labels say spreads over the pool's graph of neighbours (``features/graph.py``) and is averaged with what a
logistic regression on the labels alone says. A second logistic regression learns these answers on the pool's items, so
that the classifier is as plain as the first one: a linear layer. An item counts by how sure its answer is, one minus
its entropy as a share of the largest there is. How much each class weighs is told by the answers themselves: no class
is taken to be as frequent as another.
Shape legend: N items of the pool, L labelled ones, D feature size, C classes, B classes at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, NamedTuple

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.base.printing import counted, told_numbers
from activetune.base.settings import Settings
from activetune.evaluation.metrics import Measured
from activetune.evaluation.statistics import standard_error, surely_positive
from activetune.features.distances import Float32, pieces, unit_rows
from activetune.features.graph import Graph, nearest_neighbours
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import LinearHead, Measure, Trial, best_trial, fit_linear

AT_ONCE = 2**25  # numbers of N x B that spread together
LEAST = 1e-12
STEPS = 200  # of L-BFGS: the answers are no truth to be fitted to the end


@dataclass(frozen=True)
class PoolLearning(Settings):
    """How a pool is learned from.

    Attributes:
        neighbours: of each item in the graph. alphas: how far labels spread, in [0, 1). shares: what the first
            regression's answer weighs in the average, in [0, 1]. Both are candidates for cross-validation, of which the
            first ones are taken unless others are better by a standard error. strength: of the second regression.
        labelled: how often an item with a label counts. even: from 0, a class weighs as much as its answers do, to 1,
            all classes weigh alike. most: items without a label that are learned from, drawn at random.
    """

    flat_names: ClassVar[Mapping[str, str]] = {
        "shares": "probe_share",
        "strength": "pool_strength",
        "most": "pool_most",
    }

    neighbours: int = 10
    alphas: tuple[float, ...] = (0.8, 0.5, 0.95)
    shares: tuple[float, ...] = (0.3, 0.1, 0.5)
    strength: float = 10.0
    labelled: float = 5.0
    even: float = 0.5
    most: int = 20_000

    def __post_init__(self) -> None:
        check_settings(
            "the pool's regression",
            ("neighbours", self.neighbours, 1, 1000),
            ("pool_strength", self.strength, LEAST, np.inf),
            ("labelled", self.labelled, 0.01, np.inf),
            ("even", self.even, 0, 1),
            ("pool_most", self.most, 1, np.inf),
        )
        if not self.alphas or not all(0 <= alpha < 1 for alpha in self.alphas):  # so nan is refused too
            raise UsageError(
                f"alphas can't be {told_numbers(self.alphas)}; allowed: numbers from 0 to below 1, at least one"
            )
        if not self.shares or not all(0 <= share <= 1 for share in self.shares):
            raise UsageError(
                f"probe_share can't be {told_numbers(self.shares)}; allowed: numbers from 0 to 1, at least one"
            )


@dataclass(frozen=True)
class Answers:
    """A class index for each item of the pool, and how sure that is, in [0, 1]."""

    classes_N: IntArray
    sure_N: FloatArray


@dataclass(frozen=True)
class Way(Trial):
    """How good answers were on labelled items that they were kept from; the strength is alpha.

    Attributes:
        share: of the first regression's answer in them.
    """

    share: float = field(kw_only=True)


@dataclass(frozen=True)
class PoolFit:
    """What was fitted.

    Attributes:
        head: the classifier; the first regression itself where the pool is not ``used``.
        alpha, share: how far labels have spread, and the first regression's part in the answers. ways: those that were
            tried; none where there was nothing to choose by.
        first, second: both regressions on labelled items that they did not see; None where there are none.
        error: standard error of the difference between them. used: whether the pool is learned from: unless that is
            worse than the first regression by more than two standard errors.
    """

    head: LinearHead
    alpha: float
    share: float
    ways: Sequence[Way]
    first: Measured | None = None
    second: Measured | None = None
    error: float = 0.0
    used: bool = True


def unlabelled(images: int, labelled: int, most: int) -> int:
    """How many images without a label are learned from, of a pool of so many images."""
    return min(images - labelled, most)


def told_pool(images: int, labelled: int, most: int) -> str:
    """What was learned from.

    Args:
        images: that labels spread over. most: those without a label that are learned from.

    >>> told_pool(80, 20, 60)
    'learned from 80 images of the pool, 20 of them labelled'
    >>> told_pool(80, 20, 30)
    'labels spread over 80 images of the pool; learned from 50 of them, 20 of these labelled'
    >>> told_pool(20, 20, 60)
    'learned from 20 images of the pool, all of them labelled'
    """
    learned = labelled + unlabelled(images, labelled, most)
    if learned < images:
        of_these = f"learned from {learned:,} of them, {labelled:,} of these labelled"
        return f"labels spread over {counted(images, 'image')} of the pool; {of_these}"
    if images == labelled:
        return f"learned from {counted(images, 'image')} of the pool, all of them labelled"
    return f"learned from {counted(images, 'image')} of the pool, {labelled:,} of them labelled"


class _Fold(NamedTuple):
    """Labelled items that are validated on, the others, and the first regression on these."""

    split: IntArray
    rest: IntArray
    head: LinearHead


class PoolRegression:
    """Answers of a pool's items, and classifiers that learn them.

    Args:
        features_ND: of the whole pool. positions_L, indices_L: the labelled items, and their class indices. classes: C.
        imbalance: what is done about classes of different size; the pool's answers tell how frequent they are.
        iterations: of the regression on the labels, at most.
    """

    def __init__(
        self,
        features_ND: Float32,
        positions_L: IntArray,
        indices_L: IntArray,
        classes: int,
        options: PoolLearning,
        imbalance: Imbalance,
        *,
        iterations: int = 1000,
        seed: int,
        quiet: bool = True,
    ):
        self.features_ND, self.positions_L, self.indices_L, self.classes = features_ND, positions_L, indices_L, classes
        self.options, self.imbalance, self.iterations, self.seed = options, imbalance, iterations, seed
        found = nearest_neighbours(unit_rows(features_ND), options.neighbours, seed=seed, quiet=quiet)
        self.graph = Graph.of(*found, options.neighbours)

    def fit(self, first: LinearHead, strength: float, splits: Sequence[IntArray], *, measure: Measure) -> PoolFit:
        """Choose by cross-validation how labels spread, and whether the pool is used at all; then fit.

        Args:
            first: the regression on all labels, of that strength. splits: parts of the labelled items
                that are validated on, one after the other; none leave nothing to choose by.
            measure: what says how good logits are.
        """
        every = np.arange(len(self.indices_L))
        rest = [np.setdiff1d(every, split) for split in splits]
        folds = [_Fold(split, rows, self._first(rows, strength)) for split, rows in zip(splits, rest, strict=True)]
        ways = [way for alpha in self.options.alphas for way in self._ways(alpha, folds, measure)] if splits else []
        best = best_trial(ways, by="first") if ways else None
        alpha, share = (best.strength, best.share) if best else (self.options.alphas[0], self.options.shares[0])
        compared = self._compared(alpha, share, folds, measure) if splits else ()
        found = PoolFit(first, alpha, share, ways, *compared)
        return (
            replace(found, head=self.second(self.answers(every, first, alpha, share), every)) if found.used else found
        )

    def _first(self, rows: IntArray, strength: float) -> LinearHead:
        """The regression on some of the labels."""
        features_LD, indices = self.features_ND[self.positions_L[rows]], self.indices_L[rows]
        return fit_linear(
            features_LD, indices, strength, classes=self.classes, iterations=self.iterations, imbalance=self.imbalance
        )

    def _ways(self, alpha: float, folds: Sequence[_Fold], measure: Measure) -> list[Way]:
        """How good the answers of an alpha are on labelled items that they were kept from, a way per share."""
        both = []
        for split, rows, head in folds:
            asked = self.positions_L[split]
            shares = np.concatenate([block[asked] for _, block in self._spread(rows, alpha)], axis=1)
            logits = head.logits(self.features_ND[asked])
            both.append((np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)), shares))
        likely, spread = (np.concatenate(side) for side in zip(*both, strict=True))
        truth = self.indices_L[np.concatenate([fold.split for fold in folds])]
        found = []
        for share in self.options.shares:
            told = np.log(np.maximum(share * likely + (1 - share) * spread, LEAST))
            found.append(Way(**vars(measure(told, truth)), strength=alpha, share=share))
        return found

    def _compared(
        self,
        alpha: float,
        share: float,
        folds: Sequence[_Fold],
        measure: Measure,
    ) -> tuple[Measured, Measured, float, bool]:
        """Both regressions on items that they did not see, see :class:`PoolFit`."""
        pairs: list[tuple[FloatArray, FloatArray]] = []
        for split, rows, head in folds:
            second = self.second(self.answers(rows, head, alpha, share), rows)
            asked = self.features_ND[self.positions_L[split]]
            pairs.append((head.logits(asked), second.logits(asked)))
        truth = self.indices_L[np.concatenate([fold.split for fold in folds])]
        alone, with_pool = (measure(np.concatenate(side), truth) for side in zip(*pairs, strict=True))
        lost_V = alone.credit_N - with_pool.credit_N
        return alone, with_pool, standard_error(lost_V), not surely_positive(lost_V)

    def _spread(self, rows: IntArray, alpha: float) -> Iterator[tuple[slice, Float32]]:
        """What some of the labels say of each item: (N, B) shares of some classes after the others.

        They add up to one where a label has reached an item, and are zero where none has.
        """
        size = len(self.features_ND)
        any_N1 = np.zeros((size, 1), dtype=np.float32)
        any_N1[self.positions_L[rows]] = 1
        total_N1 = np.maximum(self.graph.spread(any_N1, alpha), LEAST)  # spreading is linear: the sum over all classes
        step = max(1, AT_ONCE // size)
        for start in range(0, self.classes, step):
            block = slice(start, min(start + step, self.classes))
            known_NB = np.zeros((size, block.stop - block.start), dtype=np.float32)
            inside = rows[(self.indices_L[rows] >= block.start) & (self.indices_L[rows] < block.stop)]
            known_NB[self.positions_L[inside], self.indices_L[inside] - block.start] = 1
            yield block, np.divide(self.graph.spread(known_NB, alpha), total_N1, dtype=np.float32)

    def answers(self, rows: IntArray, head: LinearHead, alpha: float, share: float) -> Answers:
        """A class for every item, by some of the labels and the regression that was fitted on them.

        Args:
            share: of the regression's answer.
        """
        size = len(self.features_ND)
        best_N, classes_N = np.full(size, -1.0), np.zeros(size, dtype=np.int64)
        sum_N, entropy_N = np.zeros(size), np.zeros(size)
        norm_N = np.concatenate(
            [np.logaddexp.reduce(head.logits(self.features_ND[part]), axis=1) for part in pieces(size, self.classes)]
        )
        for block, shares_NB in self._spread(rows, alpha):
            layer = LinearHead(head.weight_CD[block], head.bias_C[block])
            for part in pieces(size, block.stop - block.start):
                likely = np.exp(layer.logits(self.features_ND[part]) - norm_N[part, None])
                told = share * likely + (1 - share) * shares_NB[part]
                value, better = told.max(axis=1), told.max(axis=1) > best_N[part]
                classes_N[part][better] = told.argmax(axis=1)[better] + block.start
                best_N[part][better] = value[better]
                entropy_N[part] -= (told * np.log(np.maximum(told, LEAST))).sum(axis=1)
                sum_N[part] += told.sum(axis=1)
        sum_N = np.maximum(sum_N, LEAST)
        entropy_N = entropy_N / sum_N + np.log(sum_N)  # of the shares, scaled to add up to one
        sure_N = np.clip(1 - entropy_N / np.log(max(2, self.classes)), 0, 1)
        known = self.positions_L[rows]
        classes_N[known], sure_N[known] = self.indices_L[rows], 1.0
        return Answers(classes_N, sure_N)

    def second(self, answers: Answers, rows: IntArray) -> LinearHead:
        """The regression on the answers.

        Args:
            rows: the labelled items that they know, which count more.
        """
        options, size, known = self.options, len(self.features_ND), self.positions_L[rows]
        of_class_C = np.bincount(answers.classes_N, answers.sure_N, minlength=self.classes)
        even = max(options.even, self.imbalance.balance)
        weights_N = answers.sure_N * np.maximum(of_class_C, LEAST)[answers.classes_N] ** -even
        weights_N[known] *= options.labelled
        kept = np.arange(size)
        others = np.setdiff1d(kept, known)
        if len(others) > options.most:
            drawn = np.random.default_rng([self.seed, 29]).permutation(others)[: options.most]
            kept = np.sort(np.concatenate([known, drawn]))
        kept = kept[weights_N[kept] > 0]
        learned = answers.classes_N[kept]
        adjusted = replace(self.imbalance, balance=0.0)  # the weights hold the balance
        return fit_linear(
            self.features_ND[kept],
            learned,
            options.strength,
            classes=self.classes,
            iterations=STEPS,
            imbalance=adjusted,
            weights_L=weights_N[kept],
        )
