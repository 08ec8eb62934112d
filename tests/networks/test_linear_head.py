"""The linear probe against scikit-learn, and how its strength is chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from activetune.data.presence import rarest
from activetune.evaluation.metrics import Measured, margins_of, smoothed_accuracy
from activetune.evaluation.multilabel import measure_map
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import (
    DEFAULT_STRENGTH,
    STRENGTHS,
    LinearHead,
    StrengthTrial,
    best_strength,
    best_trial,
    choose_strength,
    fit_best,
    fit_linear,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def toy(classes: int = 3, size: int = 8, noise: float = 0.1, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Groups around the axes, far from the origin and not of unit size, so that centre and scale matter."""
    indices = np.tile(np.arange(classes), size)
    features = 3 * np.eye(classes + 2)[indices] + 7 + noise * rng(seed).normal(size=(len(indices), classes + 2))
    return features.astype(np.float32), indices


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return data.data[:count].astype(np.float32), data.target[:count].astype(np.int64)


def prepared(features: np.ndarray) -> np.ndarray:
    return (features - features.mean(axis=0)) / np.linalg.norm(features, axis=1).mean()


def centred(logits: np.ndarray) -> np.ndarray:
    """Logits mean the same up to a constant a row."""
    return logits - logits.mean(axis=1, keepdims=True)


# The fit --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_separable_groups_are_told_apart(classes: int) -> None:
    features, indices = toy(classes)
    others, truth = toy(classes, seed=1)
    head = fit_linear(features, indices, 100.0)
    assert head.weight_CD.shape == (classes, classes + 2)
    assert head.bias_C.shape == (classes,)
    assert (head.logits(others).argmax(axis=1) == truth).all()


@pytest.mark.parametrize("strength", [0.1, 10.0])
def test_equals_scikit_learn_on_prepared_features(strength: float) -> None:
    features, indices = digits(120)
    others, _ = digits(300)
    model = LogisticRegression(C=strength, max_iter=1000).fit(prepared(features), indices)
    expected = model.decision_function((others - features.mean(axis=0)) / np.linalg.norm(features, axis=1).mean())
    logits = fit_linear(features, indices, strength).logits(others)
    np.testing.assert_allclose(centred(logits), centred(expected), atol=2e-2)


def test_two_classes_give_scikit_learns_probabilities() -> None:
    features, indices = digits(200)
    features, indices = features[indices < 2], indices[indices < 2]
    model = LogisticRegression(C=1.0, max_iter=1000).fit(prepared(features), indices)
    logits = fit_linear(features, indices, 1.0).logits(features)
    probs = torch.softmax(torch.from_numpy(logits), dim=1).numpy()
    np.testing.assert_allclose(probs, model.predict_proba(prepared(features)), atol=1e-3)


def test_two_classes_share_the_logit_evenly() -> None:
    features, indices = toy(2)
    head = fit_linear(features, indices, 1.0)
    np.testing.assert_array_equal(head.weight_CD[0], -head.weight_CD[1])
    np.testing.assert_allclose(centred(head.logits(features)), head.logits(features), atol=1e-3)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 1.0), (50.0, 1.0), (0.0, 200.0), (-20.0, 0.01)])
def test_centre_and_scale_are_folded_in(shift: float, scale: float) -> None:
    base, indices = digits(100)
    features = ((base / 16 - 0.3) * scale + shift).astype(np.float32)
    head = fit_linear(features, indices, 1.0)
    # The same classifier, written for prepared features: w' = w s, b' = b + w m.
    length = np.linalg.norm(features, axis=1).mean()
    weight = head.weight_CD.astype(np.float64) * length
    bias = head.bias_C + head.weight_CD.astype(np.float64) @ features.mean(axis=0)
    model = LogisticRegression(C=1.0, max_iter=1000).fit(prepared(features), indices)
    np.testing.assert_allclose(centred(prepared(features) @ weight.T + bias), centred(head.logits(features)), atol=1e-2)
    np.testing.assert_allclose(weight - weight.mean(0), model.coef_ - model.coef_.mean(0), atol=2e-2)


def test_strength_does_not_depend_on_the_scale_of_the_features() -> None:
    features, indices = digits(100)
    small, large = (fit_linear(features * factor, indices, 1.0).logits(features * factor) for factor in (1e-3, 1e3))
    np.testing.assert_allclose(centred(small), centred(large), atol=1e-2)


