"""The centroid engine against autograd and plain loops on dense matrices, and the assignments against brute force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import normalize

from activetune.features.distances import coverage, distinct_nearest, nearest_centroid, pieces, unit_rows
from activetune.features.nearest import NEIGHBOURS, NearestCentroid, neighbours
from activetune.selection.selectors import _engine
from activetune.selection.selectors._engine import minimise
from activetune.selection.selectors._losses import Assigned, CentroidLoss, ContrastiveLoss, PaperLoss, ReleasedLoss
from tests.conftest import InPieces

LOSSES = [PaperLoss, ReleasedLoss, ContrastiveLoss]
EACH = pytest.mark.parametrize("kind", LOSSES)
FOLLOWED = pytest.mark.parametrize("kind", [PaperLoss, ContrastiveLoss])  # those that a descent can follow
Kind = type[CentroidLoss]


def sphere(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Random rows of unit length, around a common direction so that similarities are mostly positive."""
    rng = np.random.default_rng(seed)
    return unit_rows(rng.normal(size=(count, dimensions)) + 0.7)


def blobs(count: int, size: int, seed: int, noise: float = 0.1) -> np.ndarray:
    """Groups of rows around the axes."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(count), size)
    return unit_rows(np.eye(count + 2)[group] + noise * rng.normal(size=(len(group), count + 2)))


def digits(count: int, centred: bool = False) -> np.ndarray:
    pixels = load_digits().data[:count]
    return unit_rows(pixels - pixels.mean(axis=0) if centred else pixels)


POOLS: dict[str, Callable[[], np.ndarray]] = {
    "blobs": lambda: blobs(6, 40, seed=0),
    "digits": lambda: digits(200),
    "centred digits": lambda: digits(200, centred=True),
}
EACH_POOL = pytest.mark.parametrize("pool", POOLS)


def drawn(features: np.ndarray, free: int, fixed: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Some items to start at, and others that stay."""
    order = np.random.default_rng(seed).permutation(len(features))
    return features[order[:free]], features[order[free : free + fixed]]


# How well picks cover -------------------------------------------------------------------------------------------------


@EACH_POOL
@pytest.mark.parametrize("chunk", [2**8, 2**23])
def test_coverage_is_the_plain_mean_and_maximum(pool: str, chunk: int, in_pieces: InPieces) -> None:
    in_pieces(chunk)
    features = POOLS[pool]()
    chosen = np.random.default_rng(0).choice(len(features), 9, replace=False)
    rows = features.astype(np.float64)
    plain = np.linalg.norm(rows[:, None] - rows[None, chosen], axis=2).min(axis=1)
    figures = coverage(features, chosen)
    assert figures == {"emd": pytest.approx(plain.mean(), abs=1e-6), "radius": pytest.approx(plain.max(), abs=1e-6)}


def test_a_twin_of_a_pick_is_covered_without_rounding() -> None:
    features = np.repeat(digits(60, centred=True), 2, axis=0)
    assert coverage(features, np.arange(0, 120, 2)) == {"emd": 0, "radius": 0}


def test_a_zero_vector_is_as_far_from_every_pick_as_a_right_angle() -> None:
    features = blobs(2, 5, seed=0)
    features[[0, 7]] = 0
    assert coverage(features, np.array([7, 1]))["radius"] == pytest.approx(np.sqrt(2), abs=1e-6)
    assert coverage(features, np.arange(10)) == {"emd": 0, "radius": 0}


