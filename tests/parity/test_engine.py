"""The centroid engine against autograd on dense matrices, and the assignments against brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from activetune import distances
from activetune.distances import coverage, distinct_nearest, nearest_centroid, pieces, unit_rows
from activetune.selectors._engine import CentroidLoss, PaperLoss, ReleasedLoss, minimise

LOSSES = [PaperLoss, ReleasedLoss]
BOTH = pytest.mark.parametrize("kind", LOSSES)


def sphere(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Random rows of unit length, around a common direction so that similarities are mostly positive."""
    rng = np.random.default_rng(seed)
    return unit_rows(rng.normal(size=(count, dimensions)) + 0.7)


# The equations, dense and in float64 ----------------------------------------------------------------------------------


def paper_dense(features_ND: Tensor, centroids_MD: Tensor, temperature: float, balance: float) -> Tensor:
    """Equation 11, term by term."""
    attraction = -(features_ND @ centroids_MD.T).max(dim=1).values.mean() / temperature
    count = len(centroids_MD)
    if count == 1:
        return attraction
    others = ~torch.eye(count, dtype=torch.bool)
    similar = torch.exp(centroids_MD @ centroids_MD.T / temperature)
    crowd_M = torch.stack([similar[j][others[j]].sum() for j in range(count)])
    return attraction + balance * torch.log(crowd_M).mean()


def released_dense(features_ND: Tensor, centroids_MD: Tensor, temperature: float, balance: float) -> Tensor:
    """The released code's loss: the self term is in the sum, no gradient through one side."""
    best, owner_N = (features_ND @ centroids_MD.T).max(dim=1)
    pull_N = torch.exp(best / temperature)
    push_N = torch.exp(centroids_MD[owner_N] @ centroids_MD.detach().T / temperature).sum(dim=1)
    return -torch.log(pull_N / (pull_N + balance * push_N)).mean()


DENSE = {PaperLoss: paper_dense, ReleasedLoss: released_dense}


def by_hand(loss: CentroidLoss, features: np.ndarray, centroids: np.ndarray) -> tuple[float, np.ndarray]:
    index, similarity = nearest_centroid(features, centroids)
    value, gradient = loss(*map(torch.from_numpy, (features, centroids, index, similarity)))
    return value, gradient.numpy()


def by_autograd(loss: CentroidLoss, features: np.ndarray, centroids: np.ndarray) -> tuple[float, np.ndarray]:
    leaf = torch.from_numpy(centroids.astype(np.float64)).requires_grad_()
    value = DENSE[type(loss)](torch.from_numpy(features.astype(np.float64)), leaf, loss.temperature, loss.balance)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.item(), gradient.numpy()


def assert_same_loss(loss: CentroidLoss, features: np.ndarray, centroids: np.ndarray) -> None:
    value, gradient = by_hand(loss, features, centroids)
    expected, expected_gradient = by_autograd(loss, features, centroids)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=1e-4, atol=2e-5 * np.abs(expected_gradient).max())


@BOTH
@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize(("temperature", "balance"), [(0.07, 1.0), (0.5, 0.3), (1.0, 2.0)])
def test_value_and_gradient(kind: type[CentroidLoss], count: int, temperature: float, balance: float) -> None:
    assert_same_loss(kind(temperature, balance), sphere(50, 6, seed=1), sphere(count, 6, seed=2))


@given(
    kind=st.sampled_from(LOSSES),
    items=st.integers(1, 30),
    count=st.integers(1, 8),
    dimensions=st.integers(2, 6),
    temperature=st.floats(0.05, 2),
    balance=st.floats(0.01, 3),
    seed=st.integers(0, 10**6),
)
def test_value_and_gradient_of_any_problem(
    kind: type[CentroidLoss],
    items: int,
    count: int,
    dimensions: int,
    temperature: float,
    balance: float,
    seed: int,
) -> None:
    features, centroids = sphere(items, dimensions, seed), sphere(count, dimensions, seed + 1)
    assert_same_loss(kind(temperature, balance), features, centroids)


def test_paper_without_repulsion_is_the_attraction_alone() -> None:
    assert_same_loss(PaperLoss(0.07, 0.0), sphere(50, 6, seed=1), sphere(5, 6, seed=2))


