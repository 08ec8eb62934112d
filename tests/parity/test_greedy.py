"""Farthest first, greedy coverage and what stands on them, against the plain loops over whole matrices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor

from activetune.features.distances import unit_rows
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import _greedy, make_selector
from activetune.selection.selectors._greedy import farthest_first, gaussian, greedy_coverage, jury_of
from tests.conftest import InPieces

SEEDS = range(4)
NOBODY = np.empty(0, dtype=np.int64)


def sphere(count: int, dimensions: int, seed: int) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, dimensions)) + 0.4)


def whole_numbers(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Rows of -1, 0 and 1: products are exact in float32, many of them equal, and some rows are zero."""
    return np.random.default_rng(seed).integers(-1, 2, size=(count, dimensions)).astype(np.float32)


def split(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labelled, excluded and closed positions."""
    order = np.random.default_rng(seed).permutation(count)
    return order[: count // 10], order[count // 10 : count // 5], order[count // 5 : count // 3]


def select(method: str, evidence: Evidence, budget: int, seed: int = 0, **values: Any) -> Picks:
    return make_selector(method, settings=values).select(evidence, budget, np.random.default_rng(seed))


def distances_of(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * rows.astype(np.float64) @ columns.T.astype(np.float64), 0))


# Farthest first -------------------------------------------------------------------------------------------------------


def plain_farthest(
    features: np.ndarray, candidates: np.ndarray, centres: np.ndarray, budget: int, first: int | None = None
) -> tuple[list[int], list[float]]:
    picks, scores = ([], []) if first is None else ([first], [2.0])
    product = features.astype(np.float64) @ features.T.astype(np.float64)
    while len(picks) < budget:
        nearest = product[:, [*centres.tolist(), *picks]].max(axis=1)
        left = [item for item in candidates.tolist() if item not in picks]
        best = min(left, key=lambda item: (nearest[item], item))
        picks.append(best)
        scores.append(float(np.sqrt(max(2 - 2 * nearest[best], 0))))
    return picks, scores


FRONTS = pytest.mark.parametrize("front", [1, 3, 64])


@FRONTS
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("centres", [0, 1, 9])
def test_farthest_first_equals_a_plain_loop(centres: int, seed: int, front: int) -> None:
    features = sphere(90, 5, seed)
    order = np.random.default_rng(seed).permutation(90)
    candidates = np.sort(order[centres:75])
    first = None if centres else int(order[3])
    found, scores = farthest_first(features, candidates, order[:centres], 40, first=first, front=front)
    expected, expected_scores = plain_farthest(features, candidates, order[:centres], 40, first)
    assert found.tolist() == expected
    np.testing.assert_allclose(scores**2, np.square(expected_scores), atol=2e-6)


@FRONTS
@pytest.mark.parametrize("numbers", [None, 40])
def test_equal_distances_go_to_the_lower_position(front: int, numbers: int | None, in_pieces: InPieces) -> None:
    if numbers:
        in_pieces(numbers)
    for seed in range(12):
        features = whole_numbers(50, 3, seed)
        order = np.random.default_rng(seed).permutation(50)
        candidates, centres = np.sort(order[2:40]), order[:2]
        found, scores = farthest_first(features, candidates, centres, 38, front=front)
        expected, expected_scores = plain_farthest(features, candidates, centres, 38)
        assert found.tolist() == expected
        np.testing.assert_allclose(scores, expected_scores, atol=1e-6)
        found, _ = farthest_first(features, candidates, NOBODY, 20, first=int(candidates[5]), front=front)
        assert found.tolist() == plain_farthest(features, candidates, NOBODY, 20, int(candidates[5]))[0]


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    kinds=st.integers(1, 40),
    front=st.sampled_from([1, 2, 5, 64]),
    share=st.floats(0, 1),
    seed=st.integers(0, 10**6),
)
def test_farthest_first_of_any_pool_with_duplicates(
    count: int, kinds: int, front: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    features = whole_numbers(kinds, 3, seed)[rng.integers(kinds, size=count)]
    order = rng.permutation(count)
    centres = order[: round(share * (count - 1))]
    candidates = np.sort(order[len(centres) :])
    first = None if len(centres) else int(candidates[-1])
    found, _ = farthest_first(features, candidates, centres, len(candidates), first=first, front=front)
    assert found.tolist() == plain_farthest(features, candidates, centres, len(candidates), first)[0]


@FRONTS
def test_zero_vectors_are_as_far_as_what_is_at_right_angles(front: int) -> None:
    features = np.array([[1, 0], [0, 0], [0, 1], [0, 0], [-1, 0]], dtype=np.float32)
    found, scores = farthest_first(features, np.arange(1, 5), np.array([0]), 4, front=front)
    assert found.tolist() == [4, 1, 2, 3]
    np.testing.assert_allclose(scores, [2, np.sqrt(2), np.sqrt(2), np.sqrt(2)], atol=1e-6)


def test_only_the_front_is_kept_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """The saving: for many picks, far fewer products over all candidates than one a pick."""
    features = sphere(600, 16, seed=0)
    rounds = []
    original = _greedy._catch_up

    def counting(*arguments: Any) -> None:
        rounds.append(1)
        original(*arguments)

    monkeypatch.setattr(_greedy, "_catch_up", counting)
    found, _ = farthest_first(features, np.arange(600), NOBODY, 60, first=0, front=150)
    assert found.tolist() == plain_farthest(features, np.arange(600), NOBODY, 60, 0)[0]
    assert len(rounds) < 20


# Greedy coverage ------------------------------------------------------------------------------------------------------


def plain_coverage(
    kernel: np.ndarray,
    candidates: np.ndarray,
    centres: np.ndarray,
    population: np.ndarray,
    budget: int,
    weights: np.ndarray,
) -> tuple[list[int], list[float]]:
    """Greedy with the full (N, N) kernel matrix; it stops when nothing is left to gain."""
    weights = weights[population] / weights[population].sum()
    covered = kernel[np.ix_(centres, population)].max(axis=0) if len(centres) else np.zeros(len(population))
    picks: list[int] = []
    gains: list[float] = []
    while len(picks) < budget:
        left = [item for item in candidates.tolist() if item not in picks]
        found = [float(np.maximum(kernel[item, population] - covered, 0) @ weights) for item in left]
        if not left or max(found) <= 1e-9:
            break
        best = int(np.argmax(found))
        picks.append(left[best])
        gains.append(found[best])
        covered = np.maximum(covered, kernel[left[best], population])
    return picks, gains


def assert_greedy(
    found: np.ndarray,
    gains: np.ndarray,
    kernel: np.ndarray,
    candidates: np.ndarray,
    centres: np.ndarray,
    population: np.ndarray,
    weights: np.ndarray | None = None,
) -> None:
    """Each pick gains what it says, and no other candidate more.

    Two items that cover nothing but each other gain exactly the same, and rounding decides between them.
    """
    weights = np.ones(len(kernel)) if weights is None else weights
    weights = weights[population] / weights[population].sum()
    covered = kernel[np.ix_(centres, population)].max(axis=0) if len(centres) else np.zeros(len(population))
    left = candidates.tolist()
    for item, gain in zip(found.tolist(), gains.tolist(), strict=True):
        reached = np.maximum(kernel[np.ix_(left, population)] - covered, 0) @ weights
        assert gain == pytest.approx(reached[left.index(item)], rel=1e-3, abs=1e-6)
        assert gain >= reached.max() - 1e-6
        left.remove(item)
        covered = np.maximum(covered, kernel[item, population])
    assert (np.diff(gains) <= 1e-6).all()


def gaussian_matrix(features: np.ndarray, bandwidth: float) -> np.ndarray:
    rows = features.astype(np.float64)
    # Zero vectors are sqrt(2) from everything: the kernel is one of similarities.
    return np.exp((rows @ rows.T - 1) / bandwidth**2)


def cover(features: np.ndarray, budget: int, **values: Any) -> tuple[np.ndarray, np.ndarray]:
    everything = np.arange(len(features))
    given_ = {"candidates": everything, "centres": NOBODY, "population": everything, "kernel": gaussian(0.7), **values}
    return greedy_coverage(features, budget=budget, **given_)


BLOCKS = pytest.mark.parametrize("block", [1, 4, 64])


@BLOCKS
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bandwidth", [0.3, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_greedy_coverage_equals_a_plain_greedy(bandwidth: float, weighted: bool, seed: int, block: int) -> None:
    features = sphere(70, 5, seed)
    order = np.random.default_rng(seed).permutation(70)
    centres, candidates, population = order[:4], np.sort(order[4:60]), np.sort(order[:66])
    weights = np.random.default_rng(seed).random(70).astype(np.float32) if weighted else None
    found, gains = cover(
        features,
        30,
        candidates=candidates,
        centres=centres,
        population=population,
        kernel=gaussian(bandwidth),
        weights_N=weights,
        at_once=block,
    )
    matrix = gaussian_matrix(features, bandwidth)
    assert len(found) == 30
    assert_greedy(found, gains, matrix, candidates, centres, population, weights)
    if weights is not None:  # no equal gains
        expected = plain_coverage(matrix, candidates, centres, population, 30, weights.astype(np.float64))
        assert found.tolist() == expected[0]


def test_gains_add_up_to_the_coverage() -> None:
    features = sphere(60, 4, seed=1)
    matrix = gaussian_matrix(features, 0.7)
    found, gains = cover(features, 12)
    assert gains.sum() == pytest.approx(matrix[found].max(axis=0).mean(), abs=1e-5)
    found, gains = cover(features[:40], 40)
    assert sorted(found) == list(range(40))
    assert gains.sum() == pytest.approx(1, abs=1e-5)


@BLOCKS
@pytest.mark.parametrize("numbers", [None, 40])
def test_equal_gains_go_to_the_lower_position(block: int, numbers: int | None, in_pieces: InPieces) -> None:
    if numbers:
        in_pieces(numbers)

    def within(similarity: Tensor) -> Tensor:
        return (similarity >= 1).float()

    for seed in range(12):
        features = whole_numbers(32, 3, seed)  # 32 equal weights: sums of gains are exact
        matrix = (features @ features.T >= 1).astype(np.float64)
        order = np.random.default_rng(seed).permutation(32)
        candidates, centres = np.sort(order[3:]), order[:3]
        found, gains = cover(features, 29, candidates=candidates, centres=centres, kernel=within, at_once=block)
        expected = plain_coverage(matrix, candidates, centres, np.arange(32), 29, np.ones(32))
        assert found.tolist() == expected[0]
        assert gains.tolist() == expected[1]
        assert len(found) < 29  # everything that can be covered is, and it stops


@settings(max_examples=50, deadline=None)
@given(
    count=st.integers(1, 32),
    kinds=st.integers(1, 32),
    block=st.sampled_from([1, 3, 64]),
    labelled=st.integers(0, 4),
    seed=st.integers(0, 10**6),
)
def test_greedy_coverage_of_any_pool_with_duplicates(
    count: int, kinds: int, block: int, labelled: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    features = whole_numbers(kinds, 3, seed)[rng.integers(kinds, size=count)]
    order = rng.permutation(count)
    centres = order[: min(labelled, count - 1)]
    candidates = np.sort(order[len(centres) :])
    weights = 2.0 ** rng.integers(0, 4, size=count)
    weights[0] += 2.0 ** np.ceil(np.log2(weights.sum())) - weights.sum()  # they sum to a power of two: exact shares
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_greedy, "LAZY_BLOCK", block)
        found, gains = cover(
            features,
            len(candidates),
            candidates=candidates,
            centres=centres,
            kernel=lambda similarity: (similarity >= 1).float() / 2 + (similarity >= 2).float() / 2,
            weights_N=weights.astype(np.float32),
        )
    product = features @ features.T
    matrix = (product >= 1) / 2 + (product >= 2) / 2
    expected = plain_coverage(matrix, candidates, centres, np.arange(count), len(candidates), weights)
    assert found.tolist() == expected[0]
    np.testing.assert_allclose(gains, expected[1], rtol=1e-5)


def test_few_gains_are_computed_again() -> None:
    """The saving: rows of the kernel that are computed, against all the candidates for every pick."""
    features = sphere(400, 6, seed=0)
    rows = []

    def counting(similarity: Tensor) -> Tensor:
        rows.append(1 if similarity.ndim == 1 else len(similarity))
        return gaussian(0.5)(similarity)

    found, _ = cover(features, 40, kernel=counting)
    matrix = gaussian_matrix(features, 0.5)
    everything = np.arange(400)
    assert found.tolist() == plain_coverage(matrix, everything, NOBODY, everything, 40, np.ones(400))[0]
    assert sum(rows) < 0.5 * 40 * 400


def test_without_any_weight_nothing_is_gained() -> None:
    found, gains = cover(sphere(20, 3, seed=0), 5, weights_N=np.zeros(20, dtype=np.float32))
    assert len(found) == len(gains) == 0


def test_gaussian_is_the_kernel_of_the_distance() -> None:
    features = sphere(20, 4, seed=0)
    square = distances_of(features, features) ** 2
    found = gaussian(0.6)(torch.from_numpy(features @ features.T)).numpy()
    np.testing.assert_allclose(found, np.exp(-square / (2 * 0.6**2)), atol=1e-5)


# MaxHerding and UHerding ----------------------------------------------------------------------------------------------


def then_farthest(features: np.ndarray, evidence: Evidence, picks: list[int], budget: int) -> list[int]:
    left = np.setdiff1d(evidence.candidates, picks)
    centres = np.concatenate([evidence.labelled, np.asarray(picks, dtype=np.int64)])
    return picks + plain_farthest(features, left, centres, budget - len(picks))[0]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("bandwidth", [0.4, 1.0])
def test_max_herding_equals_a_plain_greedy(bandwidth: float, seed: int) -> None:
    features = sphere(60, 5, seed)
    evidence = Evidence(features, *split(60, seed))
    picks = select("max_herding", evidence, 25, bandwidth=bandwidth)
    assert len(picks.positions) == 25
    assert_greedy(
        picks.positions,
        picks.scores,
        gaussian_matrix(features, bandwidth),
        evidence.candidates,
        evidence.labelled,
        evidence.population,
    )


def some_probs(count: int, classes: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.4), size=count).astype(np.float32)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("classes", [2, 5])
def test_uncertainty_herding_equals_a_plain_greedy(classes: int, seed: int) -> None:
    features, probs = sphere(60, 5, seed), some_probs(60, classes, seed)
    evidence = Evidence(features, *split(60, seed), probs_NC=probs)
    picks = select("uncertainty_herding", evidence, 25, bandwidth=0.6)
    ordered = np.sort(probs.astype(np.float64), axis=1)
    doubt = 1 - (ordered[:, -1] - ordered[:, -2])
    expected, gains = plain_coverage(
        gaussian_matrix(features, 0.6), evidence.candidates, evidence.labelled, evidence.population, 25, doubt
    )
    assert picks.positions.tolist() == expected
    np.testing.assert_allclose(picks.scores, gains, rtol=1e-3, atol=1e-6)


def test_uncertainty_herding_without_doubts_takes_the_farthest() -> None:
    features = sphere(30, 4, seed=0)
    probs = np.tile(np.array([1.0, 0.0], dtype=np.float32), (30, 1))
    evidence = Evidence(features, labelled=np.array([4]), probs_NC=probs)
    picks = select("uncertainty_herding", evidence, 8)
    assert picks.positions.tolist() == plain_farthest(features, evidence.candidates, evidence.labelled, 8)[0]
    assert not picks.scores.any()
    assert all("farthest" in reason for reason in picks.reasons)


@pytest.mark.parametrize("method", ["max_herding", "uncertainty_herding"])
def test_after_all_is_covered_the_farthest_follow(method: str) -> None:
    features = np.repeat(sphere(6, 4, seed=0), 4, axis=0)
    evidence = Evidence(features, labelled=np.array([0]), probs_NC=some_probs(24, 3, seed=0))
    picks = select(method, evidence, 23)
    assert sorted(picks.positions) == list(range(1, 24))
    assert sorted(picks.positions[:5] // 4) == [1, 2, 3, 4, 5]
    assert (picks.scores[:5] > 0.001).all()
    assert (picks.scores[5:] < 0.001).all()


@pytest.mark.parametrize("method", ["max_herding", "uncertainty_herding", "probcover"])
def test_only_the_jury_counts(method: str) -> None:
    """With a jury smaller than the pool, the answer is that of a population cut to the jury."""
    features, probs = sphere(60, 5, seed=0), some_probs(60, 3, seed=0)
    evidence = Evidence(features, labelled=np.array([3]), excluded=np.array([50, 51]), probs_NC=probs)
    ordered = np.sort(probs, axis=1)
    weights = 1 - (ordered[:, -1] - ordered[:, -2]) if method == "uncertainty_herding" else None
    if method == "probcover":
        matrix, values = (distances_of(features, features) <= 0.7).astype(np.float64), {"radius": 0.7}
    else:
        matrix, values = gaussian_matrix(features, 0.5), {"bandwidth": 0.5}
    for seed in SEEDS:
        jury = jury_of(evidence.population, 20, np.random.default_rng(seed))
        picks = select(method, evidence, 6, seed, jury=20, **values)
        ranked = int((picks.scores > 0).sum())
        assert ranked >= 3
        positions, gains = picks.positions[:ranked], picks.scores[:ranked]
        assert_greedy(positions, gains, matrix, evidence.candidates, evidence.labelled, jury, weights)


# ProbCover ------------------------------------------------------------------------------------------------------------


def gap_near(features: np.ndarray, radius: float) -> float:
    """A radius close to the one asked for with no two items at just that distance."""
    found = np.unique(distances_of(features, features))
    place = int(np.clip(np.searchsorted(found, radius), 1, len(found) - 1))
    while found[place] - found[place - 1] < 1e-4:
        place += 1
    return float((found[place] + found[place - 1]) / 2)


def plain_probcover(features: np.ndarray, evidence: Evidence, radius: float, budget: int) -> tuple[list[int], list]:
    """Highest out-degree of the graph of all pairs within the radius; edges into covered items are removed."""
    graph = distances_of(features, features) <= radius
    graph[:, evidence.excluded] = False
    for item in evidence.labelled:
        graph[:, graph[item]] = False
    picks: list[int] = []
    shares: list[float] = []
    while len(picks) < budget:
        degrees = graph[evidence.candidates].sum(axis=1)
        if degrees.max() == 0:
            break
        best = int(evidence.candidates[degrees.argmax()])
        picks.append(best)
        shares.append(degrees.max() / len(evidence.population))
        graph[:, graph[best]] = False
    return picks, shares


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("wanted", [0.3, 0.6, 1.1])
@pytest.mark.parametrize("numbers", [None, 50])
def test_probcover_equals_a_plain_graph(wanted: float, seed: int, numbers: int | None, in_pieces: InPieces) -> None:
    features = sphere(80, 4, seed)
    radius = gap_near(features, wanted)
    evidence = Evidence(features, *split(80, seed))
    expected, shares = plain_probcover(features, evidence, radius, 30)
    if numbers:
        in_pieces(numbers)
    picks = select("probcover", evidence, 30, radius=radius)
    assert picks.positions.tolist() == then_farthest(features, evidence, expected, 30)
    np.testing.assert_allclose(picks.scores, [*shares, *[0] * (30 - len(shares))], atol=1e-9)
    assert picks.figures["probcover_radius"] == radius


@settings(max_examples=40, deadline=None)
@given(count=st.integers(1, 40), kinds=st.integers(1, 10), wanted=st.floats(0.05, 1.3), seed=st.integers(0, 10**6))
def test_probcover_never_repeats_an_item(count: int, kinds: int, wanted: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features = sphere(kinds, 3, seed)[rng.integers(kinds, size=count)]
    features[rng.random(count) < 0.1] = 0
    picks = select("probcover", Evidence(features), count, radius=wanted)
    assert sorted(picks.positions) == list(range(count))
    assert (np.diff(picks.scores) <= 0).all()
    newly = np.round(picks.scores * count)
    assert newly.sum() == features.any(axis=1).sum()  # each item is covered once, but for zero vectors


def test_probcover_counts_what_it_newly_covers_at_the_radius_it_chooses() -> None:
    features = unit_rows(load_digits().data)
    for seed in range(4):
        rows = features[np.random.default_rng(seed).choice(len(features), 900, replace=False)]
        picks = select("probcover", Evidence(rows), 200, seed)
        radius = picks.figures["probcover_radius"]
        counts = []
        for rim in (radius - 1e-5, radius + 1e-5):  # items at just that distance are out, or they are in
            within = distances_of(rows, rows) <= rim
            np.fill_diagonal(within, True)
            first = within[picks.positions].argmax(axis=0)  # the pick that is the first to cover each item
            found = within[picks.positions].any(axis=0)
            counts.append(np.bincount(first[found], minlength=200).tolist())
        assert np.round(picks.scores * 900).tolist() in counts


def test_probcover_with_the_smallest_radius_covers_duplicates() -> None:
    features = np.repeat(sphere(5, 6, seed=0), [5, 4, 3, 2, 1], axis=0)
    picks = select("probcover", Evidence(features), 6, radius=1e-9)
    assert picks.positions[:5].tolist() == [0, 5, 9, 12, 14]
    assert np.round(picks.scores * 15).tolist() == [5, 4, 3, 2, 1, 0]


# RepDiv ---------------------------------------------------------------------------------------------------------------


def plain_rep_div(features: np.ndarray, evidence: Evidence, budget: int, first: int, apart: str) -> list[int]:
    """Both stages item by item on the matrix of all similarities."""
    similarity = features.astype(np.float64) @ features.T.astype(np.float64)
    earlier, free = evidence.labelled.tolist(), evidence.candidates.tolist()
    picks: list[int] = []
    for rank in range(budget):
        best, value = -1, -np.inf
        for item in free:
            to_earlier = [similarity[item, pick] for pick in earlier]
            if rank < first:
                gain = 0.0
                for other in evidence.population:
                    covered = max([0.0, *(similarity[other, pick] for pick in earlier)])
                    gain += max(covered, similarity[other, item])
            else:
                gain = 1 - (min(to_earlier) if apart == "any" else max(to_earlier))
            if gain > value + 1e-9:
                best, value = item, gain
        picks.append(best)
        earlier.append(best)
        free.remove(best)
    return picks


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("apart", ["any", "all"])
@pytest.mark.parametrize("some_labelled", [False, True])
def test_rep_div_is_the_plain_loop(seed: int, apart: str, some_labelled: bool) -> None:
    features = sphere(50, 5, seed)
    evidence = Evidence(features, *split(50, seed)) if some_labelled else Evidence(features)
    picks = select("rep_div", evidence, 12, apart=apart, share=0.5)
    assert picks.positions.tolist() == plain_rep_div(features, evidence, 12, 6, apart)
    assert picks.figures == {"representative": 6}


@pytest.mark.parametrize("numbers", [1, 7, 100])
def test_rep_div_does_not_depend_on_pieces(numbers: int, in_pieces: InPieces) -> None:
    evidence = Evidence(sphere(60, 6, 3), *split(60, 3))
    whole = select("rep_div", evidence, 20)
    in_pieces(numbers)
    again = select("rep_div", evidence, 20)
    assert again.positions.tolist() == whole.positions.tolist()
    np.testing.assert_allclose(again.scores, whole.scores, atol=1e-6)


# Juries ---------------------------------------------------------------------------------------------------------------


def test_jury_of() -> None:
    population = np.arange(5, 65)
    for most in (0, 60, 61, 10**6):
        assert jury_of(population, most, np.random.default_rng(0)) is population
    found = [jury_of(population, 20, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert found[0].tolist() == found[1].tolist() != found[2].tolist()
    assert found[0].tolist() == sorted(set(found[0].tolist()))
    assert len(found[0]) == 20
    assert set(found[0].tolist()) <= set(population.tolist())
    assert len(set(np.concatenate([jury_of(population, 20, np.random.default_rng(s)) for s in range(20)]))) == 60
