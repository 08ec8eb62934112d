"""The one home of metrics: whatever chooses a setting, scores a model or draws a curve computes it here.

Conventions are scikit-learn's, and the tests compare with it exactly. An item whose true class the model does not know
has a class of its own beyond the model's outputs: it counts as wrong everywhere.
Shape legend: N items, C outputs of a model, Y classes: the outputs, then the classes that only the answers have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray

Counts = npt.NDArray[np.int64]
TOP = 5
TOLD = {
    "top1": "top-1",
    "miou": "mean IoU",
    "map": "mAP",
    "map50": "mAP at IoU 0.5",
    "map75": "mAP at IoU 0.75",
    "ar": "average recall",
    "cider": "CIDEr-D",
}
BINS = 15  # of the calibration error: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017


class Scale(NamedTuple):
    """How a score is told: multiplied by ``factor``, before ``unit``, and with how many digits more than a share."""

    factor: float = 100.0
    unit: str = "%"
    digits: int = 0


SHARE = Scale()
SCALES = {"cider": Scale(1.0, "of 10", 2)}  # of scores that are no shares in [0, 1]


def scale_of(metric: str) -> Scale:
    """How a score is told: shares in percent; CIDEr-D, which is none, as it is.

    >>> scale_of("miou").unit, scale_of("cider").unit
    ('%', 'of 10')
    """
    return SCALES.get(metric, SHARE)


def told(metric: str) -> str:
    """A metric's name in a sentence.

    >>> told("top1"), told("balanced_accuracy")
    ('top-1', 'balanced accuracy')
    """
    return TOLD.get(metric, metric.replace("_", " "))


def capital(text: str) -> str:
    """A text as a sentence begins with it; names that have their capital inside stay.

    >>> capital("mean IoU"), capital("mAP")
    ('Mean IoU', 'mAP')
    """
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def told_value(metric: str, value: float, digits: int = 2) -> str:
    """A score as a person reads it; see :func:`scale_of`.

    >>> told_value("miou", 0.3439), told_value("cider", 0.21)
    ('34.39 %', '0.2100 of 10')
    """
    scale = scale_of(metric)
    return f"{scale.factor * value:.{digits + scale.digits}f} {scale.unit}"


def told_score(metric: str, value: float, digits: int = 2) -> str:
    """Its name and value.

    >>> told_score("miou", 0.3439)
    'mean IoU 34.39 %'
    """
    return f"{told(metric)} {told_value(metric, value, digits)}"


def softmax(logits_NC: FloatArray) -> FloatArray:
    """Probabilities (N, C) of logits."""
    powers_NC = np.exp(logits_NC - logits_NC.max(axis=1, keepdims=True))
    found: FloatArray = powers_NC / powers_NC.sum(axis=1, keepdims=True)
    return found


def accuracy(predicted_N: npt.NDArray[Any], truth_N: npt.NDArray[Any]) -> float:
    """Share of items whose predicted class is the true one, in [0, 1].

    >>> accuracy(np.array([0, 1, 1]), np.array([0, 1, 2])) == 2 / 3
    True
    """
    return float((predicted_N == truth_N).mean())


def top1(scores_NC: FloatArray, truth_N: IntArray) -> float:
    """Share of items whose highest score is that of the true class: the primary metric of classification."""
    return accuracy(scores_NC.argmax(axis=1), truth_N)


def among_highest(scores_NC: FloatArray, truth_N: IntArray, k: int = TOP) -> npt.NDArray[np.bool_]:
    """Whether the true class is among the ``k`` highest scores, (N,); the first of equal scores is the higher one.

    A true class outside [0, C) is never among them.
    """
    known_N = (truth_N >= 0) & (truth_N < scores_NC.shape[1])
    own_N1 = scores_NC[np.arange(len(truth_N)), np.where(known_N, truth_N, 0)][:, None]
    earlier_NC = np.arange(scores_NC.shape[1]) < truth_N[:, None]
    above_N = ((scores_NC > own_N1) | ((scores_NC == own_N1) & earlier_NC)).sum(axis=1)
    found: npt.NDArray[np.bool_] = known_N & (above_N < k)
    return found


def margins_of(logits_NC: FloatArray, indices: IntArray) -> FloatArray:
    """How far the logit of each item's class lies above the highest of the others, (N,)."""
    rows = np.arange(len(indices))
    others_NC = np.array(logits_NC, dtype=np.float64)
    others_NC[rows, indices] = -np.inf
    found: FloatArray = logits_NC[rows, indices] - others_NC.max(axis=1)
    return found


