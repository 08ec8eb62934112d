"""Known answers: toys whose best picks can be seen or tried out exhaustively, and real digits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from activetune import Embeddings, select
from activetune.distances import unit_rows
from activetune.selectors import make_selector
from activetune.types import Evidence, Picks

SEEDS = range(5)


def blobs(count: int, size: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Groups of rows around the axes, and each row's group."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(count), size)
    return unit_rows(np.eye(count + 2)[group] + noise * rng.normal(size=(len(group), count + 2))), group


def pick(method: str, evidence: Evidence, budget: int, seed: int = 0, **settings: object) -> Picks:
    return make_selector(method, settings=settings).select(evidence, budget, np.random.default_rng(seed))


def circle(angles: np.ndarray) -> np.ndarray:
    return unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))


# k-center -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_k_center_picks_the_opposite_point_second(seed: int) -> None:
    picks = pick("k_center", Evidence(circle(np.arange(12) * np.pi / 6)), 2, seed)
    first, second = picks.positions
    assert (second - first) % 12 == 6
    assert picks.scores[1] == pytest.approx(2, abs=1e-3)


def test_k_center_then_takes_the_points_between() -> None:
    picks = pick("k_center", Evidence(circle(np.arange(12) * np.pi / 6)), 4)
    assert {int(position - picks.positions[0]) % 12 for position in picks.positions} == {0, 3, 6, 9}
    assert picks.scores[2:] == pytest.approx(np.sqrt(2), abs=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("budget", [2, 3, 4])
def test_k_center_radius_is_at_most_twice_the_best(seed: int, budget: int) -> None:
    features = circle(np.random.default_rng(seed).uniform(0, 2 * np.pi, size=11))
    distance = np.linalg.norm(features[:, None] - features[None], axis=2)
    best = min(distance[:, list(chosen)].min(axis=1).max() for chosen in combinations(range(11), budget))
    reached = distance[:, pick("k_center", Evidence(features), budget, seed).positions].min(axis=1).max()
    assert best - 1e-6 <= reached <= 2 * best + 1e-6


def test_k_center_scores_never_rise() -> None:
    scores = pick("k_center", Evidence(blobs(5, 6, seed=0)[0]), 20).scores
    assert (np.diff(scores) <= 1e-6).all()


def test_k_center_starts_away_from_the_labelled_items() -> None:
    points = circle(np.arange(12) * np.pi / 6)
    assert pick("k_center", Evidence(points, labelled=np.array([2])), 1).positions.tolist() == [8]


# One of each group ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", ["k_center", "k_means"])
def test_one_of_each_blob(method: str, seed: int) -> None:
    features, group = blobs(6, 10, seed, noise=0.05)
    assert sorted(group[pick(method, Evidence(features), 6, seed).positions]) == list(range(6))


@pytest.mark.parametrize("seed", SEEDS)
def test_k_means_takes_the_middle_of_each_blob(seed: int) -> None:
    features, group = blobs(4, 9, seed, noise=0.05)
    picks = pick("k_means", Evidence(features), 4, seed)
    assert picks.scores.tolist() == [9] * 4
    for position in picks.positions:
        members = np.flatnonzero(group == group[position])
        middle = features[members].mean(axis=0)
        assert position == members[np.linalg.norm(features[members] - middle, axis=1).argmin()]


@pytest.mark.parametrize("seed", SEEDS)
def test_activeft_takes_one_of_each_blob(seed: int) -> None:
    features, group = blobs(4, 10, seed)
    picks = pick("activeft", Evidence(features), 4, seed, loss="released", lr=0.02)
    assert sorted(group[picks.positions]) == list(range(4))
    assert picks.scores.tolist() == [10] * 4


# Labelled items -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("method", ["k_center", "k_means"])
def test_a_labelled_blob_is_left_out(method: str, seed: int) -> None:
    features, group = blobs(6, 10, seed, noise=0.05)
    picks = pick(method, Evidence(features, labelled=np.array([20, 21])), 5, seed)
    assert sorted(group[picks.positions]) == [0, 1, 3, 4, 5]


def test_activeft_moves_away_from_a_labelled_blob() -> None:
    met = {False: 0, True: 0}
    for seed in SEEDS:
        features, group = blobs(4, 10, seed)
        for some_labelled in met:
            labelled = np.arange(3 if some_labelled else 0)
            picks = pick("activeft", Evidence(features, labelled=labelled), 3, seed, lr=0.02)
            met[some_labelled] += int((group[picks.positions] == 0).sum())
    assert met[True] == 0
    assert met[False] >= 3


def test_k_means_counts_a_cluster_without_its_excluded_items() -> None:
    features, group = blobs(3, 10, seed=0, noise=0.05)
    picks = pick("k_means", Evidence(features, excluded=np.flatnonzero(group == 1)), 2)
    assert sorted(group[picks.positions]) == [0, 2]
    assert picks.scores.tolist() == [10, 10]


def test_excluded_items_pull_no_centroid() -> None:
    features, group = blobs(3, 10, seed=0)
    picks = pick("activeft", Evidence(features, excluded=np.flatnonzero(group == 1)), 2, loss="released", lr=0.02)
    assert sorted(group[picks.positions]) == [0, 2]
    assert picks.scores.sum() == 20


# ActiveFT's loss and coverage -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["paper", "released"])
@pytest.mark.parametrize("seed", SEEDS)
def test_activeft_ends_below_its_start(loss: str, seed: int) -> None:
    figures = pick("activeft", Evidence(blobs(4, 10, seed)[0]), 4, seed, loss=loss).figures
    assert figures["loss"] < figures["loss_start"]
    assert figures["loss_best"] <= figures["loss"]


def test_along_the_sphere_and_without_repulsion_the_centroids_come_nearer_to_their_items() -> None:
    evidence = Evidence(unit_rows(load_digits().data[:300]))
    figures = pick("activeft", evidence, 20, loss="paper", balance=0.0, gradient="tangent").figures
    assert figures["loss"] < figures["loss_start"]


def test_the_gradient_along_the_sphere_reaches_a_lower_loss_on_real_digits() -> None:
    evidence = Evidence(unit_rows(load_digits().data[:300]))
    losses = [pick("activeft", evidence, 20, gradient=gradient).figures["loss"] for gradient in ("tangent", "ambient")]
    assert losses[0] < losses[1]


def emd(features: np.ndarray, method: str, seed: int, **settings: object) -> float:
    selection = select(Embeddings.from_numpy(features), budget=40, method=method, seed=seed, settings=settings)
    return selection.manifest["figures"]["emd"]


def test_activeft_covers_real_digits_better_than_random() -> None:
    pixels = load_digits().data[:800]
    random = [emd(pixels, "random", seed) for seed in SEEDS]
    assert emd(pixels, "activeft", 0, loss="released") < 0.95 * min(random)


def test_the_paper_loss_covers_centred_digits_better_than_random() -> None:
    # All pixels are positive: uncentred, every item is similar to every other, and repulsion drives centroids out.
    pixels = load_digits().data[:800]
    pixels = pixels - pixels.mean(axis=0)
    assert emd(pixels, "activeft", 0) < min(emd(pixels, "random", seed) for seed in SEEDS)


def test_k_means_covers_real_digits_better_than_random() -> None:
    pixels = load_digits().data[:800]
    assert emd(pixels, "k_means", 0) < 0.95 * min(emd(pixels, "random", seed) for seed in SEEDS)


def test_k_center_has_a_smaller_radius_than_random_on_real_digits() -> None:
    pool = Embeddings.from_numpy(load_digits().data[:800])
    radius = {
        method: [select(pool, budget=40, method=method, seed=seed).manifest["figures"]["radius"] for seed in SEEDS]
        for method in ("k_center", "random")
    }
    assert max(radius["k_center"]) < min(radius["random"])
