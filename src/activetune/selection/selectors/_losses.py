"""What the centroid engine minimises: a loss gives its value and its gradient by hand, in pieces.

Shape legend: N items, D feature size, M centroids.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from activetune.features.distances import pieces


@dataclass(frozen=True)
class Assigned:
    """Items and the centroids they belong to.

    Attributes:
        features_ND: of unit length. owner_N: index of each item's centroid. similarity_N: to that centroid.
        weights_N: how strongly each item pulls, their mean being 1; None: all alike.
        everywhere: items of all processes, which a mean runs over; None: all are here. leads: whether this process
            adds what is of the centroids alone: the processes' losses and gradients then add up to those of all items.
    """

    features_ND: Tensor
    owner_N: Tensor
    similarity_N: Tensor
    weights_N: Tensor | None = None
    everywhere: int | None = None
    leads: bool = True

    @property
    def total(self) -> int:
        """Items that a mean runs over."""
        return len(self.features_ND) if self.everywhere is None else self.everywhere


@dataclass(frozen=True)
class CentroidLoss(ABC):
    """A loss on centroids of unit length, a sum over the items and over the centroids.

    Attributes:
        temperature: tau > 0. balance: lambda >= 0, the weight of the repulsion.
        unit_steps: whether rows are renormalised after each step of Adam (the paper), or only where they are used.
        shares_rows: whether it is the sum of those of several processes' items.
    """

    unit_steps: ClassVar[bool] = True
    shares_rows: ClassVar[bool] = True

    temperature: float
    balance: float

    @abstractmethod
    def __call__(self, centroids_MD: Tensor, items: Assigned) -> tuple[float, Tensor]:
        """The loss and its gradient (M, D)."""

    def attraction(self, centroids_MD: Tensor, items: Assigned) -> tuple[float, Tensor]:
        """``-mean_i w_i f_i.c(i) / tau`` and its gradient; w_i is 1 without weights."""
        features_ND, owner_N, weights_N = items.features_ND, items.owner_N, items.weights_N
        similarity_N = items.similarity_N if weights_N is None else items.similarity_N * weights_N
        scale = 1 / (self.temperature * items.total)
        gradient = torch.zeros_like(centroids_MD)
        if weights_N is None:
            gradient.index_add_(0, owner_N, features_ND)
        else:
            for part in pieces(*features_ND.shape):
                gradient.index_add_(0, owner_N[part], features_ND[part] * weights_N[part, None])
        return -float(similarity_N.sum(dtype=torch.float64)) * scale, gradient.mul_(-scale)


@dataclass(frozen=True)
class PaperLoss(CentroidLoss):
    """Equation 11: ``-mean_i f_i.c(i) / tau + lambda mean_j log sum_{k != j} exp(c_j.c_k / tau)``.

    With a single centroid the sum is empty and the repulsion is left out.
    """

    def __call__(self, centroids_MD: Tensor, items: Assigned) -> tuple[float, Tensor]:
        """See :class:`CentroidLoss`."""
        loss, gradient = self.attraction(centroids_MD, items)
        count = len(centroids_MD)
        if count == 1 or self.balance == 0 or not items.leads:
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

    def __call__(self, centroids_MD: Tensor, items: Assigned) -> tuple[float, Tensor]:
        """See :class:`CentroidLoss`."""
        features_ND, owner_N = items.features_ND, items.owner_N
        count = len(centroids_MD)
        crowd_M = torch.empty_like(centroids_MD[:, 0])  # log lambda sum_k e^{c_k.c_j / tau}
        pull_MD = torch.empty_like(centroids_MD)  # its gradient
        for part in pieces(count, count):
            logits = centroids_MD[part] @ centroids_MD.T / self.temperature
            crowd_M[part] = torch.logsumexp(logits, 1) + np.log(max(self.balance, 1e-30))
            pull_MD[part] = torch.softmax(logits, 1) @ centroids_MD / self.temperature
        margin_N = crowd_M[owner_N] - items.similarity_N / self.temperature
        each_N = torch.ones_like(margin_N) if items.weights_N is None else items.weights_N
        weight_N = torch.sigmoid(margin_N) * each_N / items.total
        attracted = torch.zeros_like(centroids_MD)
        for part in pieces(*features_ND.shape):
            attracted.index_add_(0, owner_N[part], features_ND[part] * weight_N[part, None])
        weight_M = torch.zeros_like(crowd_M).index_add_(0, owner_N, weight_N)
        gradient = pull_MD * weight_M[:, None] - attracted / self.temperature
        value_N = torch.nn.functional.softplus(margin_N) * each_N
        return float(value_N.sum(dtype=torch.float64)) / items.total, gradient


@dataclass(frozen=True)
class ContrastiveLoss(CentroidLoss):
    """The paper's ablation: ``-mean_i log [e^{f_i.c(i) / tau} / sum_k e^{f_k.c(i) / tau}]``, k over all N items.

    Each centroid is pushed away from every item, in proportion to how many items are its own. ``balance`` weighs the
    push. Needs 4 N M D operations an evaluation: nothing about it is local.
    """

    shares_rows: ClassVar[bool] = False

    def __call__(self, centroids_MD: Tensor, items: Assigned) -> tuple[float, Tensor]:
        """See :class:`CentroidLoss`."""
        loss, gradient = self.attraction(centroids_MD, items)
        features_ND = items.features_ND
        share_M = torch.bincount(items.owner_N, items.weights_N, len(centroids_MD)).to(features_ND) / len(features_ND)
        for part in pieces(len(centroids_MD), len(features_ND)):
            logits = centroids_MD[part] @ features_ND.T / self.temperature
            weight = self.balance * share_M[part]
            loss += float((weight * torch.logsumexp(logits, 1)).sum(dtype=torch.float64))
            pulled = torch.softmax(logits, 1) @ features_ND / self.temperature
            gradient[part] += pulled * weight[:, None]
        return loss, gradient