def smoothed_accuracy(margins_N: FloatArray, weight_N: FloatArray | None = None) -> float:
    """``mean_i sigmoid(3 m_i / mean |m|)``: accuracy that also counts by how much an item is right or wrong.

    On few items accuracy is mostly luck, and a loss also tells how sure a model is, in which models of different kinds
    differ for other reasons (label smoothing, their length of training). Margins relative to their own mean leave that
    out (experiments/LOG.md).

    Args:
        weight_N: of the items in the mean; all alike by default.
    """
    scale = max(float(np.abs(margins_N).mean()), 1e-12)
    return float(np.average(1 / (1 + np.exp(-np.clip(3 * margins_N / scale, -60, 60))), weights=weight_N))


@dataclass(frozen=True)
class Measured:
    """How good a model is on ``n`` items, by the metric that a task's models are chosen by.

    Attributes:
        value: of the task's primary metric, in [0, 1]; more is better. loss: mean of the task's loss.
        n: as many items of equal weight would be as certain; the number of items, where these weigh alike.
        smoothed: a number by which models of different kinds compare where ``value`` is mostly luck.
        beside: other metrics by name, which choose nothing.
        predicted_N, truth_N: class indices, where an item has one; empty elsewhere. weight_N: what such an item counts
            in ``value``, 1 on average.
    """

    value: float
    loss: float
    n: float
    smoothed: float = float("nan")
    beside: Mapping[str, float] = field(default_factory=dict, compare=False)
    predicted_N: IntArray = field(default_factory=lambda: NO_INDICES, repr=False, compare=False)
    truth_N: IntArray = field(default_factory=lambda: NO_INDICES, repr=False, compare=False)
    weight_N: FloatArray = field(default_factory=lambda: np.empty(0), repr=False, compare=False)

    @property
    def credit_N(self) -> FloatArray:
        """(N,) what each item's answer adds: its weight, 0 where it is wrong. Their mean is ``value``."""
        found: FloatArray = self.weight_N * (self.predicted_N == self.truth_N)
        return found


def cross_entropies(logits_NC: FloatArray, truth_N: IntArray) -> FloatArray:
    """Negative logarithm of the probability of each item's class, (N,)."""
    found: FloatArray = np.logaddexp.reduce(logits_NC, axis=1) - logits_NC[np.arange(len(truth_N)), truth_N]
    return found


def measure_top1(logits_NC: FloatArray, truth_N: IntArray) -> Measured:
    """Logits of items of one class each, measured by top-1, cross-entropy and smoothed accuracy."""
    logits_NC = np.asarray(logits_NC, dtype=np.float64)
    return Measured(
        value=top1(logits_NC, truth_N),
        loss=float(cross_entropies(logits_NC, truth_N).mean()),
        n=len(truth_N),
        smoothed=smoothed_accuracy(margins_of(logits_NC, truth_N)),
        predicted_N=logits_NC.argmax(axis=1),
        truth_N=truth_N,
        weight_N=np.ones(len(truth_N)),
    )


def measure_balanced(logits_NC: FloatArray, truth_N: IntArray) -> Measured:
    """The same with every class that occurs counting alike: balanced accuracy, and the classes' mean losses.

    ``n`` is ``Y^2 / sum_y 1 / n_y``: of as many items the share of right ones would vary as much.
    """
    logits_NC = np.asarray(logits_NC, dtype=np.float64)
    predicted_N = logits_NC.argmax(axis=1)
    counts = np.bincount(truth_N)
    weight_N = 1 / (np.count_nonzero(counts) * counts[truth_N])  # they add up to 1, but for rounding
    return Measured(
        value=balanced_accuracy(predicted_N, truth_N),
        loss=float(weight_N @ cross_entropies(logits_NC, truth_N)),
        n=float(1 / (weight_N @ weight_N)),
        smoothed=smoothed_accuracy(margins_of(logits_NC, truth_N), weight_N),
        beside={"top1": accuracy(predicted_N, truth_N)},
        predicted_N=predicted_N,
        truth_N=truth_N,
        weight_N=len(truth_N) * weight_N,
    )


