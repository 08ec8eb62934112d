"""What must hold for any pool: random rows with duplicates and zero vectors, random splits, random budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activetune.features.distances import unit_rows
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import make_selector, selectors
from activetune.selection.selectors._swaps import _settle, picks_of_centroids

FEATURES_ONLY = sorted(name for name, cls in selectors().items() if cls.needs <= {"features_ND"})
DRAWABLE = {"features_ND", "probs_NC", "tokens_NTD"}  # what these tests can make up
ORDERED = sorted(name for name, cls in selectors().items() if cls.ordered and cls.needs <= DRAWABLE)
NOBODY = np.empty(0, dtype=np.int64)


def examples(count: int) -> Any:
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def pools(draw: st.DrawFn, least: int = 1, most: int = 40, zeros: bool = True) -> Evidence:
    """A small pool: some distinct rows, each of them any number of times, and a split that leaves a candidate."""
    count = draw(st.integers(least, most))
    kinds = draw(st.integers(1, count))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rows = unit_rows(rng.normal(size=(kinds, draw(st.integers(1, 6)))) + draw(st.sampled_from([0.0, 1.0])))
    features = rows[np.concatenate([np.arange(kinds), rng.integers(kinds, size=count - kinds)])]
    features = features[rng.permutation(count)]
    if zeros:
        features[rng.random(count) < draw(st.sampled_from([0.0, 0.1, 0.6, 1.0]))] = 0
    shares = [draw(st.sampled_from([0.0, 0.1, 0.4])) for _ in range(3)]
    part = rng.choice(4, size=count, p=[*(np.asarray(shares) * 0.8), 1 - 0.8 * sum(shares)])
    part[rng.integers(count)] = 3
    labelled, excluded, closed = (np.flatnonzero(part == number) for number in range(3))
    return Evidence(features, rng.permutation(labelled), excluded, closed)


def pick(name: str, evidence: Evidence, budget: int, seed: int = 0, **values: Any) -> Picks:
    return make_selector(name, settings=values).select(evidence, budget, np.random.default_rng(seed))


def check(picks: Picks, evidence: Evidence, budget: int) -> None:
    positions = np.asarray(picks.positions).tolist()
    assert len(positions) == len(picks.scores) == len(picks.reasons) == budget
    assert len(set(positions)) == budget
    assert set(positions) <= set(evidence.candidates.tolist())
    assert np.isfinite(picks.scores).all()
    assert all(np.isfinite(value) for value in picks.figures.values())


@pytest.mark.parametrize("name", FEATURES_ONLY)
@examples(16)
@given(data=st.data())
def test_exactly_the_budget_of_distinct_candidates(name: str, data: st.DataObject) -> None:
    evidence = data.draw(pools())
    budget = data.draw(st.integers(1, len(evidence.candidates)))
    before = evidence.features_ND.copy()
    check(pick(name, evidence, budget, data.draw(st.integers(0, 100))), evidence, budget)
    np.testing.assert_array_equal(evidence.features_ND, before)


@pytest.mark.parametrize("name", FEATURES_ONLY)
@examples(12)
@given(data=st.data())
def test_what_excluded_items_look_like_changes_nothing(name: str, data: st.DataObject) -> None:
    evidence = data.draw(pools(least=5))
    count = len(evidence.features_ND)
    rng = np.random.default_rng(data.draw(st.integers(0, 100)))
    excluded = np.union1d(evidence.excluded, rng.choice(evidence.candidates, len(evidence.candidates) // 2, False))
    other = evidence.features_ND.copy()
    other[excluded] = unit_rows(rng.normal(size=other.shape))[excluded]
    budget = data.draw(st.integers(1, count - len(np.unique([*excluded, *evidence.labelled, *evidence.closed]))))
    first, second = (
        pick(name, replace(evidence, features_ND=rows, excluded=excluded), budget)
        for rows in (evidence.features_ND, other)
    )
    assert first.positions.tolist() == second.positions.tolist()
    np.testing.assert_allclose(first.scores, second.scores, rtol=1e-5, atol=1e-6)


@examples(50)
@given(data=st.data())
def test_any_setting_of_activeft(data: st.DataObject) -> None:
    evidence = data.draw(pools(most=20))
    budget = data.draw(st.integers(1, len(evidence.candidates)))
    loss = data.draw(st.sampled_from(["paper", "released", "contrastive"]))
    values = {
        "loss": loss,
        "temperature": data.draw(st.sampled_from([0.005, 0.07, 2.0])),
        "balance": data.draw(st.sampled_from([0.0, 1.0, 5.0])),
        "optimiser": "adam" if loss != "paper" else data.draw(st.sampled_from(["adam", "descent"])),
        "iterations": data.draw(st.sampled_from([1, 2, 25])),
        "update": data.draw(st.booleans()),
        "power": data.draw(st.sampled_from([0.5, 1.0, 2.0])),
        "swaps": data.draw(st.sampled_from([0, 1, 5])),
    }
    picks = pick("activeft", evidence, budget, **values)
    check(picks, evidence, budget)
    assert picks.scores.sum() <= len(evidence.population)
    if values["optimiser"] == "descent" and loss == "paper":
        start, end = picks.figures["loss_start"], picks.figures["loss"]
        assert end <= start + 1e-5 * max(1, abs(start))


@examples(40)
@given(data=st.data())
def test_swaps_never_raise_what_they_lower(data: st.DataObject) -> None:
    evidence = data.draw(pools(least=2))
    budget = data.draw(st.integers(1, len(evidence.candidates)))
    seed, power = data.draw(st.integers(0, 100)), data.draw(st.sampled_from([0.5, 1.0, 2.0, 3.0]))
    rng = np.random.default_rng(seed)
    centroids = unit_rows(rng.normal(size=(budget, evidence.features_ND.shape[1])))
    rows = evidence.features_ND.astype(np.float64)
    cost = np.maximum(2 - 2 * rows @ rows.T, 0) ** (power / 2)
    np.fill_diagonal(cost, 0)
    cost = cost[evidence.population]
    fixed = evidence.features_ND[evidence.labelled]
    owner = (evidence.features_ND[evidence.population] @ np.concatenate([centroids, fixed]).T).argmax(axis=1)
    start = _settle(evidence, centroids, owner)
    end = picks_of_centroids(evidence, centroids, owner, rng, power=power, passes=4)
    assert len(set(end.tolist())) == budget
    assert set(end.tolist()) <= set(evidence.candidates.tolist())
    before, after = (cost[:, np.concatenate([picks, evidence.labelled])].min(axis=1).mean() for picks in (start, end))
    assert after <= before + 7e-4**power + 1e-5  # an item is up to 5e-4 from itself in float32


@pytest.mark.parametrize("name", ORDERED)
@examples(15)
@given(data=st.data())
def test_a_prefix_of_an_ordered_selection_is_the_smaller_selection(name: str, data: st.DataObject) -> None:
    evidence = data.draw(pools())
    count = len(evidence.features_ND)
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    tokens = evidence.features_ND[:, None, :] + rng.choice([0.0, 0.3]) * rng.normal(
        size=(count, 6, evidence.features_ND.shape[1])
    )
    evidence = replace(
        evidence,
        probs_NC=rng.dirichlet(np.full(3, 0.3), size=count).astype(np.float32),
        tokens_NTD=tokens.astype(np.float32),
    )
    seed, most = data.draw(st.integers(0, 100)), len(evidence.candidates)
    budget = data.draw(st.integers(1, most))
    whole = pick(name, evidence, most, seed)
    check(whole, evidence, most)
    part = pick(name, evidence, budget, seed)
    check(part, evidence, budget)
    assert part.positions.tolist() == whole.positions[:budget].tolist()
    assert part.scores.tolist() == whole.scores[:budget].tolist()


@pytest.mark.parametrize("name", [name for name in FEATURES_ONLY if not selectors()[name].randomised])
@examples(15)
@given(data=st.data())
def test_the_seed_is_not_read_where_the_method_says_so(name: str, data: st.DataObject) -> None:
    evidence = data.draw(pools())
    budget = data.draw(st.integers(1, len(evidence.candidates)))
    first, second = (pick(name, evidence, budget, seed).positions.tolist() for seed in (0, 1))
    assert first == second


@pytest.mark.parametrize("name", ["k_center", "coreset"])
@examples(30)
@given(data=st.data())
def test_distances_of_farthest_first_never_rise(name: str, data: st.DataObject) -> None:
    evidence = data.draw(pools())
    picks = pick(name, evidence, len(evidence.candidates))
    assert (np.diff(picks.scores) <= 1e-6 + 1e-3 * (picks.scores[1:] < 0.01)).all()
    for rank in range(1, len(picks.positions)):
        cover = np.concatenate([evidence.labelled, picks.positions[:rank]])
        nearest = (evidence.features_ND @ evidence.features_ND[cover].T).max(axis=1)
        left = np.setdiff1d(evidence.candidates, picks.positions[:rank])
        assert nearest[picks.positions[rank]] <= nearest[left].min() + 1e-6
