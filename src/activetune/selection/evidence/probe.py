"""The current model: a linear probe on the items whose label is known.

Logistic regression on features of unit length, its strength chosen on labels that the fit does not see (see
``networks/regression.py``). Classes are counted by the answers: C is the highest class index that was answered, plus
one. A class below it that nobody has answered yet can't be predicted: its probability is exactly 0, its row of the
weight is 0 and its bias ``NO_LOGIT`` (finite, so that products with it stay defined; softmax makes it 0). Uncertainties
are not touched by such columns.
Shape legend: N items, D feature size, M items with a known answer, C classes.
Cost: up to 25 small fits, then 2 N D C operations in pieces; O(N C) memory for the answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.data.splits import stratified_folds
from activetune.features.distances import Float32, pieces
from activetune.networks.regression import CROSS_VALIDATED, LinearHead, fit_best
from activetune.selection.evidence import known_answers
from activetune.selection.problem import Evidence
from activetune.selection.selectors._ranking import entropy

PROVIDES = frozenset({"probs_NC", "head", "losses_N"})
NO_LOGIT = -1e9  # the logit of a class that was never answered


def provide(evidence: Evidence, wanted: frozenset[str], rng: np.random.Generator) -> dict[str, Any]:
    """Fit the probe.

    Returns:
        ``head``, ``probs_NC`` (N, C) float32, whose rows sum to 1, and ``losses_N``: the cross-entropy that the probe
        itself expects of each item, which is the entropy of its prediction, as the true class is not known.
    """
    head = fit_head(*known_answers(evidence), evidence.features_ND, rng)
    found: dict[str, Any] = {"head": head}
    if wanted - {"head"}:
        found["probs_NC"] = probabilities(head, evidence.features_ND)
    if "losses_N" in wanted:
        found["losses_N"] = entropy(found["probs_NC"]).astype(np.float32)
    return found


def fit_head(
    rows: IntArray,
    answers: IntArray,
    features_ND: Float32,
    rng: np.random.Generator,
    *,
    cross_validated: int = CROSS_VALIDATED,
) -> LinearHead:
    """The probe of the items ``rows`` (M,) with class indices ``answers`` (M,), of at least two classes.

    Args:
        cross_validated: answers up to which the strength is chosen by cross-validation; of more a fifth is held out.
    """
    classes, indices = np.unique(answers, return_inverse=True)
    held_out = NO_INDICES
    if len(rows) > cross_validated:
        held_out = np.flatnonzero(stratified_folds(indices, 5, rng) == 0)
    fitted = fit_best(features_ND[rows], indices, rng=rng, held_out=held_out).head
    weight_CD = np.zeros((int(classes[-1]) + 1, features_ND.shape[1]), dtype=np.float32)
    bias_C = np.full(len(weight_CD), NO_LOGIT, dtype=np.float32)
    weight_CD[classes], bias_C[classes] = fitted.weight_CD, fitted.bias_C
    return LinearHead(weight_CD, bias_C)


def probabilities(head: LinearHead, features_ND: Float32) -> npt.NDArray[np.float32]:
    """Softmax of the head's logits, (N, C)."""
    probs_NC = np.empty((len(features_ND), len(head.bias_C)), dtype=np.float32)
    for part in pieces(*probs_NC.shape):
        logits = head.logits(features_ND[part])
        np.exp(logits - logits.max(axis=1, keepdims=True), out=probs_NC[part])
        probs_NC[part] /= probs_NC[part].sum(axis=1, keepdims=True)
    return probs_NC
