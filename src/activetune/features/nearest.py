"""Each item's most similar centroid, while the centroids move: exact when asked, otherwise looked for nearby.

Between two exact assignments the centroids move little, so an item's nearest one is nearly always among those around
its last one. Items are grouped by that, and a group is compared with the centroids around it alone: 2 N R D operations
instead of 2 N M D. What is found is the best of a fixed set that holds the item's last centroid, so a loss computed
from it is never below the exact one. On a GPU the whole product in bfloat16 is faster, and is what is done there; it
rounds, so that a loss may lie on either side.
Shape legend: N items, D feature size, M centroids, R neighbours.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import IntArray
from activetune.base.runtime import one_thread
from activetune.features.distances import Float32, nearest_centroid, pieces

NEIGHBOURS = 16


class NearestCentroid:
    """Assigns N items to moving centroids of unit length; all tensors are on the features' device."""

    def __init__(self, features_ND: Tensor, around: int = NEIGHBOURS):
        self.features_ND, self.around = features_ND, around
        self.on_gpu = features_ND.device.type != "cpu"
        self._coarse_ND = features_ND.bfloat16() if self.on_gpu else None

    def exact(self, centroids_MD: Tensor) -> tuple[Tensor, Tensor]:
        """Assignment (N,) and similarity (N,); also what :meth:`near` starts from until the next call."""
        if self.on_gpu:
            found = self._dense(self.features_ND, centroids_MD)
        else:
            assignment, similarity = nearest_centroid(self.features_ND.numpy(), centroids_MD.numpy())
            found = torch.from_numpy(assignment), torch.from_numpy(similarity)
        self.start_from(found[0], centroids_MD)
        return found

    def start_from(self, assignment_N: Tensor, centroids_MD: Tensor) -> None:
        """Let :meth:`near` start from an assignment that is known."""
        self.last = assignment_N, centroids_MD
        self._groups: list[IntArray] = []

    def _group(self) -> None:
        """Items by their last exact centroid, and the centroids around each."""
        assignment, centroids = (part.numpy() for part in self.last)
        order = np.argsort(assignment, kind="stable")
        self._groups = np.split(order, np.searchsorted(assignment[order], np.arange(1, len(centroids))))
        self._around = neighbours(centroids, self.around)

    def near(self, centroids_MD: Tensor) -> tuple[Tensor, Tensor]:
        """Assignment (N,) and similarity (N,) among the centroids around each item's last exact one."""
        if self._coarse_ND is not None:
            return self._dense(self._coarse_ND, centroids_MD.bfloat16())
        if not self._groups:
            self._group()
        features_ND, centroids = self.features_ND.numpy(), centroids_MD.numpy()
        assignment = np.empty(len(features_ND), dtype=np.int64)
        similarity = np.empty(len(features_ND), dtype=np.float32)
        with one_thread():  # thousands of small products: handing them to threads costs more than it saves
            for group, around in zip(self._groups, self._around, strict=True):
                if len(group):
                    product = features_ND[group] @ centroids[around].T
                    best = product.argmax(axis=1)
                    assignment[group] = around[best]
                    similarity[group] = product[np.arange(len(group)), best]
        return torch.from_numpy(assignment), torch.from_numpy(similarity)

    def _dense(self, features_ND: Tensor, centroids_MD: Tensor) -> tuple[Tensor, Tensor]:
        assignment = torch.empty(len(features_ND), dtype=torch.int64, device=features_ND.device)
        similarity = torch.empty(len(features_ND), device=features_ND.device)
        for part in pieces(len(features_ND), len(centroids_MD)):
            assignment[part] = (features_ND[part] @ centroids_MD.T).max(dim=1).indices
        for part in pieces(*features_ND.shape):
            similarity[part] = (self.features_ND[part].float() * centroids_MD[assignment[part]].float()).sum(1)
        return assignment, similarity


class AssignedSums:
    """The sum of the features that are assigned to each of M centroids; items that moved are added and taken away."""

    def __init__(self, features_ND: Tensor, count: int):
        self.features_ND = features_ND
        self.sums_MD = torch.zeros(count, features_ND.shape[1], device=features_ND.device)
        self.last: Tensor | None = None

    def of(self, assignment_N: Tensor) -> Tensor:
        """Sums (M, D) for an assignment (N,); valid until the next call."""
        moved = None if self.last is None else torch.nonzero(assignment_N != self.last).ravel()
        if self.last is None or moved is None or len(moved) > len(assignment_N) // 3:
            self.sums_MD.zero_().index_add_(0, assignment_N, self.features_ND)
        else:
            for part in pieces(len(moved), self.features_ND.shape[1]):
                rows = self.features_ND[moved[part]]
                self.sums_MD.index_add_(0, assignment_N[moved[part]], rows)
                self.sums_MD.index_add_(0, self.last[moved[part]], rows, alpha=-1)
        self.last = assignment_N.clone()
        return self.sums_MD


def neighbours(centroids_MD: Float32, count: int) -> IntArray:
    """The centroids most similar to each one, itself among them, (M, R) with R at most ``count``."""
    count = min(count, len(centroids_MD))
    around = np.empty((len(centroids_MD), count), dtype=np.int64)
    for part in pieces(len(centroids_MD), len(centroids_MD)):
        product = centroids_MD[part] @ centroids_MD.T
        product[np.arange(len(product)), np.arange(part.start, part.stop)] = np.inf  # itself, whatever rounding says
        around[part] = np.argpartition(-product, count - 1, axis=1)[:, :count]
    return around