def test_stronger_fits_are_surer() -> None:
    features, indices = digits(100)
    spread = [np.ptp(fit_linear(features, indices, strength).logits(features)) for strength in (0.1, 1.0, 10.0)]
    assert spread == sorted(spread)
    assert spread[0] < spread[2]


def test_equal_features_give_equal_logits() -> None:
    logits = fit_linear(np.zeros((6, 4), dtype=np.float32), np.array([0, 1, 2] * 2), 1.0).logits(np.zeros((1, 4)))
    np.testing.assert_allclose(centred(logits), 0, atol=1e-3)


def test_float16_features_are_computed_in_float32() -> None:
    features, indices = digits(100)
    half = fit_linear(features.astype(np.float16), indices, 1.0)
    np.testing.assert_allclose(half.weight_CD, fit_linear(features, indices, 1.0).weight_CD, atol=1e-4)
    assert half.logits(features.astype(np.float16)).dtype == np.float32


def test_the_same_fit_twice_is_the_same() -> None:
    features, indices = digits(100)
    first, second = (fit_best(features, indices, rng=rng(), folds=2) for _ in range(2))
    np.testing.assert_array_equal(first.head.weight_CD, second.head.weight_CD)
    assert first.strength == second.strength


def test_arguments_are_left_as_they_were() -> None:
    features, indices = toy()
    copies = features.copy(), indices.copy()
    features.setflags(write=False)
    fit_best(features, indices, rng=rng(), strengths=(1.0, 10.0), folds=2)
    np.testing.assert_array_equal(features, copies[0])
    np.testing.assert_array_equal(indices, copies[1])


def test_written_into_a_torch_layer_it_gives_the_same_logits() -> None:
    features, indices = digits(100)
    head = fit_linear(features, indices, 1.0)
    layer = torch.nn.Linear(64, 10)
    head.write_to(layer)
    with torch.inference_mode():
        np.testing.assert_allclose(layer(torch.from_numpy(features)), head.logits(features), atol=1e-4)


def test_writing_into_a_layer_of_another_shape_fails() -> None:
    with pytest.raises(RuntimeError):
        LinearHead(np.zeros((3, 4), np.float32), np.zeros(3, np.float32)).write_to(torch.nn.Linear(5, 3))


# Choosing the strength ------------------------------------------------------------------------------------------------


def test_every_strength_is_tried_in_the_order_given() -> None:
    features, indices = digits(80)
    strengths = (10.0, 0.1, 1.0)
    trials = choose_strength(features, indices, strengths, [np.arange(20)])
    assert tuple(trial.strength for trial in trials) == strengths


def test_a_trial_sees_the_other_items_alone() -> None:
    features, indices = digits(100)
    held_out = np.arange(0, 100, 5)
    kept = np.setdiff1d(np.arange(100), held_out)
    head = fit_linear(features[kept], indices[kept], 1.0)
    log_probs = torch.log_softmax(torch.from_numpy(head.logits(features[held_out])), dim=1).numpy()
    (trial,) = choose_strength(features, indices, [1.0], [held_out])
    assert trial.value == np.mean(log_probs.argmax(axis=1) == indices[held_out])
    assert trial.loss == pytest.approx(-log_probs[np.arange(20), indices[held_out]].mean(), abs=1e-3)


def test_held_out_items_decide() -> None:
    # With wrong answers for the held-out items, the weakest fit is the least wrong.
    features, indices = toy(3, size=10)
    held_out = np.arange(9)
    wrong = indices.copy()
    wrong[held_out] = (wrong[held_out] + 1) % 3
    kept = np.setdiff1d(np.arange(30), held_out)
    assert best_strength(choose_strength(features, wrong, STRENGTHS, [held_out])).strength == 0.1
    fitted = fit_best(features[kept], indices[kept], rng=rng(), held_out=np.arange(6))
    assert fitted.strength == 1000.0


