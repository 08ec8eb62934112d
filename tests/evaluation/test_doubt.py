"""Reductions of a dense model's output to numbers per image, against loops over pixels and boxes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from activetune.base.errors import UsageError
from activetune.evaluation.doubt import (
    as_distribution,
    mean_pixel_entropy,
    presence_entropy,
    presence_of_boxes,
    presence_of_pixels,
)
from activetune.selection.problem import Evidence
from activetune.selection.selectors import make_selector

SEEDS = range(4)


def some_probs(seed: int) -> np.ndarray:
    """Sharp and flat pixels of 5 classes, some with exact zeros."""
    rng = np.random.default_rng(seed)
    probs = softmax(rng.normal(size=(5, 7, 9)) * rng.uniform(0, 40, size=(1, 7, 9)), axis=0)
    probs[:, 0, 0] = [0, 1, 0, 0, 0]
    return np.asarray(probs)


@pytest.mark.parametrize("seed", SEEDS)
def test_mean_pixel_entropy_is_its_definition(seed: int) -> None:
    probs = some_probs(seed)
    values = [-sum(p * math.log(p) for p in probs[:, y, x] if p > 0) for y in range(7) for x in range(9)]
    assert mean_pixel_entropy(probs) == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize("seed", SEEDS)
def test_presence_of_pixels_is_its_definition(seed: int) -> None:
    probs = some_probs(seed)
    expected = [max(probs[c, y, x] for y in range(7) for x in range(9)) for c in range(5)]
    assert presence_of_pixels(probs) == pytest.approx(expected)


def test_half_precision_changes_little_and_its_rounding_is_no_error() -> None:
    probs = some_probs(0)
    half = probs.astype(np.float16)
    assert mean_pixel_entropy(half) == pytest.approx(mean_pixel_entropy(probs), abs=2e-3)
    assert presence_of_pixels(np.full((1, 2, 2), 1.0004)).tolist() == [1]


def test_known_answers() -> None:
    sure, blank = np.zeros((3, 4, 4)), np.full((3, 4, 4), 1 / 3)
    sure[1] = 1
    assert mean_pixel_entropy(sure) == 0
    assert mean_pixel_entropy(blank) == pytest.approx(math.log(3))
    assert mean_pixel_entropy(np.zeros((3, 0, 4))) == 0
    assert presence_of_pixels(sure).tolist() == [0, 1, 0]
    assert presence_entropy(np.array([0, 1, 1])) == 0
    assert presence_entropy(np.array([0.5, 0.5])) == pytest.approx(math.log(2))
    assert as_distribution(np.array([0.2, 0.6, 0])).tolist() == pytest.approx([0.25, 0.75, 0])
    assert as_distribution(np.zeros(4)).tolist() == [0.25] * 4


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), max_size=12))
def test_boxes_are_reduced_as_by_loops(boxes: list[tuple[float, int]]) -> None:
    scores, owners = np.array([score for score, _ in boxes]), np.array([owner for _, owner in boxes], dtype=np.int64)
    expected = [max([score for score, owner in boxes if owner == number], default=0) for number in range(6)]
    assert presence_of_boxes(scores, owners, 6).tolist() == expected
    shares = as_distribution(presence_of_boxes(scores, owners, 6))
    assert shares.sum() == pytest.approx(1, abs=1e-5)
    assert (shares >= 0).all()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mean_pixel_entropy(np.ones((4, 4))), r"of shape \(C, H, W\), not \(4, 4\)"),
        (lambda: mean_pixel_entropy(np.full((2, 3, 3), 4.0)), "apply softmax or sigmoid first"),
        (lambda: presence_of_pixels(np.full((2, 3, 3), np.nan)), "apply softmax or sigmoid first"),
        (lambda: presence_of_boxes(np.ones(2), np.array([0, 3]), 3), "classes are 0 to 3, and there are 3"),
        (lambda: presence_of_boxes(np.ones(2), np.array([0]), 3), "one score and one class each"),
        (lambda: presence_entropy(np.array([-1.0])), r"lie in \[0, 1\], and these in \[-1, -1\]"),
    ],
)
def test_wrong_input_is_a_sentence(call: Any, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        call()


def test_methods_that_read_probabilities_work_on_images_of_a_dense_model() -> None:
    rng = np.random.default_rng(0)
    outputs = [softmax(rng.normal(size=(4, 6, 6)) * scale, axis=0) for scale in (30, 0.1, 30, 30)]
    probs_NC = np.stack([as_distribution(presence_of_pixels(probs)) for probs in outputs])
    evidence = Evidence(np.eye(4, dtype=np.float32), probs_NC=probs_NC)
    for method in ("entropy", "margin", "least_confidence", "uncertainty_herding"):
        picks = make_selector(method).select(evidence, 2, rng)
        assert len(set(picks.positions.tolist())) == 2
    assert max(range(4), key=lambda row: mean_pixel_entropy(outputs[row])) == 1