@pytest.mark.parametrize("scale", [1e-38, 1e-30, 1e-16, 1.0, 1e25, 1e37])
def test_rows_of_any_size_come_out_with_unit_length(scale: float) -> None:
    rows = np.random.default_rng(0).uniform(-1, 1, size=(20, 30))
    rows[3] = 0
    found = unit_rows((rows * scale).astype(np.float32))
    assert not found[3].any()
    np.testing.assert_allclose(found, unit_rows(rows), atol=1e-6 if scale > 1e-38 else 1e-2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_stays_one_that_is_refused(value: float) -> None:
    rows = np.ones((4, 3))
    rows[2, 1] = value
    found = unit_rows(rows)
    assert np.isnan(found[2]).any()
    assert np.isfinite(found[[0, 1, 3]]).all()


# The equations, dense and in float64 ----------------------------------------------------------------------------------


def paper_dense(
    features_ND: Tensor, centroids_MD: Tensor, owner_N: Tensor, temperature: float, balance: float
) -> Tensor:
    """Equation 11, term by term."""
    attraction = -(features_ND * centroids_MD[owner_N]).sum(dim=1).mean() / temperature
    count = len(centroids_MD)
    if count == 1:
        return attraction
    others = ~torch.eye(count, dtype=torch.bool)
    logits = centroids_MD @ centroids_MD.T / temperature
    crowd_M = torch.stack([torch.logsumexp(logits[j][others[j]], dim=0) for j in range(count)])
    return attraction + balance * crowd_M.mean()


def released_dense(
    features_ND: Tensor, centroids_MD: Tensor, owner_N: Tensor, temperature: float, balance: float
) -> Tensor:
    """The released code's loss: the self term is in the sum, no gradient through one side."""
    pull_N = (features_ND * centroids_MD[owner_N]).sum(dim=1) / temperature
    push_N = torch.logsumexp(centroids_MD[owner_N] @ centroids_MD.detach().T / temperature, dim=1)
    return (torch.logaddexp(pull_N, push_N + np.log(balance)) - pull_N).mean()


def contrastive_dense(
    features_ND: Tensor, centroids_MD: Tensor, owner_N: Tensor, temperature: float, balance: float
) -> Tensor:
    """The ablation: every item pushes, ``balance`` times as hard as the own ones pull."""
    own_ND = centroids_MD[owner_N]
    pull_N = (features_ND * own_ND).sum(dim=1) / temperature
    return (balance * torch.logsumexp(own_ND @ features_ND.T / temperature, dim=1) - pull_N).mean()


UNIT_STEPS = {PaperLoss: True, ReleasedLoss: False, ContrastiveLoss: True}  # rows renormalised after each step
DENSE = {PaperLoss: paper_dense, ReleasedLoss: released_dense, ContrastiveLoss: contrastive_dense}


def dense(loss: CentroidLoss, features: Tensor, centroids: Tensor, owner: Tensor | None = None) -> Tensor:
    """The loss of the exact assignment, or of the one given."""
    owner = (features @ centroids.detach().T).argmax(dim=1) if owner is None else owner
    return DENSE[type(loss)](features, centroids, owner, loss.temperature, loss.balance)


def exact_loss(loss: CentroidLoss, features: np.ndarray, *centroids: np.ndarray) -> float:
    rows = torch.from_numpy(np.concatenate(centroids).astype(np.float64))
    return dense(loss, torch.from_numpy(features.astype(np.float64)), rows).item()


def assert_same_loss(
    loss: CentroidLoss, features: np.ndarray, centroids: np.ndarray, owner: np.ndarray | None = None
) -> None:
    """Value and gradient by hand are those of autograd, for the exact assignment or the one given."""
    owner = nearest_centroid(features, centroids)[0] if owner is None else owner
    similarity = (features * centroids[owner]).sum(axis=1)
    rows, centres = torch.from_numpy(features), torch.from_numpy(centroids)
    value, gradient = loss(centres, Assigned(rows, torch.from_numpy(owner), torch.from_numpy(similarity)))
    leaf = torch.from_numpy(centroids.astype(np.float64)).requires_grad_()
    expected = dense(loss, torch.from_numpy(features.astype(np.float64)), leaf, torch.from_numpy(owner))
    (expected_gradient,) = torch.autograd.grad(expected, leaf)
    assert value == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
    largest = expected_gradient.abs().max().item()
    rounding = 1e-6 / loss.temperature  # of the terms, where they cancel out
    atol = max(2e-5 * largest, rounding)
    np.testing.assert_allclose(gradient.numpy(), expected_gradient.numpy(), rtol=1e-4, atol=atol)


@EACH
@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize(("temperature", "balance"), [(0.07, 1.0), (0.5, 0.3), (1.0, 2.0)])
def test_value_and_gradient(kind: Kind, count: int, temperature: float, balance: float) -> None:
    assert_same_loss(kind(temperature, balance), sphere(50, 6, seed=1), sphere(count, 6, seed=2))


@settings(max_examples=60, deadline=None)
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
    kind: Kind, items: int, count: int, dimensions: int, temperature: float, balance: float, seed: int
) -> None:
    features, centroids = sphere(items, dimensions, seed), sphere(count, dimensions, seed + 1)
    assert_same_loss(kind(temperature, balance), features, centroids)