def test_images_alone_in_their_rarest_class_are_validated_on_too() -> None:
    """Their other classes are told by other images; of a class that no fit has seen nothing is scored."""
    shown = np.zeros((30, 4), dtype=np.int64)
    shown[::2, 0] = shown[1::3, 1] = shown[4, 2] = 1
    features = np.eye(30, 8, dtype=np.float32) + shown[:, :2].repeat(4, axis=1)
    scored = set()

    def measure(logits: np.ndarray, truth: np.ndarray) -> Measured:
        scored.add(truth.shape)
        return measure_map(logits, truth)

    trials = fit_best(features, shown, rng=rng(), measure=measure, strata=rarest(shown)).trials
    assert {trial.n for trial in trials} == {30}
    assert scored == {(30, 2)}  # neither the class of one image nor that of none


def test_cross_validation_where_nothing_is_held_out() -> None:
    features, indices = digits(60)
    fitted = fit_best(features, indices, rng=rng(), folds=3)
    assert [trial.strength for trial in fitted.trials] == list(STRENGTHS)
    assert fitted.strength == best_strength(fitted.trials).strength
    assert all(round(trial.value * 60, 6) == round(trial.value * 60) for trial in fitted.trials)  # each item once


def test_default_where_each_class_has_one_label() -> None:
    features, indices = toy(4, size=1)
    fitted = fit_best(features, indices, rng=rng())
    assert fitted.strength == DEFAULT_STRENGTH
    assert not fitted.trials
    np.testing.assert_array_equal(fitted.head.weight_CD, fit_linear(features, indices, DEFAULT_STRENGTH).weight_CD)


def test_single_items_stay_in_training_of_every_fold() -> None:
    features, indices = toy(3, size=4)
    rows = np.array([0, 1, 2, 4, 5, 7, 8])  # one item of class 0, three of the others
    fitted = fit_best(features[rows], indices[rows], rng=rng(), folds=3)
    assert len(fitted.head.bias_C) == 3
    assert all(round(trial.value * 6, 6) == round(trial.value * 6) for trial in fitted.trials)


def test_a_single_strength_is_used_as_it_is() -> None:
    features, indices = toy()
    fitted = fit_best(features, indices, rng=rng(), strengths=(3.0,))
    assert fitted.strength == 3.0
    assert not fitted.trials


def test_the_final_fit_uses_every_label() -> None:
    features, indices = digits(100)
    fitted = fit_best(features, indices, rng=rng(), held_out=np.arange(30), strengths=(0.1, 1.0))
    np.testing.assert_array_equal(fitted.head.weight_CD, fit_linear(features, indices, fitted.strength).weight_CD)


def test_held_out_items_can_be_kept_out_of_the_final_fit() -> None:
    features, indices = digits(100)
    fitted = fit_best(features, indices, rng=rng(), held_out=np.arange(30), strengths=(0.1, 1.0), keep_held_out=True)
    alone = fit_linear(features[30:], indices[30:], fitted.strength)
    np.testing.assert_array_equal(fitted.head.weight_CD, alone.weight_CD)


def test_the_lower_loss_wins_where_accuracy_is_equal_within_its_error() -> None:
    accuracies, losses = (0.5, 0.9, 0.89, 0.9), (0.1, 0.8, 0.3, 0.5)
    trials = [
        StrengthTrial(value, loss, 100, strength=10.0**n)
        for n, (value, loss) in enumerate(zip(accuracies, losses, strict=True), -1)
    ]
    assert best_strength(trials).strength == 10.0


def test_smoothed_accuracy_does_not_ask_how_sure_a_model_is() -> None:
    generator = np.random.default_rng(0)
    logits, truth = generator.normal(size=(50, 6)), generator.integers(0, 6, 50)
    margins = margins_of(logits, truth)
    by_hand = [
        row[t] - max(value for c, value in enumerate(row) if c != t) for row, t in zip(logits, truth, strict=True)
    ]
    np.testing.assert_allclose(margins, by_hand)
    found = smoothed_accuracy(margins)
    assert smoothed_accuracy(margins_of(7 * logits + 3, truth)) == pytest.approx(found)
    sure = np.eye(6)[truth]
    assert smoothed_accuracy(margins_of(sure, truth)) > 0.9 > 0.1 > smoothed_accuracy(-margins_of(sure, truth))
    assert smoothed_accuracy(np.zeros(4)) == 0.5


def test_models_whose_losses_do_not_compare_are_judged_by_their_margins() -> None:
    found = [(0.80, 0.5, 50, 0.70), (0.82, 0.9, 50, 0.75), (0.5, 0.1, 50, 0.99)]
    trials = [StrengthTrial(*measured, strength=float(number)) for number, measured in enumerate(found, 1)]
    assert best_trial(trials).strength == 1.0
    assert best_trial(trials, by="smoothed").strength == 2.0
    assert best_trial(trials, by="first").strength == 1.0
    assert best_trial(trials[::-1], by="first").strength == 2.0


