"""Simple classifiers on frozen features, the same for every probe that answers by them.

Shape legend: N test items, L labelled items, D feature size, C classes.
"""

from __future__ import annotations

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.features.distances import unit_rows
from activetune.networks.regression import DEFAULT_STRENGTH, fit_best, fit_linear

NEIGHBOURS, TEMPERATURE = 20, 0.07  # Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", 2021
CHUNK = 1024


def by_neighbours(labelled_LD: FloatArray, targets_L: IntArray, test_ND: FloatArray, neighbours: int) -> IntArray:
    """(N,) classes by the labelled items of highest cosine, each counting ``exp(cosine / 0.07)``."""
    labelled, test = unit_rows(labelled_LD), unit_rows(test_ND)
    count, classes = min(neighbours, len(labelled)), int(targets_L.max()) + 1
    found = np.empty(len(test), dtype=np.int64)
    for start in range(0, len(test), CHUNK):
        cosine = test[start : start + CHUNK] @ labelled.T
        nearest = np.argpartition(-cosine, count - 1, axis=1)[:, :count]
        weight = np.exp(np.take_along_axis(cosine, nearest, axis=1) / TEMPERATURE)
        votes = np.zeros((len(cosine), classes))
        np.add.at(votes, (np.arange(len(cosine))[:, None], targets_L[nearest]), weight)
        found[start : start + CHUNK] = votes.argmax(axis=1)
    return found


def by_few(labelled_LD: FloatArray, targets_L: IntArray, test_ND: FloatArray) -> IntArray:
    """(N,) classes by logistic regression of one strength: few labels leave none to choose it by."""
    found: IntArray = fit_linear(labelled_LD, targets_L, DEFAULT_STRENGTH).logits(test_ND).argmax(axis=1)
    return found


def by_probe(labelled_LD: FloatArray, targets_L: IntArray, test_ND: FloatArray, seed: int) -> IntArray:
    """(N,) classes by logistic regression, its strength chosen by cross-validation on the labelled items."""
    rng = np.random.default_rng([seed, 3])
    fitted = fit_best(labelled_LD, targets_L, rng=rng)
    found: IntArray = fitted.head.logits(test_ND).argmax(axis=1)
    return found


def some_of_each(targets_L: IntArray, count: int, rng: np.random.Generator) -> IntArray:
    """Positions of ``count`` items of each class, or of all where a class has fewer."""
    drawn = [rng.permutation(np.flatnonzero(targets_L == kind))[:count] for kind in np.unique(targets_L)]
    return np.sort(np.concatenate(drawn))