@dataclass(frozen=True)
class ClassCounts:
    """Counts by class, from which the class-wise metrics follow; no Y x Y matrix is needed.

    Attributes:
        right_Y: items of a class that were predicted as it. true_Y: items of it. predicted_Y: items predicted as it.
    """

    right_Y: Counts
    true_Y: Counts
    predicted_Y: Counts

    @classmethod
    def of(cls, truth_N: IntArray, predicted_N: IntArray, classes: int) -> ClassCounts:
        """Count ``classes`` classes."""
        right_N = truth_N[truth_N == predicted_N]
        counts = (np.bincount(found, minlength=classes).astype(np.int64) for found in (right_N, truth_N, predicted_N))
        return cls(*counts)

    @property
    def recall_Y(self) -> FloatArray:
        """Share of a class's items that are right; NaN for a class that no item has."""
        with np.errstate(invalid="ignore"):
            found: FloatArray = np.where(self.true_Y > 0, self.right_Y / self.true_Y, np.nan)
        return found

    @property
    def against_rest_Y(self) -> FloatArray:
        """Balanced accuracy of each class against all others: the mean of its recall and theirs; NaN as in recall.

        Recall alone rises when a model answers with the class more often; this does not.
        """
        others_Y = self.true_Y.sum() - self.true_Y
        wrong_Y = self.predicted_Y - self.right_Y
        with np.errstate(invalid="ignore", divide="ignore"):
            found: FloatArray = (self.recall_Y + np.where(others_Y > 0, 1 - wrong_Y / others_Y, np.nan)) / 2
        return found

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur among the answers (``sklearn.metrics.balanced_accuracy_score``)."""
        return float(np.nanmean(self.recall_Y))

    @property
    def macro_f1(self) -> float:
        """Mean of ``2 right / (true + predicted)`` over classes that were answered or predicted (``f1_score``)."""
        total_Y = self.true_Y + self.predicted_Y
        return float((2 * self.right_Y[total_Y > 0] / total_Y[total_Y > 0]).mean())


def balanced_accuracy(predicted_N: IntArray, truth_N: IntArray) -> float:
    """Mean recall over the classes that occur in ``truth_N``."""
    classes = int(max(predicted_N.max(), truth_N.max())) + 1
    return ClassCounts.of(truth_N, predicted_N, classes).balanced_accuracy


def calibration_error(confidence_N: FloatArray, right_N: npt.NDArray[np.bool_], bins: int = BINS) -> float:
    """Expected calibration error in [0, 1]: ``sum_b n_b / N * |accuracy_b - confidence_b|``, Guo et al., equation 5.

    Args:
        confidence_N: the highest probability of each item, in [0, 1]. bins: intervals ``(b / bins, (b + 1) / bins]``
            of equal width; 0 falls into the first.
    """
    place_N = np.clip(np.ceil(np.asarray(confidence_N, dtype=np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    sure_b = np.bincount(place_N, weights=confidence_N, minlength=bins)
    right_b = np.bincount(place_N, weights=right_N, minlength=bins)
    return float(np.abs(right_b - sure_b).sum() / len(confidence_N))


def auroc(scores_N: FloatArray, positive_N: npt.NDArray[np.bool_]) -> float:
    """Area under the ROC curve in [0, 1] (``roc_auc_score``): how often a positive item scores above a negative one.

    A tie counts as half, after Mann and Whitney. NaN where one of both kinds is missing.
    """
    positives = int(positive_N.sum())
    negatives = len(positive_N) - positives
    if not positives or not negatives:
        return float("nan")
    _, place_N, count = np.unique(scores_N, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    above = mean_rank[place_N][positive_N].sum() - positives * (positives + 1) / 2
    return float(above / (positives * negatives))