def test_released_without_repulsion_is_nearly_zero() -> None:
    value, _ = by_hand(ReleasedLoss(0.07, 0.0), sphere(50, 6, seed=1), sphere(5, 6, seed=2))
    assert value == pytest.approx(0, abs=1e-6)


@BOTH
def test_small_temperature_stays_finite(kind: type[CentroidLoss]) -> None:
    features, centroids = sphere(50, 6, seed=1), sphere(5, 6, seed=2)
    loss = kind(0.005, 1.0)
    assert np.log(np.finfo(np.float32).max) < 1 / 0.005  # a plain float32 exponential overflows here
    assert_same_loss(loss, features, centroids)
    solution = minimise(features, centroids, features[:0], loss=loss, lr=1e-3, iterations=10)
    assert np.isfinite(solution.losses).all()
    assert np.isfinite(solution.centroids_KD).all()


@BOTH
def test_equal_centroids_stay_finite(kind: type[CentroidLoss]) -> None:
    assert_same_loss(kind(0.07, 1.0), sphere(20, 4, seed=1), np.repeat(sphere(1, 4, seed=2), 3, axis=0))


# The optimiser against a plain loop -----------------------------------------------------------------------------------


def plain_loop(
    loss: CentroidLoss, features: np.ndarray, start: np.ndarray, fixed: np.ndarray, lr: float, iterations: int
) -> tuple[np.ndarray, list[float]]:
    """Algorithm 1 with autograd and ``torch.optim.Adam`` in float64."""
    dense = DENSE[type(loss)]
    items, still = torch.from_numpy(features.astype(np.float64)), torch.from_numpy(fixed.astype(np.float64))
    free = torch.from_numpy(start.astype(np.float64)).requires_grad_()
    optimizer = torch.optim.Adam([free], lr=lr)
    losses = []
    for _ in range(iterations):
        used = free if loss.unit_steps else normalize(free, dim=1)
        value = dense(items, torch.cat([used, still]), loss.temperature, loss.balance)
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if loss.unit_steps:
            with torch.no_grad():
                free.copy_(normalize(free, dim=1))
    with torch.no_grad():
        final = normalize(free, dim=1)
        losses.append(dense(items, torch.cat([final, still]), loss.temperature, loss.balance).item())
    return final.numpy(), losses


@BOTH
@pytest.mark.parametrize("fixed", [0, 3])
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("lr", [1e-3, 2e-2])
def test_minimise_equals_a_plain_loop(kind: type[CentroidLoss], fixed: int, count: int, lr: float) -> None:
    features, start, still = sphere(60, 6, seed=3), sphere(count, 6, seed=4), sphere(fixed, 6, seed=5)
    loss = kind(0.3, 1.0)
    solution = minimise(features, start, still, loss=loss, lr=lr, iterations=20)
    centroids, losses = plain_loop(loss, features, start, still, lr, iterations=20)
    np.testing.assert_allclose(solution.losses, losses, atol=2e-4)
    np.testing.assert_allclose(solution.centroids_KD, centroids, atol=2e-3 * max(1, lr / 1e-2))


@BOTH
def test_minimise_moves_and_ends_on_the_sphere(kind: type[CentroidLoss]) -> None:
    features, start = sphere(60, 6, seed=3), sphere(7, 6, seed=4)
    solution = minimise(features, start, features[:0], loss=kind(0.07, 1.0), lr=1e-2, iterations=20)
    assert np.abs(solution.centroids_KD - start).max() > 0.05
    np.testing.assert_allclose(np.linalg.norm(solution.centroids_KD, axis=1), 1, atol=1e-6)
    assert len(solution.losses) == 21


@BOTH
def test_solution_holds_the_final_assignment_over_free_and_fixed(kind: type[CentroidLoss]) -> None:
    features, start, fixed = sphere(60, 6, seed=3), sphere(4, 6, seed=4), sphere(3, 6, seed=5)
    solution = minimise(features, start, fixed, loss=kind(0.07, 1.0), lr=1e-2, iterations=5)
    product = features @ np.concatenate([solution.centroids_KD, fixed]).T
    np.testing.assert_array_equal(solution.assignment, product.argmax(axis=1))
    np.testing.assert_allclose(solution.similarity, product.max(axis=1), atol=1e-6)


