"""The learning curve and its going on: known laws are found again, and the interval holds what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune.evaluation.learning_curve import OFF, Answered, answer_by_size, batch_chance, expect_gain, follow

SIZES = np.asarray([20, 40, 80, 160, 320])


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 0.3), st.floats(0.2, 3), st.floats(0.2, 1.4))
def test_a_law_is_found_again(end: float, slope: float, rate: float) -> None:
    law = np.clip(end + slope * SIZES**-rate, 0, 1)
    if law.max() == 1:
        return  # it is no law any more where it is cut off
    ends = np.asarray([320, 640])
    assert follow(SIZES, law[None], ends)[0] == pytest.approx(end + slope * ends**-rate, abs=0.01)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=5, max_size=5), st.booleans())
def test_what_is_told_is_an_error_that_never_grows(errors: list[float], ending: bool) -> None:
    found = follow(SIZES, np.asarray([errors]), np.asarray([320, 400, 10_000]), ending=ending)[0]
    assert (found >= 0).all() and (found <= 1).all() and (np.diff(found) <= 1e-12).all()


def drawn(rng: np.random.Generator, items: int = 400) -> Answered:
    """Answers of probes whose errors are 0.1 + 1.2 n^-0.5, each item asked once of each division."""
    right = np.full((5, 10, items), np.nan, dtype=np.float32)
    luck = rng.random(items)
    for row in range(10):
        asked = np.arange(items) % 5 == row % 5
        right[:, row, asked] = luck[asked] > (0.1 + 1.2 * SIZES**-0.5)[:, None]
    return Answered(SIZES, right)


def test_the_interval_holds_the_gain_of_a_known_law() -> None:
    truth = 1.2 * (400**-0.5 - 500**-0.5)
    made = [(drawn(np.random.default_rng(seed)), np.random.default_rng(seed)) for seed in range(20)]
    found = [expect_gain(answered, 400, 100, rng) for answered, rng in made]
    assert sum(one.low <= truth <= one.high for one in found) >= 18
    assert np.mean([one.gain for one in found]) == pytest.approx(truth, abs=0.005)
    assert all(one.low <= one.gain <= one.high and one.then == pytest.approx(one.now + one.gain) for one in found)


def test_however_many_answers_there_are_the_law_may_be_off() -> None:
    """Exact answers leave no luck of draws: what is left of the interval is the law's own error."""
    right = np.stack([np.arange(20_000) >= 20_000 * error for error in 0.1 + 1.2 * SIZES**-0.5])
    answered = Answered(SIZES, np.repeat(right[:, None], 10, axis=1).astype(np.float32))
    found = expect_gain(answered, 400, 400, np.random.default_rng(0))
    assert found.high - found.gain == pytest.approx(1.96 * OFF * found.gain, rel=0.2)
    assert found.gain - found.low == pytest.approx(1.96 * OFF * found.gain, rel=0.2)


def test_an_audit_sets_the_level_and_the_curve_the_share() -> None:
    answered, rng = drawn(np.random.default_rng(0)), np.random.default_rng
    alone, audited = expect_gain(answered, 400, 100, rng(0)), expect_gain(answered, 400, 100, rng(0), audit=(45, 50))
    assert audited.now == pytest.approx(0.9)
    assert audited.gain / 0.1 == pytest.approx(alone.gain / (1 - alone.now))
    assert expect_gain(answered, 400, 100, rng(0), audit=(50, 50)).gain == 0


def test_probes_answer_only_what_they_did_not_learn_from() -> None:
    rng = np.random.default_rng(0)
    indices = np.repeat(np.arange(4), 15)
    features = rng.normal(size=(60, 64))  # noise alone: only what was learned by heart could be answered rightly
    found = answer_by_size(features, indices, rng)
    assert found is not None and np.isfinite(found.right_SRL[0]).sum(axis=0).tolist() == [2] * 60
    assert np.nanmean(found.right_SRL) < 0.45 and batch_chance(found, 60) < 0.2
    easy = answer_by_size(np.eye(4)[indices], indices, rng)
    assert easy is not None and np.nanmean(easy.right_SRL[-1]) == 1.0


def test_classes_that_were_not_met_are_errors() -> None:
    indices = np.arange(60)  # a class each
    found = answer_by_size(np.random.default_rng(0).normal(size=(60, 8)), indices, np.random.default_rng(0))
    assert found is not None and np.nanmax(found.right_SRL) == 0


@pytest.mark.parametrize(("labels", "classes"), [(39, 2), (60, 1)])
def test_too_little_to_draw_a_curve(labels: int, classes: int) -> None:
    indices = np.arange(labels) % classes
    assert answer_by_size(np.zeros((labels, 4)), indices, np.random.default_rng(0)) is None