@EACH
def test_value_and_gradient_of_any_assignment(kind: Kind) -> None:
    owner = np.random.default_rng(0).integers(5, size=50)
    owner[owner == 3] = 2  # centroid 3 has no item
    assert_same_loss(kind(0.2, 0.7), sphere(50, 6, seed=1), sphere(5, 6, seed=2), owner)


@EACH
@pytest.mark.parametrize("numbers", [1, 20, 70])
@pytest.mark.parametrize("temperature", [0.005, 0.07])
def test_value_and_gradient_in_pieces(kind: Kind, temperature: float, numbers: int, in_pieces: InPieces) -> None:
    in_pieces(numbers)
    assert_same_loss(kind(temperature, 1.0), sphere(50, 6, seed=1), sphere(9, 6, seed=2))


@pytest.mark.parametrize("kind", [PaperLoss, ContrastiveLoss])
def test_without_repulsion_the_attraction_alone_is_left(kind: Kind) -> None:
    features, centroids = sphere(50, 6, seed=1), sphere(5, 6, seed=2)
    assert_same_loss(kind(0.07, 0.0), features, centroids)
    pulled = -(features @ centroids.T).max(axis=1).mean() / 0.07
    assert exact_loss(kind(0.07, 0.0), features, centroids) == pytest.approx(pulled, rel=1e-5)


def test_released_without_repulsion_is_nearly_zero() -> None:
    features, centroids = map(torch.from_numpy, (sphere(50, 6, seed=1), sphere(5, 6, seed=2)))
    best = (features @ centroids.T).max(dim=1)
    value, gradient = ReleasedLoss(0.07, 0.0)(centroids, Assigned(features, best.indices, best.values))
    assert value == pytest.approx(0, abs=1e-6)
    assert gradient.abs().max() < 1e-6


@EACH
def test_equal_centroids_stay_finite(kind: Kind) -> None:
    assert_same_loss(kind(0.07, 1.0), sphere(20, 4, seed=1), np.repeat(sphere(1, 4, seed=2), 3, axis=0))


@EACH
def test_zero_vectors_among_items_and_centroids(kind: Kind) -> None:
    features, centroids = sphere(20, 4, seed=1), sphere(4, 4, seed=2)
    features[:5], centroids[1] = 0, 0
    assert_same_loss(kind(0.07, 1.0), features, centroids)


# Either optimiser -----------------------------------------------------------------------------------------------------

WAYS = [(kind, "adam") for kind in LOSSES] + [(kind, "descent") for kind in (PaperLoss, ContrastiveLoss)]
EACH_WAY = pytest.mark.parametrize(("kind", "optimiser"), WAYS)
Optimiser = Literal["descent", "adam"]


@EACH_WAY
@pytest.mark.parametrize("temperature", [0.002, 0.005, 0.0142, 0.0144])
def test_a_small_temperature_stays_finite(kind: Kind, optimiser: Optimiser, temperature: float) -> None:
    features, centroids = sphere(50, 6, seed=1), sphere(5, 6, seed=2)
    centroids[3], centroids[4] = centroids[2], -centroids[1]  # equal ones and opposite ones
    loss = kind(temperature, 1.0)
    assert_same_loss(loss, features, centroids)
    solution = minimise(features, centroids, features[:3], loss=loss, optimiser=optimiser, lr=1e-3, iterations=30)
    assert np.isfinite(solution.losses).all()
    np.testing.assert_allclose(np.linalg.norm(solution.centroids_KD, axis=1), 1, atol=1e-6)
    assert solution.losses[-1] == pytest.approx(
        exact_loss(loss, features, solution.centroids_KD, features[:3]), rel=1e-4, abs=1e-4
    )