@BOTH
def test_minimise_leaves_its_arguments_as_they_were(kind: type[CentroidLoss]) -> None:
    arrays = sphere(20, 4, seed=1), sphere(3, 4, seed=2), sphere(2, 4, seed=3)
    copies = [array.copy() for array in arrays]
    minimise(*arrays, loss=kind(0.07, 1.0), lr=1e-2, iterations=3)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


# Computing in pieces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (1, 1), (10, 3), (7, 100)])
def test_pieces_cover_every_row_once(monkeypatch: pytest.MonkeyPatch, rows: int, columns: int) -> None:
    monkeypatch.setattr(distances, "CHUNK_NUMBERS", 10)
    parts = list(pieces(rows, columns))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert all((part.stop - part.start) * columns <= max(10, columns) for part in parts)


@BOTH
def test_minimise_in_pieces(kind: type[CentroidLoss], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = sphere(60, 6, seed=3), sphere(7, 6, seed=4), sphere(3, 6, seed=5)
    whole = minimise(*arguments, loss=kind(0.3, 1.0), lr=1e-2, iterations=10)
    monkeypatch.setattr(distances, "CHUNK_NUMBERS", 13)
    split = minimise(*arguments, loss=kind(0.3, 1.0), lr=1e-2, iterations=10)
    np.testing.assert_allclose(split.losses, whole.losses, atol=1e-4)
    np.testing.assert_allclose(split.centroids_KD, whole.centroids_KD, atol=1e-3)
    np.testing.assert_array_equal(split.assignment, whole.assignment)


def test_assignments_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    features, centroids = sphere(60, 6, seed=3), sphere(20, 6, seed=4)
    whole = nearest_centroid(features, centroids), distinct_nearest(centroids, features, np.arange(60), depth=3)
    monkeypatch.setattr(distances, "CHUNK_NUMBERS", 50)
    split = nearest_centroid(features, centroids), distinct_nearest(centroids, features, np.arange(60), depth=3)
    for one, other in zip(whole, split, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_allclose(one[1], other[1], atol=1e-6)


def test_unit_rows_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "CHUNK_NUMBERS", 5)
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float16)
    features[3] = 0
    rows = unit_rows(features)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.arange(9) != 3, atol=1e-6)
    np.testing.assert_allclose(rows * np.linalg.norm(features.astype(float), axis=1)[:, None], features, atol=1e-3)


# Assignments against brute force --------------------------------------------------------------------------------------

PROBLEMS = given(items=st.integers(1, 25), count=st.integers(1, 25), seed=st.integers(0, 10**6))


