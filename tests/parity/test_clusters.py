"""Spherical k-means against scikit-learn's, and its helpers against plain loops."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

from activetune.features.clusters import cluster, mean_distance_to_nearest, members, seeds
from activetune.features.distances import unit_rows
from activetune.selection.problem import Evidence
from activetune.selection.selectors import make_selector
from tests.conftest import InPieces

SEEDS = range(5)


def blobs(sizes: list[int], seed: int, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Groups of rows around the axes, and each row's group."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    return unit_rows(np.eye(len(sizes) + 2)[group] + noise * rng.normal(size=(len(group), len(sizes) + 2))), group


def digits(centred: bool) -> np.ndarray:
    pixels = load_digits().data[:600]
    return unit_rows(pixels - pixels.mean(axis=0) if centred else pixels)


def inertia(features: np.ndarray, owner: np.ndarray) -> float:
    """The least sum of squared distances to centres on the sphere that a partition allows."""
    lengths = [np.linalg.norm(features[owner == number].sum(axis=0, dtype=np.float64)) for number in np.unique(owner)]
    return 2 * float(len(features) - sum(lengths))


def same_partition(first: np.ndarray, second: np.ndarray) -> bool:
    pairs = set(zip(first.tolist(), second.tolist(), strict=True))
    return len(pairs) == len(set(first.tolist())) == len(set(second.tolist()))


POOLS: dict[str, Callable[[], np.ndarray]] = {
    "digits": lambda: digits(False),
    "centred digits": lambda: digits(True),
    "touching blobs": lambda: blobs([60] * 8, seed=0, noise=0.35)[0],
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("count", [2, 8, 30, 120])
def test_as_good_as_scikit_learn(pool: str, count: int) -> None:
    features = POOLS[pool]()
    ours, theirs = [], []
    for seed in range(3):
        ours.append(inertia(features, cluster(features, count, np.random.default_rng(seed))[1]))
        theirs.append(inertia(features, KMeans(count, n_init=1, random_state=seed).fit_predict(features)))
    assert np.mean(ours) <= 1.03 * np.mean(theirs)
    assert max(ours) <= 1.06 * max(theirs)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("sizes", [[20] * 3, [20] * 25, [3, 50, 7, 1, 19]])
def test_well_separated_blobs_are_found_exactly(sizes: list[int], seed: int) -> None:
    features, group = blobs(sizes, seed)
    centroids, owner, similarity = cluster(features, len(sizes), np.random.default_rng(seed))
    assert same_partition(owner, group)
    for number in range(len(sizes)):
        own = features[owner == number].sum(axis=0)
        np.testing.assert_allclose(centroids[number], own / np.linalg.norm(own), atol=1e-5)
    np.testing.assert_allclose(similarity, (features * centroids[owner]).sum(axis=1), atol=1e-6)


@pytest.mark.parametrize("count", [1, 7, 60])
@pytest.mark.parametrize("iterations", [0, 1, 13, 100])
def test_each_item_is_with_its_most_similar_centroid(count: int, iterations: int) -> None:
    features = digits(True)[:300]
    centroids, owner, similarity = cluster(features, count, np.random.default_rng(0), iterations=iterations)
    product = features @ centroids.T
    np.testing.assert_array_equal(owner, product.argmax(axis=1))
    np.testing.assert_allclose(similarity, product.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
    assert centroids.shape == (count, 64)


@pytest.mark.parametrize("iterations", [13, 100])
def test_items_that_looking_nearby_misses_are_found_at_the_end(iterations: int) -> None:
    features = digits(True)
    how = {"iterations": iterations, "around": 1}  # no item ever moves but in the exact iterations
    centroids, owner, similarity = cluster(features, 60, np.random.default_rng(0), **how)
    product = features @ centroids.T
    np.testing.assert_array_equal(owner, product.argmax(axis=1))
    np.testing.assert_allclose(similarity, product.max(axis=1), atol=1e-6)
    best = inertia(features, cluster(features, 60, np.random.default_rng(0))[1])
    assert inertia(features, owner) < (1.02 if iterations < 20 else 1.003) * best


def test_iterations_lower_the_inertia() -> None:
    features = digits(True)
    found = [
        inertia(features, cluster(features, 20, np.random.default_rng(0), iterations=number)[1])
        for number in (0, 1, 5, 100)
    ]
    assert found[0] > found[1] > found[2] >= found[3]


@pytest.mark.parametrize("count", [40, 150])
def test_little_is_left_to_gain_at_the_end(count: int) -> None:
    """Most of the iterations look nearby only; one exact iteration more must not find much."""
    features = digits(True)
    centroids, owner, _ = cluster(features, count, np.random.default_rng(0))
    sums = np.zeros_like(centroids)
    np.add.at(sums, owner, features)
    again = (features @ unit_rows(sums).T).argmax(axis=1)
    assert inertia(features, again) >= 0.995 * inertia(features, owner)


def test_a_single_cluster_is_the_mean_direction() -> None:
    features = digits(False)
    centroids, owner, _ = cluster(features, 1, np.random.default_rng(0))
    mean = features.mean(axis=0)
    np.testing.assert_allclose(centroids[0], mean / np.linalg.norm(mean), atol=1e-5)
    assert not owner.any()


def test_as_many_clusters_as_items_part_them_all() -> None:
    features, _ = blobs([6] * 5, seed=0, noise=0.2)
    _, owner, similarity = cluster(features, 30, np.random.default_rng(0))
    assert sorted(owner) == list(range(30))
    np.testing.assert_allclose(similarity, 1, atol=1e-5)


def test_same_seed_same_clusters() -> None:
    features = digits(True)
    first, second, other = (cluster(features, 20, np.random.default_rng(seed))[1] for seed in (4, 4, 5))
    assert first.tolist() == second.tolist() != other.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_a_population_is_clustered_as_if_it_were_all(seed: int) -> None:
    features = digits(True)[:400]
    rng = np.random.default_rng(seed)
    population = np.sort(rng.choice(400, 250, replace=False))
    outside = np.setdiff1d(np.arange(400), population)
    centroids, owner, similarity = cluster(features, 12, np.random.default_rng(seed), population=population)
    alone = cluster(features[population], 12, np.random.default_rng(seed))
    np.testing.assert_array_equal(centroids, alone[0])
    np.testing.assert_array_equal(owner[population], alone[1])
    np.testing.assert_array_equal(similarity[population], alone[2])
    assert (owner[outside] == -1).all()
    assert not similarity[outside].any()
    assert len(owner) == len(similarity) == 400


def test_a_population_of_all_is_the_default() -> None:
    features = digits(True)[:200]
    found = [cluster(features, 9, np.random.default_rng(0), population=rows) for rows in (None, np.arange(200))]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


# Degenerate pools -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [3, 4, 10, 30])
def test_more_clusters_than_distinct_rows(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = np.concatenate([np.arange(3), rng.integers(3, size=27)])
    features = np.eye(5, dtype=np.float32)[kind]
    centroids, owner, similarity = cluster(features, count, np.random.default_rng(seed))
    assert same_partition(owner, kind)  # three clusters hold all, the others none
    assert np.isfinite(centroids).all()
    np.testing.assert_allclose(similarity, 1, atol=1e-6)
    assert len(members(owner, count)) == count


@pytest.mark.parametrize("count", [1, 3, 9])
def test_nothing_but_zero_vectors(count: int) -> None:
    centroids, owner, similarity = cluster(np.zeros((9, 4), dtype=np.float32), count, np.random.default_rng(0))
    assert np.isfinite(centroids).all()
    assert ((owner >= 0) & (owner < count)).all()
    assert not similarity.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_zero_vectors_beside_blobs(seed: int) -> None:
    features, _ = blobs([10] * 4, seed)
    features[5:8] = 0
    centroids, owner, _ = cluster(features, 4, np.random.default_rng(seed))
    assert np.isfinite(centroids).all()
    assert (np.linalg.norm(centroids, axis=1) < 1 + 1e-5).all()
    assert len(owner) == 40


@pytest.mark.parametrize("zeros", [0, 1])
def test_a_cluster_that_runs_empty_takes_another_item(zeros: int) -> None:
    features = np.concatenate([blobs([10] * 4, seed=0)[0], np.zeros((zeros, 6), dtype=np.float32)])
    start = np.concatenate([features[:1], -features[[0, 0, 0]]])  # three seeds that nothing is near to
    _, owner, _ = cluster(features, 4, np.random.default_rng(0), start_KD=start)
    assert len(set(owner[:40].tolist())) == 4
    assert inertia(features[:40], owner[:40]) < inertia(features[:40], np.zeros(40)) / 2


def test_seeds_of_a_sample_reach_every_blob() -> None:
    features, group = blobs([80] * 10, seed=0)
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        start = seeds(features, 10, rng, sample=100)
        assert same_partition(cluster(features, 10, rng, start_KD=start)[1], group)


def test_many_seeds_are_drawn_without_trials() -> None:
    features = digits(True)
    start = seeds(features, 40, np.random.default_rng(0), many=10)
    few = inertia(features, cluster(features, 40, np.random.default_rng(0), start_KD=start)[1])
    assert few == pytest.approx(inertia(features, cluster(features, 40, np.random.default_rng(0))[1]), rel=0.05)


@pytest.mark.parametrize("method", ["k_means", "typiclust"])
@pytest.mark.parametrize("seed", range(4))
def test_of_two_items_equally_near_to_their_mean_the_first_is_picked(method: str, seed: int) -> None:
    """Which of the two a product makes more similar hangs on the order of its sums."""
    rng = np.random.default_rng(seed)
    middles = np.repeat(unit_rows(rng.normal(size=(8, 300))), 2, axis=0)
    features = unit_rows(middles + 0.01 * rng.normal(size=middles.shape))
    settings = {"smallest": 1} if method == "typiclust" else {}
    picks = make_selector(method, settings=settings).select(Evidence(features), 8, np.random.default_rng(0))
    assert sorted(picks.positions.tolist()) == list(range(0, 16, 2))


# Helpers --------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(owner=st.lists(st.integers(-1, 6), max_size=30), more=st.integers(0, 3))
def test_members_of_each_cluster(owner: list[int], more: int) -> None:
    count = max([*owner, -1]) + 1 + more
    found = members(np.asarray(owner, dtype=np.int64), count)
    assert len(found) == count
    for number, rows in enumerate(found):
        assert rows.tolist() == [position for position, value in enumerate(owner) if value == number]


@pytest.mark.parametrize("numbers", [None, 1, 70])
@pytest.mark.parametrize("count", [1, 4, 24])
def test_mean_distance_to_nearest(count: int, numbers: int | None, in_pieces: InPieces) -> None:
    if numbers:
        in_pieces(numbers)
    features = digits(True)[:25]
    rows = features.astype(np.float64)
    expected = []
    for number in range(25):
        others = np.delete(np.linalg.norm(rows - rows[number], axis=1), number)
        expected.append(np.sort(others)[:count].mean())
    np.testing.assert_allclose(mean_distance_to_nearest(features, count), expected, atol=1e-5)


def test_mean_distance_of_duplicates_and_zero_vectors() -> None:
    features = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=np.float32)
    root = np.sqrt(2)
    np.testing.assert_allclose(mean_distance_to_nearest(features, 1), [0, 0, root, root], atol=1e-6)
    np.testing.assert_allclose(mean_distance_to_nearest(features, 2), [root / 2, root / 2, root, root], atol=1e-6)
