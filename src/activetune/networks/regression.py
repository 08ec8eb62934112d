"""Multinomial logistic regression on frozen features, by scikit-learn's L-BFGS: the linear probe.

A fit is made on centred features that are divided by their mean length, one number for all of them. Both are folded
back into weight and bias, so that the head is a plain linear layer on the backbone's own features. (Selection divides
each row by its own length; no linear layer can do that.) The strength is scikit-learn's C, the inverse of the
regularisation, on the scaled features: a value means the same under every backbone. Several strengths are tried on
items that a fit does not see, and :func:`best_strength` takes one of them.
Shape legend: V views, L labelled items, D feature size, C classes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.base.errors import UsageError
from activetune.base.printing import told_numbers
from activetune.base.progress import progress
from activetune.base.quietly import quietly
from activetune.base.runtime import one_thread
from activetune.base.settings import Settings
from activetune.data.splits import validation_splits
from activetune.evaluation.metrics import Measured, measure_top1
from activetune.evaluation.statistics import share_error
from activetune.networks.imbalance import PLAIN, Imbalance

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
CROSS_VALIDATED = 2_000  # labels up to which strengths are best chosen by cross-validation: a fifth of them is too few
DEFAULT_STRENGTH = 100.0  # where nothing can be held out to choose by
USUAL = ("lbfgs failed to converge", "The number of unique classes")  # warnings' beginnings: one per class is usual
ON_ONE_THREAD = 2**28  # multiplications per evaluation up to which a fit runs on one thread, wherever it runs: L-BFGS
# stops at a tolerance, so sums in another order move its end by far more than rounding, and some items change class
ROUNDING = 1e-9
FEW = 20  # items, below which an accuracy hardly tells a model from a constant
FAR_BELOW = -10.0  # logit of a class without a label, relative to the mean of the other classes' logits
Criterion = Literal["loss", "smoothed", "first"]
StrengthCriterion = Literal["loss", "strength"]
Measure = Callable[[FloatArray, IntArray], Measured]  # logits (N, C) of items whose targets are (N,) or (N, C)


@dataclass(frozen=True)
class Regression(Settings):
    """Which strengths a logistic regression is tried with.

    Attributes:
        strengths: candidates for scikit-learn's C; a single one is used as it is.
    """

    strengths: tuple[float, ...] = STRENGTHS

    def __post_init__(self) -> None:
        if not self.strengths or min(self.strengths) <= 0:
            raise UsageError(
                f"probe: strengths can't be {told_numbers(self.strengths)}; allowed: positive numbers, at least one"
            )


@dataclass(frozen=True)
class LinearHead:
    """``logits = features @ weight.T + bias``: weight (C, D), bias (C,)."""

    weight_CD: npt.NDArray[np.float32]
    bias_C: npt.NDArray[np.float32]

    def logits(self, features_ND: FloatArray) -> npt.NDArray[np.float32]:
        """(N, C) logits."""
        return np.asarray(features_ND, dtype=np.float32) @ self.weight_CD.T + self.bias_C

    def less(self, added_C: FloatArray) -> LinearHead:
        """The head whose logits are lower by ``added_C``."""
        return LinearHead(self.weight_CD, np.asarray(self.bias_C - added_C, dtype=np.float32))

    @classmethod
    def read_from(cls, layer: torch.nn.Linear) -> LinearHead:
        """That of a torch layer."""
        return cls(*(value.detach().cpu().float().numpy().copy() for value in (layer.weight, layer.bias)))

    def write_to(self, layer: torch.nn.Linear) -> None:
        """Copy into a torch layer of the same shape."""
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight_CD))
            layer.bias.copy_(torch.from_numpy(self.bias_C))


@dataclass(frozen=True)
class StrengthTrial(Measured):
    """How well a logistic regression did on items that it was not fitted on.

    Attributes:
        strength: scikit-learn's C that was tried.
    """

    strength: float = field(kw_only=True)


AnyTrial = TypeVar("AnyTrial", bound=Measured)


@dataclass(frozen=True)
class Fitted:
    """A fitted head, its strength, and the trials that chose it (none where there was nothing to choose by)."""

    head: LinearHead
    trials: Sequence[StrengthTrial]
    strength: float


def fit_best(
    features_LD: FloatArray,
    indices: IntArray,
    *,
    classes: int | None = None,
    rng: np.random.Generator,
    strengths: Sequence[float] = STRENGTHS,
    held_out: IntArray = NO_INDICES,
    folds: int = 5,
    iterations: int = 1000,
    keep_held_out: bool = False,
    imbalance: Imbalance = PLAIN,
    by: StrengthCriterion = "loss",
    measure: Measure = measure_top1,
    strata: IntArray | None = None,
    quiet: bool = True,
) -> Fitted:
    """Choose the strength on the held-out part (or by cross-validation, see :func:`choose_strength`), then fit on all.

    Args:
        features_LD: (L, D), or (V, L, D) under several views of the items: view 0 is what trials are scored on.
        indices: (L,) class indices; or (L, C) ones and zeros where an item has several classes or none, each of which
            is told by a regression of its own.
        classes: C, where classes beyond the highest index have no label.
        keep_held_out: leave that part out of the final fit too, for a caller that goes on choosing by it.
        iterations, imbalance: of every fit, those of the trials too; see :func:`fit_linear`.
        by: see :func:`best_strength`. measure: what says how good logits are. quiet: show no progress.
        strata: (L,) what folds are even in; the classes by default.
    """
    views_VLD = _as_views(features_LD)
    trials: Sequence[StrengthTrial] = ()
    if len(strengths) > 1:
        groups = indices if strata is None else strata
        splits = validation_splits(groups, held_out, folds, rng, alone_too=indices.ndim == 2)
        trials = choose_strength(
            views_VLD,
            indices,
            strengths,
            splits,
            iterations=iterations,
            imbalance=imbalance,
            measure=measure,
            quiet=quiet,
        )
    nothing_to_choose_by = strengths[0] if len(strengths) == 1 else DEFAULT_STRENGTH
    strength = best_strength(trials, by=by).strength if trials else nothing_to_choose_by
    rows = np.setdiff1d(np.arange(len(indices)), held_out) if keep_held_out else np.arange(len(indices))
    head = fit_linear(
        views_VLD[:, rows], indices[rows], strength, classes=classes, iterations=iterations, imbalance=imbalance
    )
    return Fitted(head, trials, strength)


def fit_linear(
    features_LD: FloatArray,
    indices: IntArray,
    strength: float,
    *,
    classes: int | None = None,
    iterations: int = 1000,
    imbalance: Imbalance = PLAIN,
    weights_L: FloatArray | None = None,
) -> LinearHead:
    """Fit one probe, see :func:`fit_best`; at least two classes must occur in ``indices``, the others never win.

    Args:
        iterations: of L-BFGS, at most. imbalance: what is done about classes of different size; its adjustment is taken
            off the logits after the fit.
        weights_L: (L,) how much each item counts beside the others; None counts them alike, but for the ``balance``.
    """
    classes = classes or _classes_of(indices)
    views_VLD = _as_views(features_LD)
    return next(_fit_path(views_VLD, indices, [strength], classes, iterations, imbalance, weights_L))


def choose_strength(
    features_LD: FloatArray,
    indices: IntArray,
    strengths: Sequence[float],
    splits: Sequence[IntArray],
    *,
    iterations: int = 1000,
    imbalance: Imbalance = PLAIN,
    measure: Measure = measure_top1,
    quiet: bool = True,
) -> list[StrengthTrial]:
    """Try strengths on labelled items that the fit does not see.

    Args:
        features_LD: (L, D), or (V, L, D) under several views: fits see all of them, scores view 0.
        splits: the parts validated on; see :func:`~activetune.data.splits.validation_splits`.
        iterations, imbalance: see :func:`fit_linear`. measure: what says how good logits are. quiet: show no progress.

    Returns:
        One trial per strength, in the order given; empty without a split.
    """
    views_VLD = _as_views(features_LD)
    if not splits:
        return []
    ordered = sorted(strengths)  # weak to strong: each fit starts from the last one's solution
    logits: dict[float, list[FloatArray]] = {strength: [] for strength in ordered}
    with progress(len(splits) * len(ordered), "probe", unit="fits", quiet=quiet) as meter:
        for split in splits:
            kept = np.setdiff1d(np.arange(len(indices)), split)
            path = _fit_path(views_VLD[:, kept], indices[kept], ordered, _classes_of(indices), iterations, imbalance)
            for strength, head in zip(ordered, path, strict=True):
                logits[strength].append(head.logits(views_VLD[0, split]))
                meter.advance()
    measured = {strength: measured_apart(logits[strength], indices, splits, measure) for strength in ordered}
    return [StrengthTrial(**vars(measured[strength]), strength=strength) for strength in strengths]


def measured_apart(
    logits: Sequence[FloatArray], indices: IntArray, splits: Sequence[IntArray], measure: Measure
) -> Measured:
    """How good logits are, all parts together, of items that their fit did not see.

    Where an item has several classes, those count that every fit has seen an item of: no fit finds another.

    Args:
        logits: (S, C) of each part. indices: (L,) or (L, C) of all items. splits: the parts.
    """
    found_SC, truth = np.concatenate(logits), indices[np.concatenate(splits)]
    if indices.ndim == 2:
        seen_C = np.all([np.delete(indices, split, axis=0).any(axis=0) for split in splits], axis=0)
        if seen_C.any():
            return measure(found_SC[:, seen_C], truth[:, seen_C])
    return measure(found_SC, truth)


def best_trial(trials: Sequence[AnyTrial], *, by: Criterion = "loss") -> AnyTrial:
    """The best by a criterion among the trials whose value is within one standard error of the highest.

    The value is of the metric that the task's models are chosen by. On few items the highest one is mostly luck; the
    loss tells more of each answer (experiments/LOG.md).

    Args:
        trials: what was measured of each candidate, all on the same items.
        by: ``loss``, the lowest; ``smoothed``, the highest smoothed accuracy, among models whose losses do not compare;
            ``first``, the one given first if it is among them, otherwise as ``smoothed``: of many others some are
            better by luck.
    """
    equals = _as_good_as_the_best(trials)
    if by == "first" and trials[0] in equals:
        return trials[0]
    return min(equals, key=lambda trial: trial.loss if by == "loss" else -trial.smoothed)


def best_strength(trials: Sequence[StrengthTrial], *, by: StrengthCriterion = "loss") -> StrengthTrial:
    """The best strength among those whose value is within one standard error of the highest.

    Args:
        by: ``loss``, as :func:`best_trial`; ``strength``, the lowest: the simplest model that is as good, but the one
            nearest to the default where items are so few that one which tells no class from another can seem as good.
    """
    if by == "loss":
        return best_trial(trials)
    if trials[0].n < FEW:
        return min(trials, key=lambda trial: abs(np.log(trial.strength / DEFAULT_STRENGTH)))
    return min(_as_good_as_the_best(trials), key=lambda trial: trial.strength)


def _as_good_as_the_best(trials: Sequence[AnyTrial]) -> list[AnyTrial]:
    """The trials whose value is within one standard error of the highest.

    One item is within the error always, also where all are right.
    """
    highest = max(trial.value for trial in trials)
    least = highest - max(share_error(highest, trials[0].n), 1 / trials[0].n) - ROUNDING
    return [trial for trial in trials if trial.value >= least]


def _classes_of(indices: IntArray) -> int:
    """C, of class indices (L,) or of ones and zeros (L, C)."""
    return indices.shape[1] if indices.ndim == 2 else int(indices.max()) + 1


def _as_views(features: FloatArray) -> FloatArray:
    return features if features.ndim == 3 else features[None]


def _fit_path(
    views_VLD: FloatArray,
    indices: IntArray,
    strengths: Sequence[float],
    classes: int,
    iterations: int,
    imbalance: Imbalance,
    weights_L: FloatArray | None = None,
) -> Iterator[LinearHead]:
    """Heads of several strengths, weak to strong."""
    if indices.ndim == 2:
        fits = _fit_each(views_VLD, indices, strengths, iterations, imbalance.balance)
        learned_C = indices.any(axis=0) & ~indices.all(axis=0)
        # Each class is balanced against the others by itself, which brings its odds to this power.
        added_C = (1 - imbalance.balance) * imbalance.added_to_logits(indices, classes)
    else:
        weights_L = _product(imbalance.weights(indices), weights_L)
        fits = _fit_one(views_VLD, indices, strengths, classes, iterations, weights_L)
        learned_C = np.bincount(indices, minlength=classes) > 0
        added_C = imbalance.added_to_logits(indices, classes, weights_L)
    # Classes that nothing was learned of stay as far below as they are: their share is no share of labels.
    added_C = np.where(learned_C, added_C, 0.0)
    yield from (head.less(added_C) for head in fits)


def _product(one_L: FloatArray | None, other_L: FloatArray | None) -> FloatArray | None:
    return one_L * other_L if one_L is not None and other_L is not None else one_L if other_L is None else other_L


def _fit_one(
    views_VLD: FloatArray,
    indices: IntArray,
    strengths: Sequence[float],
    classes: int,
    iterations: int,
    weights_L: FloatArray | None,
) -> Iterator[LinearHead]:
    """A regression that tells one class per item: each fit starts from the last strength's solution."""
    from sklearn.linear_model import LogisticRegression

    views = len(views_VLD)
    features = np.asarray(views_VLD, dtype=np.float32).reshape(-1, views_VLD.shape[2])
    weights = np.ones(len(indices)) if weights_L is None else weights_L.astype(np.float64)
    weights *= len(indices) / weights.sum() / views  # an item weighs as much under any number of views
    targets, weights = np.tile(indices, views), np.tile(weights, views)
    centre = features.mean(axis=0)
    scale = max(float(np.linalg.norm(features, axis=1).mean()), 1e-12)
    prepared = (features - centre) / scale
    model = LogisticRegression(max_iter=iterations, warm_start=True)
    for strength in strengths:
        model.C = strength
        threads = one_thread() if prepared.size * classes <= ON_ONE_THREAD else contextlib.nullcontext()
        with quietly(*USUAL), threads:
            model.fit(prepared, targets, weights)
        weight, bias = model.coef_, model.intercept_
        if len(weight) == 1:  # two classes: one logit between them, shared out evenly
            weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        weight_CD = np.zeros((classes, len(centre)))
        bias_C = np.full(
            classes, bias.mean() + FAR_BELOW
        )  # the others' logits have mean zero for every item: one is above
        weight_CD[model.classes_], bias_C[model.classes_] = weight / scale, bias
        yield LinearHead(weight_CD.astype(np.float32), (bias_C - weight_CD @ centre).astype(np.float32))


def _fit_each(
    views_VLD: FloatArray, shown_LC: IntArray, strengths: Sequence[float], iterations: int, balance: float
) -> Iterator[LinearHead]:
    """A regression per class of those that show it against the others; a class of which all are alike is told so."""
    columns = shown_LC.T
    mixed = [row for row, column in enumerate(columns) if 0 < column.sum() < len(column)]
    evened = Imbalance(balance)
    paths = [_fit_one(views_VLD, columns[row], strengths, 2, iterations, evened.weights(columns[row])) for row in mixed]
    size = views_VLD.shape[2]
    always = np.where(shown_LC.all(axis=0), -FAR_BELOW, FAR_BELOW)
    for _ in strengths:  # also where no class is mixed: items that are all alike tell one constant answer
        weight_CD, bias_C = np.zeros((len(columns), size), dtype=np.float32), always.astype(np.float32)
        for row, path in zip(mixed, paths, strict=True):
            pair = next(path)
            weight_CD[row], bias_C[row] = np.diff(pair.weight_CD, axis=0)[0], np.diff(pair.bias_C)[0]
        yield LinearHead(weight_CD, bias_C)