@PROBLEMS
def test_nearest_centroid_of_any_problem(items: int, count: int, seed: int) -> None:
    features, centroids = sphere(items, 4, seed), sphere(count, 4, seed + 1)
    index, similarity = nearest_centroid(features, centroids)
    product = features.astype(np.float64) @ centroids.astype(np.float64).T
    np.testing.assert_allclose(similarity, product.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(product[np.arange(items), index], product.max(axis=1), atol=1e-6)


def test_a_tie_goes_to_the_lower_centroid() -> None:
    features = np.eye(3, dtype=np.float32)
    index, _ = nearest_centroid(features, features[[2, 1, 1, 0, 0]])
    assert index.tolist() == [3, 1, 0]


@PROBLEMS
def test_coverage_of_any_problem(items: int, count: int, seed: int) -> None:
    features = sphere(items, 4, seed)
    chosen = np.random.default_rng(seed).choice(items, min(items, count), replace=False)
    distance = np.linalg.norm(features[:, None].astype(np.float64) - features[chosen][None], axis=2).min(axis=1)
    figures = coverage(features, chosen)
    assert figures["emd"] == pytest.approx(distance.mean(), abs=1e-3)
    assert figures["radius"] == pytest.approx(distance.max(), abs=1e-3)


def plain_greedy(centroids: np.ndarray, features: np.ndarray, candidates: np.ndarray) -> list[int]:
    """Walk down the sorted list of all pairs and join what is still free."""
    product = centroids @ features.T
    pairs = sorted((-product[owner, item], item, owner) for owner in range(len(centroids)) for item in candidates)
    taken = [-1] * len(centroids)
    for _, item, owner in pairs:
        if taken[owner] < 0 and item not in taken:
            taken[owner] = int(item)
    return taken


def whole_numbers(count: int, dimensions: int, seed: int, top: int) -> np.ndarray:
    """Rows whose products are exact in float32, many of them equal."""
    return np.random.default_rng(seed).integers(-top, top + 1, size=(count, dimensions)).astype(np.float32)


def no_ties(features: np.ndarray, centroids: np.ndarray) -> bool:
    product = centroids @ features.T
    return len(np.unique(product)) == product.size


@given(
    items=st.integers(1, 25),
    share=st.floats(0, 1),
    seed=st.integers(0, 10**6),
    top=st.sampled_from([1, 3, 1000]),
)
def test_distinct_nearest_equals_a_plain_greedy(items: int, share: float, seed: int, top: int) -> None:
    features = whole_numbers(items, 3, seed, top)
    candidates = np.flatnonzero(np.random.default_rng(seed).random(items) < 0.8)
    count = round(share * len(candidates))
    centroids = whole_numbers(count, 3, seed + 1, top)
    positions, similarity = distinct_nearest(centroids, features, candidates, depth=25)
    assert positions.tolist() == plain_greedy(centroids, features, candidates)
    np.testing.assert_array_equal(similarity, (centroids * features[positions]).sum(axis=1))


@given(items=st.integers(1, 25), seed=st.integers(0, 10**6), depth=st.sampled_from([1, 2, 5]))
def test_shallow_passes_equal_a_plain_greedy(items: int, seed: int, depth: int) -> None:
    features, centroids = whole_numbers(items, 3, seed, 1000), whole_numbers(max(1, items - 3), 3, seed + 1, 1000)
    assume(no_ties(features, centroids))
    positions, _ = distinct_nearest(centroids, features, np.arange(items), depth=depth)
    assert positions.tolist() == plain_greedy(centroids, features, np.arange(items))


def test_a_crowded_out_centroid_comes_before_a_farther_one() -> None:
    features = np.array([[10, 0], [8, 0], [0, 1]], dtype=np.float32)
    centroids = np.array([[10, 0], [9, 0], [0.5, 0]], dtype=np.float32)
    assert distinct_nearest(centroids, features, np.arange(3), depth=1)[0].tolist() == [0, 1, 2]
    centroids[2] = [8, 1]  # nearest to item 0, then 1: both go to centroids closer to them
    assert distinct_nearest(centroids, features, np.arange(3), depth=1)[0].tolist() == [0, 1, 2]


def test_shallow_passes_over_ties_equal_a_plain_greedy() -> None:
    for seed in range(100):
        features, centroids = whole_numbers(30, 2, seed, 1), whole_numbers(6, 2, seed + 1, 1)
        positions, _ = distinct_nearest(centroids, features, np.arange(30), depth=4)
        assert positions.tolist() == plain_greedy(centroids, features, np.arange(30))


@given(items=st.integers(1, 25), seed=st.integers(0, 10**6), depth=st.sampled_from([1, 3, 16]))
def test_distinct_nearest_does_not_depend_on_the_order_of_the_centroids(items: int, seed: int, depth: int) -> None:
    features, centroids = whole_numbers(items, 3, seed, 1000), whole_numbers(max(1, items // 2), 3, seed + 1, 1000)
    assume(no_ties(features, centroids))
    order = np.random.default_rng(seed).permutation(len(centroids))
    positions, _ = distinct_nearest(centroids, features, np.arange(items), depth=depth)
    shuffled, _ = distinct_nearest(centroids[order], features, np.arange(items), depth=depth)
    assert shuffled.tolist() == positions[order].tolist()


@pytest.mark.parametrize("depth", [1, 2, 16])
@pytest.mark.parametrize("count", [1, 10, 30])
def test_equal_centroids_get_distinct_items(count: int, depth: int) -> None:
    features = sphere(30, 4, seed=1)
    centroids = np.repeat(sphere(1, 4, seed=2), count, axis=0)
    positions, similarity = distinct_nearest(centroids, features, np.arange(30), depth=depth)
    assert sorted(positions) == sorted(np.argsort(-(features @ centroids[0]))[:count])
    np.testing.assert_allclose(similarity, (centroids * features[positions]).sum(axis=1), atol=1e-6)


def test_only_candidates_are_taken() -> None:
    features = sphere(30, 4, seed=1)
    candidates = np.arange(5, 30, 3)
    positions, _ = distinct_nearest(features[:9], features, candidates, depth=2)
    assert sorted(positions) == candidates.tolist()
