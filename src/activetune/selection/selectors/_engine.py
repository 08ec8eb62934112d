"""The centroid engine: K unit vectors moved over the sphere until they stand for N features.

An evaluation is an argmax over centroids, a scatter-add of the features and the K x K repulsion, in pieces
(``_losses.py``). There is no autograd graph and nothing of size N x K. Two optimisers: Adam as ActiveFT's Algorithm 1
has it, and a descent that never goes up and stops when it has arrived.
Shape legend: N items, D feature size, K free centroids, L fixed ones (labelled items), M = K + L.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from activetune.base.arrays import IntArray
from activetune.features.distances import Float32, pieces
from activetune.features.holding import WHOLE, Holding
from activetune.features.nearest import NearestCentroid
from activetune.selection.selectors._losses import Assigned, CentroidLoss

REFRESH = 10  # evaluations between two exact assignments of the descent
TOLERANCE = 0.1  # share of all it has won, below which a descent's gain since the last refresh ends it


@dataclass(frozen=True)
class Solution:
    """Final centroids of unit length (K, D), the items' centroids among all M (N,), and the exact loss at the start,
    after each refresh and at the end.
    """

    centroids_KD: Float32
    assignment_N: IntArray
    losses: list[float]
    evaluations: int


def minimise(
    features_ND: Float32,
    start_KD: Float32,
    fixed_LD: Float32,
    *,
    loss: CentroidLoss,
    optimiser: Literal["descent", "adam"],
    lr: float,
    iterations: int,
    update: bool = True,
    weights_N: Float32 | None = None,
    device: str = "cpu",
    tolerance: float = TOLERANCE,
    holding: Holding = WHOLE,
) -> Solution:
    """Move the free centroids. Fixed ones take items and repel like any other, but stay.

    Args:
        optimiser: ``adam``, Algorithm 1, lines 4-10, with an exact assignment in each of ``iterations`` steps of size
            ``lr``; or ``descent``, at most ``iterations`` evaluations.
        update: whether items go to their nearest centroid again and again (otherwise to the start's, for ever).
        weights_N: how strongly each item pulls, their mean being 1; None: all alike.
        tolerance: share of all that the descent has won; it ends where it won less since the last refresh.
        holding: the part of the items that this process holds. Values and gradients are added up, so that all processes
            move the same centroids: M D numbers an evaluation.

    Cost of an evaluation: 2 N M D (Adam) or 2 N R D (descent, R = 16 neighbours) + 6 M^2 D operations.
    """
    features = torch.from_numpy(features_ND).to(device)
    fixed = torch.from_numpy(fixed_LD).to(device)
    free = torch.from_numpy(start_KD.copy()).to(device)
    free /= _lengths(free)
    weights = None if weights_N is None else torch.from_numpy(weights_N).to(device)
    nearest = NearestCentroid(features)
    total = holding.count(len(features))
    held = None if update else nearest.exact(torch.cat([free, fixed]))[0]

    def evaluate(rows: Tensor, exact: bool) -> tuple[float, Tensor]:
        centroids = torch.cat([rows, fixed])
        if held is not None:
            found = held, _own_similarity(features, centroids, held)
        else:
            found = (nearest.exact if exact else nearest.near)(centroids)
        value, gradient = loss(centroids, Assigned(features, *found, weights, total, leads=holding.rank == 0))
        return holding.total(value), holding.added(gradient)[: len(rows)]

    if optimiser == "adam":
        free, losses, evaluations = _adam(evaluate, free, lr, iterations, loss.unit_steps)
    else:
        free, losses, evaluations = _descend(evaluate, free, iterations, tolerance)
    assignment = held if held is not None else nearest.last[0]
    return Solution(free.cpu().numpy(), assignment.cpu().numpy(), losses, evaluations)


Evaluation = Callable[[Tensor, bool], tuple[float, Tensor]]


def _adam(
    evaluate: Evaluation, free: Tensor, lr: float, iterations: int, unit_steps: bool
) -> tuple[Tensor, list[float], int]:
    """Adam, rows renormalised after each step, on the gradient of plain dot products.

    That gradient has a part along the centroid itself, which renormalising alone would cancel; Adam scales each
    coordinate by itself, so it turns the centroid all the same. This is what Algorithm 1 says, and it ends far above
    what the descent reaches. Without unit steps the gradient passes through the normalisation.
    """
    optimiser = torch.optim.Adam([free], lr=lr)
    losses = []
    for _ in range(iterations):
        norms = _lengths(free)
        value, gradient = evaluate(free / norms, True)
        losses.append(value)
        free.grad = gradient if unit_steps else _along_sphere(free / norms, gradient) / norms
        optimiser.step()
        if unit_steps:
            free /= _lengths(free)
    free = free / _lengths(free)
    losses.append(evaluate(free, True)[0])
    return free, losses, iterations + 1


def _descend(evaluate: Evaluation, free: Tensor, iterations: int, tolerance: float) -> tuple[Tensor, list[float], int]:
    """Gradient steps along the sphere whose length is Barzilai and Borwein's, cut until the loss falls (Armijo).

    Between two exact assignments the loss is an upper bound of the exact one that touches it at the refresh, so the
    exact losses never rise either.
    """
    value, gradient = evaluate(free, True)
    gradient = _along_sphere(free, gradient)
    losses, evaluations, since = [value], 1, 0
    step = 0.1 / float(_lengths(gradient).max())  # the first one turns no centroid by more than about 0.1
    while evaluations < iterations:
        square = float((gradient * gradient).sum(dtype=torch.float64))
        tried = free - step * gradient
        tried /= _lengths(tried)
        tried_value, tried_gradient = evaluate(tried, False)
        evaluations, since = evaluations + 1, since + 1
        if tried_value > value - 1e-4 * step * square:
            step *= 0.3
            if step * square < 1e-7:
                break
            continue
        tried_gradient = _along_sphere(tried, tried_gradient)
        moved, turned = tried - free, tried_gradient - gradient
        curvature = float((moved * turned).sum(dtype=torch.float64))
        step = float((moved * moved).sum(dtype=torch.float64)) / curvature if curvature > 1e-12 else 3 * step
        free, value, gradient = tried, tried_value, tried_gradient
        if since >= REFRESH:
            evaluations, since = evaluations + 1, 0
            value, gradient = evaluate(free, True)
            gradient = _along_sphere(free, gradient)
            losses.append(value)
            if losses[-2] - value <= tolerance * (losses[0] - value):
                break
    if since:
        evaluations += 1
        losses.append(evaluate(free, True)[0])
    return free, losses, evaluations


def _along_sphere(rows_KD: Tensor, gradient_KD: Tensor) -> Tensor:
    """The part of a gradient that is tangent to the sphere at each row."""
    return gradient_KD - rows_KD * (rows_KD * gradient_KD).sum(1, keepdim=True)


def _lengths(rows: Tensor) -> Tensor:
    """Row lengths (K, 1); never zero, as a centroid that starts at a zero vector has none to be divided by."""
    lengths: Tensor = rows.norm(dim=1, keepdim=True)  # type: ignore[no-untyped-call]
    return lengths.clamp_min(1e-12)


def _own_similarity(features_ND: Tensor, centroids_MD: Tensor, assignment_N: Tensor) -> Tensor:
    """Each item's similarity to the centroid it is assigned to (N,)."""
    similarity = torch.empty_like(features_ND[:, 0])
    for part in pieces(*features_ND.shape):
        similarity[part] = (features_ND[part] * centroids_MD[assignment_N[part]]).sum(1)
    return similarity