@EACH_WAY
@pytest.mark.parametrize(("count", "fixed"), [(1, 0), (1, 4), (7, 4), (60, 0)])
def test_the_first_and_the_last_loss_are_exact(kind: Kind, optimiser: Optimiser, fixed: int, count: int) -> None:
    features = digits(200) if count > NEIGHBOURS else sphere(60, 6, seed=3)  # many: looking nearby misses some
    start, still = drawn(features, count, fixed, seed=1)
    loss = kind(0.07, 1.0)
    solution = minimise(features, start, still, loss=loss, optimiser=optimiser, lr=1e-2, iterations=9)
    assert solution.losses[0] == pytest.approx(exact_loss(loss, features, start, still), rel=1e-5, abs=1e-5)
    last = exact_loss(loss, features, solution.centroids_KD, still)
    assert solution.losses[-1] == pytest.approx(last, rel=1e-5, abs=1e-5)


@EACH_WAY
@pytest.mark.parametrize(("count", "fixed"), [(1, 0), (7, 4), (60, 3)])
@pytest.mark.parametrize("iterations", [1, 14, 40])
def test_the_assignment_is_that_of_the_final_centroids(
    kind: Kind, optimiser: Optimiser, count: int, fixed: int, iterations: int
) -> None:
    features = digits(150)
    start, still = drawn(features, count, fixed, seed=1)
    problem = {"loss": kind(0.07, 1.0), "optimiser": optimiser, "lr": 1e-2, "iterations": iterations}
    solution = minimise(features, start, still, **problem)
    product = features @ np.concatenate([solution.centroids_KD, still]).T
    own = product[np.arange(150), solution.assignment_N]
    np.testing.assert_allclose(own, product.max(axis=1), atol=1e-6)
    held = minimise(features, start, still, update=False, **problem)
    product = features @ np.concatenate([start, still]).T
    np.testing.assert_allclose(product[np.arange(150), held.assignment_N], product.max(axis=1), atol=1e-6)


@EACH_WAY
def test_centroids_move_and_end_on_the_sphere(kind: Kind, optimiser: Optimiser) -> None:
    features, start = sphere(60, 6, seed=3), sphere(7, 6, seed=4)
    solution = minimise(features, start, features[:0], loss=kind(0.07, 1.0), optimiser=optimiser, lr=1e-2, iterations=9)
    assert np.abs(solution.centroids_KD - start).max() > 0.05
    np.testing.assert_allclose(np.linalg.norm(solution.centroids_KD, axis=1), 1, atol=1e-6)


