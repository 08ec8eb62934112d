"""How well several classes per image are told: average precision by class, and F1 where a class is named at all.

Conventions are scikit-learn's. A class that no item shows has no average precision and is left out of the means.
Shape legend: N items, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.evaluation.metrics import Measured

PRIMARY = "map"
NAMED = 0.5  # probability from which a class is named


def average_precisions(scores_NC: FloatArray, truth_NC: IntArray) -> FloatArray:
    """(C,) average precision ``sum_k (R_k - R_k-1) P_k``; NaN for a class that no item shows."""
    from sklearn.metrics import average_precision_score

    found = np.full(truth_NC.shape[1], np.nan)
    for column in np.flatnonzero(truth_NC.any(axis=0)):
        found[column] = average_precision_score(truth_NC[:, column], scores_NC[:, column])
    return found


def f1_scores(named_NC: IntArray, truth_NC: IntArray) -> tuple[FloatArray, float]:
    """(C,) F1 of each class, NaN where it is neither shown nor named, and the F1 of all pairs together (micro)."""
    right_C = (named_NC & truth_NC).sum(axis=0)
    total_C = named_NC.sum(axis=0) + truth_NC.sum(axis=0)
    with np.errstate(invalid="ignore"):
        by_class: FloatArray = np.where(total_C > 0, 2 * right_C / total_C, np.nan)
    return by_class, float(2 * right_C.sum() / max(1, total_C.sum()))


def binary_cross_entropies(logits_NC: FloatArray, truth_NC: IntArray) -> FloatArray:
    """(N, C) ``log(1 + exp(-l))`` where a class is shown, ``log(1 + exp(l))`` where it is not."""
    found: FloatArray = np.logaddexp(0, np.where(truth_NC > 0, -logits_NC, logits_NC))
    return found


def measure_map(logits_NC: FloatArray, truth_NC: IntArray) -> Measured:
    """Mean average precision, mean binary cross-entropy, and the share of right answers smoothed by their margins."""
    logits_NC = np.asarray(logits_NC, dtype=np.float64)
    precisions_C = average_precisions(logits_NC, truth_NC)
    known_C = np.isfinite(precisions_C)
    value = float(precisions_C[known_C].mean()) if known_C.any() else 0.0
    by_class, micro = f1_scores((logits_NC > 0).astype(np.int64), truth_NC)
    margins = np.where(truth_NC > 0, logits_NC, -logits_NC)
    scale = max(float(np.abs(margins).mean()), 1e-12)
    return Measured(
        value=value,
        loss=float(binary_cross_entropies(logits_NC, truth_NC).mean()),
        n=len(truth_NC),
        smoothed=float((1 / (1 + np.exp(-np.clip(3 * margins / scale, -60, 60)))).mean()),
        beside={"f1_micro": micro, "f1_macro": _mean(by_class)},
    )


def multilabel_scores(probs_NC: FloatArray, truth_NC: IntArray, classes: Sequence[str]) -> dict[str, Any]:
    """The content of ``scores.json``: ``map``, F1, ``subset_accuracy``, ``per_class`` and ``n``."""
    named_NC = (probs_NC >= NAMED).astype(np.int64)
    precisions_C = average_precisions(probs_NC, truth_NC)
    by_class, micro = f1_scores(named_NC, truth_NC)
    per_class = {
        name: {"ap": float(precision), "f1": float(f1), "n": int(count)}
        for name, precision, f1, count in zip(classes, precisions_C, by_class, truth_NC.sum(axis=0), strict=True)
        if count
    }
    return {
        "primary": PRIMARY,
        "map": _mean(precisions_C),
        "n": len(truth_NC),
        "f1_micro": micro,
        "f1_macro": _mean(by_class),
        "subset_accuracy": float((named_NC == truth_NC).all(axis=1).mean()),
        "per_class": per_class,
    }


def _mean(values_C: FloatArray) -> float:
    """Of those that are there; 0 where none is."""
    known = values_C[np.isfinite(values_C)]
    return float(known.mean()) if len(known) else 0.0
