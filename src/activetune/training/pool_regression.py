"""A linear classifier that learns from a few labelled items and from all others of their pool.

A logistic regression on the labels alone, the *label probe*, and the labels themselves, propagated over the pool, make
a pseudo-label y_i of certainty omega_i for every item (``label_propagation.py`` has the equations). A second logistic
regression, the *pool probe*, learns these: it minimises the cross-entropies sum_i w_i CE(f(x_i), y_i), with an L2
penalty on its weights, where:

    prior_c = sum over the items i with y_i = c of omega_i
    w_i = omega_i / prior_{y_i}^b               b: ``class_balance``, set as ``even``
    w_i = labelled_weight / prior_{y_i}^b       of an item with a label, whose certainty is 1; set as ``labelled``

Weights by certainty and by a class's inverse size are those of Iscen et al., "Label Propagation for Deep
Semi-supervised Learning", CVPR 2019. We deviate from them:

- A network learns the pseudo-labels there, and labels propagate anew after each epoch. Here a linear layer does, once,
  on features that stay: the classifier is as plain as the label probe.
- A class's size is the sum of its certainties, not a count of its items: it is the class prior, up to a factor, as the
  pseudo-labels estimate it. No class is taken to be as frequent as another, and b is 0.5, where theirs is 1.
- Cross-validation on the labels chooses alpha and lambda, and leaves the pool out where it does harm.

Shape legend: N items of the pool, L labelled ones, V of these validated on, D feature size, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from activetune.features.distances import Float32
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import LinearHead, Measure, best_trial, fit_linear
from activetune.training.label_propagation import TINY, LabelPropagation, PseudoLabels, mixed

ITERATIONS = 200  # of L-BFGS for the pool probe: pseudo-labels are no truth to be fitted to the end


@dataclass(frozen=True)
class PoolLearning(Settings):
    """How a pool is learned from.

    Attributes:
        neighbours: of each item in the graph.
        alphas: candidates for alpha, how far labels spread, in [0, 1).
        probe_shares: candidates for lambda, the label probe's share of the mixed probabilities, in [0, 1]. Of both, the
            first ones are taken unless cross-validation finds others better by a standard error.
        strength: of the pool probe, scikit-learn's C.
        labelled_weight: how many items a labelled one counts as.
        class_balance: b, from 0, a class weighs as much as its certainties do, to 1, all classes weigh alike.
        most_unlabelled: items without a label that are learned from, at most, drawn at random.
    """

    flat_names: ClassVar[Mapping[str, str]] = {
        "probe_shares": "probe_share",
        "strength": "pool_strength",
        "labelled_weight": "labelled",
        "class_balance": "even",
        "most_unlabelled": "pool_most",
    }

    neighbours: int = 10
    alphas: tuple[float, ...] = (0.8, 0.5, 0.95)
    probe_shares: tuple[float, ...] = (0.3, 0.1, 0.5)
    strength: float = 10.0
    labelled_weight: float = 5.0
    class_balance: float = 0.5
    most_unlabelled: int = 20_000

    def __post_init__(self) -> None:
        check_settings(
            "the pool's regression",
            ("neighbours", self.neighbours, 1, 1000),
            ("pool_strength", self.strength, TINY, np.inf),
            ("labelled", self.labelled_weight, 0.01, np.inf),
            ("even", self.class_balance, 0, 1),
            ("pool_most", self.most_unlabelled, 1, np.inf),
        )
        if not self.alphas or not all(0 <= alpha < 1 for alpha in self.alphas):  # so nan is refused too
            raise UsageError(
                f"alphas can't be {told_numbers(self.alphas)}; allowed: numbers from 0 to below 1, at least one"
            )
        if not self.probe_shares or not all(0 <= share <= 1 for share in self.probe_shares):
            raise UsageError(
                f"probe_share can't be {told_numbers(self.probe_shares)}; allowed: numbers from 0 to 1, at least one"
            )


@dataclass(frozen=True)
class PropagationTrial(Measured):
    """How good mixed probabilities are of labelled items whose labels have not spread.

    Attributes:
        alpha: how far the other labels have spread.
        probe_share: lambda, the share of the label probe's probabilities.
    """

    alpha: float = field(kw_only=True)
    probe_share: float = field(kw_only=True)


@dataclass(frozen=True)
class Comparison:
    """Both probes on the same labelled items, which neither has seen.

    Attributes:
        label_probe: how good the regression on the labels alone is.
        pool_probe: how good the one that learns from the pool too is.
    """

    label_probe: Measured
    pool_probe: Measured

    @property
    def error(self) -> float:
        """The standard error of the difference between their values; infinite for a single item."""
        return standard_error(self._lost_V)

    @property
    def pool_harms(self) -> bool:
        """Whether the pool probe is worse by more than two standard errors, and by more than three items."""
        return surely_positive(self._lost_V)

    @property
    def _lost_V(self) -> FloatArray:
        return self.label_probe.credit_N - self.pool_probe.credit_N


@dataclass(frozen=True)
class PoolFit:
    """What was fitted.

    Attributes:
        head: the pool probe; the label probe where the pool is not ``used``.
        alpha: how far labels have spread.
        probe_share: lambda, the label probe's share of the mixed probabilities.
        trials: those that chose both; none where there was nothing to choose by.
        comparison: of the two probes by cross-validation; None where there was nothing to compare them by.
    """

    head: LinearHead
    alpha: float
    probe_share: float
    trials: Sequence[PropagationTrial]
    comparison: Comparison | None

    @property
    def used(self) -> bool:
        """Whether the pool is learned from: always, unless it is found to do harm."""
        return self.comparison is None or not self.comparison.pool_harms


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
    """Labelled items as rows of L: those that are validated on, the others, and the label probe fitted on these."""

    validation: IntArray
    training: IntArray
    label_probe: LinearHead


class PoolRegression:
    """Fits the pool probe.

    Methods take ``training``: the labelled items whose labels may be used, as rows of L. All others count as
    unlabelled.

    Args:
        features_ND: of the whole pool.
        positions_L: the labelled items. indices_L: their class indices. classes: C.
        imbalance: what is done about classes of different size; the pseudo-labels tell how frequent they are.
        iterations: of the label probe, at most.
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
        self.propagation = LabelPropagation(
            features_ND, positions_L, indices_L, classes, options.neighbours, seed=seed, quiet=quiet
        )

    def fit(self, label_probe: LinearHead, strength: float, splits: Sequence[IntArray], *, measure: Measure) -> PoolFit:
        """Choose alpha and lambda by cross-validation, and whether the pool is used at all; then fit.

        Args:
            label_probe: the regression on all labels, of that strength. splits: parts of the labelled items
                that are validated on, one after the other; none leave nothing to choose by.
            measure: what says how good logits are.
        """
        every = np.arange(len(self.indices_L))
        folds = [self._fold(split, np.setdiff1d(every, split), strength) for split in splits]
        trials = self._trials(folds, measure) if folds else []
        best = best_trial(trials, by="first") if trials else None
        alpha = best.alpha if best else self.options.alphas[0]
        probe_share = best.probe_share if best else self.options.probe_shares[0]
        comparison = self._compare(alpha, probe_share, folds, measure) if folds else None
        found = PoolFit(label_probe, alpha, probe_share, trials, comparison)
        if not found.used:
            return found
        pseudo_labels = self.propagation.pseudo_label(every, label_probe, alpha, probe_share)
        return replace(found, head=self.fit_pool_probe(pseudo_labels, every))

    def fit_pool_probe(self, pseudo_labels: PseudoLabels, training: IntArray) -> LinearHead:
        """The regression on pseudo-labels of all N items, each with its weight w.

        Args:
            training: the labelled items that the pseudo-labels come from.
        """
        options, known = self.options, self.positions_L[training]
        class_balance = max(options.class_balance, self.imbalance.balance)  # b
        weights_N = pseudo_labels.certainty_N * pseudo_labels.prior_N**-class_balance
        weights_N[known] *= options.labelled_weight
        learned = self._learned_from(known)
        learned = learned[weights_N[learned] > 0]
        return fit_linear(
            self.features_ND[learned],
            pseudo_labels.classes_N[learned],
            options.strength,
            classes=self.classes,
            iterations=ITERATIONS,
            imbalance=replace(self.imbalance, balance=0.0),  # the weights hold the balance
            weights_L=weights_N[learned],
        )

    def _learned_from(self, known: IntArray) -> IntArray:
        """Positions of the items that the pool probe learns from: all labelled ones, and no more than asked for others.

        Args:
            known: positions of the labelled ones.
        """
        every = np.arange(len(self.features_ND))
        others = np.setdiff1d(every, known)
        if len(others) <= self.options.most_unlabelled:
            return every
        drawn = np.random.default_rng([self.seed, 29]).permutation(others)[: self.options.most_unlabelled]
        return np.sort(np.concatenate([known, drawn]))

    # Cross-validation ---------------------------------------------------------------------------------------------

    def _fold(self, validation: IntArray, training: IntArray, strength: float) -> _Fold:
        features_LD, indices = self.features_ND[self.positions_L[training]], self.indices_L[training]
        label_probe = fit_linear(
            features_LD, indices, strength, classes=self.classes, iterations=self.iterations, imbalance=self.imbalance
        )
        return _Fold(validation, training, label_probe)

    def _truth(self, folds: Sequence[_Fold]) -> IntArray:
        """(V,) class indices of the items that are validated on, fold by fold."""
        found: IntArray = self.indices_L[np.concatenate([fold.validation for fold in folds])]
        return found

    def _trials(self, folds: Sequence[_Fold], measure: Measure) -> list[PropagationTrial]:
        """One per alpha and share of the label probe."""
        truth_V, found = self._truth(folds), []
        for alpha in self.options.alphas:
            of_folds = [self._validation_probabilities(fold, alpha) for fold in folds]
            probe_VC, propagated_VC = (np.concatenate(side) for side in zip(*of_folds, strict=True))
            for share in self.options.probe_shares:
                logits_VC = np.log(np.maximum(mixed(probe_VC, propagated_VC, share), TINY))
                found.append(PropagationTrial(**vars(measure(logits_VC, truth_V)), alpha=alpha, probe_share=share))
        return found

    def _validation_probabilities(self, fold: _Fold, alpha: float) -> tuple[FloatArray, FloatArray]:
        """Probabilities p and q of a fold's validation items, (V, C) each, from the labels of its other items."""
        asked = self.positions_L[fold.validation]
        blocks = [block_NB[asked] for _, block_NB in self.propagation.propagate(fold.training, alpha)]
        logits_VC = fold.label_probe.logits(self.features_ND[asked])
        return np.exp(logits_VC - np.logaddexp.reduce(logits_VC, axis=1, keepdims=True)), np.concatenate(blocks, axis=1)

    def _compare(self, alpha: float, probe_share: float, folds: Sequence[_Fold], measure: Measure) -> Comparison:
        """Both probes on each fold's validation items, fitted on its other items."""
        of_folds: list[tuple[FloatArray, FloatArray]] = []
        for fold in folds:
            pseudo_labels = self.propagation.pseudo_label(fold.training, fold.label_probe, alpha, probe_share)
            pool_probe = self.fit_pool_probe(pseudo_labels, fold.training)
            asked = self.features_ND[self.positions_L[fold.validation]]
            of_folds.append((fold.label_probe.logits(asked), pool_probe.logits(asked)))
        truth_V = self._truth(folds)
        return Comparison(*(measure(np.concatenate(side), truth_V) for side in zip(*of_folds, strict=True)))
