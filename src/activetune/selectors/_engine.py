"""The centroid engine: K unit vectors moved over the sphere until they stand for N features.

A loss gives its value and its gradient by hand: an argmax over centroids, a scatter-add of the features and the K x K
repulsion, in pieces. There is no autograd graph and nothing of size N x K. Two optimisers: Adam as ActiveFT's Algorithm
1 has it, and a descent that never goes up and stops when it has arrived.
Shape legend: N items, D feature size, K free centroids, L fixed ones (labelled items), M = K + L.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from activetune.distances import Float32, pieces
from activetune.selectors._nearest import NearestCentroid
from activetune.types import IntArray

REFRESH = 10  # evaluations between two exact assignments of the descent
TOLERANCE = 0.1  # the descent stops when what it won since the last refresh is this share of all it has won, or less


@dataclass(frozen=True)
class Solution:
    """Final centroids of unit length (K, D), the items' centroids among all M (N,), and the exact loss at the start,
    after each refresh and at the end.
    """

    centroids_KD: Float32
    assignment_N: IntArray
    losses: list[float]
    evaluations: int


@dataclass(frozen=True)
class CentroidLoss(ABC):
    """A loss on centroids of unit length.

    Attributes:
        temperature: tau > 0. balance: lambda >= 0, the weight of the repulsion.
        unit_steps: whether rows are renormalised after each step of Adam (the paper), or only where they are used.
    """

    unit_steps: ClassVar[bool] = True

    temperature: float
    balance: float

    @abstractmethod
    def __call__(
        self,
        features_ND: Tensor,
        centroids_MD: Tensor,
        assignment_N: Tensor,
        similarity_N: Tensor,
        weights_N: Tensor | None = None,
    ) -> tuple[float, Tensor]:
        """The loss and its gradient (M, D), given each item's nearest centroid and what it weighs (mean 1)."""

    def attraction(
        self,
        features_ND: Tensor,
        centroids_MD: Tensor,
        assignment_N: Tensor,
        similarity_N: Tensor,
        weights_N: Tensor | None = None,
    ) -> tuple[float, Tensor]:
        """``-mean_i w_i f_i.c(i) / tau`` and its gradient; w_i is 1 without weights."""
        scale = 1 / (self.temperature * len(features_ND))
        gradient = torch.zeros_like(centroids_MD)
        if weights_N is None:
            gradient.index_add_(0, assignment_N, features_ND)
        else:
            similarity_N = similarity_N * weights_N
            for part in pieces(*features_ND.shape):
                gradient.index_add_(0, assignment_N[part], features_ND[part] * weights_N[part, None])
        return -float(similarity_N.sum(dtype=torch.float64)) * scale, gradient.mul_(-scale)


@dataclass(frozen=True)
class PaperLoss(CentroidLoss):
    """Equation 11: ``-mean_i f_i.c(i) / tau + lambda mean_j log sum_{k != j} exp(c_j.c_k / tau)``.

    With a single centroid the sum is empty and the repulsion is left out.
    """

    def __call__(
        self,
        features_ND: Tensor,
        centroids_MD: Tensor,
        assignment_N: Tensor,
        similarity_N: Tensor,
        weights_N: Tensor | None = None,
    ) -> tuple[float, Tensor]:
        """See :class:`CentroidLoss`."""
        loss, gradient = self.attraction(features_ND, centroids_MD, assignment_N, similarity_N, weights_N)
        count = len(centroids_MD)
        if count == 1 or self.balance == 0:
            return loss, gradient
        # exp(1 / tau) fits into float32 above tau = 1 / 70, so no row needs its maximum taken out first.
        rows_MD = centroids_MD if self.temperature > 1 / 70 else centroids_MD.double()
        scaled_MD = rows_MD / self.temperature
        weight = self.balance / count
        for part in pieces(count, count):
            near = (scaled_MD[part] @ rows_MD.T).exp_()
            near.diagonal(part.start).zero_()
            total = near.sum(1)
            loss += weight * float(total.log().sum(dtype=torch.float64))
            share = weight / self.temperature / total
            if len(near) == count:  # a single piece: near is symmetric, one product gives both sides of the gradient
                gradient += (near.mul_(share[:, None] + share) @ rows_MD).to(gradient)
            else:
                gradient[part] += (near @ rows_MD * share[:, None]).to(gradient)
                gradient += (near.T @ (rows_MD[part] * share[:, None])).to(gradient)
        return loss, gradient


