"""Labels that spread over a pool: the graph against a plain one, and a probe that gains by it or leaves it alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import activetune
from activetune import EmbedOptions, UsageError, open_pool
from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.data.splits import validation_splits
from activetune.evaluation.learned_from import told_lessons
from activetune.evaluation.metrics import measure_balanced, measure_top1
from activetune.evaluation.statistics import surely_positive
from activetune.features.distances import Float32, pieces_of, unit_rows
from activetune.features.graph import Graph, nearest_neighbours
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import LinearHead, fit_linear
from activetune.recipes.linear_probe import LinearProbe
from activetune.recipes.pool_probe import PoolProbe
from activetune.tasks.classification import Classification
from activetune.training import label_propagation
from activetune.training.label_propagation import LabelPropagation, PseudoLabels
from activetune.training.pool_regression import PoolLearning, PoolRegression
from activetune.training.recipe import make_recipe
from tests.conftest import tiny_backbone
from tests.training.test_finetuning import figures, some_labels, train


def arcs(count: int, noise: float, seed: int) -> tuple[Float32, IntArray]:
    """Two arcs that curl around each other (two moons) as directions in space, and which of them an item is on."""
    rng = np.random.default_rng(seed)
    kind, angle = rng.integers(0, 2, count), rng.uniform(0, np.pi, count)
    x, y = np.cos(angle) * (1 - 2 * kind) + kind, np.sin(angle) * (1 - 2 * kind) + 0.5 * kind
    points = np.stack([x - 0.5, y - 0.25, np.full(count, 2.0)], axis=1) + noise * rng.standard_normal((count, 3))
    return points.astype(np.float32), kind


def blobs(count: int, classes: int, spread: float, seed: int, size: int = 16) -> tuple[Float32, IntArray]:
    """Items around a centre per class."""
    rng = np.random.default_rng(seed)
    centres, kind = rng.standard_normal((classes, size)), rng.integers(0, classes, count)
    return (centres[kind] + spread * rng.standard_normal((count, size))).astype(np.float32), kind


# The graph ------------------------------------------------------------------------------------------------------------


def test_neighbours_are_those_of_all_pairs() -> None:
    features = unit_rows(blobs(300, 5, 0.7, seed=0)[0])
    product = features @ features.T
    np.fill_diagonal(product, -np.inf)
    expected = np.argsort(-product, axis=1)[:, :7]
    with pieces_of(1000):
        index, similarity = nearest_neighbours(features, 7)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(similarity, np.take_along_axis(product, expected, 1), atol=1e-6)
    assert nearest_neighbours(features[:3], 7)[0].shape == (3, 2)  # there are no more others


def test_neighbours_in_cells_are_nearly_those_of_all_pairs() -> None:
    features = unit_rows(blobs(12_000, 60, 0.8, seed=1)[0])
    exact, cells = (nearest_neighbours(features, 10, exact=exact)[0] for exact in (True, False))
    found = np.mean([len(np.intersect1d(*pair)) for pair in zip(exact, cells, strict=True)]) / 10
    assert found > 0.9  # the blobs overlap, so that many neighbours are far from their centre
    again = nearest_neighbours(features, 10, exact=False)[0]
    np.testing.assert_array_equal(cells, again)


def test_copies_are_neighbours_and_none_is_its_own() -> None:
    features = unit_rows(np.repeat(np.eye(3, dtype=np.float32), 4, axis=0))
    index, similarity = nearest_neighbours(features, 3)
    assert (index != np.arange(12)[:, None]).all() and (index // 4 == np.arange(12)[:, None] // 4).all()
    np.testing.assert_allclose(similarity, 1, atol=1e-6)


@given(st.integers(0, 1000), st.sampled_from([0.0, 0.5, 0.8, 0.99]))
@settings(max_examples=20, deadline=None)
def test_spreading_solves_its_equation(seed: int, alpha: float) -> None:
    features = unit_rows(blobs(80, 4, 1.0, seed)[0])
    graph = Graph.of(*nearest_neighbours(features, 6), 6)
    dense = graph.joined_NN.toarray().astype(np.float64)
    np.testing.assert_allclose(dense, dense.T, atol=1e-7)
    assert np.linalg.eigvalsh(dense).max() <= 1 + 1e-5
    known = np.zeros((80, 3), dtype=np.float32)
    known[np.arange(9), np.arange(9) % 3] = 1
    expected = np.linalg.solve(np.eye(80) - alpha * dense, (1 - alpha) * known)
    np.testing.assert_allclose(graph.spread(known, alpha), expected, atol=2e-3 * expected.max())


def test_what_no_label_reaches_stays_at_zero() -> None:
    features = unit_rows(np.repeat(np.eye(2, dtype=np.float32), 5, axis=0))
    graph = Graph.of(*nearest_neighbours(features, 2), 2)
    known = np.zeros((10, 1), dtype=np.float32)
    known[0] = 1
    found = graph.spread(known, 0.8).ravel()
    assert found[:5].min() >= 0 and found[0] > 0 and not found[5:].any()


# The classifier -------------------------------------------------------------------------------------------------------


def fitted(features: Float32, kind: IntArray, positions: IntArray, **options: Any) -> tuple[FloatArray, FloatArray]:
    """Logits of all items by the probe alone, and with the pool."""
    probe, pool = LinearProbe(), PoolProbe(pool=PoolLearning(**options))
    heads = [
        recipe.fit_on_features(features, positions, kind[positions], held_out=NO_INDICES, seed=0)
        for recipe in (probe, pool)
    ]
    first, second = (head.logits(features) for head in heads if head is not None)
    return first, second


def accuracy(logits: FloatArray, kind: IntArray) -> float:
    return float((logits.argmax(axis=1) == kind).mean())


def test_a_pool_in_clusters_teaches_what_one_label_of_each_does_not() -> None:
    features, kind = blobs(600, 8, 0.9, seed=3)
    positions = np.asarray([np.flatnonzero(kind == number)[0] for number in range(8)])
    alone, together = fitted(features, kind, positions)
    assert accuracy(together, kind) > accuracy(alone, kind) + 0.03


def test_a_graph_that_says_nothing_does_no_harm() -> None:
    """Labels by a direction that the neighbours know nothing of."""
    rng = np.random.default_rng(0)
    features = rng.standard_normal((500, 40)).astype(np.float32)
    kind = (features[:, 0] > 0).astype(np.int64)
    alone, together = fitted(features, kind, rng.permutation(500)[:120])
    assert accuracy(together, kind) >= accuracy(alone, kind) - 0.02


@pytest.mark.parametrize("harm", [False, True])
def test_a_pool_that_is_worse_by_more_than_chance_is_left_out(harm: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    features, kind = blobs(300, 4, 0.6, seed=4)
    positions = np.arange(60)
    fit_pool_probe = PoolRegression.fit_pool_probe

    def worse(self: PoolRegression, pseudo_labels: PseudoLabels, training: IntArray) -> LinearHead:
        found = fit_pool_probe(self, pseudo_labels, training)
        return LinearHead(-found.weight_CD, -found.bias_C) if harm else found

    monkeypatch.setattr(PoolRegression, "fit_pool_probe", worse)
    regression = PoolRegression(features, positions, kind[positions], 4, PoolLearning(), Imbalance(), seed=0)
    splits = validation_splits(kind[positions], NO_INDICES, 5, np.random.default_rng(0))
    label_probe = fit_linear(features[positions], kind[positions], 10.0, classes=4)
    found = regression.fit(label_probe, 10.0, splits, measure=measure_top1)
    assert found.used is not harm
    assert (found.head is label_probe) is harm


@given(st.integers(1, 500), st.integers(0, 3), st.booleans())
def test_a_few_labels_alone_are_no_proof(count: int, few: int, even: bool) -> None:
    truth = np.arange(count) % 2
    weights = (measure_balanced if even else measure_top1)(np.eye(2)[truth], truth).weight_N
    assert not surely_positive(np.where(np.arange(count) < few, weights, 0.0))
    assert surely_positive(np.ones(count + 3)) and not surely_positive(-np.ones(count))


@pytest.mark.parametrize("even", [False, True])
def test_the_error_is_of_what_is_measured(even: bool) -> None:
    """A plain sum over labelled items that count by their class, or all alike."""
    features, kind = blobs(300, 3, 1.4, seed=8)
    positions = np.concatenate([np.flatnonzero(kind == one)[:shots] for one, shots in enumerate((30, 6, 4))])
    regression = PoolRegression(features, positions, kind[positions], 3, PoolLearning(), Imbalance(), seed=0)
    splits = validation_splits(kind[positions], NO_INDICES, 2, np.random.default_rng(0))
    label_probe = fit_linear(features[positions], kind[positions], 10.0, classes=3)
    measure = Classification(even=even).measure
    found = regression.fit(label_probe, 10.0, splits, measure=measure)
    assert found.comparison is not None
    compared = found.comparison
    truth = compared.label_probe.truth_N
    sizes = {number: int((truth == number).sum()) for number in range(3)}
    counts = [len(truth) / (3 * sizes[number]) if even else 1.0 for number in truth.tolist()]
    right = [(one.predicted_N == truth).astype(float) for one in (compared.pool_probe, compared.label_probe)]
    differences = [count * (a - b) for count, a, b in zip(counts, *right, strict=True)]
    assert compared.pool_probe.value - compared.label_probe.value == pytest.approx(sum(differences) / len(truth))
    assert compared.error == pytest.approx(statistics.stdev(differences) / len(truth) ** 0.5)
    assert found.used == (statistics.mean(differences) >= -1.96 * compared.error)


def test_foreign_images_in_the_pool_do_no_harm() -> None:
    """A third of the pool shows what nobody labelled."""
    features, kind = blobs(600, 10, 0.8, seed=5)
    foreign = blobs(300, 7, 0.8, seed=77)[0]
    positions = np.asarray([row for number in range(10) for row in np.flatnonzero(kind == number)[:3]])
    alone, _ = fitted(features, kind, positions)
    both, labels = np.concatenate([features, foreign]), np.concatenate([kind, np.zeros(300, dtype=np.int64)])
    _, together = fitted(both, labels, positions)
    assert accuracy(together[:600], kind) >= accuracy(alone, kind) - 0.005


def test_answers_do_not_depend_on_how_many_classes_spread_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, kind = blobs(200, 6, 0.8, seed=6)
    positions = np.arange(24)
    head = fit_linear(features[positions], kind[positions], 10.0, classes=6)

    def answers() -> tuple[IntArray, FloatArray]:
        propagation = LabelPropagation(features, positions, kind[positions], 6, 10, seed=0)
        found = propagation.pseudo_label(np.arange(24), head, 0.8, 0.3)
        return found.classes_N, found.certainty_N

    whole = answers()
    monkeypatch.setattr(label_propagation, "AT_ONCE", 400)  # two classes of 200 items
    for one, other in zip(whole, answers(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert (whole[0][positions] == kind[positions]).all() and (whole[1][positions] == 1).all()
    assert whole[1].min() >= 0 and whole[1].max() <= 1


def test_the_pools_answers_are_kept_from_what_they_are_judged_by() -> None:
    """Labels drawn at random: nothing that was not seen can be answered better than by chance."""
    features, _ = blobs(400, 5, 0.5, seed=8)
    kind = np.random.default_rng(1).integers(0, 4, 400)
    positions = np.arange(200)
    regression = PoolRegression(features, positions, kind[positions], 4, PoolLearning(), Imbalance(), seed=0)
    splits = validation_splits(kind[positions], NO_INDICES, 5, np.random.default_rng(0))
    label_probe = fit_linear(features[positions], kind[positions], 1.0, classes=4)
    found = regression.fit(label_probe, 1.0, splits, measure=measure_top1)
    assert found.comparison is not None
    assert max(trial.value for trial in found.trials) < 0.4 and found.comparison.pool_probe.value < 0.4


def test_a_sample_of_a_large_pool_is_learned_from() -> None:
    features, kind = blobs(2_000, 5, 0.9, seed=9)
    positions = np.asarray([np.flatnonzero(kind == number)[0] for number in range(5)])
    whole, some = (fitted(features, kind, positions, most_unlabelled=most)[1] for most in (20_000, 300))
    assert accuracy(some, kind) > accuracy(whole, kind) - 0.05
    assert not np.array_equal(whole, some)


@pytest.mark.parametrize("reached", [False, True])
def test_the_probes_share_is_chosen_by_cross_validation(reached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where labels reach nothing but each other's opposites the probe is listened to, else the first share is kept."""
    features, kind = blobs(400, 4, 0.6, seed=12)
    positions = np.arange(100)
    propagate = LabelPropagation.propagate

    def turned(self: LabelPropagation, training: IntArray, alpha: float) -> Iterator[tuple[slice, Float32]]:
        for block, shares_NB in propagate(self, training, alpha):
            yield block, shares_NB if reached else shares_NB[:, ::-1]

    monkeypatch.setattr(LabelPropagation, "propagate", turned)
    options = PoolLearning(probe_shares=(0.3, 0.9))
    regression = PoolRegression(features, positions, kind[positions], 4, options, Imbalance(), seed=0)
    splits = validation_splits(kind[positions], NO_INDICES, 5, np.random.default_rng(0))
    found = regression.fit(
        fit_linear(features[positions], kind[positions], 10.0, classes=4), 10.0, splits, measure=measure_top1
    )
    assert found.probe_share == (0.3 if reached else 0.9)
    assert {(trial.alpha, trial.probe_share) for trial in found.trials} == {
        (a, s) for a in (0.8, 0.5, 0.95) for s in (0.3, 0.9)
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"alphas": (1.0,)}, r"alphas can't be 1; allowed: numbers from 0 to below 1"),
        ({"neighbours": 0}, "neighbours can't be 0; allowed: 1 to 1000"),
        ({"probe_shares": (2.0,)}, r"probe_share can't be 2; allowed: numbers from 0 to 1"),
        ({"alphas": (0.5, float("nan"))}, "alphas can't be"),
        ({"probe_shares": (float("nan"),)}, "probe_share can't be"),
    ],
)
def test_wrong_settings_are_sentences(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        PoolLearning(**given)


def test_views_are_refused_as_the_pool_is_looked_at_once() -> None:
    with pytest.raises(UsageError, match="probe_views can't be 2; leave it out"):
        make_recipe("pool_probe", settings={"probe_views": 2})


# The recipe -----------------------------------------------------------------------------------------------------------


def test_the_model_is_made_from_the_whole_pool(digits: Path, tmp_path: Path) -> None:
    pool, (name, weights) = open_pool(digits), tiny_backbone()
    labels = some_labels(pool, 4)
    options: dict[str, Any] = {"labels": labels, "backbone": name, "weights": weights}
    train(pool, tmp_path / "whole", "pool_probe", **options)
    told = figures(tmp_path / "whole")
    assert told["pool"]["images"] == len(pool) and told["pool"]["alpha"] in (0.5, 0.8, 0.95)
    assert told["pool"]["unlabelled"] == len(pool) - len(labels)
    fewer = pool.subset([*labels, *(item for item in pool.ids if item not in labels)][: len(labels) + 20])
    with pytest.raises(UsageError, match="--overwrite"):  # other images without a label make another model
        train(fewer, tmp_path / "whole", "pool_probe", **options)
    model = activetune.load(tmp_path / "whole")
    assert model.config["heads"]["classification"]["kind"] == "linear"


def test_no_label_that_chose_and_no_image_that_was_not_drawn_is_told_as_learned_from_without_one(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PoolProbe, "hold_out", lambda *_: np.arange(0, 16, 4))
    pool, (name, weights) = open_pool(digits), tiny_backbone()
    given: dict[str, Any] = {"labels": some_labels(pool, 4), "backbone": name, "weights": weights}
    for most, others in ((10**4, len(pool) - len(given["labels"])), (5, 5)):
        train(pool, tmp_path / "m", "pool_probe", settings={"pool_most": most}, overwrite=True, **given)
        told = figures(tmp_path / "m")
        told["pool"]["used"] = True
        assert told_lessons(told) == f"12 labelled images and {others:,} without a label"


def test_simulate_fits_what_finetune_does(digits: Path, tmp_path: Path) -> None:
    pool, (name, weights) = open_pool(digits), tiny_backbone()
    labels = some_labels(pool, 4)
    train(pool, tmp_path / "m", "pool_probe", labels=labels, backbone=name, weights=weights)
    halved = EmbedOptions(device="cpu", precision="fp32", dtype="float16")  # as finetune keeps them
    embeddings = activetune.embed(pool, backbone=name, weights=weights, options=halved, quiet=True)
    classes = sorted(set(labels.values()))
    positions = np.asarray([embeddings.position[item] for item in labels])
    indices = np.asarray([classes.index(value) for value in labels.values()])
    features = np.asarray(embeddings.features_ND, dtype=np.float32)
    head = PoolProbe().fit_on_features(features, positions, indices, held_out=NO_INDICES, seed=0)
    assert head is not None
    saved = LinearHead.read_from(activetune.load(tmp_path / "m").network.classifier())
    told, again = (one.logits(features).argmax(axis=1) for one in (saved, head))
    assert (told == again).mean() > 0.99
