"""Pseudo-labels and their weights against their equations; ``recipes/test_pool_probe.py`` has the graph's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune.base.arrays import FloatArray, IntArray
from activetune.features.distances import Float32
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import LinearHead, fit_linear
from activetune.training.label_propagation import LabelPropagation, PseudoLabels
from activetune.training.pool_regression import ITERATIONS, PoolLearning, PoolRegression
from activetune.training.self_training import stages_of

CLASSES, LABELLED = 3, 9
OPTIONS = PoolLearning(neighbours=5)


def pool(seed: int, count: int = 60) -> tuple[Float32, IntArray, IntArray]:
    """Features in groups, positions of labelled items, and their classes."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(count) % CLASSES
    features_ND = 2 * np.eye(CLASSES, 8)[kinds] + rng.standard_normal((count, 8))
    positions_L = rng.permutation(count)[:LABELLED]
    return features_ND.astype(np.float32), positions_L, rng.integers(0, CLASSES, LABELLED)


def some_head(seed: int) -> LinearHead:
    rng = np.random.default_rng([seed, 1])
    weight_CD, bias_C = rng.standard_normal((CLASSES, 8)), rng.standard_normal(CLASSES)
    return LinearHead(weight_CD.astype(np.float32), bias_C.astype(np.float32))


def by_the_equations(
    found: LabelPropagation, training: IntArray, head: LinearHead, alpha: float, probe_share: float
) -> tuple[FloatArray, FloatArray]:
    """(N, C) mixed probabilities m, and (N,) certainties omega, of all items as if none had a label."""
    size = len(found.features_ND)
    labels_NC = np.zeros((size, CLASSES), dtype=np.float32)
    labels_NC[found.positions_L[training], found.indices_L[training]] = 1
    spread_NC, total_N1 = (
        found.graph.spread(one, alpha).astype(np.float64) for one in (labels_NC, labels_NC.sum(axis=1, keepdims=True))
    )
    propagated_NC = spread_NC / np.maximum(total_N1, 1e-12)
    logits_NC = head.logits(found.features_ND).astype(np.float64)
    head_NC = np.exp(logits_NC) / np.exp(logits_NC).sum(axis=1, keepdims=True)
    mixed_NC = probe_share * head_NC + (1 - probe_share) * propagated_NC
    shares_NC = mixed_NC / mixed_NC.sum(axis=1, keepdims=True)
    entropy_N = -(shares_NC * np.log(np.maximum(shares_NC, 1e-12))).sum(axis=1)
    return mixed_NC, 1 - entropy_N / np.log(CLASSES)


@given(st.integers(0, 1000), st.sampled_from([0.5, 0.8]), st.sampled_from([0.1, 0.3, 1.0]))
@settings(max_examples=20, deadline=None)
def test_pseudo_labels_and_certainties_are_those_of_the_equations(seed: int, alpha: float, probe_share: float) -> None:
    features_ND, positions_L, indices_L = pool(seed)
    propagation = LabelPropagation(features_ND, positions_L, indices_L, CLASSES, 5, seed=0)
    training, head = np.arange(0, LABELLED, 2), some_head(seed)
    mixed_NC, certainty_N = by_the_equations(propagation, training, head, alpha, probe_share)
    found = propagation.pseudo_label(training, head, alpha, probe_share)
    known = positions_L[training]
    others = np.setdiff1d(np.arange(len(features_ND)), known)
    assert found.classes_N[known].tolist() == indices_L[training].tolist()
    assert (found.certainty_N[known] == 1).all()
    np.testing.assert_allclose(found.certainty_N[others], certainty_N[others], atol=1e-4)
    taken = mixed_NC[others, found.classes_N[others]]
    np.testing.assert_allclose(taken, mixed_NC[others].max(axis=1), atol=1e-5)


@pytest.mark.parametrize(("class_balance", "balance"), [(0.5, 0.0), (0.0, 0.0), (0.2, 0.7)])
def test_the_pool_probe_weighs_by_certainty_and_class_prior(class_balance: float, balance: float) -> None:
    features_ND, positions_L, indices_L = pool(3)
    options = replace(OPTIONS, class_balance=class_balance, labelled_weight=2.0)
    given_: Any = (features_ND, positions_L, indices_L, CLASSES, options, Imbalance(balance=balance))
    regression = PoolRegression(*given_, seed=0)
    every = np.arange(LABELLED)
    pseudo = regression.propagation.pseudo_label(every, some_head(3), 0.8, 0.3)
    prior_C = [pseudo.certainty_N[pseudo.classes_N == one].sum() for one in range(CLASSES)]
    exponent = max(class_balance, balance)
    weights = [
        certainty / prior_C[one] ** exponent * (2.0 if item in positions_L else 1.0)
        for item, (one, certainty) in enumerate(zip(pseudo.classes_N, pseudo.certainty_N, strict=True))
    ]
    expected = fit_linear(
        features_ND,
        pseudo.classes_N,
        options.strength,
        classes=CLASSES,
        iterations=ITERATIONS,
        weights_L=np.asarray(weights),
    )
    found = regression.fit_pool_probe(pseudo, every)
    np.testing.assert_allclose(found.weight_CD, expected.weight_CD, atol=1e-3)
    assert not np.allclose(found.weight_CD, fit_linear(features_ND, pseudo.classes_N, options.strength).weight_CD)


def test_an_item_that_is_not_certain_at_all_has_a_prior() -> None:
    prior_N = PseudoLabels(np.array([0, 1]), np.array([0.0, 0.5])).prior_N
    assert prior_N[0] > 0 and prior_N[1] == 0.5


@pytest.mark.parametrize("turns", [0, 1, 3])
def test_every_student_learns_from_a_stage_that_learned_from_the_pool(turns: int) -> None:
    stages = stages_of(turns)
    assert [stage.kind for stage in stages] == ["full", "pool", *["student", "pool"] * turns]
    assert len({stage.name for stage in stages}) == len(stages)
    assert all(stage.name.startswith(stage.kind) for stage in stages)  # as manifests have had them
    assert [stage.trains_network for stage in stages] == [stage.kind in ("full", "student") for stage in stages]