@dataclass(frozen=True)
class ReleasedLoss(CentroidLoss):
    """The authors' released code: ``-mean_i log [e^{s_i} / (e^{s_i} + lambda sum_k e^{sg(c_k).c(i) / tau})]``.

    ``s_i = f_i.c(i) / tau``; the sum holds the self term, ``sg`` stops the gradient on one side, and rows are
    normalised where they are used, never in place. Computed in log space: plain float32 exponentials overflow for
    tau < 0.0113.
    """

    unit_steps: ClassVar[bool] = False

    def __call__(
        self,
        features_ND: Tensor,
        centroids_MD: Tensor,
        assignment_N: Tensor,
        similarity_N: Tensor,
        weights_N: Tensor | None = None,
    ) -> tuple[float, Tensor]:
        """See :class:`CentroidLoss`."""
        count, items = len(centroids_MD), len(features_ND)
        crowd_M = torch.empty_like(centroids_MD[:, 0])  # log lambda sum_k e^{c_k.c_j / tau}
        pull_MD = torch.empty_like(centroids_MD)  # its gradient
        for part in pieces(count, count):
            logits = centroids_MD[part] @ centroids_MD.T / self.temperature
            crowd_M[part] = torch.logsumexp(logits, 1) + np.log(max(self.balance, 1e-30))
            pull_MD[part] = torch.softmax(logits, 1) @ centroids_MD / self.temperature
        margin_N = crowd_M[assignment_N] - similarity_N / self.temperature
        each_N = torch.ones_like(margin_N) if weights_N is None else weights_N
        weight_N = torch.sigmoid(margin_N) * each_N / items
        attracted = torch.zeros_like(centroids_MD)
        for part in pieces(items, features_ND.shape[1]):
            attracted.index_add_(0, assignment_N[part], features_ND[part] * weight_N[part, None])
        weight_M = torch.zeros_like(crowd_M).index_add_(0, assignment_N, weight_N)
        gradient = pull_MD * weight_M[:, None] - attracted / self.temperature
        return float((torch.nn.functional.softplus(margin_N) * each_N).mean(dtype=torch.float64)), gradient


@dataclass(frozen=True)
class ContrastiveLoss(CentroidLoss):
    """The paper's ablation: ``-mean_i log [e^{f_i.c(i) / tau} / sum_k e^{f_k.c(i) / tau}]``, k over all N items.

    Each centroid is pushed away from every item, in proportion to how many items are its own. ``balance`` weighs the
    push. Needs 4 N M D operations an evaluation: nothing about it is local.
    """

    def __call__(
        self,
        features_ND: Tensor,
        centroids_MD: Tensor,
        assignment_N: Tensor,
        similarity_N: Tensor,
        weights_N: Tensor | None = None,
    ) -> tuple[float, Tensor]:
        """See :class:`CentroidLoss`."""
        loss, gradient = self.attraction(features_ND, centroids_MD, assignment_N, similarity_N, weights_N)
        share_M = torch.bincount(assignment_N, weights_N, len(centroids_MD)).to(similarity_N) / len(features_ND)
        for part in pieces(len(centroids_MD), len(features_ND)):
            logits = centroids_MD[part] @ features_ND.T / self.temperature
            weight = self.balance * share_M[part]
            loss += float((weight * torch.logsumexp(logits, 1)).sum(dtype=torch.float64))
            pulled = torch.softmax(logits, 1) @ features_ND / self.temperature
            gradient[part] += pulled * weight[:, None]
        return loss, gradient


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
) -> Solution:
    """Move the free centroids. Fixed ones take items and repel like any other, but stay.

    Args:
        optimiser: ``adam``, Algorithm 1, lines 4-10, with an exact assignment in each of ``iterations`` steps of size
            ``lr``; or ``descent``, at most ``iterations`` evaluations.
        update: whether items go to their nearest centroid again and again (otherwise to the start's, for ever).
        weights_N: how strongly each item pulls, their mean being 1; None: all alike.

    Cost of an evaluation: 2 N M D (Adam) or 2 N R D (descent, R = 16 neighbours) + 6 M^2 D operations.
    """
    features = torch.from_numpy(features_ND).to(device)
    fixed = torch.from_numpy(fixed_LD).to(device)
    free = torch.from_numpy(start_KD.copy()).to(device)
    free /= _lengths(free)
    weights = None if weights_N is None else torch.from_numpy(weights_N).to(device)
    nearest = NearestCentroid(features)
    held = None if update else nearest.exact(torch.cat([free, fixed]))[0]

    def evaluate(rows: Tensor, exact: bool) -> tuple[float, Tensor]:
        centroids = torch.cat([rows, fixed])
        if held is not None:
            found = held, _own_similarity(features, centroids, held)
        else:
            found = (nearest.exact if exact else nearest.near)(centroids)
        value, gradient = loss(features, centroids, *found, weights)
        return value, gradient[: len(rows)]

    if optimiser == "adam":
        free, losses, evaluations = _adam(evaluate, free, lr, iterations, loss.unit_steps)
    else:
        free, losses, evaluations = _descend(evaluate, free, iterations)
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


def _descend(evaluate: Evaluation, free: Tensor, iterations: int) -> tuple[Tensor, list[float], int]:
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
            if losses[-2] - value <= TOLERANCE * (losses[0] - value):
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
    parts = pieces(len(features_ND), features_ND.shape[1])
    return torch.cat([(features_ND[part] * centroids_MD[assignment_N[part]]).sum(1) for part in parts])