@EACH_WAY
@pytest.mark.parametrize("update", [True, False])
def test_arguments_are_left_as_they_were(kind: Kind, optimiser: Optimiser, update: bool) -> None:
    arrays = sphere(20, 4, seed=1), 3 * sphere(3, 4, seed=2), sphere(2, 4, seed=3)
    copies = [array.copy() for array in arrays]
    minimise(*arrays, loss=kind(0.07, 1.0), optimiser=optimiser, lr=1e-2, iterations=15, update=update)
    for array, copy in zip(arrays, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@EACH_WAY
@pytest.mark.parametrize("update", [True, False])
def test_zero_vectors_among_items_starts_and_fixed(kind: Kind, optimiser: Optimiser, update: bool) -> None:
    features = sphere(30, 5, seed=0)
    features[:6] = 0
    problem = features, features[[0, 7, 8, 1]], features[[2, 9]]
    solution = minimise(*problem, loss=kind(0.07, 1.0), optimiser=optimiser, lr=1e-2, iterations=30, update=update)
    assert np.isfinite(solution.losses).all()
    assert np.isfinite(solution.centroids_KD).all()
    assert (np.linalg.norm(solution.centroids_KD, axis=1) < 1 + 1e-5).all()


@EACH_WAY
def test_nothing_but_zero_vectors(kind: Kind, optimiser: Optimiser) -> None:
    nothing = np.zeros((8, 3), dtype=np.float32)
    solution = minimise(
        nothing, nothing[:2], nothing[:1], loss=kind(0.07, 1.0), optimiser=optimiser, lr=1e-2, iterations=25
    )
    assert np.isfinite(solution.losses).all()
    assert not solution.centroids_KD.any()


@EACH_WAY
def test_in_pieces(kind: Kind, optimiser: Optimiser, in_pieces: InPieces) -> None:
    problem = sphere(60, 6, seed=3), sphere(7, 6, seed=4), sphere(3, 6, seed=5)
    whole = minimise(*problem, loss=kind(0.3, 1.0), optimiser=optimiser, lr=1e-2, iterations=10)
    in_pieces(13)
    split = minimise(*problem, loss=kind(0.3, 1.0), optimiser=optimiser, lr=1e-2, iterations=10)
    np.testing.assert_allclose(split.losses, whole.losses, atol=1e-4)
    np.testing.assert_allclose(split.centroids_KD, whole.centroids_KD, atol=1e-3)


@pytest.mark.parametrize("optimiser", ["adam", "descent"])
def test_a_free_centroid_leaves_a_blob_that_a_fixed_one_holds(optimiser: Optimiser) -> None:
    features = blobs(2, 20, seed=0)
    start, fixed = features[1:2], features[:1]  # both in the first blob
    ends = {
        len(still): minimise(
            features, start, still, loss=PaperLoss(0.07, 0.1), optimiser=optimiser, lr=0.01, iterations=200
        ).centroids_KD
        for still in (fixed[:0], fixed)
    }
    assert ends[0].shape == ends[1].shape == (1, 4)
    assert ends[0][0, 0] > 0.5
    assert ends[1][0, 0] < 0 < 0.5 < ends[1][0, 1]


@EACH_WAY
def test_without_updates_each_item_stays_with_its_first_centroid(kind: Kind, optimiser: Optimiser) -> None:
    features, loss = blobs(4, 15, seed=0, noise=0.3), kind(0.3, 1.0)
    start, fixed = drawn(features, 4, 2, seed=1)
    both = np.concatenate([start, fixed])
    owner = torch.from_numpy((features @ both.T).argmax(axis=1))
    held = minimise(features, start, fixed, loss=loss, optimiser=optimiser, lr=0.02, iterations=60, update=False)
    rows = torch.from_numpy(np.concatenate([held.centroids_KD, fixed]).astype(np.float64))
    items = torch.from_numpy(features.astype(np.float64))
    assert held.losses[-1] == pytest.approx(dense(loss, items, rows, owner).item(), rel=1e-4, abs=1e-5)
    assert (owner != (items @ rows.T).argmax(dim=1)).any()  # or this test shows nothing
    updated = minimise(features, start, fixed, loss=loss, optimiser=optimiser, lr=0.02, iterations=60)
    assert np.abs(updated.centroids_KD - held.centroids_KD).max() > 0.01


# Adam against a plain loop --------------------------------------------------------------------------------------------


def plain_loop(
    loss: CentroidLoss,
    features: np.ndarray,
    start: np.ndarray,
    fixed: np.ndarray,
    lr: float,
    iterations: int,
    update: bool,
) -> tuple[np.ndarray, list[float]]:
    """Algorithm 1 with autograd and ``torch.optim.Adam`` in float64."""
    items, still = torch.from_numpy(features.astype(np.float64)), torch.from_numpy(fixed.astype(np.float64))
    free = torch.from_numpy(start.astype(np.float64)).requires_grad_()
    held = None if update else (items @ torch.cat([free, still]).detach().T).argmax(dim=1)
    optimizer = torch.optim.Adam([free], lr=lr)
    losses, unit_steps = [], UNIT_STEPS[type(loss)]
    for _ in range(iterations):
        used = free if unit_steps else normalize(free, dim=1)
        value = dense(loss, items, torch.cat([used, still]), held)
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        if unit_steps:
            with torch.no_grad():
                free.copy_(normalize(free, dim=1))
    with torch.no_grad():
        final = normalize(free, dim=1)
        losses.append(dense(loss, items, torch.cat([final, still]), held).item())
    return final.numpy(), losses


@EACH
@pytest.mark.parametrize("fixed", [0, 3])
@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize(("lr", "update"), [(1e-3, True), (2e-2, True), (2e-2, False)])
def test_adam_equals_a_plain_loop(kind: Kind, fixed: int, count: int, lr: float, update: bool) -> None:
    problem = sphere(60, 6, seed=3), sphere(count, 6, seed=4), sphere(fixed, 6, seed=5)
    loss = kind(0.3, 1.0)
    solution = minimise(*problem, loss=loss, optimiser="adam", lr=lr, iterations=20, update=update)
    centroids, losses = plain_loop(loss, *problem, lr, 20, update)
    np.testing.assert_allclose(solution.losses, losses, atol=2e-4)
    np.testing.assert_allclose(solution.centroids_KD, centroids, atol=2e-3 * max(1, lr / 1e-2))
    assert solution.evaluations == 21


def test_adam_counts_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    solution, calls = counted("adam", monkeypatch)
    assert solution.evaluations == calls == len(solution.losses) == 41


# The descent ----------------------------------------------------------------------------------------------------------


def counted(optimiser: Optimiser, monkeypatch: pytest.MonkeyPatch) -> tuple[_engine.Solution, int]:
    """A solution of forty iterations, and how often the loss was evaluated for it."""
    calls = []
    original = PaperLoss.__call__

    def counting(self: PaperLoss, *arguments: Tensor) -> tuple[float, Tensor]:
        calls.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(PaperLoss, "__call__", counting)
    features = digits(200)
    problem = features, *drawn(features, 10, 0)
    solution = minimise(*problem, loss=PaperLoss(0.07, 1.0), optimiser=optimiser, lr=1e-3, iterations=40)
    return solution, len(calls)


def test_the_descent_counts_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    solution, calls = counted("descent", monkeypatch)
    assert solution.evaluations == calls


def descend(
    features: np.ndarray,
    start: np.ndarray,
    fixed: np.ndarray,
    kind: Kind = PaperLoss,
    iterations: int = 60,
    update: bool = True,
    temperature: float = 0.07,
    tolerance: float = _engine.TOLERANCE,
) -> _engine.Solution:
    how: dict[str, Any] = {"optimiser": "descent", "lr": 1e-3, "iterations": iterations, "update": update}
    return minimise(features, start, fixed, loss=kind(temperature, 1.0), tolerance=tolerance, **how)


def assert_never_rises(losses: list[float]) -> None:
    rises = np.diff(losses)
    assert (rises <= 1e-5 * np.maximum(1, np.abs(losses[1:]))).all(), rises.max()


@EACH_POOL
@pytest.mark.parametrize(("count", "fixed"), [(1, 0), (1, 7), (5, 7), (40, 0)])
@pytest.mark.parametrize("update", [True, False])
def test_exact_losses_of_the_descent_never_rise(pool: str, fixed: int, count: int, update: bool) -> None:
    features = POOLS[pool]()
    solution = descend(features, *drawn(features, count, fixed), update=update, iterations=100)
    assert_never_rises(solution.losses)
    assert solution.losses[-1] < solution.losses[0]
    assert solution.evaluations <= 110


@settings(max_examples=25, deadline=None)
@given(
    items=st.integers(2, 60),
    share=st.floats(0.01, 0.9),
    fixed=st.integers(0, 5),
    temperature=st.floats(0.01, 1),
    seed=st.integers(0, 10**6),
)
def test_exact_losses_of_any_descent_never_rise(
    items: int, share: float, fixed: int, temperature: float, seed: int
) -> None:
    features = sphere(items, 4, seed)
    start, still = drawn(features, max(1, round(share * items)), fixed, seed)
    solution = descend(features, start, still, temperature=temperature)
    assert_never_rises(solution.losses)


@EACH_POOL
@pytest.mark.parametrize("count", [1, 5, 40])
def test_the_descent_of_the_contrastive_loss_never_rises_with_items_held(pool: str, count: int) -> None:
    features = POOLS[pool]()
    assert_never_rises(descend(features, *drawn(features, count, 0), ContrastiveLoss, update=False).losses)


@EACH_POOL
@pytest.mark.parametrize(("count", "fixed"), [(1, 7), (5, 0), (30, 3)])
def test_the_descent_ends_below_algorithm_1_at_the_papers_settings(pool: str, fixed: int, count: int) -> None:
    features = POOLS[pool]()
    start, still = drawn(features, count, fixed)
    adam = minimise(features, start, still, loss=PaperLoss(0.07, 1.0), optimiser="adam", lr=1e-3, iterations=300)
    descent = descend(features, start, still)
    assert descent.losses[-1] < min(adam.losses) - 0.01
    assert descent.evaluations < 70 < adam.evaluations


@EACH_POOL
def test_a_single_centroid_descends_to_the_mean_direction(pool: str) -> None:
    features = POOLS[pool]()
    mean = features.mean(axis=0, dtype=np.float64)
    solution = descend(features, features[:1], features[:0], iterations=200)
    lowest = -np.linalg.norm(mean) / 0.07
    assert solution.losses[-1] - lowest < 0.02 * (solution.losses[0] - lowest)
    assert solution.centroids_KD[0] @ mean / np.linalg.norm(mean) > 0.99
    assert solution.evaluations < 60


@EACH_POOL
@pytest.mark.parametrize("count", [3, 20])
def test_the_descent_stops_where_it_has_arrived(pool: str, count: int) -> None:
    features = POOLS[pool]()
    start, fixed = drawn(features, count, 2)
    solution = descend(features, start, fixed, iterations=5000)
    assert solution.evaluations < 400
    farther = descend(features, start, fixed, iterations=5000, tolerance=1e-5)
    assert farther.evaluations > solution.evaluations
    won, most = (found.losses[0] - found.losses[-1] for found in (solution, farther))
    assert won > 0.85 * most


@pytest.mark.parametrize("iterations", [1, 2, 9, 10, 11, 12, 20])
def test_the_descent_makes_no_more_iterations_than_asked_for(iterations: int) -> None:
    features = digits(200)
    solution = descend(features, *drawn(features, 10, 0), iterations=iterations)
    assert iterations <= solution.evaluations <= iterations + 2  # exact ones in between, should they count
    assert solution.losses[-1] == pytest.approx(
        exact_loss(PaperLoss(0.07, 1.0), features, solution.centroids_KD), rel=1e-5, abs=1e-5
    )


def test_the_start_that_cannot_be_improved_stays() -> None:
    features = np.tile(unit_rows([[1.0, 2.0, 2.0]]), (9, 1))
    solution = descend(features, features[:1], features[:0])
    np.testing.assert_allclose(solution.centroids_KD, features[:1], atol=1e-3)
    assert solution.evaluations < 60


# Looking nearby -------------------------------------------------------------------------------------------------------


def moved(centroids: np.ndarray, by: float, seed: int) -> np.ndarray:
    return unit_rows(centroids + by * np.random.default_rng(seed).normal(size=centroids.shape))


def check_valid(features: np.ndarray, centroids: np.ndarray, assignment: Tensor, similarity: Tensor) -> None:
    """The similarity is that of the centroid named."""
    own = (features.astype(np.float64) * centroids[assignment.numpy()]).sum(axis=1)
    np.testing.assert_allclose(similarity.numpy(), own, atol=1e-6)


@pytest.mark.parametrize("count", [1, 5, 16, 17, 60])
@pytest.mark.parametrize("by", [0.0, 0.05, 0.5])
def test_near_never_beats_exact(count: int, by: float) -> None:
    features, centroids = sphere(200, 5, seed=0), sphere(count, 5, seed=1)
    nearest = NearestCentroid(torch.from_numpy(features))
    nearest.exact(torch.from_numpy(centroids))
    later = moved(centroids, by, seed=2)
    near = nearest.near(torch.from_numpy(later))
    check_valid(features, later, *near)
    exact = nearest.exact(torch.from_numpy(later))
    check_valid(features, later, *exact)
    np.testing.assert_array_equal(exact[0].numpy(), (features @ later.T).argmax(axis=1))
    again = nearest.near(torch.from_numpy(later))  # starts from that one now
    np.testing.assert_array_equal(again[0].numpy(), exact[0].numpy())
    assert (near[1] <= exact[1] + 1e-6).all()
    if by == 0 or count <= NEIGHBOURS:
        np.testing.assert_array_equal(near[0].numpy(), exact[0].numpy())
        np.testing.assert_allclose(near[1].numpy(), exact[1].numpy(), atol=1e-6)
    elif by == 0.5:
        assert (near[1] < exact[1] - 1e-3).any()  # or this test shows nothing


def test_near_never_does_worse_than_staying() -> None:
    features, centroids = sphere(200, 5, seed=0), sphere(60, 5, seed=1)
    nearest = NearestCentroid(torch.from_numpy(features))
    before, _ = nearest.exact(torch.from_numpy(centroids))
    for seed, by in enumerate([0.1, 0.3, 1.0]):  # near() does not move what it starts from
        later = moved(centroids, by, seed)
        stayed = (features * later[before.numpy()]).sum(axis=1)
        assert (nearest.near(torch.from_numpy(later))[1].numpy() >= stayed - 1e-6).all()


def test_near_of_centroids_without_items_and_equal_ones() -> None:
    features = blobs(3, 10, seed=0)
    centroids = np.repeat(features[:1], 40, axis=0)
    nearest = NearestCentroid(torch.from_numpy(features))
    nearest.exact(torch.from_numpy(centroids))
    found = nearest.near(torch.from_numpy(centroids))
    check_valid(features, centroids, *found)
    assert len(found[0]) == 30


@pytest.mark.parametrize("numbers", [None, 30])
@pytest.mark.parametrize(("count", "wanted"), [(1, 4), (5, 16), (40, 16), (40, 1)])
def test_neighbours(count: int, wanted: int, numbers: int | None, in_pieces: InPieces) -> None:
    if numbers:
        in_pieces(numbers)
    centroids = sphere(count, 5, seed=0)
    expected = np.argsort(-(centroids @ centroids.T), axis=1, kind="stable")[:, :wanted]
    found = neighbours(centroids, wanted)
    assert found.shape == (count, min(count, wanted))
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))


