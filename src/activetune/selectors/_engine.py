"""The centroid engine: K unit vectors moved over the sphere by Adam until they stand for N features.

A loss gives its value and its gradient by hand: an argmax over centroids, a scatter-add of the features and the K x K
repulsion, in pieces. There is no autograd graph and nothing of size N x K.
Shape legend: N items, D feature size, K free centroids, L fixed ones (labelled items), M = K + L.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from activetune.distances import Float32, pieces
from activetune.types import IntArray


@dataclass(frozen=True)
class Solution:
    """Final centroids of unit length (K, D), the loss after every step and the final one, each item's centroid (N,)
    among all M and the similarity to it (N,).
    """

    centroids_KD: Float32
    losses: list[float]
    assignment: IntArray
    similarity: Float32


@dataclass(frozen=True)
class CentroidLoss(ABC):
    """A loss on centroids of unit length.

    Attributes:
        temperature: tau > 0. balance: lambda >= 0, the weight of the repulsion.
        unit_steps: whether rows are renormalised after each step (the paper), or only where they are used.
    """

    temperature: float
    balance: float
    unit_steps: bool

    @abstractmethod
    def __call__(
        self, features_ND: Tensor, centroids_MD: Tensor, assignment_N: Tensor, similarity_N: Tensor
    ) -> tuple[float, Tensor]:
        """The loss and its gradient (M, D), given each item's nearest centroid."""


@dataclass(frozen=True)
class PaperLoss(CentroidLoss):
    """Equation 11: ``-mean_i f_i.c(i) / tau + lambda mean_j log sum_{k != j} exp(c_j.c_k / tau)``.

    With a single centroid the sum is empty and the repulsion is left out.
    """

    unit_steps: bool = True

    def __call__(
        self, features_ND: Tensor, centroids_MD: Tensor, assignment_N: Tensor, similarity_N: Tensor
    ) -> tuple[float, Tensor]:
        """See :class:`CentroidLoss`."""
        count = len(centroids_MD)
        scale = 1 / (self.temperature * len(features_ND))
        gradient = torch.zeros_like(centroids_MD).index_add_(0, assignment_N, features_ND).mul_(-scale)
        loss = -float(similarity_N.sum(dtype=torch.float64)) * scale
        if count == 1 or self.balance == 0:
            return loss, gradient
        weight = self.balance / count
        for part in pieces(count, count):
            logits = centroids_MD[part] @ centroids_MD.T / self.temperature
            logits[
                torch.arange(len(logits), device=logits.device),
                torch.arange(part.start, part.stop, device=logits.device),
            ] = -torch.inf
            loss += weight * float(torch.logsumexp(logits, 1).sum(dtype=torch.float64))
            share = torch.softmax(logits, 1).mul_(weight / self.temperature)
            gradient[part] += share @ centroids_MD
            gradient += share.T @ centroids_MD[part]
        return loss, gradient


@dataclass(frozen=True)
class ReleasedLoss(CentroidLoss):
    """The authors' released code: ``-mean_i log [e^{s_i} / (e^{s_i} + lambda sum_k e^{sg(c_k).c(i) / tau})]``.

    ``s_i = f_i.c(i) / tau``; the sum holds the self term, ``sg`` stops the gradient on one side, and rows are
    normalised where they are used, never in place. Computed in log space: plain float32 exponentials overflow for
    tau < 0.0113.
    """

    unit_steps: bool = False

    def __call__(
        self, features_ND: Tensor, centroids_MD: Tensor, assignment_N: Tensor, similarity_N: Tensor
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
        weight_N = torch.sigmoid(margin_N) / items
        attracted = torch.zeros_like(centroids_MD)
        for part in pieces(items, features_ND.shape[1]):
            attracted.index_add_(0, assignment_N[part], features_ND[part] * weight_N[part, None])
        weight_M = torch.zeros_like(crowd_M).index_add_(0, assignment_N, weight_N)
        gradient = pull_MD * weight_M[:, None] - attracted / self.temperature
        return float(torch.nn.functional.softplus(margin_N).mean(dtype=torch.float64)), gradient


def minimise(
    features_ND: Float32,
    start_KD: Float32,
    fixed_LD: Float32,
    *,
    loss: CentroidLoss,
    lr: float,
    iterations: int,
    tangent: bool = False,
    device: str = "cpu",
) -> Solution:
    """Algorithm 1, lines 4-10: Adam on the free centroids; every item goes to its nearest centroid in each step.

    ``tangent`` follows the gradient along the sphere alone; without it (and with a loss of unit steps) Adam sees the
    gradient of the plain dot products, whose part along the centroid itself changes its direction too, since Adam
    scales each coordinate by itself. Fixed centroids take items and repel like any other, but do not move.
    Cost of an iteration: 2 N M D + 6 M^2 D operations.
    """
    features = torch.from_numpy(features_ND).to(device)
    fixed = torch.from_numpy(fixed_LD).to(device)
    free = torch.from_numpy(start_KD.copy()).to(device)
    optimiser = torch.optim.Adam([free], lr=lr)
    losses: list[float] = []
    for _ in range(iterations):
        norms = _lengths(free)
        centroids = torch.cat([free / norms, fixed])
        value, gradient = loss(features, centroids, *_assign(features, centroids))
        losses.append(value)
        step = gradient[: len(free)]
        if tangent or not loss.unit_steps:  # the gradient passes through the normalisation
            unit = centroids[: len(free)]
            step = (step - unit * (step * unit).sum(1, keepdim=True)) / norms
        free.grad = step
        optimiser.step()
        if loss.unit_steps:
            free /= _lengths(free)
    centroids = torch.cat([free / _lengths(free), fixed])
    assignment, similarity = _assign(features, centroids)
    losses.append(loss(features, centroids, assignment, similarity)[0])
    return Solution(centroids[: len(free)].cpu().numpy(), losses, assignment.cpu().numpy(), similarity.cpu().numpy())


def _lengths(rows: Tensor) -> Tensor:
    """Row lengths (K, 1); never zero, as a centroid that starts at a zero vector has none to be divided by."""
    lengths: Tensor = rows.norm(dim=1, keepdim=True)  # type: ignore[no-untyped-call]
    return lengths.clamp_min(1e-12)


def _assign(features_ND: Tensor, centroids_MD: Tensor) -> tuple[Tensor, Tensor]:
    """Each item's most similar centroid (N,) and that similarity (N,)."""
    parts = pieces(len(features_ND), len(centroids_MD))
    found = [torch.max(features_ND[part] @ centroids_MD.T, dim=1) for part in parts]
    return torch.cat([best.indices for best in found]), torch.cat([best.values for best in found])
