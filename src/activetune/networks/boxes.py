"""Boxes as heads learn and give them: corners in shares of the canvas, the tensor that the backbone was shown.

Shape legend: K boxes.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

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


def nms(xyxy_K4: Tensor, scores_K: Tensor, classes_K: Tensor, threshold: float, limit: int | None = None) -> Tensor:
    """Positions of the boxes that no surer box of their class overlaps by more than a threshold, the surest first.

    Non-maximum suppression on the processor, since torchvision's is not there beside a torch without CUDA; equal scores
    go in the order of their boxes, on every machine. Costs O(limit K).

    >>> corners = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.4], [0.5, 0.5, 1.0, 1.0]])
    >>> nms(corners, torch.tensor([0.8, 0.9, 0.3]), torch.tensor([0, 0, 0]), 0.6).tolist()
    [1, 2]

    Args:
        threshold: of intersection over union, in [0, 1]. A box that falls only to one that falls itself is kept.
        limit: how many are looked for; all by default.
    """
    import_torchvision()
    from torchvision.ops import box_iou

    left = torch.sort(scores_K.cpu(), descending=True, stable=True).indices
    boxes_K4, kinds_K = xyxy_K4.detach().cpu().float(), classes_K.cpu()
    kept: list[int] = []
    while len(left) and (limit is None or len(kept) < limit):
        surest, left = left[0], left[1:]
        kept.append(int(surest))
        falls = (box_iou(boxes_K4[surest, None], boxes_K4[left])[0] > threshold) & (kinds_K[left] == kinds_K[surest])
        left = left[~falls]
    return torch.tensor(kept, dtype=torch.int64, device=xyxy_K4.device)
