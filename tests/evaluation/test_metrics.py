"""Every metric is scikit-learn's, exactly, whatever the classes; and what scores.json keeps of them comes back."""

from __future__ import annotations

import json
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from activetune.evaluation import metrics
from activetune.evaluation.scores import DENSE, Confusion, ScoreKeeper, Scores
from activetune.evaluation.statistics import mean_and_spread, spread, wilson_interval


def answers(seed: int, classes: int, n: int, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.integers(0, 3, (n, classes)).astype(float) if ties else rng.normal(size=(n, classes))
    return metrics.softmax(logits), rng.integers(0, classes, n)


def names(count: int) -> list[str]:
    return [f"class {number:03}" for number in range(count)]


def kept(probs: np.ndarray, truth: list[str], classes: list[str], pieces: int = 3) -> Scores:
    keeper = ScoreKeeper(classes, truth)
    for part in np.array_split(np.arange(len(truth)), pieces):
        keeper.add(probs[part], [truth[row] for row in part])
    return keeper.scores()


CASES = st.tuples(st.integers(0, 10_000), st.integers(2, 12), st.integers(1, 60))


@settings(deadline=None, max_examples=40)
@given(CASES)
def test_scores_are_scikit_learns(case: tuple[int, int, int]) -> None:
    seed, classes, n = case
    probs, truth = answers(seed, classes, n)
    found = kept(probs, [names(classes)[row] for row in truth], names(classes))
    best = probs.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # predicted classes that no item has
        assert found.top1 == pytest.approx(reference.accuracy_score(truth, best), abs=1e-12)
        assert found.balanced_accuracy == pytest.approx(reference.balanced_accuracy_score(truth, best), abs=1e-12)
        assert found.macro_f1 == pytest.approx(reference.f1_score(truth, best, average="macro"), abs=1e-12)
    matrix = reference.confusion_matrix(truth, best, labels=np.arange(classes))
    assert (found.confusion.matrix() == matrix).all()
    assert metrics.balanced_accuracy(best, truth) == pytest.approx(found.balanced_accuracy, abs=1e-12)
    for name, row in found.per_class.items():
        own = truth == names(classes).index(name)
        assert row == {"top1": pytest.approx((best[own] == truth[own]).mean()), "n": own.sum()}


@settings(deadline=None, max_examples=40)
@given(CASES, st.integers(1, 6))
def test_top_k_is_scikit_learns(case: tuple[int, int, int], k: int) -> None:
    seed, classes, n = case
    probs, truth = answers(seed, classes, n)
    expected = 1.0
    if k < classes and classes > 2:
        expected = reference.top_k_accuracy_score(truth, probs, k=k, labels=np.arange(classes))
    elif k < classes:
        expected = float((probs.argmax(axis=1) == truth).mean())
    assert metrics.among_highest(probs, truth, k).mean() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(CASES)
def test_among_equal_scores_the_first_is_the_higher_one_everywhere(case: tuple[int, int, int]) -> None:
    probs, truth = answers(*case, ties=True)
    assert metrics.among_highest(probs, truth, 1).mean() == metrics.top1(probs, truth)


@settings(deadline=None, max_examples=40)
@given(CASES, st.booleans())
def test_auroc_is_scikit_learns(case: tuple[int, int, int], ties: bool) -> None:
    seed, classes, n = case
    probs, truth = answers(seed, classes, n, ties)
    positive = truth == 0
    if 0 < positive.sum() < n:
        expected = reference.roc_auc_score(positive, probs[:, 0])
        assert metrics.auroc(probs[:, 0], positive) == pytest.approx(expected, abs=1e-12)
    else:
        assert np.isnan(metrics.auroc(probs[:, 0], positive))


@settings(deadline=None, max_examples=40)
@given(CASES)
def test_a_class_against_the_rest_is_scikit_learns_balanced_accuracy_of_two_classes(case: tuple[int, int, int]) -> None:
    seed, classes, n = case
    probs, truth = answers(seed, classes, n)
    best = probs.argmax(axis=1)
    found = kept(probs, [names(classes)[row] for row in truth], names(classes)).against_rest()
    for name, value in found.items():
        own = names(classes).index(name)
        if 0 < (truth == own).sum() < n:
            expected = reference.balanced_accuracy_score(truth == own, best == own)
            assert value == pytest.approx(expected, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(CASES)
def test_the_calibration_error_is_its_definition_bin_by_bin(case: tuple[int, int, int]) -> None:
    probs, truth = answers(*case)
    sure, right = probs.max(axis=1), probs.argmax(axis=1) == truth
    expected = 0.0
    for number in range(15):
        inside = (sure > number / 15) & (sure <= (number + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    assert metrics.calibration_error(sure, right) == pytest.approx(expected, abs=1e-9)


def test_the_calibration_error_of_known_answers() -> None:
    assert metrics.calibration_error(np.asarray([1.0, 1.0, 1.0, 1.0]), np.asarray([True, True, True, False])) == 0.25
    assert metrics.calibration_error(np.asarray([0.0, 0.0]), np.asarray([False, False])) == 0.0


def test_a_class_that_the_model_does_not_know_counts_as_wrong_and_stands_in_the_matrix() -> None:
    probs = np.asarray([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    found = kept(probs, ["a", "b", "zebra"], ["a", "b"], pieces=1)
    assert found.top1 == pytest.approx(2 / 3) and found.top5 == pytest.approx(2 / 3)
    assert found.per_class["zebra"] == {"top1": 0.0, "n": 1}
    assert found.confusion.as_dict() == {
        "classes": ["a", "b", "zebra"],
        "matrix": [[1, 0, 0], [0, 1, 0], [1, 0, 0]],
    }


@pytest.mark.parametrize("classes", [3, DENSE, DENSE + 1, 10_000])
def test_scores_come_back_from_json_and_never_hold_more_cells_than_items_or_a_small_matrix(classes: int) -> None:
    truth = [f"class {number:05}" for number in range(0, classes, max(1, classes // 50))]
    every = [f"class {number:05}" for number in range(classes)]
    probs = np.random.default_rng(0).random((len(truth), classes))
    found = kept(probs, truth, every)
    content = json.loads(json.dumps(found.as_dict()))
    assert content["primary"] == "top1" and content["n"] == len(truth)
    again = Scores.from_dict(content)
    assert again.as_dict() == found.as_dict()
    assert again.against_rest() == pytest.approx(found.against_rest())
    written = content["confusion"]
    assert ("matrix" in written) == (classes <= DENSE)
    assert len(found.confusion.cells) <= len(truth)
    if classes <= DENSE:
        assert (Confusion.from_dict(written).matrix() == found.confusion.matrix()).all()


def test_a_matrix_takes_the_memory_of_its_cells_however_many_pixels_they_count() -> None:
    tracemalloc.start()
    matrix = Confusion(["a", "b"], [(0, 0, 10**6), (1, 0, 3)]).matrix()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert matrix.tolist() == [[10**6, 0], [3, 0]] and peak < 10**5


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 40))
def test_measured_with_even_classes_is_the_mean_over_classes(seed: int, classes: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    truth, logits = rng.integers(0, classes, count) ** 2 // classes, rng.normal(size=(count, classes))
    found = metrics.measure_balanced(logits, truth)
    by_class = [metrics.measure_top1(logits[truth == one], truth[truth == one]) for one in np.unique(truth)]
    assert found.value == pytest.approx(np.mean([one.value for one in by_class]))
    assert found.loss == pytest.approx(np.mean([one.loss for one in by_class]))
    assert 0 <= found.value <= 1
    assert found.beside == {"top1": metrics.measure_top1(logits, truth).value}
    assert found.credit_N.mean() == pytest.approx(found.value)
    # the variance of a mean of shares p of n_y items each: p (1 - p) / Y^2 * sum 1 / n_y
    assert 1 / found.n == pytest.approx(np.mean([1 / one.n for one in by_class]) / len(by_class))


def test_even_classes_of_one_size_change_nothing() -> None:
    truth, logits = np.arange(12) % 3, np.random.default_rng(0).normal(size=(12, 3))
    one, two = metrics.measure_top1(logits, truth), metrics.measure_balanced(logits, truth)
    assert (two.value, two.loss, two.n, two.smoothed) == pytest.approx((one.value, one.loss, one.n, one.smoothed))


def test_the_table_names_the_classes_that_are_least_often_right() -> None:
    probs = np.eye(3)[[0, 1, 0, 0, 0]]
    told = kept(probs, ["a", "b", "b", "c", "c"], ["a", "b", "c"]).table()
    assert "top-1                40.00 %" in told
    assert told.splitlines()[-1] == "lowest: c (0.0 % of 2), b (50.0 % of 2)"


# Statistics -------------------------------------------------------------------------------------------------------


def test_the_spread_is_that_of_a_sample_and_one_seed_has_none() -> None:
    assert spread([0.7]) is None
    assert spread([1.0, 2.0, 4.0]) == pytest.approx(np.std([1.0, 2.0, 4.0], ddof=1))
    assert mean_and_spread([0.5], factor=100) == "50.0"
    assert mean_and_spread([0.5, 0.6], factor=100) == "55.0 ± 7.1"


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 500), st.data())
def test_wilsons_interval_is_scipys(n: int, data: st.DataObject) -> None:
    from scipy.stats import binomtest

    right = data.draw(st.integers(0, n))
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(right, n) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert wilson_interval(0, n)[0] == 0.0 and wilson_interval(n, n)[1] == 1.0
