"""Losses noted while training: what an objective makes of the logits that a step has computed anyway.

Shape legend: B items of a part of a batch, M notes, L labelled items, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.ranks import gathered
from activetune.recipes.vecaf.scoring import Objective
from activetune.tasks import Batch


@dataclass
class Notes:
    """The notes of an epoch in this process, in the order of its forward passes.

    Several processes share each batch, and each makes the same number of passes. So the number of a pass orders the
    notes of all of them.

    Attributes:
        objective: gives the losses. targets_L: class indices of all labelled items.
    """

    objective: Objective
    targets_L: IntArray
    passes: int = 0
    positions: list[IntArray] = field(default_factory=list)
    losses: list[FloatArray] = field(default_factory=list)
    order: list[IntArray] = field(default_factory=list)

    def add(self, batch: Batch, logits_BC: Tensor) -> None:
        """Note the losses of a part of a batch.

        Numbers that are not finite are passed over: the training refuses them in its own words.
        """
        self.passes += 1
        if not batch.weight or not bool(logits_BC.detach().isfinite().all()):
            return
        positions_B = batch.positions.cpu().numpy()
        with torch.no_grad():
            targets_B = torch.from_numpy(self.targets_L[positions_B])
            loss_B = torch.as_tensor(self.objective(logits_BC.detach().float().cpu(), targets_B)).float()
        self.positions.append(positions_B)
        self.losses.append(loss_B.numpy())
        self.order.append(np.full(len(positions_B), self.passes))

    def take(self) -> tuple[IntArray, FloatArray]:
        """The items (M,) that were trained on in any process since the last call, ascending, and their losses (M,)."""
        found = gathered((self.positions, self.losses, self.order))
        self.passes, self.positions, self.losses, self.order = 0, [], [], []
        parts = [[np.concatenate(part) for part in one] for one in found if one[0]]
        if not parts:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
        positions_M, losses_M, order_M = (np.concatenate(column) for column in zip(*parts, strict=True))
        return last_losses(positions_M, losses_M, order_M)


def last_losses(positions_M: IntArray, losses_M: FloatArray, order_M: IntArray) -> tuple[IntArray, FloatArray]:
    """Each item once, ascending, with its loss in the last pass that had it: the mean of its views there.

    >>> positions, losses = last_losses(np.array([7, 3, 7, 7]), np.array([4.0, 1.0, 2.0, 3.0]), np.array([1, 1, 2, 2]))
    >>> positions.tolist(), losses.tolist()
    ([3, 7], [1.0, 2.5])
    """
    items, item_M = np.unique(positions_M, return_inverse=True)
    last = np.zeros(len(items), dtype=np.int64)
    np.maximum.at(last, item_M, order_M)
    counted = order_M == last[item_M]
    sums = np.bincount(item_M[counted], losses_M[counted], minlength=len(items))
    return items, (sums / np.bincount(item_M[counted], minlength=len(items))).astype(np.float32)
