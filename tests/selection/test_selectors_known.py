"""Known answers: toys whose best picks can be seen or tried out exhaustively, and real digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given as given_
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from activetune import Embeddings, UsageError, select
from activetune.features.distances import distinct_nearest, pieces_of, unit_rows
from activetune.networks.regression import LinearHead
from activetune.selection.problem import Evidence, Picks
from activetune.selection.regions import regions_of, sample_regions
from activetune.selection.selectors import _typical, make_selector, typiclust, usl
from activetune.selection.selectors._engine import minimise
from activetune.selection.selectors._greedy import gaussian
from activetune.selection.selectors._losses import PaperLoss, ReleasedLoss
from activetune.selection.selectors._typical import most_typical
from activetune.selection.selectors.auto import SHOTS, choose
from activetune.selection.selectors.bilaf import BiLAF, shares_by_size
from activetune.selection.selectors.free_sel import local_patterns

SEEDS = range(5)


def blobs(count: int, size: int, seed: int, noise: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """Groups of rows around the axes, and each row's group."""
    return blobs_of([size] * count, seed, noise)


def blobs_of(sizes: list[int], seed: int, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    """Groups of these sizes around the axes, and each row's group."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    return unit_rows(np.eye(len(sizes) + 2)[group] + noise * rng.normal(size=(len(group), len(sizes) + 2))), group


def pick(method: str, evidence: Evidence, budget: int, seed: int = 0, **settings: object) -> Picks:
    return make_selector(method, settings=settings).select(evidence, budget, np.random.default_rng(seed))


def preset(method: str, name: str, evidence: Evidence, budget: int, seed: int = 0) -> Picks:
    return make_selector(method, name).select(evidence, budget, np.random.default_rng(seed))


def circle(angles: np.ndarray) -> np.ndarray:
    return unit_rows(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def centred_digits(count: int) -> np.ndarray:
    # All pixels are positive: uncentred, every item is similar to every other.
    pixels = load_digits().data[:count]
    return unit_rows(pixels - pixels.mean(axis=0))


def distances_between(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(2 - 2 * rows.astype(np.float64) @ columns.T.astype(np.float64), 0))


def mean_distance(features: np.ndarray, chosen: np.ndarray) -> float:
    return float(distances_between(features, features[chosen]).min(axis=1).mean())


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


# every n-th -----------------------------------------------------------------------------------------------------------


def test_every_nth_takes_the_middle_of_equal_stretches() -> None:
    picks = pick("every_nth", Evidence(np.ones((30, 1), dtype=np.float32)), 3)
    assert picks.positions.tolist() == [5, 15, 25]
    assert picks.scores.tolist() == [10, 10, 10]


@pytest.mark.parametrize("count", [1, 2, 7, 30, 97])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.7, 1.0])
def test_every_nth_is_spread_evenly_over_any_count(count: int, share: float) -> None:
    budget = max(1, round(share * count))
    positions = pick("every_nth", Evidence(np.ones((count, 1), dtype=np.float32)), budget).positions
    steps = np.diff(positions)
    assert len(positions) == budget
    assert steps.size == 0 or steps.max() - steps.min() <= 1
    assert abs(positions[0] - (count - 1 - positions[-1])) <= 1


def test_every_nth_gives_each_clip_its_share() -> None:
    lengths = [40, 200, 10, 150]
    clip = np.repeat(np.arange(4), lengths)
    picks = pick("every_nth", Evidence(np.ones((400, 1), dtype=np.float32)), 40)
    got = np.bincount(clip[picks.positions], minlength=4)
    assert (np.abs(got - np.asarray(lengths) / 10) <= 1).all()


def test_every_nth_goes_into_the_widest_gaps_between_labelled_items() -> None:
    evidence = Evidence(np.ones((21, 1), dtype=np.float32), labelled=np.array([10, 0, 20]))
    assert pick("every_nth", evidence, 2).positions.tolist() == [5, 15]
    rows = Evidence(np.ones((30, 1), dtype=np.float32), labelled=np.array([4, 9, 14, 19]))
    assert pick("every_nth", rows, 1).positions.tolist() == [26]  # behind the last one no other stands


@given_(st.lists(st.sampled_from("clx"), min_size=1, max_size=40), st.integers(1, 40))
def test_every_nth_makes_the_widest_gap_as_small_as_any_picks_can(kinds: str, budget: int) -> None:
    labelled = np.flatnonzero([kind == "l" for kind in kinds])
    excluded = np.flatnonzero([kind == "x" for kind in kinds])
    evidence = Evidence(np.ones((len(kinds), 1), dtype=np.float32), labelled=labelled, excluded=excluded)
    if not len(evidence.candidates):
        return
    budget = min(budget, len(evidence.candidates))
    positions = pick("every_nth", evidence, budget).positions
    assert sorted(set(positions.tolist())) == positions.tolist()
    assert len(positions) == budget

    axis = np.sort(np.concatenate([evidence.candidates, labelled]))  # excluded items are not there

    def widest(chosen: Any) -> int:
        taken = np.searchsorted(axis, np.sort(np.concatenate([labelled, np.asarray(chosen)])))
        inner = np.diff(taken).max(initial=0)
        return max(int(inner), 2 * int(taken[0]), 2 * int(len(axis) - 1 - taken[-1]))

    if len(evidence.candidates) <= 12 and budget <= 4:
        assert widest(positions) <= 1 + min(map(widest, combinations(evidence.candidates.tolist(), budget)))


def test_random_and_every_nth_read_no_features_and_take_tokens_too() -> None:
    tokens = Embeddings.from_numpy(np.random.default_rng(0).normal(size=(12, 3, 4)))
    assert select(tokens, budget=3, method="every_nth").ids == ["2", "6", "10"]
    assert len(select(tokens, budget=3, method="random")) == 3


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
    picks = pick("activeft", Evidence(features), 4, seed)
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
            picks = pick("activeft", Evidence(features, labelled=labelled), 3, seed)
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
    picks = pick("activeft", Evidence(features, excluded=np.flatnonzero(group == 1)), 2)
    assert sorted(group[picks.positions]) == [0, 2]
    assert picks.scores.sum() == 20


# ActiveFT -------------------------------------------------------------------------------------------------------------


def emd(features: np.ndarray, method: str, seed: int, **settings: object) -> float:
    selection = select(Embeddings.from_numpy(features), budget=40, method=method, seed=seed, settings=settings)
    return selection.manifest["figures"]["emd"]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"loss": "contrastive", "optimiser": "adam"},
        {"loss": "released", "optimiser": "adam", "lr": 1e-2},
        {"update": False},
    ],
)
@pytest.mark.parametrize("seed", SEEDS)
def test_activeft_ends_below_its_start(settings: dict[str, Any], seed: int) -> None:
    figures = pick("activeft", Evidence(blobs(4, 10, seed)[0]), 4, seed, **settings).figures
    assert figures["loss"] < figures["loss_start"]
    assert figures["loss_best"] <= figures["loss"]


PAPER = {"temperature": 0.07, "balance": 1.0, "optimiser": "adam", "lr": 1e-3, "iterations": 300, "swaps": 0}


@pytest.mark.parametrize(("name", "loss", "labelled"), [("paper", PaperLoss, 5), ("released", ReleasedLoss, 0)])
def test_presets_of_activeft_do_what_was_published(
    name: str, loss: type[PaperLoss | ReleasedLoss], labelled: int
) -> None:
    selector = make_selector("activeft", name)
    assert {field: getattr(selector, field) for field in PAPER} == PAPER
    assert (selector.loss, selector.update) == (name, True)  # type: ignore[attr-defined]
    features = centred_digits(80)
    evidence = Evidence(features, labelled=np.arange(labelled))
    picks = selector.select(evidence, 12, np.random.default_rng(3))
    start = np.random.default_rng(3).choice(evidence.candidates, 12, replace=False)
    solution = minimise(
        features,
        features[start],
        features[:labelled],
        loss=loss(0.07, 1.0),
        optimiser="adam",
        lr=1e-3,
        iterations=300,
    )
    expected, _ = distinct_nearest(solution.centroids_KD, features, evidence.candidates)
    assert sorted(picks.positions) == sorted(expected)
    assert picks.figures["evaluations"] == 301
    assert picks.figures["loss"] == solution.losses[-1]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("centred", [False, True])
def test_the_default_ends_at_a_lower_loss_than_the_paper_on_real_digits(centred: bool, seed: int) -> None:
    evidence = Evidence(centred_digits(150) if centred else unit_rows(load_digits().data[:150]))
    default, paper = pick("activeft", evidence, 20, seed), preset("activeft", "paper", evidence, 20, seed)
    assert default.figures["loss_start"] == pytest.approx(paper.figures["loss_start"], rel=1e-5)
    assert default.figures["loss"] < paper.figures["loss_best"] - 0.1
    assert default.figures["evaluations"] < 70 < paper.figures["evaluations"]


@pytest.mark.parametrize("given", [{"loss": "released"}, {"loss": "released", "optimiser": "descent"}])
def test_no_descent_on_the_released_loss(given: Mapping[str, object]) -> None:
    with pytest.raises(UsageError, match=r"released loss stops gradients on one side.*--preset released"):
        make_selector("activeft", settings=dict(given))
    with pytest.raises(UsageError, match="released loss"):
        make_selector("activeft", "released", {"optimiser": "descent"})
    assert make_selector("activeft", settings={**given, "optimiser": "adam"})


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", 0.0), ("balance", -1.0), ("lr", 0.0), ("iterations", 0), ("swaps", -1), ("power", 0.0)],
)
def test_impossible_settings_of_activeft_are_named(field: str, value: float) -> None:
    with pytest.raises(UsageError, match=f"activeft: {field} can't be {value}"):
        make_selector("activeft", settings={field: value})


def mean_cost(features: np.ndarray, chosen: np.ndarray, power: float) -> float:
    return float((distances_between(features, features[chosen]).min(axis=1) ** power).mean())


@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_swaps_lower_the_distance_on_real_digits(power: float, seed: int) -> None:
    features = centred_digits(250)
    evidence = Evidence(features)
    reached = [
        mean_cost(features, pick("activeft", evidence, 25, seed, power=power, swaps=n).positions, power)
        for n in (0, 1, 3)
    ]
    assert reached[1] < 0.96**power * reached[0]
    assert reached[2] <= reached[1] + 1e-6


def test_the_power_is_what_the_picks_are_best_at() -> None:
    features = centred_digits(200)
    reached = {
        power: np.mean(
            [
                [
                    mean_cost(features, pick("activeft", Evidence(features), 20, seed, power=power).positions, p)
                    for p in (1, 4)
                ]
                for seed in range(3)
            ],
            axis=0,
        )
        for power in (1.0, 4.0)
    }
    assert reached[1.0][0] < reached[4.0][0]
    assert reached[1.0][1] > reached[4.0][1]


def test_activeft_scores_are_the_items_that_are_nearest_to_a_pick() -> None:
    features = centred_digits(200)
    evidence = Evidence(features, labelled=np.arange(4), excluded=np.arange(4, 30))
    picks = pick("activeft", evidence, 15)
    cover = np.concatenate([picks.positions, evidence.labelled])
    owner = distances_between(features[evidence.population], features[cover]).argmin(axis=1)
    assert picks.scores.tolist() == np.bincount(owner, minlength=19)[:15].tolist()
    assert (np.diff(picks.scores) <= 0).all()


def crowded_blobs(seed: int, size: int = 60, crowd: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three wide groups, in each of which some items lie close together off its middle: rows, groups, who is there."""
    rng = np.random.default_rng(seed)
    axes = np.eye(6)
    wide, close = 0.3 * rng.normal(size=(3, size, 6)), 0.01 * rng.normal(size=(3, crowd, 6))
    aside = 0.5 * axes[3:, None]
    rows = np.concatenate([axes[:3, None] + wide, axes[:3, None] + aside + close], axis=1)
    crowded = np.tile(np.arange(size + crowd) >= size, 3)
    return unit_rows(rows.reshape(-1, 6)), np.repeat(np.arange(3), size + crowd), crowded


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pick_that_stands_for_many_is_a_typical_one(seed: int) -> None:
    features, group, crowded = crowded_blobs(seed)
    middle = pick("activeft", Evidence(features), 3, seed)
    typical = pick("activeft", Evidence(features), 3, seed, typical=72)
    assert sorted(group[middle.positions]) == sorted(group[typical.positions]) == [0, 1, 2]
    assert not crowded[middle.positions].all()
    assert crowded[typical.positions].all()
    assert middle.notes == {}
    assert typical.notes["typical"] == "a pick stands for 72 items on average; each is the most typical of its group"


@pytest.mark.parametrize(("items", "labelled", "is_typical"), [(216, 0, True), (216, 1, False), (215, 0, False)])
def test_from_how_many_items_a_pick_on_it_is_a_typical_one(items: int, labelled: int, is_typical: bool) -> None:
    features, _, _ = crowded_blobs(0)
    evidence = Evidence(features[:items], labelled=np.arange(labelled))
    found = pick("activeft", evidence, 3, typical=72)
    assert ("most typical" in found.notes["typical"]) == is_typical
    assert ("fewer than typical=72; each stays in the middle" in found.notes["typical"]) != is_typical
    plain = pick("activeft", evidence, 3, typical=0)
    assert plain.notes == {}
    assert is_typical or found.positions.tolist() == plain.positions.tolist()


def test_the_most_typical_item_is_that_of_a_plain_loop() -> None:
    features = centred_digits(400)
    evidence = Evidence(features, labelled=np.arange(5), excluded=np.arange(9, 40), closed=np.arange(50, 90))
    picks = pick("activeft", evidence, 6, typical=0).positions
    found = most_typical(evidence, picks, np.random.default_rng(0))
    cover, population = np.concatenate([picks, evidence.labelled]), evidence.population
    owner = distances_between(features[population], features[cover]).argmin(axis=1)
    for number, item in enumerate(found):
        members = population[owner == number]
        between = np.sort(distances_between(features[members], features[members]), axis=1)
        mean = between[:, 1 : 1 + min(20, len(members) // 2)].mean(axis=1)
        may = [place for place, one in enumerate(members) if one in evidence.candidates]
        assert item in members[may]
        assert mean[members == item] == pytest.approx(mean[may].min(), abs=1e-5)


def test_of_a_large_group_some_items_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_typical, "MOST", 30)
    features, group, crowded = crowded_blobs(1, crowd=120)
    picks = np.flatnonzero(~crowded)[[0, 60, 120]]
    found = most_typical(Evidence(features), picks, np.random.default_rng(2))
    assert group[found].tolist() == group[picks].tolist()
    assert crowded[found].all()  # where two thirds of a group lie


def test_equal_items_and_single_ones_are_picked_once() -> None:
    features = circle(np.repeat([0.0, 1.0, 2.0], [6, 1, 3]))
    picks = np.array([0, 1, 6, 7])
    found = most_typical(Evidence(features), picks, np.random.default_rng(0))
    assert len(set(found.tolist())) == 4
    assert found[2] == 6


def test_activeft_covers_real_digits_better_than_random() -> None:
    pixels = load_digits().data[:800]
    random = [emd(pixels, "random", seed) for seed in SEEDS]
    assert emd(pixels, "activeft", 0) < 0.93 * min(random)
    pixels = pixels - pixels.mean(axis=0)
    random = [emd(pixels, "random", seed) for seed in SEEDS]
    assert emd(pixels, "activeft", 0) < 0.96 * min(random)
    assert emd(pixels, "activeft", 0, swaps=0) < min(random)


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


# TypiClust ------------------------------------------------------------------------------------------------------------


def clustered(
    monkeypatch: pytest.MonkeyPatch, module: Any, owner: np.ndarray, centroids: np.ndarray | None = None
) -> None:
    """Give a selector these clusters, whatever it asks for."""
    similarity = np.zeros(len(owner), dtype=np.float32)
    monkeypatch.setattr(module, "cluster", lambda *_, **__: (centroids, owner, similarity))


def typicality(features: np.ndarray, group: list[int]) -> list[float]:
    """1 / mean distance to the min(20, n / 2) nearest others of the group, by hand."""
    found = []
    for item in group:
        others = sorted(np.linalg.norm(features[item] - features[other]) for other in group if other != item)
        found.append(1 / np.mean(others[: min(20, len(group) // 2)]))
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_typiclust_visits_the_largest_cluster_first(seed: int) -> None:
    features, group = blobs_of([7, 12, 9], seed)
    picks = pick("typiclust", Evidence(features), 3, seed)
    assert group[picks.positions].tolist() == [1, 2, 0]
    for position, score in zip(picks.positions, picks.scores, strict=True):
        own = np.flatnonzero(group == group[position]).tolist()
        expected = typicality(features, own)
        assert position == own[int(np.argmax(expected))]
        assert score == pytest.approx(max(expected), rel=1e-3)


@pytest.mark.parametrize("seed", SEEDS)
def test_typiclust_leaves_small_clusters_out(seed: int) -> None:
    features, group = blobs_of([5, 12, 6, 5, 9], seed)
    picks = pick("typiclust", Evidence(features), 5, seed)
    assert group[picks.positions].tolist() == [1, 4, 2, 1, 4]  # the cycle begins anew


def test_typiclust_visits_those_with_the_fewest_labels_first() -> None:
    features, group = blobs_of([8, 20, 12, 10], seed=0)
    labelled = np.flatnonzero(group == 1)[:2].tolist() + np.flatnonzero(group == 2)[:1].tolist()
    picks = pick("typiclust", Evidence(features, labelled=np.asarray(labelled)), 1, clusters=4)
    assert group[picks.positions].tolist() == [3]
    picks = pick("typiclust", Evidence(features, labelled=np.asarray(labelled)), 6, clusters=4)
    assert group[picks.positions].tolist() == [3, 0, 2, 1, 3, 0]


def test_typiclust_compares_with_what_the_cluster_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    features = circle(np.array([0.0, 0.1, 0.15, 0.3, 0.35, 0.5, 0.8, 1.3, 1.35, 2.5]))
    clustered(monkeypatch, typiclust, np.zeros(10, dtype=np.int64))
    labelled = np.array([2])
    picks = pick("typiclust", Evidence(features, labelled=labelled), 4)
    left = [item for item in range(10) if item != 2]
    for position, score in zip(picks.positions, picks.scores, strict=True):
        if len(left) <= 5:
            break
        expected = typicality(features, left)
        assert position == left[int(np.argmax(expected))]
        assert score == pytest.approx(max(expected), rel=1e-3)
        left.remove(int(position))


def test_typiclust_never_picks_closed_items_but_counts_them() -> None:
    features = circle(np.array([0.0, 0.01, 0.02, 0.03, 0.04, 0.3, 0.6, 1.2]))
    closed = np.arange(5)
    picks = pick("typiclust", Evidence(features, closed=closed), 1, clusters=1)
    assert picks.positions.tolist() == [5]  # the nearest to the dense ones
    alone = pick("typiclust", Evidence(features, excluded=closed), 1, clusters=1)
    assert alone.positions.tolist() in ([5], [6])
    assert alone.scores[0] == pytest.approx(1 / (2 * np.sin(0.15)), rel=1e-3)


def test_typiclust_visits_small_clusters_where_there_are_no_others() -> None:
    features, group = blobs_of([3, 5, 2], seed=0)
    picks = pick("typiclust", Evidence(features), 3)
    assert group[picks.positions].tolist() == [1, 0, 2]


def test_typiclust_counts_labelled_items_into_the_size_of_a_cluster() -> None:
    features, group = blobs_of([6, 12], seed=0)
    picks = pick("typiclust", Evidence(features, labelled=np.array([0])), 8, clusters=2)
    assert 0 in group[picks.positions]


# USL ------------------------------------------------------------------------------------------------------------------


def plain_usl(features: np.ndarray, owner: np.ndarray, evidence: Evidence, settings: dict[str, float]) -> np.ndarray:
    """The utilities at the end (N,), over whole matrices: each cluster's pick against all the other ones."""
    distance = distances_between(features, features)
    density = np.ones(len(features))
    for item in np.flatnonzero(owner >= 0):
        others = np.flatnonzero((owner == owner[item]) & (np.arange(len(owner)) != item))
        density[item] = 1 / np.sort(distance[item, others])[: int(settings["neighbours"])].mean()
    held = {int(owner[item]): int(item) for item in evidence.labelled}
    open_ = [item for item in evidence.candidates.tolist() if int(owner[item]) not in held]
    utility, regular = density.copy(), np.zeros(len(features))
    for _ in range(int(settings["rounds"])):
        best = {
            number: max((i for i in open_ if owner[i] == number), key=lambda i: utility[i])
            for number in {int(owner[i]) for i in open_}
        }
        for item in open_:
            others = [pick for number, pick in {**held, **best}.items() if number != owner[item]]
            crowd = np.mean(1 / np.maximum(distance[item, others], 1e-3) ** settings["alpha"]) if others else 0.0
            regular[item] = settings["momentum"] * regular[item] + (1 - settings["momentum"]) * crowd
        utility = density - settings["balance"] * regular
    return np.where(np.isin(np.arange(len(features)), open_), utility, -np.inf)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("balance", [0.0, 0.5, 30.0])
def test_usl_is_utility_written_out(balance: float, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features, owner = blobs_of([9, 14, 7, 12, 11], seed, noise=0.3)
    owner = owner.copy()
    evidence = Evidence(features, labelled=np.array([2]), excluded=np.array([10, 11]), closed=np.array([26, 31]))
    owner[evidence.excluded] = -1
    centroids = unit_rows([features[owner == number].sum(axis=0) for number in range(5)])
    clustered(monkeypatch, usl, owner, centroids)
    values = {"neighbours": 4, "balance": balance, "alpha": 0.5, "momentum": 0.8, "rounds": 6}
    picks = pick("usl", evidence, 4, **values)
    utility = plain_usl(features, owner, evidence, values)
    expected = [max(np.flatnonzero(owner == number), key=lambda item: utility[item]) for number in (1, 2, 3, 4)]
    assert picks.positions.tolist() == sorted(expected, key=lambda item: -utility[item])
    np.testing.assert_allclose(picks.scores, utility[picks.positions], rtol=1e-3, atol=1e-3)


def test_usl_balance_moves_picks_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    features, owner = blobs_of([20] * 4, seed=0, noise=0.35)
    clustered(monkeypatch, usl, owner, np.eye(6, dtype=np.float32)[:4])
    spread = []
    for balance in (0.0, 50.0):
        rows = features[pick("usl", Evidence(features), 4, balance=balance).positions]
        spread.append(distances_between(rows, rows)[np.triu_indices(4, 1)].mean())
    assert spread[1] > spread[0] + 0.05


@pytest.mark.parametrize("seed", SEEDS)
def test_usl_takes_the_densest_of_each_blob(seed: int) -> None:
    features, group = blobs_of([12, 8, 10], seed)
    picks = pick("usl", Evidence(features), 3, seed, balance=0.0, neighbours=5)
    assert sorted(group[picks.positions]) == [0, 1, 2]
    distance = distances_between(features, features)
    for position, score in zip(picks.positions, picks.scores, strict=True):
        own = np.flatnonzero(group == group[position])
        density = 1 / np.sort(distance[np.ix_(own, own)], axis=1)[:, 1:6].mean(axis=1)
        assert position == own[density.argmax()]
        assert score == pytest.approx(density.max(), rel=1e-3)
    assert (np.diff(picks.scores) <= 0).all()


def test_usl_leaves_labelled_blobs_out() -> None:
    features, group = blobs_of([12, 8, 10, 9], seed=0)
    labelled = np.array([0, 1, 12])
    picks = pick("usl", Evidence(features, labelled=labelled), 1)
    assert group[picks.positions].tolist()[0] in (2, 3)


# RepDiv ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_rep_div_stands_for_the_largest_groups_first(seed: int) -> None:
    features, group = blobs_of([4, 12, 8], seed)
    picks = pick("rep_div", Evidence(features), 3, seed, share=1.0)
    assert group[picks.positions].tolist() == [1, 2, 0]
    assert picks.figures == {"representative": 3}
    assert picks.scores[0] == pytest.approx(0.5, abs=0.06)  # half of the items are nearly equal to it
    assert picks.reasons[0].startswith("stands for the pool: adds ")


@pytest.mark.parametrize(("apart", "second"), [("any", 3), ("all", 4)])
def test_rep_div_is_unlike_one_earlier_pick_or_all_of_them(apart: str, second: int) -> None:
    # Labelled at 0 and 170 degrees: 175 is the farthest from one of them, 85 from both.
    features = circle(np.radians([0, 0, 170, 175, 85]))
    evidence = Evidence(features, labelled=np.array([0, 2]))
    picks = pick("rep_div", evidence, 1, apart=apart, share=0.0)
    assert picks.positions.tolist() == [second]
    assert picks.scores.tolist() == [0]


@pytest.mark.parametrize(("budget", "representative"), [(1, 1), (2, 1), (3, 2), (10, 7), (90, 63)])
def test_rep_div_rounds_its_share_down_to_at_least_one(budget: int, representative: int) -> None:
    features = unit_rows(np.random.default_rng(0).normal(size=(120, 40)))
    assert pick("rep_div", Evidence(features), budget).figures == {"representative": representative}


def test_rep_div_sums_over_a_jury_in_larger_pools() -> None:
    features, group = blobs_of([40, 25, 15], seed=0)
    answers = [pick("rep_div", Evidence(features), 3, seed, jury=30, share=1.0).positions.tolist() for seed in SEEDS]
    assert len(set(map(tuple, answers))) > 1
    assert all(sorted(group[positions]) == [0, 1, 2] for positions in answers)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"share": 1.5}, "rep_div: share can't be 1.5; allowed: 0 to 1"),
        ({"share": -0.1}, "rep_div: share can't be -0.1"),
        ({"jury": -1}, "rep_div: jury can't be -1; allowed: 0 or more"),
        ({"apart": "some"}, "apart can't be 'some'"),
    ],
)
def test_impossible_settings_of_rep_div_are_explained(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make_selector("rep_div", settings=values)


# BiLAF ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_bilaf_picks_cores_then_what_lies_between_them(seed: int) -> None:
    angles = np.concatenate([np.linspace(0, 0.99, 60), np.linspace(1, 2, 60)])
    picks = pick("bilaf", Evidence(circle(angles)), 8, seed)
    found = angles[picks.positions]
    low, high = sorted(found[:2])
    assert low == pytest.approx(0.5, abs=0.12)
    assert high == pytest.approx(1.5, abs=0.12)
    middle = (low + high) / 2
    assert (abs(found[2:] - middle) < 0.15).all()
    assert ((found[2:] < middle).sum(), (found[2:] > middle).sum()) == (3, 3)  # half of them from either side
    assert picks.scores[:2].tolist() == [1, 1]
    assert (picks.scores[2:] < 0.5).all()


def test_bilaf_gives_a_share_to_core_items() -> None:
    features = centred_digits(200)
    for core, count in ((0.01, 1), (0.25, 5), (0.5, 10), (1.0, 20)):
        picks = pick("bilaf", Evidence(features), 20, core=core)
        assert [reason.split(":")[0].split()[0] for reason in picks.reasons] == ["core"] * count + ["boundary"] * (
            20 - count
        )
        alone = pick("activeft", Evidence(features), count)
        assert picks.positions[:count].tolist() == alone.positions.tolist()


def test_bilaf_takes_labelled_items_for_cores() -> None:
    angles = np.concatenate([np.linspace(0, 1, 61), np.linspace(1.01, 2, 60)])
    picks = pick("bilaf", Evidence(circle(angles), labelled=np.array([30])), 5, core=0.2)
    found = angles[picks.positions]
    assert found[0] == pytest.approx(1.5, abs=0.15)  # the side without a label
    assert (abs(found[1:] - 1) < 0.2).all()


def test_bilaf_peels_outliers_off() -> None:
    angles = np.linspace(0, 1, 40)
    far = np.array([1.6, 1.7])  # nearest to the other core of all its class, yet alone
    features = circle(np.concatenate([angles, far, np.linspace(2.4, 3.4, 40)]))
    found = {
        removed: set(pick("bilaf", Evidence(features), 8, removed=removed).positions[2:].tolist())
        for removed in (0.0, 0.2)
    }
    assert found[0.0] & {40, 41}
    assert not found[0.2] & {40, 41}


def test_bilaf_boundary_by_hand() -> None:
    rows = circle(np.array([0.2, 0.9, 0.5]))
    means = circle(np.array([0.0, 2.0]))
    taken, scores = BiLAF()._boundary(rows, means, own=0, count=3)
    assert taken.tolist() == [1, 2, 0]
    inside, outside = 2 * np.sin(np.array([0.9, 0.5, 0.2]) / 2), 2 * np.sin(np.array([1.1, 1.5, 1.8]) / 2)
    outside = np.minimum(outside * 1.1 ** np.arange(3), np.inf)
    np.testing.assert_allclose(scores, (outside - inside) / np.maximum(outside, inside), atol=1e-5)


def test_bilaf_penalty_changes_the_opponent() -> None:
    # The first three items face class 1, the other three class 2 from a little farther away.
    rows = circle(np.array([0.90, 0.89, 0.88, -0.85, -0.84, -0.83]))
    means = circle(np.array([0.0, 2.0, -2.0]))
    assert BiLAF(penalty=1.0)._boundary(rows, means, own=0, count=3)[0].tolist() == [0, 1, 2]
    assert BiLAF(penalty=1.5)._boundary(rows, means, own=0, count=4)[0].tolist() == [0, 3, 1, 4]


def test_bilaf_with_a_single_class_takes_the_farthest_from_its_middle() -> None:
    rows = circle(np.array([0.2, 0.9, -0.5]))
    taken, scores = BiLAF()._boundary(rows, circle(np.array([0.0])), own=0, count=2)
    assert taken.tolist() == [1, 2]
    np.testing.assert_allclose(scores, 1 - np.sin(np.array([0.45, 0.25])), atol=1e-5)  # as if another were opposite


@pytest.mark.parametrize(
    ("sizes", "total", "expected"),
    [
        ([10, 10], 4, [2, 2]),
        ([10, 20, 30], 6, [1, 2, 3]),
        ([10, 10, 10], 4, [2, 1, 1]),
        ([1, 100], 50, [0, 50]),
        ([3, 0, 3], 5, [3, 0, 2]),
        ([3, 0, 3], 6, [3, 0, 3]),
        ([3, 1], 99, [3, 1]),
        ([0, 0], 5, [0, 0]),
        ([5], 0, [0]),
        ([], 3, []),
    ],
)
def test_shares_by_size(sizes: list[int], total: int, expected: list[int]) -> None:
    assert shares_by_size(sizes, total) == expected


def test_shares_of_any_sizes_add_up() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes = rng.integers(0, 40, size=rng.integers(1, 12)).tolist()
        total = int(rng.integers(0, sum(sizes) + 3))
        shares = shares_by_size(sizes, total)
        assert sum(shares) == min(total, sum(sizes))
        assert all(0 <= share <= size for share, size in zip(shares, sizes, strict=True))
        whole = max(1, sum(sizes))
        assert all(abs(share - size * sum(shares) / whole) < 1 for share, size in zip(shares, sizes, strict=True))


def test_the_released_kernel_of_max_herding_is_its_formula() -> None:
    """``exp(-(d / h)^2)`` with h = 1."""
    selector = make_selector("max_herding", "released")
    similarity = torch.linspace(-1, 1, 9)
    expected = torch.exp(-(2 - 2 * similarity))
    np.testing.assert_allclose(gaussian(selector.bandwidth)(similarity.clone()), expected, rtol=1e-5)  # type: ignore[attr-defined]


# FreeSel --------------------------------------------------------------------------------------------------------------


def images(*tokens: str) -> np.ndarray:
    """An image a word, a token a letter: each letter is a direction of its own, of another length each time."""
    rng = np.random.default_rng(0)
    return np.stack(
        [[np.eye(8)[ord(letter) - ord("a")] * rng.uniform(1, 9) for letter in word] for word in tokens]
    ).astype(np.float32)


def with_tokens(tokens_NTD: np.ndarray, **values: Any) -> Evidence:
    return Evidence(unit_rows(tokens_NTD.mean(axis=1)), tokens_NTD=tokens_NTD, **values)


def test_patterns_are_the_directions_in_an_image() -> None:
    found = local_patterns(images("aabb", "abcd", "aaaa"), 2)
    assert found.shape == (3, 2, 8)
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), 1, atol=1e-6)
    assert sorted(found[0].argmax(axis=1)) == [0, 1]
    np.testing.assert_allclose(found[0].max(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found[2], np.eye(8)[[0, 0]], atol=1e-6)
    assert local_patterns(images("abc"), 9).shape == (1, 3, 8)


@pytest.mark.parametrize("seed", range(8))
def test_free_sel_finds_the_image_with_a_pattern_nobody_has(seed: int) -> None:
    tokens = images(*["aabb"] * 20, "aacc", *["bbaa"] * 20)
    picks = pick("free_sel", with_tokens(tokens), 2, seed, patterns=2)
    assert 20 in picks.positions
    tokens = images(*["aabb"] * 10, "aacc", "bbdd")
    assert {10, 11} <= set(pick("free_sel", with_tokens(tokens), 3, seed, patterns=2).positions.tolist())


@pytest.mark.parametrize("seed", range(8))
def test_patterns_of_labelled_images_count_as_covered(seed: int) -> None:
    tokens = images(*["aabb"] * 10, "aacc", "ccaa", *["bbaa"] * 10)
    picks = pick("free_sel", with_tokens(tokens, labelled=np.array([0])), 1, seed, patterns=2)
    assert picks.positions[0] in (10, 11)
    assert picks.scores[0] == pytest.approx(1, abs=1e-6)
    both = pick("free_sel", with_tokens(tokens, labelled=np.array([0, 10])), 3, seed, patterns=2)
    assert both.scores == pytest.approx(0, abs=1e-6)  # nothing new is left


def test_free_sel_draws_in_proportion_to_the_squared_cosine_distance() -> None:
    near = np.sqrt(1 - 0.2**2)
    tokens = np.zeros((3, 1, 3), dtype=np.float32)
    tokens[:, 0] = [[1, 0, 0], [0.2, near, 0], [0.6, 0, 0.8]]  # cosine distances from the first: 0.8 and 0.4
    evidence = with_tokens(tokens, labelled=np.array([0]))
    drawn = [int(pick("free_sel", evidence, 1, seed).positions[0]) for seed in range(300)]
    assert np.mean(np.asarray(drawn) == 1) == pytest.approx(0.8, abs=0.06)


# MaxHerding on tokens -------------------------------------------------------------------------------------------------


def plain_token_herding(evidence: Evidence, budget: int, bandwidth: float) -> tuple[list[int], list[float]]:
    """The definition, with every product written out in float64; picks and the gain of each."""
    assert evidence.tokens_NTD is not None
    lengths = np.linalg.norm(evidence.tokens_NTD.astype(np.float64), axis=2, keepdims=True)
    unit = evidence.tokens_NTD / np.where(lengths == 0, 1, lengths)
    regions = unit[evidence.population].reshape(-1, unit.shape[2])

    def covers(images: Any) -> np.ndarray:
        """(regions,) how well some images together cover each."""
        best = np.zeros(len(regions))
        for image in images:
            for token in unit[image]:
                best = np.maximum(best, np.exp((regions @ token - 1) / bandwidth**2))
        return best

    picks: list[int] = []
    gains: list[float] = []
    for _ in range(budget):
        before = covers([*evidence.labelled, *picks]).mean()
        left = [image for image in evidence.candidates if image not in picks]
        gain = [covers([*evidence.labelled, *picks, image]).mean() - before for image in left]
        picks.append(int(left[int(np.argmax(gain))]))
        gains.append(max(gain))
    return picks, gains


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bandwidth", [1.0, 0.4])
def test_token_max_herding_is_its_definition(seed: int, bandwidth: float) -> None:
    rng = np.random.default_rng(seed)
    tokens = (rng.normal(size=(26, 5, 7)) * rng.uniform(0.1, 9, size=(26, 5, 1))).astype(np.float32)
    evidence = with_tokens(
        tokens, labelled=np.array([3, 20]), excluded=np.array([5, 6, 7]), closed=np.array([11, 12, 13])
    )
    expected, gains = plain_token_herding(evidence, 9, bandwidth)
    picks = pick("token_max_herding", evidence, 9, bandwidth=bandwidth)
    assert picks.positions.tolist() == expected
    assert picks.scores == pytest.approx(gains, abs=1e-5)
    with pieces_of(1):  # an image at a time
        assert pick("token_max_herding", evidence, 9, bandwidth=bandwidth).positions.tolist() == expected


def test_token_max_herding_of_single_tokens_is_max_herding() -> None:
    rows = unit_rows(np.random.default_rng(3).normal(size=(40, 6)))
    evidence = Evidence(rows, tokens_NTD=rows[:, None, :])
    both = [pick(method, evidence, 12) for method in ("max_herding", "token_max_herding")]
    assert both[0].positions.tolist() == both[1].positions.tolist()
    assert both[0].scores == pytest.approx(both[1].scores, abs=1e-5)


def test_token_max_herding_takes_an_image_for_all_that_it_shows() -> None:
    tokens = images("aaaa", "abcd", "aabb", "ccdd", "efef")  # the second shows what three others show
    picks = pick("token_max_herding", with_tokens(tokens), 2, bandwidth=0.3)
    assert picks.positions.tolist() == [1, 4]
    assert picks.reasons == ["nearest to 20 of 20 regions, of 5 images", "nearest to 4 of 20 regions, of 1 images"]
    follow = pick("token_max_herding", with_tokens(tokens, labelled=np.array([1])), 1, bandwidth=0.3)
    assert follow.positions.tolist() == [4]


def test_a_jury_of_tokens_is_as_large_as_asked_and_stands_for_all() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(40, 6, 8)).astype(np.float16)
    jury = sample_regions(tokens, np.arange(5, 35), 50, np.random.default_rng(1))
    assert len(jury) == 50
    assert set(jury.owners_J.tolist()) <= set(range(5, 35))
    every = regions_of(tokens, jury.owners_J)
    assert all(np.isclose(every[row], jury.features_JD[row]).all(axis=1).any() for row in range(50))
    whole = sample_regions(tokens, np.arange(5, 35), 0, np.random.default_rng(1))
    np.testing.assert_array_equal(whole.owners_J, np.repeat(np.arange(5, 35), 6))
    np.testing.assert_array_equal(whole.features_JD, regions_of(tokens, np.arange(5, 35)).reshape(-1, 8))
    picks = pick("token_max_herding", with_tokens(tokens.astype(np.float32)), 6, jury=50)
    assert len(set(picks.positions.tolist())) == 6


# Auto -----------------------------------------------------------------------------------------------------------------


def answered(shots: int, classes: int = 3) -> Evidence:
    """Blobs with ``shots`` answers in each class, and the true classes' directions for a model."""
    features, group = blobs_of([30] * classes, seed=0, noise=0.3)
    labelled = np.flatnonzero(np.tile(np.arange(30), classes) < shots)
    head = LinearHead(5 * np.eye(classes, classes + 2, dtype=np.float32), np.zeros(classes, dtype=np.float32))
    logits = head.logits(features)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Evidence(
        features, labelled=labelled, answers_L=group[labelled], probs_NC=probs.astype(np.float32), head=head
    )


@pytest.mark.parametrize(
    ("shots", "method", "words"),
    [
        (0, "activeft", "0.0 labels per class"),
        (1, "activeft", "1.0 labels per class"),
        (SHOTS - 1, "activeft", f"on average; below {SHOTS}"),
        (SHOTS, "uncertainty_medoids", f"{SHOTS}.0 labels per class on average are enough"),
        (20, "uncertainty_medoids", "20.0 labels per class"),
    ],
)
def test_auto_follows_a_model_once_it_knows_enough(shots: int, method: str, words: str) -> None:
    evidence = answered(shots)
    selector, why = choose(evidence)
    assert selector == make_selector(method)
    assert why.startswith(f"{method}: ")
    assert words in why
    picks, chosen = pick("auto", evidence, 6, seed=1), pick(method, evidence, 6, seed=1)
    assert picks.positions.tolist() == chosen.positions.tolist()
    assert picks.scores.tolist() == chosen.scores.tolist()
    assert dict(picks.notes) == {**chosen.notes, "auto": why}


def test_auto_does_not_count_answers_that_are_still_to_come() -> None:
    evidence = answered(20)
    assert evidence.answers_L is not None
    few = np.where(np.arange(60) % 20 < 1, evidence.answers_L, -1)
    assert choose(replace(evidence, answers_L=few))[0] == make_selector("activeft")
    assert choose(replace(evidence, answers_L=np.full(60, -1)))[0] == make_selector("activeft")


@pytest.mark.parametrize("fields", [("probs_NC",), ("answers_L", "probs_NC")])
def test_auto_goes_by_features_where_there_is_no_model(fields: tuple[str, ...]) -> None:
    selector, why = choose(replace(answered(20), **dict.fromkeys(fields)))
    assert selector == make_selector("activeft")
    assert "no model can be learned" in why


def test_auto_follows_a_model_that_is_given_without_answers() -> None:
    selector, why = choose(replace(answered(20), answers_L=None))
    assert selector == make_selector("uncertainty_medoids")
    assert "a finetuned model is given" in why


def test_auto_is_what_select_does_and_says_so() -> None:
    data = load_digits()
    names = [str(number) for number in data.target[:200]]
    pool = Embeddings.from_numpy(data.data[:200], labels=names)
    notes = {}
    for known in (0, 12, 120):
        labelled = dict(zip(pool.ids[:known], names, strict=False))
        selection = select(pool, budget=5, labelled=labelled)
        notes[known] = selection.manifest["notes"]["auto"].split(":")[0]
        alone = select(pool, budget=5, labelled=labelled, method=notes[known])
        assert selection.ids == alone.ids
        assert "auto" not in alone.manifest.get("notes", {})
    assert notes == {0: "activeft", 12: "activeft", 120: "uncertainty_medoids"}


# Uncertainty medoids --------------------------------------------------------------------------------------------------


def doubts(values: np.ndarray) -> np.ndarray:
    """Probabilities of two classes (N, 2) of that uncertainty: one less the margin."""
    return np.stack([1 - values / 2, values / 2], axis=1).astype(np.float32)


def test_medoids_go_where_the_model_is_unsure() -> None:
    features, group = blobs_of([40, 40, 40, 40], seed=0, noise=0.1)
    unsure = np.isin(group, [1, 3])
    evidence = Evidence(features, probs_NC=doubts(np.where(unsure, 0.9, 0.0)))
    picks = make_selector("uncertainty_medoids").select(evidence, 2, np.random.default_rng(0))
    assert sorted(group[picks.positions]) == [1, 3]
    assert picks.scores == pytest.approx([36, 36], rel=0.01)


def test_equal_doubts_leave_it_to_the_distance() -> None:
    features, group = blobs_of([30, 30, 30], seed=1, noise=0.1)
    evidence = Evidence(features, probs_NC=doubts(np.full(90, 0.5)))
    picks = make_selector("uncertainty_medoids").select(evidence, 3, np.random.default_rng(0))
    assert sorted(group[picks.positions]) == [0, 1, 2]


def test_labelled_items_do_not_cover_what_the_model_still_doubts() -> None:
    features, group = blobs_of([40, 40], seed=2, noise=0.1)
    evidence = Evidence(
        features,
        labelled=np.flatnonzero(group == 1)[:10],
        answers_L=np.ones(10, dtype=np.int64),
        probs_NC=doubts(np.where(group == 1, 0.8, 0.01)),
    )
    picks = make_selector("uncertainty_medoids").select(evidence, 1, np.random.default_rng(0))
    assert group[picks.positions].tolist() == [1]


def test_a_sure_model_leaves_it_to_the_distance() -> None:
    features, group = blobs_of([30, 30, 30], seed=3, noise=0.1)
    evidence = Evidence(features, probs_NC=doubts(np.zeros(90)))
    picks = make_selector("uncertainty_medoids").select(evidence, 3, np.random.default_rng(0))
    assert sorted(group[picks.positions]) == [0, 1, 2]


def test_a_setting_of_other_selectors_is_told_with_these() -> None:
    with pytest.raises(UsageError, match=r"selector random has no setting 'temperature', which is one of .*activeft"):
        make_selector("random", settings={"temperature": 0.1})
