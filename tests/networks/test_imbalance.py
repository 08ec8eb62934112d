"""Classes of different size: what logit adjustment and label smoothing come to, in optima that can be told."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from activetune.base.arrays import FloatArray
from activetune.data.kinds import VOID, ArrayMask, Names
from activetune.data.labels import Labels
from activetune.networks.imbalance import Imbalance, binary_cross_entropy, cross_entropy, log_shares
from activetune.networks.regression import fit_linear
from activetune.tasks import make_task

SHARES = (0.9, 0.099, 0.001)
ADDED = torch.tensor(np.log(SHARES), dtype=torch.float32)
SMOOTHING = 0.1


def optimum(loss: Any, shape: tuple[int, ...]) -> Tensor:
    """The logits at which a loss is lowest."""
    logits = torch.zeros(shape, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        found: Tensor = loss(logits)
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    return logits.detach()


def test_the_same_smoothing_of_pixels_and_of_images() -> None:
    targets = torch.tensor([[[0, 1], [2, VOID]]])
    task: Any = replace(make_task("segmentation"), smoothing=SMOOTHING, added=tuple(ADDED.tolist()))  # type: ignore[type-var]
    logits = torch.randn(1, 3, 2, 2)
    batch = SimpleNamespace(targets=targets, weight=3.0)
    rows = logits[0].flatten(1).T[:3]
    expected = cross_entropy(rows, functional.one_hot(torch.arange(3), 3).float(), ADDED, SMOOTHING, reduction="sum")
    assert float(task.loss(logits, batch).sum) == pytest.approx(float(expected), rel=1e-5)
    plain: Any = replace(task, added=())
    even = cross_entropy(
        rows, functional.one_hot(torch.arange(3), 3).float(), torch.zeros(3), SMOOTHING, reduction="sum"
    )
    assert float(plain.loss(logits, batch).sum) == pytest.approx(float(even), rel=1e-5)


def test_a_rare_class_is_no_answer_to_images_without_it() -> None:
    """Of 200 images one shows the class: images of the others must not be named by it."""
    shown_LC = np.zeros((200, 2), dtype=np.int64)
    shown_LC[0, 0] = shown_LC[:180, 1] = 1
    added_C = torch.from_numpy(Imbalance(logit_adjustment=1).added_to_logits(shown_LC, 2)).float()
    absent = torch.tensor([[0.0, 0.0]])
    logits = optimum(lambda one: binary_cross_entropy(one, absent, added_C, SMOOTHING), (1, 2))
    assert bool((logits.sigmoid() < 0.25).all())
    present = optimum(lambda one: binary_cross_entropy(one, 1 - absent, added_C, SMOOTHING), (1, 2))
    assert bool((present.sigmoid() > 0.75).all())


def test_smoothing_without_an_adjustment_is_spread_evenly() -> None:
    logits, answers = torch.randn(5, 4), (torch.rand(5, 4) > 0.5).float()
    expected = functional.binary_cross_entropy_with_logits(logits, 0.9 * answers + 0.1 / 4)
    assert float(binary_cross_entropy(logits, answers, torch.zeros(4), 0.1)) == pytest.approx(float(expected))


@pytest.mark.parametrize("even", [0.0, 0.5, 1.0])
def test_an_adjustment_takes_off_the_shares_that_the_fit_had(even: float) -> None:
    """Features that tell nothing: what is left after the adjustment is no preference, whatever the weights."""
    indices = np.repeat([0, 1], [900, 100])
    features: FloatArray = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    weights_L = np.bincount(indices)[indices] ** -even * np.where(np.arange(1000) % 7, 1.0, 5.0)
    options: dict[str, Any] = {"classes": 2, "iterations": 200, "weights_L": weights_L}
    head = fit_linear(features, indices, 0.01, imbalance=Imbalance(logit_adjustment=1), **options)
    assert abs(float(np.diff(head.logits(features).mean(axis=0))[0])) < 0.05
    plain = fit_linear(features, indices, 0.01, imbalance=Imbalance(), **options)
    assert float(-np.diff(plain.logits(features).mean(axis=0))[0]) == pytest.approx((1 - even) * np.log(9), abs=0.1)


def test_shares_of_weighted_items() -> None:
    indices = np.array([0, 0, 1])
    np.testing.assert_allclose(np.exp(log_shares(indices, 2, np.array([1.0, 1.0, 2.0]))), [0.5, 0.5])
    np.testing.assert_allclose(np.exp(log_shares(indices, 2)), [2 / 3, 1 / 3])


def test_masks_that_are_void_where_they_are_trained_on_change_no_logit_to_infinity() -> None:
    void = ArrayMask(np.full((4, 4), VOID, dtype=np.int32))
    labels = Labels(["1", "2"], [void, ArrayMask(np.zeros((4, 4), dtype=np.int32))], ["a", "b"])
    task = make_task("segmentation").prepared(labels, np.array([0]), Imbalance(logit_adjustment=1))
    assert np.isfinite(task.added).all()


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("several", [False, True])
def test_both_remedies_together_correct_once(balance: float, several: bool) -> None:
    """Features that tell nothing: after both there is no preference, as after either of them at its full strength."""
    indices = np.repeat([0, 1], [900, 100])
    targets = np.eye(2, dtype=np.int64)[indices] if several else indices
    features: FloatArray = np.random.default_rng(0).normal(size=(1000, 4)).astype(np.float32)
    asked = Imbalance(balance=balance, logit_adjustment=1)
    head = fit_linear(features, targets, 0.01, imbalance=asked, classes=2, iterations=200)
    assert abs(float(np.diff(head.logits(features).mean(axis=0))[0])) < 0.05


@pytest.mark.parametrize("task", ["classification", "multilabel", "segmentation"])
def test_a_training_adjusts_by_the_shares_that_it_draws(task: str) -> None:
    strata = np.repeat([0, 1], [9, 1])
    answers: dict[str, list[Any]] = {
        "classification": [("a", "b")[row] for row in strata],
        "multilabel": [Names.of([("a", "b")[row]]) for row in strata],
        "segmentation": [ArrayMask(np.full((2, 2), row, dtype=np.int32)) for row in strata],
    }
    labels = Labels([str(row) for row in range(10)], answers[task], ["a", "b"])
    for balance, share in ((0.0, 0.1), (1.0, 0.5)):
        asked = Imbalance(balance=balance, logit_adjustment=1)
        drawn = asked.weights(strata)
        prepared: Any = make_task(task).prepared(labels, np.arange(10), asked, weights_L=drawn)
        assert np.diff(prepared.added)[0] == pytest.approx(
            (2 if task == "multilabel" else 1) * np.log(share / (1 - share))
        )
