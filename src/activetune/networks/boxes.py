"""Boxes as heads learn and give them: corners in shares of the canvas, the tensor that the backbone was shown.

Shape legend: K boxes.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
import torch
from torch import Tensor

from activetune.base.torchvision_ import import_torchvision


class BoxTarget(TypedDict):
    """The objects of an image, without crowds; K may be 0.

    Attributes:
        xyxy: (K, 4) ``left, top, right, bottom`` in [0, 1] of the canvas' width and height. classes: (K,) positions.
    """

    xyxy: Tensor
    classes: Tensor


class Found(NamedTuple):
    """What a head finds in an image, the surest first.

    Attributes:
        xyxy_K4: as in :class:`BoxTarget`. scores_K: (K,) in [0, 1]. classes_K: (K,) positions.
    """

    xyxy_K4: Tensor
    scores_K: Tensor
    classes_K: Tensor


def nms(xyxy_K4: Tensor, scores_K: Tensor, classes_K: Tensor, threshold: float) -> Tensor:
    """Positions of the boxes that no surer box of their class overlaps by more than a threshold, the surest first.

    Non-maximum suppression on the processor, since torchvision's is not there beside a torch without CUDA; equal scores
    go in the order of their boxes, on every machine. Costs O(K^2), and K^2 numbers.

    >>> corners = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4], [0.5, 0.5, 1.0, 1.0]])
    >>> nms(corners, torch.tensor([0.8, 0.9, 0.3]), torch.tensor([0, 0, 0]), 0.6).tolist()
    [1, 2]

    Args:
        threshold: of intersection over union, in [0, 1]. A box that falls only to one that falls itself is kept.
    """
    import_torchvision()
    from torchvision.ops import box_iou

    order_K = torch.sort(scores_K.cpu(), descending=True, stable=True).indices
    boxes_K4, kinds_K = xyxy_K4.detach().cpu().float()[order_K], classes_K.cpu()[order_K]
    covered_KK = ((box_iou(boxes_K4, boxes_K4) > threshold) & (kinds_K[:, None] == kinds_K)).numpy()
    kept_K = np.ones(len(order_K), dtype=bool)
    for place in range(len(order_K)):
        if kept_K[place]:
            kept_K[place + 1 :] &= ~covered_KK[place, place + 1 :]
    return order_K[torch.from_numpy(kept_K)].to(xyxy_K4.device)