def test_a_centroid_is_its_own_neighbour_among_duplicates_and_zero_vectors() -> None:
    centroids = np.concatenate([np.repeat(sphere(1, 5, seed=0), 30, axis=0), np.zeros((5, 5), dtype=np.float32)])
    found = neighbours(centroids, 4)
    assert all(number in row for number, row in enumerate(found.tolist()))
    assert all(len(set(row)) == 4 for row in found.tolist())


def test_near_starts_from_an_assignment_that_is_known() -> None:
    features, centroids = sphere(200, 5, seed=0), sphere(60, 5, seed=1)
    rows, later = torch.from_numpy(features), torch.from_numpy(moved(centroids, 0.3, seed=2))
    exact, told = NearestCentroid(rows), NearestCentroid(rows)
    owner, _ = exact.exact(torch.from_numpy(centroids))
    told.start_from(owner, torch.from_numpy(centroids))
    for one, other in zip(exact.near(later), told.near(later), strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    np.testing.assert_array_equal(exact.last[0].numpy(), owner.numpy())


# Computing in pieces --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (1, 1), (10, 3), (7, 100)])
def test_pieces_cover_every_row_once(in_pieces: InPieces, rows: int, columns: int) -> None:
    in_pieces(10)
    parts = list(pieces(rows, columns))
    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(rows))
    assert all((part.stop - part.start) * columns <= max(10, columns) for part in parts)


def test_assignments_in_pieces(in_pieces: InPieces) -> None:
    features, centroids = sphere(60, 6, seed=3), sphere(20, 6, seed=4)
    whole = nearest_centroid(features, centroids), distinct_nearest(centroids, features, np.arange(60), depth=3)
    in_pieces(50)
    split = nearest_centroid(features, centroids), distinct_nearest(centroids, features, np.arange(60), depth=3)
    for one, other in zip(whole, split, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_allclose(one[1], other[1], atol=1e-6)


def test_unit_rows_in_pieces(in_pieces: InPieces) -> None:
    in_pieces(5)
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float16)
    features[3] = 0
    rows = unit_rows(features)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.arange(9) != 3, atol=1e-6)
    np.testing.assert_allclose(rows * np.linalg.norm(features.astype(float), axis=1)[:, None], features, atol=1e-3)


FEW = settings(max_examples=50, deadline=None)

# Assignments against brute force --------------------------------------------------------------------------------------


@FEW
@given(items=st.integers(1, 25), count=st.integers(1, 25), seed=st.integers(0, 10**6))
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


@FEW
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


@FEW
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


@FEW
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