def test_the_weakest_of_equals_is_the_simplest_model() -> None:
    accuracies, losses = (0.5, 0.88, 0.89, 0.9), (0.1, 0.8, 0.3, 0.5)
    tried = enumerate(zip(accuracies, losses, strict=True))
    trials = [StrengthTrial(value, loss, 100, strength=10.0**n) for n, (value, loss) in tried]
    assert best_strength(trials).strength == 100.0
    assert best_strength(trials, by="strength").strength == 10.0
    assert best_strength(trials[::-1], by="strength").strength == 10.0


@pytest.mark.parametrize(("count", "strength"), [(2, 100.0), (19, 100.0), (20, 0.1)])
def test_the_simplest_of_equals_is_told_by_enough_items_alone(count: int, strength: float) -> None:
    """By two items of one class a probe that answers with this class always is as good as any."""
    trials = [StrengthTrial(1.0, loss, count, 1.0, strength=one) for one, loss in ((0.1, 2.0), (100.0, 0.1))]
    assert best_strength(trials, by="strength").strength == strength


@pytest.mark.parametrize("right", [30, 29])
def test_one_item_more_decides_nothing_where_all_or_nearly_all_are_right(right: int) -> None:
    """The standard error of 30 of 30 is zero, yet the next 30 items may well have one that is wrong."""
    trials = [
        StrengthTrial(value / 30, 0.1, 30, value / 30, strength=strength)
        for value, strength in ((right - 1, 1.0), (right, 2.0))
    ]
    assert best_trial(trials, by="first").strength == 1.0


def test_a_fit_on_items_that_are_all_alike_gives_their_answer() -> None:
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    shown = np.array([[1, 0], [0, 1], [1, 0]])
    trials = choose_strength(features, shown, (0.1, 10.0), [np.array([1])], measure=measure_map)
    assert [trial.strength for trial in trials] == [0.1, 10.0]
    head = fit_linear(features[[0, 2]], shown[[0, 2]], 1.0)
    assert (head.logits(features) > 0).tolist() == [[True, False]] * 3


# Classes of different size --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["one class", "several classes"])
def test_trials_are_of_the_model_that_is_fitted(kind: str) -> None:
    """Held-out items are asked of a head with the adjustment, and with as many iterations, as the final one has."""
    features, indices = toy(3, size=12, noise=3.0)
    kept = np.concatenate([np.flatnonzero(indices == number)[: (12, 6, 3)[number]] for number in range(3)])
    features, indices = features[kept], indices[kept]
    targets = indices if kind == "one class" else np.eye(3, dtype=np.int64)[indices]
    split, asked = np.arange(0, len(kept), 4), Imbalance(logit_adjustment=2.0)
    seen: list[np.ndarray] = []

    def measure(logits: np.ndarray, truth: np.ndarray) -> Measured:
        seen.append(logits)
        return Measured(value=0.5, loss=0.0, n=len(truth))

    choose_strength(features, targets, [1.0], [split], iterations=3, imbalance=asked, measure=measure)
    rest = np.setdiff1d(np.arange(len(kept)), split)
    alone = fit_linear(features[rest], targets[rest], 1.0, iterations=3, imbalance=asked)
    np.testing.assert_array_equal(seen[0], alone.logits(features[split]))
    plain = fit_linear(features[rest], targets[rest], 1.0, iterations=3)
    added_C = asked.added_to_logits(targets[rest], 3)
    np.testing.assert_allclose(plain.bias_C - alone.bias_C, added_C, atol=1e-5)


def test_a_class_without_a_label_never_wins_under_an_adjustment() -> None:
    features, indices = toy(3)
    head = fit_linear(features, indices, 1.0, classes=5, imbalance=Imbalance(logit_adjustment=10.0))
    assert head.logits(features).argmax(axis=1).max() == 2
    shown = np.eye(5, dtype=np.int64)[indices]
    head = fit_linear(features, shown, 1.0, imbalance=Imbalance(logit_adjustment=10.0))
    assert head.logits(features)[:, 3:].max() < -5
