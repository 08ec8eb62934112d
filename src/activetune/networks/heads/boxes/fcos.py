"""FCOS: every place of a feature pyramid says which class it shows, how far its edges are, and how central it lies.

Tian et al., "FCOS: A Simple and Strong Anchor-Free Object Detector", TPAMI 2020, by torchvision: its head, its matching
of places to objects (inside a box, near its centre, by its size) and its losses (focal, GIoU, binary cross-entropy),
each divided by the number of places of its image that have an object (in the paper: of the batch, which would make a
batch's loss depend on how it is shared out). The pyramid is ViTDet's (Li et al., "Exploring Plain Vision
Transformer Backbones for Object Detection", ECCV 2022): the last map alone, at twice, once and half its resolution.

A patch counts as 16 units, so that the levels have strides 8, 16 and 32 whatever the patch is, and take objects whose
edges are up to 64, up to 128 and more units away. Deviations: three levels instead of five, 64 channels and two
convolutions instead of 256 and four, since few images on a small machine are what the head is for; torchvision puts a
place at the upper left corner of its cell, here it is the middle, as in the paper; distances start at one cell, not at
0, where the rectifier has no gradient. The score is torchvision's: the root of class times centreness.
Shape legend: B images, H x W places of the map, D feature size, P places of all levels, K boxes, Y classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from activetune.base.errors import UsageError
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.boxes import BoxTarget, Found, nms
from activetune.networks.heads._head import Head, Reads
from activetune.networks.loss import Loss

PATCH = 16  # units of a patch's side
STRIDES = (8, 16, 32)
THRESHOLD = 0.1  # of a score, the root of two shares; torchvision: 0.2, which few images hardly teach
OVERLAP = 0.6  # above which the less sure one of two boxes of a class falls
CANDIDATES = 1000  # of a level
DETECTIONS = 100  # of an image


@dataclass(frozen=True, eq=False)
class Places:
    """What the places of all levels say of B images.

    Attributes:
        detector: torchvision's FCOS, for its matching and its losses.
        logits_BPY: of the classes. edges_BP4: distances to the left, top, right and bottom edge, in cells of the level.
        central_BP1: logits of the centreness. cells_P4: corners of the cells, in units. levels: places of each level.
        canvas: width and height, in units.
    """

    detector: Any
    logits_BPY: Tensor
    edges_BP4: Tensor
    central_BP1: Tensor
    cells_P4: Tensor
    levels: tuple[int, ...]
    canvas: tuple[int, int]

    def loss(self, targets: Sequence[BoxTarget]) -> Loss:
        """The loss of B images, each of which counts as one; its parts are ``classes``, ``boxes``, ``centreness``."""
        units = self.cells_P4.new_tensor(self.canvas * 2)
        names = {"classes": "classification", "boxes": "bbox_regression", "centreness": "bbox_ctrness"}
        parts = {name: self.logits_BPY.new_zeros(()) for name in names}
        for image, one in enumerate(targets):
            here = slice(image, image + 1)
            outputs = {"cls_logits": self.logits_BPY[here], "bbox_regression": self.edges_BP4[here]}
            outputs |= {"bbox_ctrness": self.central_BP1[here]}
            known = [{"boxes": one["xyxy"] * units, "labels": one["classes"]}]
            found = self.detector.compute_loss(known, outputs, [self.cells_P4], list(self.levels))
            parts = {name: parts[name] + found[theirs] for name, theirs in names.items()}
        return Loss(torch.stack(list(parts.values())).sum(), float(len(targets)), parts)

    def handed(self) -> ScoredPlaces:
        """See :func:`activetune.networks.outputs.handed`."""
        scores_BPY = (self.logits_BPY.sigmoid() * self.central_BP1.sigmoid()).sqrt()
        boxes_BP4 = self.detector.box_coder.decode(self.edges_BP4, self.cells_P4.expand_as(self.edges_BP4))
        shares_BP4 = (boxes_BP4 / torch.tensor(self.canvas * 2, device=boxes_BP4.device)).clamp(0, 1)
        return ScoredPlaces(shares_BP4, scores_BPY, self.levels)

    @torch.no_grad()
    def decode(self, threshold: float = THRESHOLD) -> list[Found]:
        """The objects of each image, see :meth:`ScoredPlaces.decode`."""
        return self.handed().decode(threshold)


@dataclass(frozen=True, eq=False)
class ScoredPlaces:
    """The box and the scores of every place of B images.

    Attributes:
        boxes_BP4: left, top, right, bottom in shares of the canvas. scores_BPY: of the classes, in [0, 1].
        levels: places of each level, the finest first.
    """

    boxes_BP4: Tensor
    scores_BPY: Tensor
    levels: tuple[int, ...]

    @property
    def reading(self) -> str:
        """See :func:`activetune.networks.outputs.handed`."""
        return (
            "boxes (batch, places, 4) are left, top, right, bottom in shares of the input's width and height; scores "
            f"(batch, places, classes) lie in [0, 1]. Objects are the pairs of place and class whose score exceeds "
            f"{THRESHOLD}, of each of the levels of {', '.join(map(str, self.levels))} places, in this order, at most "
            f"the {CANDIDATES:,} best; of those of a class that overlap by more than {OVERLAP} (IoU) the surest stays "
            f"(non-maximum suppression), at most {DETECTIONS} per image"
        )

    @torch.no_grad()
    def decode(self, threshold: float = THRESHOLD) -> list[Found]:
        """The objects of each image: of a class no two that overlap by more than 0.6, at most 100 in all.

        Args:
            threshold: what a score must exceed, in [0, 1].
        """
        return [self._decoded(*one, threshold) for one in zip(self.scores_BPY, self.boxes_BP4, strict=True)]

    def _by_level(self, rows_P: Tensor) -> tuple[Tensor, ...]:
        return torch.split_with_sizes(rows_P, self.levels)

    def _decoded(self, scores_PY: Tensor, shares_P4: Tensor, threshold: float) -> Found:
        parts = []
        for scores, boxes in zip(self._by_level(scores_PY), self._by_level(shares_P4), strict=True):
            best = torch.sort(scores.flatten(), descending=True, stable=True).indices[:CANDIDATES]
            best = best[scores.flatten()[best] > threshold]
            place, kind = best // scores.shape[1], best % scores.shape[1]
            parts.append((boxes[place], scores[place, kind], kind))
        boxes_K4, scores_K, classes_K = (torch.cat(part) for part in zip(*parts, strict=True))
        real_K = ((boxes_K4[:, 2:] - boxes_K4[:, :2]) > 0).all(dim=1)
        boxes_K4, scores_K, classes_K = boxes_K4[real_K], scores_K[real_K], classes_K[real_K]
        kept = nms(boxes_K4, scores_K, classes_K, OVERLAP, DETECTIONS)
        return Found(boxes_K4[kept], scores_K[kept], classes_K[kept])


class Fcos(Head):
    """Boxes from every place of a feature pyramid (FCOS); learns from few images.

    Args:
        width: channels of the pyramid, a multiple of 32. convolutions: below each of the two last layers.
    """

    reads: ClassVar[Reads] = "map"
    batch_size: ClassVar[int] = 8
    decays: ClassVar[bool] = False

    def __init__(self, size: int, outputs: int, *, width: int = 64, convolutions: int = 2):
        super().__init__(size, outputs)
        if width < 1 or width % 32:
            raise UsageError(f"a width of {width} can't be normalised in 32 groups; give a multiple of 32")
        import_torchvision()
        from torchvision.models.detection.fcos import FCOS, FCOSHead

        self.width, self.convolutions = width, convolutions
        self.detector = FCOS(Pyramid(size, width), outputs, head=FCOSHead(width, 1, outputs, convolutions))
        nn.init.ones_(self.detector.head.regression_head.bbox_reg.bias)

    def options(self) -> dict[str, Any]:
        """See :class:`Head`."""
        return {"width": self.width, "convolutions": self.convolutions}

    def forward(self, features_BHWD: Tensor) -> Places:
        """What the places say of images with these features."""
        levels = self.detector.backbone(features_BHWD)
        outputs = self.detector.head(levels)
        cells = [_cells(level, stride) for level, stride in zip(levels, STRIDES, strict=True)]
        height, width = features_BHWD.shape[1:3]
        return Places(
            self.detector,
            outputs["cls_logits"].float(),
            outputs["bbox_regression"].float(),
            outputs["bbox_ctrness"].float(),
            torch.cat(cells),
            tuple(len(part) for part in cells),
            (width * PATCH, height * PATCH),
        )


class Pyramid(nn.Module):
    """A map (B, H, W, D) as three maps of ``width`` channels, at twice, once and half its resolution."""

    def __init__(self, size: int, width: int):
        super().__init__()
        self.out_channels = width  # torchvision asks for it
        self.norm = nn.LayerNorm(size)  # one learning rate fits every backbone
        self.project = nn.Conv2d(size, width, 1)
        self.resize = nn.ModuleList(
            [
                nn.Sequential(nn.ConvTranspose2d(width, width, 2, stride=2), nn.GroupNorm(32, width), nn.GELU()),
                nn.Identity(),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        )
        self.refine = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(32, width)) for _ in STRIDES
        )

    def forward(self, features_BHWD: Tensor) -> list[Tensor]:
        """The maps (B, width, h, w), the finest first."""
        projected = self.project(self.norm(features_BHWD).permute(0, 3, 1, 2))
        return [refine(resize(projected)) for resize, refine in zip(self.resize, self.refine, strict=True)]


def _cells(level: Tensor, stride: int) -> Tensor:
    """Corners (P, 4) of the cells of a map, row by row, in units."""
    height, width = level.shape[-2:]
    top, left = torch.meshgrid(
        torch.arange(height, device=level.device), torch.arange(width, device=level.device), indexing="ij"
    )
    corners = torch.stack([left, top], dim=-1).flatten(0, 1).float() * stride
    return torch.cat([corners, corners + stride], dim=1)
