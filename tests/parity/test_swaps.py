"""The swaps against an exhaustive local search, and their bookkeeping against plain recomputation after every pass."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from activetune.base.arrays import IntArray
from activetune.features.distances import Float32, unit_rows
from activetune.selection.problem import Evidence
from activetune.selection.selectors import _swaps
from activetune.selection.selectors._swaps import _Search, _settle, picks_of_centroids, swapped
from tests.conftest import InPieces

SEEDS = range(3)
POWERS = pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
NOBODY = np.empty(0, dtype=np.int64)


def rows_of(features: Float32) -> Callable[[IntArray], Float32]:
    """Gives features by position."""
    return lambda positions: features[positions]


def sphere(count: int, dimensions: int, seed: int) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, dimensions)) + 0.5)


def odd_pool(seed: int) -> np.ndarray:
    """Rows with duplicates, zero vectors and opposite ones among them."""
    features = sphere(40, 4, seed)
    features[10:20] = features[10]
    features[20:24] = 0
    features[24:28] = -features[:4]
    return features


def costs(features: np.ndarray, power: float) -> np.ndarray:
    """(N, N) ``d^p`` in float64; a zero vector is sqrt(2) from everything but itself."""
    rows = features.astype(np.float64)
    rows = np.divide(rows, np.linalg.norm(rows, axis=1, keepdims=True), out=rows, where=rows.any(axis=1)[:, None])
    found = np.maximum(2 - 2 * rows @ rows.T, 0) ** (power / 2)
    np.fill_diagonal(found, 0)
    return found


def rounding(power: float, items: int) -> float:
    """What float32 may add to a sum over items: it puts each of them up to 5e-4 from itself."""
    return items * 7e-4**power + 1e-4


def total(cost: np.ndarray, picks: np.ndarray) -> float:
    return float(cost[:, picks].min(axis=1).sum())


def best_single_swap(
    cost: np.ndarray, picks: np.ndarray, movable: int, candidates: np.ndarray
) -> tuple[float, tuple[int, int] | None]:
    """The lowest total that swapping one movable pick for one candidate reaches, and which swap that is."""
    best, swap = total(cost, picks), None
    for slot in range(movable):
        others = np.delete(picks, slot)
        kept = cost[:, others].min(axis=1) if len(others) else np.full(len(cost), np.inf)
        for item in np.setdiff1d(candidates, picks):
            reached = float(np.minimum(kept, cost[:, item]).sum())
            if reached < best - 1e-12:
                best, swap = reached, (slot, int(item))
    return best, swap


def plain_search(cost: np.ndarray, picks: np.ndarray, movable: int, candidates: np.ndarray) -> np.ndarray:
    """The best swap of all, again and again until none gains."""
    picks = picks.copy()
    while (swap := best_single_swap(cost, picks, movable, candidates)[1]) is not None:
        picks[swap[0]] = swap[1]
    return picks


def lowered(
    features: np.ndarray,
    start: np.ndarray,
    fixed: np.ndarray = NOBODY,
    *,
    power: float = 1.0,
    excluded: np.ndarray = NOBODY,
    closed: np.ndarray = NOBODY,
    passes: int = 50,
    seed: int = 0,
    least_gain: float = 1e-3,
    **effort: Any,
) -> np.ndarray:
    """The picks that swaps lead to from a start."""
    evidence = Evidence(features, fixed, excluded, closed)
    rng = np.random.default_rng(seed)
    return swapped(evidence, start, rng, power=power, passes=passes, least_gain=least_gain, **effort)


def run(evidence: Evidence, centroids: np.ndarray, power: float, passes: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    owner = owners(evidence, centroids)
    return picks_of_centroids(evidence, centroids, owner, rng, power=power, passes=passes)


def owners(evidence: Evidence, centroids: np.ndarray) -> np.ndarray:
    """The most similar of centroids and labelled items, for each item of the population."""
    features = evidence.features_ND
    return (features[evidence.population] @ np.concatenate([centroids, features[evidence.labelled]]).T).argmax(axis=1)


# Against an exhaustive search -----------------------------------------------------------------------------------------

COUNTS = pytest.mark.parametrize(("free", "fixed"), [(1, 0), (4, 0), (1, 1), (3, 4), (12, 2)])


@POWERS
@COUNTS
@pytest.mark.parametrize("seed", SEEDS)
def test_close_to_an_exhaustive_local_search(free: int, fixed: int, power: float, seed: int) -> None:
    features = sphere(50, 5, seed)
    cost = costs(features, power)
    order = np.random.default_rng(seed).permutation(50)
    start, still = order[:free], order[free : free + fixed]
    reached = total(cost, np.concatenate([lowered(features, start, still, power=power, seed=seed), still]))
    assert reached <= total(cost, order[: free + fixed]) + 1e-6
    plain = plain_search(cost, order[: free + fixed], free, np.setdiff1d(order, still))
    assert reached <= (1 + 0.05 * power) * total(cost, plain)


@POWERS
@COUNTS
@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_pass_without_swaps_no_single_swap_gains(
    free: int, fixed: int, power: float, weighed: bool, seed: int
) -> None:
    features = sphere(50, 5, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(50)
    weights = rng.uniform(0, 1, 50).astype(np.float32) if weighed else np.ones(50, dtype=np.float32)
    cost = costs(features, power) * weights[:, None]
    search = _Search(rows_of(features), np.arange(len(features)), order[: free + fixed], free, power, weights)
    candidates = np.setdiff1d(order, order[free : free + fixed])
    for _ in range(30):
        before = search.picks.copy()
        search.run_pass(candidates)
        if (search.picks == before).all():
            break
    else:
        pytest.fail("thirty passes, and swaps are still made")
    best, swap = best_single_swap(cost, search.picks, free, candidates)
    assert best >= total(cost, search.picks) - rounding(power, 2), swap


@pytest.mark.parametrize("seed", range(10))
def test_close_to_the_best_of_all_choices(seed: int) -> None:
    features = sphere(14, 3, seed)
    cost = costs(features, 1)
    best = min(total(cost, np.asarray(chosen)) for chosen in combinations(range(14), 3))
    start = np.random.default_rng(seed).choice(14, 3, replace=False)
    assert total(cost, lowered(features, start, seed=seed)) <= 1.12 * best + rounding(1, 3)


@POWERS
@pytest.mark.parametrize("seed", SEEDS)
def test_medoids_of_blobs_are_found_from_any_start(power: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(5), 12)
    features = unit_rows(np.eye(7)[group] + 0.1 * rng.normal(size=(60, 7)))
    cost = costs(features, power)
    medoids = [rows[cost[np.ix_(rows, rows)].sum(axis=0).argmin()] for rows in np.split(np.arange(60), 5)]
    found = lowered(features, np.arange(5), power=power, seed=seed)  # all begin in the first blob
    assert sorted(found // 12) == [0, 1, 2, 3, 4]
    assert total(cost, found) <= total(cost, np.asarray(medoids)) + rounding(power, 5)


def test_the_power_says_how_much_the_far_ones_count() -> None:
    angles = np.concatenate([np.linspace(0, 0.1, 9), [0.5, 0.6, 1.2]])
    features = unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    powers = (0.5, 1.0, 2.0, 8.0)
    found = [int(lowered(features, np.array([0]), power=power)[0]) for power in powers]
    assert found[0] < 9 <= found[-1]  # among the nine, or towards the middle of the arc
    assert found == sorted(found)
    for power, item in zip(powers, found, strict=True):
        sums = costs(features, power).sum(axis=0)
        assert sums[item] <= 1.02 * sums.min()


@POWERS
@pytest.mark.parametrize("seed", SEEDS)
def test_what_a_trial_gains_is_what_recomputing_says(power: float, seed: int) -> None:
    features = sphere(40, 4, seed)
    cost = costs(features, power)
    picks = np.random.default_rng(seed).choice(40, 7, replace=False)
    search = _Search(rows_of(features), np.arange(len(features)), picks, 5, power)
    for trial in np.setdiff1d(np.arange(40), picks):
        totals = []
        for slot in range(5):
            swapped = picks.copy()
            swapped[slot] = trial
            totals.append(total(cost, swapped))
        slot, gain = search._best_swap(cost[trial].astype(np.float32))
        assert gain == pytest.approx(total(cost, picks) - min(totals), abs=rounding(power, 8))
        assert totals[slot] == pytest.approx(min(totals), abs=rounding(power, 8))


def test_real_digits_come_nearer_to_their_picks() -> None:
    features = unit_rows(load_digits().data[:400])
    start = np.random.default_rng(0).choice(400, 30, replace=False)
    for power in (1.0, 2.0):
        cost = costs(features, power)
        after = [total(cost, lowered(features, start, power=power, passes=passes)) for passes in (1, 2, 3)]
        assert after[0] < 0.9 * total(cost, start)
        assert after[0] >= after[1] - rounding(power, 30) >= after[2] - 2 * rounding(power, 30)


# Bookkeeping ----------------------------------------------------------------------------------------------------------


def assert_books_are_right(search: _Search, features: np.ndarray, jury: np.ndarray) -> None:
    """Nearest and second nearest pick of each juror, and what removing each pick costs, from scratch in float64."""
    power = search.power
    cost = costs(features, power)[np.ix_(jury, search.picks)]
    np.testing.assert_array_equal(search.picks_MD, features[search.picks])
    rows = np.arange(len(jury))
    lowest = np.sort(cost, axis=1)

    def assert_same(found: np.ndarray, expected: np.ndarray) -> None:
        # As squared distances: free of the root's rounding.
        np.testing.assert_allclose(found ** (2 / power), expected ** (2 / power), atol=3e-6)

    assert_same(search.near, lowest[:, 0])
    assert_same(cost[rows, search.first], lowest[:, 0])
    assert search.total == pytest.approx(lowest[:, 0].sum(), abs=rounding(power, len(jury)))
    if len(search.picks) > 1:
        assert_same(search.next, lowest[:, 1])
        assert_same(cost[rows, search.second], lowest[:, 1])
        assert (search.first != search.second).all()
    else:
        np.testing.assert_allclose(search.next, 2**power, rtol=1e-6)
    lost = search.next.astype(np.float64) - search.near
    np.testing.assert_allclose(search.removal_M, np.bincount(search.first, lost, len(search.picks)), atol=1e-4)
    for slot in range(len(search.picks)):
        others = np.delete(cost, slot, axis=1)
        without = others.min(axis=1) if others.shape[1] else np.full(len(jury), 2.0**power)
        expected = (without - lowest[:, 0]).sum()
        assert search.removal_M[slot] == pytest.approx(expected, abs=rounding(power, len(jury)))


@POWERS
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("free", "fixed"), [(1, 0), (2, 0), (6, 0), (1, 3), (5, 3)])
def test_bookkeeping_after_every_pass(free: int, fixed: int, power: float, seed: int) -> None:
    features = sphere(60, 4, seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(60)
    jury = np.sort(rng.choice(60, 40, replace=False))
    search = _Search(rows_of(features), jury, order[: free + fixed], free, power)
    assert_books_are_right(search, features, jury)
    totals, start = [search.total], search.picks.copy()
    for _ in range(3):
        search.run_pass(rng.permutation(np.concatenate([order[:free], order[free + fixed :]])))
        assert_books_are_right(search, features, jury)
        totals.append(search.total)
    assert (search.picks[:free] != start[:free]).any()  # or this test shows nothing
    assert (search.picks[free:] == start[free:]).all()
    assert (np.diff(totals) <= 1e-6).all()


@POWERS
@pytest.mark.parametrize("seed", SEEDS)
def test_bookkeeping_of_an_odd_pool(power: float, seed: int) -> None:
    features = odd_pool(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(features))
    search = _Search(rows_of(features), np.arange(len(features)), order[:8], 6, power)
    assert_books_are_right(search, features, np.arange(40))
    for _ in range(3):
        search.run_pass(rng.permutation(np.setdiff1d(order, order[6:8])))
        assert_books_are_right(search, features, np.arange(40))
        assert len(set(search.picks.tolist())) == 8


@pytest.mark.parametrize("numbers", [1, 60, 500])
def test_bookkeeping_in_pieces(numbers: int, in_pieces: InPieces) -> None:
    features = sphere(60, 4, seed=1)
    start = np.arange(6)
    whole = lowered(features, start)
    in_pieces(numbers)
    assert lowered(features, start).tolist() == whole.tolist()
    search = _Search(rows_of(features), np.arange(len(features)), start, 6, 1.0)
    search.run_pass(np.arange(60))
    assert_books_are_right(search, features, np.arange(60))


def test_a_picked_zero_vector_costs_nothing() -> None:
    features = sphere(8, 3, seed=0)
    features[0] = 0
    cost = costs(features, 1)
    np.fill_diagonal(cost, 0)
    for seed in range(20):
        picks = np.random.default_rng(seed).permutation(np.arange(1, 8))[:3]
        picks = np.concatenate([[0], picks])
        search = _Search(rows_of(features), np.arange(len(features)), picks, 4, 1.0)
        search.run_pass(np.arange(8))
        assert total(cost, search.picks) <= total(cost, picks) + rounding(1, 8)


# What may be picked ---------------------------------------------------------------------------------------------------


EITHER = pytest.mark.parametrize("make", [lambda seed: sphere(40, 4, seed), odd_pool])


def some_evidence(features: np.ndarray, seed: int) -> Evidence:
    order = np.random.default_rng(seed).permutation(len(features))
    return Evidence(features, order[:3], order[3:7], order[7:14])


def assert_distinct_candidates(found: np.ndarray, evidence: Evidence, count: int) -> None:
    assert len(set(found.tolist())) == len(found) == count
    assert set(found.tolist()) <= set(evidence.candidates.tolist())


@POWERS
@EITHER
@pytest.mark.parametrize("seed", SEEDS)
def test_distinct_candidates_and_never_worse(make: Callable[[int], np.ndarray], power: float, seed: int) -> None:
    evidence = some_evidence(make(seed), seed)
    features, fixed = evidence.features_ND, evidence.labelled
    start = np.random.default_rng(seed).choice(evidence.candidates, 5, replace=False)
    copies = features.copy(), start.copy()
    found = lowered(features, start, fixed, power=power, excluded=evidence.excluded, closed=evidence.closed, seed=seed)
    assert_distinct_candidates(found, evidence, 5)
    cost = costs(features, power)[evidence.population]
    before, after = (total(cost, np.concatenate([picks, fixed])) for picks in (start, found))
    assert after < before  # a random start is never the best
    np.testing.assert_array_equal(features, copies[0])
    np.testing.assert_array_equal(start, copies[1])


@POWERS
@EITHER
@pytest.mark.parametrize("seed", SEEDS)
def test_never_worse_than_where_the_centroids_settled(
    make: Callable[[int], np.ndarray], power: float, seed: int
) -> None:
    evidence = some_evidence(make(seed), seed)
    centroids = sphere(5, 4, seed + 50)
    copy = centroids.copy()
    settled = _settle(evidence, centroids, owners(evidence, centroids))
    found = run(evidence, centroids, power, passes=5, seed=seed)
    assert_distinct_candidates(settled, evidence, 5)
    assert_distinct_candidates(found, evidence, 5)
    cost = costs(evidence.features_ND, power)[evidence.population]
    before, after = (total(cost, np.concatenate([picks, evidence.labelled])) for picks in (settled, found))
    assert after <= before + rounding(power, 5)
    np.testing.assert_array_equal(centroids, copy)


def test_excluded_items_do_not_count() -> None:
    features = sphere(40, 4, seed=0)
    other = features.copy()
    other[30:] = sphere(10, 4, seed=9)
    found = [
        run(Evidence(rows, excluded=np.arange(30, 40)), rows[:4], 2.0, passes=5).tolist() for rows in (features, other)
    ]
    assert found[0] == found[1]
    assert max(found[0]) < 30


def test_closed_items_count() -> None:
    rng = np.random.default_rng(0)
    features = unit_rows(np.eye(3)[np.repeat([0, 1, 2], [5, 5, 30])] + 0.05 * rng.normal(size=(40, 3)))
    features = np.concatenate([features, unit_rows([[0.2, 0.0, 1.0]])])
    closed = np.setdiff1d(np.arange(41), [0, 5, 40])
    assert lowered(features, np.array([0]), closed=closed).tolist() == [40]  # the nearest to the thirty closed ones


def test_a_fixed_pick_covers() -> None:
    rng = np.random.default_rng(0)
    features = unit_rows(np.eye(3)[np.repeat([0, 1], [30, 10])] + 0.05 * rng.normal(size=(40, 3)))
    assert lowered(features, np.array([35]))[0] < 30  # the larger blob
    assert lowered(features, np.array([5]), np.array([3]))[0] >= 30  # what is left


@POWERS
@pytest.mark.parametrize("seed", SEEDS)
def test_a_single_pick_becomes_the_medoid(power: float, seed: int) -> None:
    features = sphere(40, 4, seed)
    sums = costs(features, power).sum(axis=0)
    found = lowered(features, np.array([7]), power=power, seed=seed)
    assert sums[found[0]] <= sums.min() + rounding(power, 2)
    assert sums[7] > sums.min() + 0.5


@POWERS
@pytest.mark.parametrize("features", [np.zeros((9, 3), dtype=np.float32), np.tile(unit_rows([[1.0, 2.0]]), (9, 1))])
def test_nothing_to_gain(features: np.ndarray, power: float) -> None:
    evidence = Evidence(features, labelled=np.array([1]))
    assert_distinct_candidates(run(evidence, features[:2], power, passes=3), evidence, 2)
    assert_distinct_candidates(lowered(features, np.array([2, 5]), np.array([1]), power=power), evidence, 2)


def test_as_many_centroids_as_candidates_take_them_all() -> None:
    features = sphere(20, 3, seed=0)
    evidence = Evidence(features, labelled=np.arange(3), excluded=np.arange(3, 12))
    assert sorted(run(evidence, sphere(8, 3, seed=1), 1.0, passes=9)) == list(range(12, 20))


# Settling -------------------------------------------------------------------------------------------------------------


def plain_settling(evidence: Evidence, free: np.ndarray, rounds: int) -> tuple[np.ndarray, np.ndarray]:
    """Lloyd's iterations, labelled items among the centroids; each one's most similar candidate of its own, or -1."""
    features, free = evidence.features_ND.astype(np.float64), free.astype(np.float64)
    owner = owners(evidence, free)
    for _ in range(rounds):
        for number in range(len(free)):
            middle = features[evidence.population[owner == number]].sum(axis=0)
            if np.linalg.norm(middle) > 1e-6:
                free[number] = middle / np.linalg.norm(middle)
        owner = owners(evidence, free)
    picks = []
    for number in range(len(free)):
        own = np.intersect1d(evidence.population[owner == number], evidence.candidates)
        picks.append(int(own[(features[own] @ free[number]).argmax()]) if len(own) else -1)
    return np.asarray(picks), free


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("free", "fixed"), [(1, 0), (1, 3), (6, 0), (7, 5)])
def test_settling_is_lloyd_beside_what_stays(free: int, fixed: int, seed: int) -> None:
    features = sphere(90, 4, seed)  # at most 16 centroids: looking nearby is looking everywhere
    order = np.random.default_rng(seed).permutation(90)
    evidence = Evidence(features, labelled=order[:fixed], excluded=order[80:], closed=order[20:30])
    start = features[order[fixed : fixed + free]]
    found = _settle(evidence, start, owners(evidence, start))
    expected, _ = plain_settling(evidence, start, _swaps.SETTLING)
    assert (expected >= 0).all()
    assert found.tolist() == expected.tolist()


def test_settling_takes_the_first_of_two_items_equally_near() -> None:
    rng = np.random.default_rng(0)
    middles = np.repeat(unit_rows(rng.normal(size=(20, 300))), 2, axis=0)
    features = unit_rows(middles + 0.01 * rng.normal(size=middles.shape))
    found = _settle(Evidence(features), middles[::2], np.repeat(np.arange(20), 2))
    assert found.tolist() == list(range(0, 40, 2))


def test_settling_begins_with_the_assignment_given() -> None:
    features = sphere(30, 3, seed=0)
    owner = np.random.default_rng(0).integers(2, size=30)
    middles = unit_rows([features[owner == number].sum(axis=0) for number in range(2)])
    found = _settle(Evidence(features), sphere(2, 3, seed=1), owner, 1)
    own = (features @ middles.T).argmax(axis=1)
    for number in range(2):
        rows = np.flatnonzero(own == number)
        assert found[number] == rows[(features[rows] @ middles[number]).argmax()]


def test_settling_brings_picks_nearer() -> None:
    features = unit_rows(load_digits().data[:500])
    evidence, cost = Evidence(features), costs(features, 2)
    start = np.random.default_rng(0).choice(500, 40, replace=False)
    found = _settle(evidence, features[start], owners(evidence, features[start]))
    expected, _ = plain_settling(evidence, features[start], _swaps.SETTLING)
    assert total(cost, found) < 0.8 * total(cost, start)
    assert total(cost, found) < 1.03 * total(cost, expected)


def test_centroids_without_a_candidate_of_their_own_take_what_is_left() -> None:
    features = np.abs(sphere(20, 3, seed=0))
    away = -unit_rows(features.mean(axis=0, keepdims=True))
    start = np.concatenate([features[:2], away])
    assert (owners(Evidence(features), start) != 2).all()  # or this test shows nothing
    found = _settle(Evidence(features), start, owners(Evidence(features), start))
    own, _ = plain_settling(Evidence(features), start, _swaps.SETTLING)
    left = np.setdiff1d(np.arange(20), own[:2])
    assert found.tolist() == [*own[:2].tolist(), int(left[(features[left] @ away[0]).argmax()])]
    closed = np.flatnonzero(owners(Evidence(features), start) == 0)
    evidence = Evidence(features, closed=closed)  # the first centroid has items, but none to pick
    assert_distinct_candidates(_settle(evidence, start, owners(evidence, start)), evidence, 3)


def test_settling_on_zero_vectors() -> None:
    features = np.concatenate([sphere(20, 3, seed=0), np.zeros((4, 3), dtype=np.float32)])
    start = features[[0, 1, 20, 21]]
    evidence = Evidence(features, labelled=np.array([22]))
    assert_distinct_candidates(_settle(evidence, start, owners(evidence, start)), evidence, 4)


# A jury smaller than the pool -----------------------------------------------------------------------------------------


class Spy(_Search):
    """A search that keeps the trials of each of its passes."""

    def __init__(self, *arguments: object):
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.before = self.total
        self.trials: list[np.ndarray] = []

    def run_pass(self, trials: np.ndarray) -> None:
        self.trials.append(trials)
        super().run_pass(trials)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Spy]:
    """The searches that are made."""
    found: list[Spy] = []

    def make(*arguments: object) -> Spy:
        found.append(Spy(*arguments))  # type: ignore[arg-type]
        return found[-1]

    monkeypatch.setattr(_swaps, "_Search", make)
    return found


@pytest.mark.parametrize(("jury", "trials", "a_pick"), [(50, 30, 2), (10, 20, 8), (1000, 1000, 1)])
def test_a_jury_and_trials_stand_for_all(jury: int, trials: int, a_pick: int, seen: list[Spy]) -> None:
    features = unit_rows(load_digits().data[:240])
    excluded, closed = np.arange(200, 240), np.arange(190, 200)
    effort = {"jurors": jury, "trials": (trials, a_pick)}
    found = lowered(features, np.arange(10), excluded=excluded, closed=closed, passes=3, **effort)
    assert found.max() < 190
    assert len(set(found.tolist())) == 10
    (search,) = seen
    assert len(search.jury_JD) == min(jury, 200)
    assert all(len(tried) == min(max(trials, 10 * a_pick), 190) for tried in search.trials)
    assert all(tried.max() < 190 for tried in search.trials)
    assert search.total < search.before
    members = {tuple(row) for row in features[:200]} & {tuple(row) for row in search.jury_JD}
    assert len(members) == min(jury, 200)  # distinct, and none of the excluded
    cost = costs(features, 1)[:200]
    if jury > 10:
        assert total(cost, found) < total(cost, np.arange(10))


def test_a_jury_of_a_tenth_comes_close_to_all() -> None:
    features = unit_rows(load_digits().data)
    cost = costs(features, 1)
    start = np.random.default_rng(0).choice(len(features), 10, replace=False)
    whole = total(cost, lowered(features, start, passes=3))
    small = [total(cost, lowered(features, start, passes=3, seed=seed, jurors=180)) for seed in range(3)]
    before = total(cost, start)
    assert before - np.mean(small) > 0.7 * (before - whole)


def test_passes_stop_when_little_is_gained(seen: list[Spy]) -> None:
    features = sphere(60, 4, seed=0)
    picks = lowered(features, np.arange(5), passes=1000, least_gain=_swaps.LEAST_GAIN)
    assert 1 < len(seen[0].trials) < 20
    lowered(features, picks, passes=1000, least_gain=_swaps.LEAST_GAIN)
    assert len(seen[1].trials) <= 2


def test_same_seed_same_swaps() -> None:
    features = sphere(60, 4, seed=0)
    assert lowered(features, np.arange(5), seed=3).tolist() == lowered(features, np.arange(5), seed=3).tolist()
