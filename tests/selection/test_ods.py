"""ODS: ActiveFT by losses, and the correction of an ensemble."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import numpy as np
import pytest

from activetune import Embeddings, UsageError, select
from activetune.selection.problem import Evidence
from activetune.selection.selectors import _ensemble, make_selector
from activetune.selection.selectors._losses import Assigned, CentroidLoss, PaperLoss, ReleasedLoss


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def evidence(losses: np.ndarray | None = None, count: int = 200, size: int = 8) -> Evidence:
    features = unit(np.random.default_rng(0).normal(size=(count, size)))
    return Evidence(features, losses_N=np.ones(count, dtype=np.float32) if losses is None else losses)


def picks(method: str, given: Evidence, budget: int = 12, **settings: object) -> list[int]:
    selector = make_selector(method, settings=settings)
    return selector.select(given, budget, np.random.default_rng(3)).positions.tolist()


@pytest.mark.parametrize("settings", [{}, {"swaps": 0}, {"optimiser": "adam", "iterations": 20}])
@pytest.mark.parametrize("loss", [0.0, 1.0, 7.5])
def test_equal_losses_are_activeft(loss: float, settings: dict[str, object]) -> None:
    given = evidence(np.full(200, loss, dtype=np.float32))
    assert picks("ods", given, ensemble=1, **settings) == picks("activeft", given, **settings)


def test_without_repulsion_losses_that_outweigh_all_others_are_picked() -> None:
    losses = np.full(200, 1e-4, dtype=np.float32)
    heavy = np.random.default_rng(1).choice(200, 12, replace=False)
    losses[heavy] = np.linspace(50, 60, 12)
    for ensemble in (1, 5):
        assert set(picks("ods", evidence(losses), balance=0.0, ensemble=ensemble)) == set(heavy.tolist())


def test_without_repulsion_it_is_no_ranking_by_losses() -> None:
    losses = np.random.default_rng(1).uniform(0.5, 1.5, 200).astype(np.float32)
    largest = set(np.argsort(-losses)[:12].tolist())
    assert len(largest & set(picks("ods", evidence(losses), balance=0.0))) < 8


def test_picks_of_an_ensemble_stand_for_the_losses_as_well_as_one_solutions() -> None:
    losses = np.random.default_rng(4).exponential(size=200).astype(np.float32)
    given = evidence(losses)
    distances = {}
    for ensemble in (1, 5):
        found = make_selector("ods", settings={"ensemble": ensemble}).select(given, 12, np.random.default_rng(3))
        nearest = 2 - 2 * (given.features_ND @ given.features_ND[found.positions].T).max(axis=1)
        distances[ensemble] = float(losses @ nearest)
    assert distances[5] == pytest.approx(distances[1], rel=0.03)


def test_a_larger_loss_pulls_harder() -> None:
    """The nearest pick of a group comes nearer the more loss the group has, and its share of picks grows."""
    rng = np.random.default_rng(0)
    features = unit(np.eye(6)[rng.integers(0, 2, 300)] + 0.25 * rng.normal(size=(300, 6)))
    group = features[:, 0] > features[:, 1]
    shares, distances = [], []
    for factor in (0.1, 1.0, 10.0):
        given = Evidence(features, losses_N=np.where(group, factor, 1.0).astype(np.float32))
        chosen = picks("ods", given, budget=10, ensemble=1)
        shares.append(group[chosen].mean())
        distances.append((1 - (features[group] @ features[chosen].T).max(axis=1)).mean())
    assert shares[0] < shares[1] < shares[2]
    assert distances[0] > distances[1] > distances[2]


def test_an_ensemble_of_one_is_plain() -> None:
    one = evidence().features_ND[:12]
    np.testing.assert_allclose(_ensemble.without_the_start([one]), one, atol=1e-6)
    given = evidence(np.random.default_rng(4).random(200).astype(np.float32))
    assert picks("ods", given, ensemble=1) == picks("ods", given, **dataclasses.asdict(make_selector("ods", "plain")))
    assert make_selector("ods").ensemble == 1  # type: ignore[attr-defined]
    assert make_selector("ods", "paper").ensemble == 5  # type: ignore[attr-defined]


def test_centroids_are_paired_across_solutions() -> None:
    first = unit(np.random.default_rng(0).normal(size=(30, 8)))
    order = np.random.default_rng(1).permutation(30)
    np.testing.assert_array_equal(_ensemble.paired(first, first[order]), first)
    np.testing.assert_allclose(_ensemble.without_the_start([first, first[order], first]), first, atol=1e-6)


def test_the_correction_is_the_formula() -> None:
    """Against the D x D covariance written out."""
    aligned = np.random.default_rng(0).normal(size=(5, 4, 7)).astype(np.float32)
    found = _ensemble.correction(aligned)
    for centroid in range(4):
        rows = aligned[:, centroid].astype(np.float64)
        centred = rows - rows.mean(axis=0)
        covariance = centred.T @ centred / 5
        relative = covariance / (np.trace(covariance) / 7)
        products = centred @ centred.T
        rho = _ensemble.shrinkage(products[None], 7)[0]
        sigma = (1 - rho) * relative + rho * np.eye(7)
        np.testing.assert_allclose(found[centroid], np.linalg.solve(sigma, centred[0]), rtol=1e-4, atol=1e-6)


def test_shrinkage_is_that_of_the_published_estimator() -> None:
    """Against scikit-learn's, which assumes centred data as we do."""
    from sklearn.covariance import OAS

    rows = np.random.default_rng(0).normal(size=(6, 9)) * np.arange(1, 10)
    centred = rows - rows.mean(axis=0)
    expected = OAS(assume_centered=True).fit(centred).shrinkage_
    found = _ensemble.shrinkage((centred @ centred.T)[None], 9)[0]
    assert 0 < found < 1
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("loss", [PaperLoss(0.1, 1.0), ReleasedLoss(0.1, 0.5)])
def test_a_weight_of_two_is_the_item_twice(loss: CentroidLoss) -> None:
    import torch

    rows = torch.from_numpy(unit(np.random.default_rng(0).normal(size=(9, 5))))
    centroids = rows[:3].clone()
    weights = torch.tensor([1.0, 2, 1, 1, 1, 2, 1, 1, 1])
    repeated = torch.repeat_interleave(torch.arange(9), weights.long())
    found = []
    for items, given in ((rows, weights * 9 / weights.sum()), (rows[repeated], None)):
        similarity, owner = (items @ centroids.T).max(1)
        found.append(loss(centroids, Assigned(items, owner, similarity, given)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-5)


def test_losses_can_be_given_by_id_or_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pool = Embeddings.from_numpy(rng.normal(size=(60, 6)))
    losses = {item: float(value) for item, value in zip(pool.ids, rng.exponential(size=60), strict=True)}
    path = tmp_path / "losses.csv"
    path.write_text("id,loss\n" + "".join(f"{item},{value}\n" for item, value in reversed(losses.items())))
    given = select(pool, budget=5, method="ods", losses=losses, seed=1)
    assert given.ids == select(pool, budget=5, method="ods", losses=path, seed=1).ids
    assert given.ids != select(pool, budget=5, method="activeft", seed=1).ids
    assert given.manifest["losses"] is not None
    with pytest.raises(UsageError, match="1 of 60 items have no loss, the first: '59'"):
        select(pool, budget=5, method="ods", losses=dict.fromkeys(pool.ids[:-1], 1.0))
    with pytest.raises(UsageError, match="a loss is no number"):
        select(pool, budget=5, method="ods", losses=dict.fromkeys(pool.ids, "much"))
    with pytest.raises(UsageError, match="ods learns from labels of at least two classes"):
        select(pool, budget=5, method="ods")


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, 1e39])
@pytest.mark.parametrize("levels", [{}, {"levels": 2, "partitions": 2}])
def test_losses_below_zero_or_without_end_are_refused_before_anything_is_computed(
    wrong: float, levels: dict[str, int]
) -> None:
    pool = Embeddings.from_numpy(np.random.default_rng(0).normal(size=(60, 6)))
    losses = {**dict.fromkeys(pool.ids, 1.0), "7": wrong}
    with warnings.catch_warnings(), pytest.raises(UsageError, match=r"1 of 60 losses .* the first: '7'"):
        warnings.simplefilter("error")
        select(pool, budget=5, method="ods", losses=losses, **levels)


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_losses_that_are_none_are_a_sentence(wrong: float) -> None:
    losses = np.ones(200, dtype=np.float32)
    losses[7] = wrong
    with pytest.raises(UsageError, match="losses must be numbers of at least 0"):
        picks("ods", evidence(losses))


def test_typical_items_are_refused_as_losses_draw_the_picks() -> None:
    with pytest.raises(UsageError, match="leave it out"):
        make_selector("ods", settings={"typical": 2})
