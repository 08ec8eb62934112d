"""The class of every pixel: cross-entropy over pixels, chosen by mean intersection over union (mIoU).

Images and masks are prepared together (``_canvas.py``). The loss of heads that give a logit per class reads every
eighth pixel of the canvas in both directions: a linear head on a ViT learns from these as well as from every second
one, in a small part of the time (experiments/LOG.md). Models are scored at the masks' own resolution.
Shape legend: B images of a batch, C classes, H x W pixels or places of a map.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import UsageError
from activetune.base.torchvision_ import import_torchvision
from activetune.data.kinds import VOID, ArrayMask, Mask
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.agreement import agreement_of_masks
from activetune.evaluation.dict_scores import DictScores
from activetune.evaluation.doubt import Doubt, mean_pixel_entropy, presence_of_pixels
from activetune.evaluation.metrics import Counts, Measured
from activetune.evaluation.pixels import PRIMARY, PixelCounts
from activetune.networks.backbones import ImageSettings
from activetune.networks.heads import Head, Room
from activetune.networks.imbalance import Imbalance
from activetune.networks.loss import Loss
from activetune.tasks._augmentation import Crops
from activetune.tasks._base import Task
from activetune.tasks._batch import Batch, Sample
from activetune.tasks._canvas import Fit, Size, bands_on_image, fitted, on_image, varied
from activetune.tasks._forms import Form, Masks
from activetune.tasks._scorer import Metric

LEAST = 1600  # pixels of the masks that the loss reads, where the canvas has as many


@dataclass(frozen=True)
class Segmentation(Task):
    """The class of every pixel.

    Attributes:
        stride: pixels of the canvas per pixel of the masks that the loss reads, at most.
        smoothing: of the labels, in [0, 1). added: C numbers that are added to the logits of the loss, or none; see
            ``logit_adjustment``, here by the classes' shares of the pixels.
    """

    name: ClassVar[str] = "segmentation"
    reading: ClassVar[str] = (
        "logits (batch, classes, rows, columns) of a map over the whole input; interpolate them (bilinear) to the "
        "input's size, cut off what lies beyond the image, and scale that to the image: the largest is a pixel's class"
    )
    room: ClassVar[Room] = "masks"
    placed: ClassVar[bool] = True
    alike: ClassVar[bool] = True
    agrees_by: ClassVar[str] = "mean IoU over the classes of either"
    shown: ClassVar[Mapping[str, str]] = {"miou": "mean IoU", "pixel_accuracy": "pixel accuracy"}

    stride: int = Head.stride
    smoothing: float = 0.0
    added: tuple[float, ...] = ()

    def refusal(self, labels: Labels[Mask]) -> str:
        """See :class:`Task`: some pixel must have a class."""
        if any((answer.pixels() != VOID).any() for answer in labels.answers):
            return ""
        return f"every pixel of the {len(labels):,} masks is void; label some that have a class"

    def truth_of(
        self,
        given: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
        pool: Pool,
        known: Sequence[str],
        *,
        quiet: bool = False,
    ) -> Labels[Mask]:
        """See :class:`Task`; arrays by id hold positions in the model's classes."""
        found = self.labels_of(given, pool, known, quiet=quiet) if isinstance(given, Mapping) else given
        return super().truth_of(found, pool, known, quiet=quiet)

    def target(self, labels: Labels[Mask], position: int) -> Any:
        """See :class:`Task`: a mask of torchvision's ``tv_tensors``, (H, W) int32."""
        import_torchvision()
        from torchvision import tv_tensors

        return tv_tensors.Mask(torch.from_numpy(labels.answers[position].pixels()))

    def transform(
        self, image: Image.Image, target: Any, settings: ImageSettings, crops: Crops | None
    ) -> tuple[Tensor, Tensor]:
        """See :class:`Task`: the mask (H, W) int16, at every ``stride``-th pixel of a large canvas."""
        pixels, moved = fitted(image, target, settings) if crops is None else varied(image, target, settings, crops)
        if moved is None:
            return pixels, torch.empty(0)
        stride = self.stride
        while stride > 1 and settings.size[0] * settings.size[1] < LEAST * stride**2:
            stride //= 2
        places = slice(stride // 2, None, stride)
        return pixels, moved.as_subclass(Tensor)[places, places].to(torch.int16)

    def for_head(self, head: type[Head]) -> Segmentation:
        """See :class:`Task`."""
        return replace(self, stride=head.stride)

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """See :class:`Task`: targets are class indices (B, H, W), a unit is a pixel that has a class."""
        targets = torch.stack([sample.target for sample in samples])
        weight = float((targets != VOID).sum()) if targets.numel() else 0.0
        return replace(Batch.of(samples, targets), weight=weight)

    def prepared(
        self,
        labels: Labels[Mask],
        positions: IntArray,
        options: Imbalance,
        *,
        smoothing: float = 0.0,
        weights_L: FloatArray | None = None,
    ) -> Segmentation:
        """See :class:`Task`: with the classes' shares of the pixels of the items trained on."""
        if not options.logit_adjustment:
            return replace(self, smoothing=smoothing)
        drawn = np.ones(len(positions)) if weights_L is None else weights_L / weights_L.mean()
        counts = sum(
            weight * _histogram(labels.answers[position], len(labels.classes))
            for position, weight in zip(positions, drawn, strict=True)
        )
        shares = np.maximum(counts, 0.5) / max(1, np.sum(counts))
        added = options.logit_adjustment * np.log(shares)
        return replace(self, smoothing=smoothing, added=tuple(float(value) for value in added))

    def _adjusted(self, logits_BCHW: Tensor, targets_BHW: Tensor) -> Tensor:
        """Summed cross-entropy under an adjustment, whose label smoothing is spread as everywhere.

        See :func:`activetune.networks.imbalance.cross_entropy`.
        """
        added_C = torch.tensor(self.added, device=logits_BCHW.device)
        told_BCHW = (logits_BCHW + added_C[:, None, None]).log_softmax(1)
        own = functional.nll_loss(told_BCHW, targets_BHW, ignore_index=VOID, reduction="sum")
        spread_BHW = torch.einsum("bchw,c->bhw", told_BCHW, added_C.softmax(0))
        return (1 - self.smoothing) * own - self.smoothing * spread_BHW[targets_BHW != VOID].sum()

    def loss(self, outputs: Any, batch: Batch) -> Loss:
        """See :class:`Task`: cross-entropy of logits (B, C, h, w), interpolated to the masks' size.

        Outputs that have a loss of their own are learned by that; images count by their pixels that have a class.

        Raises:
            UsageError: ``logit_adjustment`` with such a head.
        """
        targets = batch.targets.long()
        if not isinstance(outputs, Tensor):
            if self.added:
                raise UsageError(
                    "logit_adjustment is for heads that learn by cross-entropy; give --head linear or segmenter"
                )
            found = outputs.loss(targets)
            share = batch.weight / found.weight
            return Loss(share * found.sum, batch.weight, {name: share * part for name, part in found.parts.items()})
        logits = functional.interpolate(outputs.float(), size=targets.shape[1:], mode="bilinear", align_corners=False)
        if self.added:
            found = self._adjusted(logits, targets)
        else:
            found = functional.cross_entropy(
                logits, targets, ignore_index=VOID, reduction="sum", label_smoothing=self.smoothing
            )
        return Loss(found, batch.weight)

    def decode(
        self, outputs: Any, sizes: Sequence[Size], settings: ImageSettings, classes: Sequence[str]
    ) -> list[Mask]:
        """See :class:`Task`: masks of the images' own sizes."""
        logits = logits_of(outputs)
        masks: list[Mask] = []
        for index, size in enumerate(sizes):
            bands = [band.argmax(0).to(torch.int32) for _, band in bands_on_image(logits, index, size, settings.size)]
            masks.append(ArrayMask(torch.cat(bands).cpu().numpy()))
        return masks

    def doubt(self, outputs: Any, sizes: Sequence[Size], settings: ImageSettings, classes: Sequence[str]) -> Doubt:
        """See :class:`Task`: the likeliest pixel of each class tells its presence; losses are means over the pixels.

        Pixels are those of the canvas that the image lies on.
        """
        presence, losses, maps = [], [], logits_of(outputs)
        for index, size in enumerate(sizes):
            fit = Fit.of(size, settings.size)
            logits = on_image(maps, index, (fit.height, fit.width), settings.size)
            probs_CHW = logits.softmax(0).cpu().numpy()
            presence.append(presence_of_pixels(probs_CHW))
            losses.append(mean_pixel_entropy(probs_CHW))
        return Doubt.of_presence(presence, losses)

    def agreement(self, truth: Mask, answer: Mask, classes: Sequence[str], known: Sequence[str]) -> float:
        """See :class:`Task`."""
        return agreement_of_masks(truth, answer, classes, known)

    def form(self, classes: Sequence[str]) -> Form:
        """See :class:`Task`."""
        return Masks(classes)

    @property
    def primary(self) -> str:
        """See :class:`Task`."""
        return PRIMARY

    def metric(self, labels: Labels[Mask], settings: ImageSettings) -> Metric:
        """See :class:`Task`."""
        return MeanIou(labels, settings, labels.classes)

    def scorer(self, labels: Labels[Mask], settings: ImageSettings, known: Sequence[str]) -> MeanIou:
        """See :class:`Task`."""
        return MeanIou(labels, settings, known)


class MeanIou(Metric):
    """mIoU at the masks' own resolution; beside it pixel accuracy.

    Args:
        known: C names, in the order of the logits; a class that only the labels have is always wrong.
    """

    def __init__(self, labels: Labels[Mask], settings: ImageSettings, known: Sequence[str]):
        self.labels, self.settings = labels, settings
        self.classes = [*known, *(name for name in labels.classes if name not in set(known))]
        place = {name: number for number, name in enumerate(self.classes)}
        self.place_Y = np.asarray([place[name] for name in labels.classes] + [VOID], dtype=np.int32)  # [-1] is void
        self.counts = PixelCounts(len(self.classes), len(known))
        self.loss = 0.0

    def update(self, outputs: Any, batch: Batch) -> None:
        """See :class:`Metric`: logits (B, C, h, w), or what has some."""
        maps = logits_of(outputs)
        for index, (position, size) in enumerate(zip(batch.positions.tolist(), batch.sizes, strict=True)):
            truth_HW = self.place_Y[self.labels.answers[position].pixels()]
            known_HW = np.where(truth_HW < maps.shape[1], truth_HW, VOID)
            found_HW, loss = np.empty(truth_HW.shape, dtype=np.int64), 0.0
            for rows, logits in bands_on_image(maps, index, size, self.settings.size):
                found_HW[rows] = logits.argmax(0).cpu().numpy()
                known = torch.from_numpy(known_HW[rows]).long().to(logits.device)
                loss += float(functional.cross_entropy(logits[None], known[None], ignore_index=VOID, reduction="sum"))
            self.counts.add(truth_HW, found_HW)
            self.loss += loss / max(1, int((known_HW != VOID).sum()))

    def state(self) -> tuple[Counts, int, float]:
        """See :class:`Metric`."""
        return self.counts.matrix_YC, self.counts.images, self.loss

    def measured(self, states: Sequence[Any]) -> Measured:
        """See :class:`Metric`; the loss is the mean over images of that of their pixels."""
        counts = PixelCounts(*self.counts.matrix_YC.shape).merged([(matrix, images) for matrix, images, _ in states])
        loss = sum(loss for _, _, loss in states) / counts.images
        found = counts.ratios
        miou = found.miou if counts.matrix_YC.any() else 0.0  # nothing is known where all is void
        beside = {"pixel_accuracy": found.accuracy if counts.matrix_YC.any() else 0.0}
        return Measured(miou, loss, counts.images, smoothed=miou, beside=beside)

    def scores(self) -> DictScores:
        """See :class:`Scorer`.

        Raises:
            UsageError: all pixels are void.
        """
        if not self.counts.matrix_YC.any():
            raise UsageError(
                f"every pixel of the {self.counts.images:,} masks is void, so there is nothing to score; "
                "give masks that have a class"
            )
        return DictScores(self.counts.scores(self.classes), Segmentation.shown)


def logits_of(outputs: Any) -> Tensor:
    """Logits (B, C, h, w) of a head's outputs."""
    found: Tensor = outputs if isinstance(outputs, Tensor) else outputs.logits
    return found


def _histogram(mask: Mask, classes: int) -> IntArray:
    """(C,) pixels of each class."""
    pixels = mask.pixels()
    return np.bincount(pixels[pixels >= 0], minlength=classes)
