"""The linear probe: multinomial logistic regression on frozen features, by scikit-learn's L-BFGS.

Features are centred and divided by their mean length, one number for all, and this is folded back into weight and
bias: the result is a plain linear layer on the backbone's own features. (Dividing each row by its own length, as
selection does, could not be folded; for features behind a layer norm the two hardly differ.) Strength C is
scikit-learn's inverse regularisation on that scale, so values mean the same for every backbone.
Shape legend: V views, L labelled items, D feature size, C classes.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import UsageError
from activetune.base.progress import progress
from activetune.base.runtime import one_thread
from activetune.data.splits import validation_splits
from activetune.evaluation import metrics
from activetune.networks.imbalance import Imbalance

STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)
CROSS_VALIDATED = 2_000  # labels up to which strengths are best chosen by cross-validation: a fifth of them is too few
DEFAULT_STRENGTH = 100.0  # where nothing can be held out to choose by
ON_ONE_THREAD = 2**28  # multiplications per evaluation up to which a fit runs on one thread, wherever it runs: L-BFGS
# stops at a tolerance, so sums in another order move its end by far more than rounding, and some items change class
NEVER = -10.0  # logit of a class without a label, against the mean of the others
NOTHING = np.empty(0, dtype=np.int64)
Criterion = Literal["loss", "smoothed", "strength", "first"]


@dataclass(frozen=True)
class Regression(Imbalance):
    """What is tried of a logistic regression.

    Attributes:
        strengths: candidates for scikit-learn's C; a single one is used as it is.
    """

    strengths: tuple[float, ...] = STRENGTHS

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.strengths or min(self.strengths) <= 0:
            raise UsageError(f"probe: strengths can't be {self.strengths}; allowed: positive numbers, at least one")


@dataclass(frozen=True)
class LinearHead:
    """``logits = features @ weight.T + bias``: weight (C, D), bias (C,)."""

    weight_CD: npt.NDArray[np.float32]
    bias_C: npt.NDArray[np.float32]

    def logits(self, features_ND: FloatArray) -> npt.NDArray[np.float32]:
        """(N, C) logits."""
        return np.asarray(features_ND, dtype=np.float32) @ self.weight_CD.T + self.bias_C

    def less(self, added_C: FloatArray) -> LinearHead:
        """The head without what was added to its logits."""
        return LinearHead(self.weight_CD, np.asarray(self.bias_C - added_C, dtype=np.float32))

    def write_to(self, layer: torch.nn.Linear) -> None:
        """Copy into a torch layer of the same shape."""
        with torch.no_grad():
            layer.weight.copy_(torch.from_numpy(self.weight_CD))
            layer.bias.copy_(torch.from_numpy(self.bias_C))


@dataclass(frozen=True)
class Trial:
    """One strength, and how well it did on ``n`` items that it was not fitted on (``evaluation/metrics.py``)."""

    strength: float
    top1: float
    loss: float
    n: int
    smoothed: float = float("nan")
    predicted_N: IntArray = field(default_factory=lambda: NOTHING, repr=False, compare=False)
    truth_N: IntArray = field(default_factory=lambda: NOTHING, repr=False, compare=False)

    @classmethod
    def of(cls, strength: float, logits_NC: FloatArray, indices: IntArray) -> Trial:
        """The trial that gave these logits to items of these classes."""
        logits_NC = np.asarray(logits_NC, dtype=np.float64)
        own_N = logits_NC[np.arange(len(indices)), indices]
        return cls(
            strength,
            top1=metrics.top1(logits_NC, indices),
            loss=float((np.logaddexp.reduce(logits_NC, axis=1) - own_N).mean()),
            n=len(indices),
            smoothed=metrics.smoothed_accuracy(metrics.margins_of(logits_NC, indices)),
            predicted_N=logits_NC.argmax(axis=1),
            truth_N=indices,
        )


AnyTrial = TypeVar("AnyTrial", bound=Trial)


@dataclass(frozen=True)
class Fitted:
    """A fitted head, the trials that chose its strength (none: nothing to choose by), and that strength."""

    head: LinearHead
    trials: Sequence[Trial]
    strength: float


def fit_best(
    features_LD: FloatArray,
    indices: IntArray,
    *,
    classes: int | None = None,
    rng: np.random.Generator,
    strengths: Sequence[float] = STRENGTHS,
    held_out: IntArray = NOTHING,
    folds: int = 5,
    iterations: int = 1000,
    keep_held_out: bool = False,
    balance: float = 0.0,
    by: Criterion = "loss",
    quiet: bool = True,
) -> Fitted:
    """Choose the strength on the held-out part (or by cross-validation, see :func:`choose_strength`), then fit on all.

    Args:
        features_LD: (L, D), or (V, L, D) under several views of the items: view 0 is what trials are scored on.
        classes: C, where classes beyond the highest index have no label.
        keep_held_out: leave that part out of the final fit too, for a caller that goes on choosing by it.
        balance: how evenly classes of different size weigh: 0 every item alike, 1 every class alike.
        by: see :func:`best_trial`. quiet: show no progress.
    """
    views_VLD = _as_views(features_LD)
    trials: Sequence[Trial] = ()
    if len(strengths) > 1:
        splits = validation_splits(indices, held_out, folds, rng)
        trials = choose_strength(views_VLD, indices, strengths, splits, balance=balance, quiet=quiet)
    nothing_to_choose_by = strengths[0] if len(strengths) == 1 else DEFAULT_STRENGTH
    strength = best_trial(trials, by=by).strength if trials else nothing_to_choose_by
    rows = np.setdiff1d(np.arange(len(indices)), held_out) if keep_held_out else np.arange(len(indices))
    head = fit_linear(
        views_VLD[:, rows], indices[rows], strength, classes=classes, iterations=iterations, balance=balance
    )
    return Fitted(head, trials, strength)


def fit_linear(
    features_LD: FloatArray,
    indices: IntArray,
    strength: float,
    *,
    classes: int | None = None,
    iterations: int = 1000,
    balance: float = 0.0,
) -> LinearHead:
    """Fit one probe, see :func:`fit_best`; at least two classes must occur in ``indices``, the others never win."""
    classes = classes or int(indices.max()) + 1
    return next(_fit_path(_as_views(features_LD), indices, [strength], classes, iterations, balance))


def choose_strength(
    features_LD: FloatArray,
    indices: IntArray,
    strengths: Sequence[float],
    splits: Sequence[IntArray],
    *,
    balance: float = 0.0,
    quiet: bool = True,
) -> list[Trial]:
    """Try strengths on labelled items that the fit does not see.

    Args:
        features_LD: (L, D), or (V, L, D) under several views: fits see all of them, scores view 0.
        splits: the parts validated on; see :func:`~activetune.data.splits.validation_splits`.
        quiet: show no progress.

    Returns:
        One trial a strength, in the order given; empty without a split.
    """
    views_VLD = _as_views(features_LD)
    if not splits:
        return []
    ordered = sorted(strengths)  # weak to strong: each fit starts from the last one's solution
    logits: dict[float, list[FloatArray]] = {strength: [] for strength in ordered}
    with progress(len(splits) * len(ordered), "probe", unit="fits", quiet=quiet) as meter:
        for split in splits:
            kept = np.setdiff1d(np.arange(len(indices)), split)
            path = _fit_path(views_VLD[:, kept], indices[kept], ordered, int(indices.max()) + 1, balance=balance)
            for strength, head in zip(ordered, path, strict=True):
                logits[strength].append(head.logits(views_VLD[0, split]))
                meter.advance()
    tried = indices[np.concatenate(splits)]
    return [Trial.of(strength, np.concatenate(logits[strength]), tried) for strength in strengths]


def best_trial(trials: Sequence[AnyTrial], *, by: Criterion = "loss") -> AnyTrial:
    """The best by a criterion among the trials whose accuracy is within one standard error of the highest.

    On few items the highest accuracy alone is mostly luck; the loss tells more of each answer (experiments/LOG.md).

    Args:
        by: ``loss``, the lowest; ``smoothed``, the highest smoothed accuracy, among models whose losses do not compare;
            ``strength``, the lowest: the simplest model that is as good; ``first``, the one given first if it is among
            them, otherwise as ``smoothed``: of many others some are better by luck.
    """
    highest = max(trial.top1 for trial in trials)
    error = (highest * (1 - highest) / trials[0].n) ** 0.5
    equals = [trial for trial in trials if trial.top1 >= highest - error]
    if by == "first" and trials[0] in equals:
        return trials[0]
    return min(equals, key=lambda trial: -trial.smoothed if by in ("smoothed", "first") else getattr(trial, by))


def _as_views(features: FloatArray) -> FloatArray:
    return features if features.ndim == 3 else features[None]


def _fit_path(
    views_VLD: FloatArray,
    indices: IntArray,
    strengths: Sequence[float],
    classes: int,
    iterations: int = 1000,
    balance: float = 0.0,
) -> Iterator[LinearHead]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    views = len(views_VLD)
    features = np.asarray(views_VLD, dtype=np.float32).reshape(-1, views_VLD.shape[2])
    weights = np.bincount(indices)[indices] ** -float(balance)
    weights *= len(indices) / weights.sum() / views  # an item weighs as much under any number of views
    targets, weights = np.tile(indices, views), np.tile(weights, views)
    centre = features.mean(axis=0)
    scale = max(float(np.linalg.norm(features, axis=1).mean()), 1e-12)
    prepared = (features - centre) / scale
    model = LogisticRegression(max_iter=iterations, warm_start=True)
    for strength in strengths:
        model.C = strength
        threads = one_thread() if prepared.size * classes <= ON_ONE_THREAD else contextlib.nullcontext()
        with warnings.catch_warnings(), threads:
            warnings.simplefilter("ignore", ConvergenceWarning)
            warnings.filterwarnings("ignore", message="The number of unique classes")  # one label a class is usual here
            model.fit(prepared, targets, weights)
        weight, bias = model.coef_, model.intercept_
        if len(weight) == 1:  # two classes: one logit between them, shared out evenly
            weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        weight_CD = np.zeros((classes, len(centre)))
        bias_C = np.full(classes, bias.mean() + NEVER)  # the others' logits have mean zero for every item: one is above
        weight_CD[model.classes_], bias_C[model.classes_] = weight / scale, bias
        yield LinearHead(weight_CD.astype(np.float32), (bias_C - weight_CD @ centre).astype(np.float32))
