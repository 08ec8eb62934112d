"""Objects by their boxes: the loss of the head, chosen by COCO's mean average precision (mAP).

Images and boxes are prepared together (``_canvas.py``). Heads learn corners in shares of the canvas; a box of which a
random window shows less than a pixel is left out of that view. Crowds teach nothing, and in
scoring they excuse what lies in them.
Shape legend: B images of a batch, K objects of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import UsageError
from activetune.base.torchvision_ import import_torchvision
from activetune.data.kinds import Boxes, Detections
from activetune.data.labels import Labels
from activetune.data.presence import Presence, rarest
from activetune.evaluation.agreement import agreement_of_boxes
from activetune.evaluation.boxes import BoxScorer
from activetune.evaluation.dict_scores import DictScores
from activetune.evaluation.doubt import Doubt, presence_of_boxes
from activetune.evaluation.metrics import Measured
from activetune.networks.backbones import ImageSettings
from activetune.networks.boxes import BoxTarget
from activetune.networks.heads import Room, heads
from activetune.networks.imbalance import Imbalance
from activetune.networks.loss import Loss
from activetune.tasks._augmentation import Crops
from activetune.tasks._base import Task
from activetune.tasks._batch import Batch, Sample
from activetune.tasks._canvas import Fit, Size, fitted, varied
from activetune.tasks._forms import CocoResults, Form
from activetune.tasks._forms.coco_results import DRAWN
from activetune.tasks._scorer import Metric

PRIMARY = "map"


@dataclass(frozen=True)
class Detection(Task):
    """Objects by their boxes."""

    name: ClassVar[str] = "detection"
    reading: ClassVar[str] = (
        "boxes times the input's width and height, divided by the scale that the image was resized with, are pixels of "
        "the image; then they are cut off at its border, and a box of which nothing is left is no object"
    )
    room: ClassVar[Room] = "boxes"
    placed: ClassVar[bool] = True
    smooths: ClassVar[bool] = False
    agrees_by: ClassVar[str] = "F1 of boxes at an IoU of 0.5"
    shown: ClassVar[Mapping[str, str]] = {
        "map": "mAP",
        "map50": "mAP at IoU 0.5",
        "map75": "mAP at IoU 0.75",
        "ar": "mean recall (AR)",
    }

    def refusal(self, labels: Labels[Boxes]) -> str:
        """See :class:`Task`: there must be an object that is no crowd."""
        if any((~answer.crowd_K).any() for answer in labels.answers):
            return ""
        return f"none of the {len(labels):,} labelled images shows an object; label some that do"

    def target(self, labels: Labels[Boxes], position: int) -> tuple[Tensor, Tensor]:
        """See :class:`Task`: corners (K, 4) in pixels, and class indices (K,)."""
        answer = labels.answers[position]
        place = {name: number for number, name in enumerate(labels.classes)}
        kept = np.flatnonzero(~answer.crowd_K)
        numbers = torch.tensor([place[answer.names[row]] for row in kept], dtype=torch.int64)
        return torch.from_numpy(answer.xyxy_K4[kept]), numbers

    def transform(
        self, image: Image.Image, target: Any, settings: ImageSettings, crops: Crops | None
    ) -> tuple[Tensor, BoxTarget | None]:
        """See :class:`Task`: corners in shares of the canvas."""
        import_torchvision()
        from torchvision import tv_tensors

        boxes = None
        if target is not None:
            size = (image.height, image.width)
            boxes = tv_tensors.BoundingBoxes(target[0], format="XYXY", canvas_size=size)  # type: ignore[call-arg]
        pixels, moved = fitted(image, boxes, settings) if crops is None else varied(image, boxes, settings, crops)
        if target is None or moved is None:
            return pixels, None
        corners, numbers = moved.as_subclass(Tensor).float(), target[1]
        visible = ((corners[:, 2:] - corners[:, :2]) >= 1).all(dim=1)
        height, width = settings.size
        shares = corners / torch.tensor([width, height, width, height])
        return pixels, BoxTarget(xyxy=shares[visible], classes=numbers[visible])

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """See :class:`Task`: a target per image, a unit is an image."""
        return Batch.of(samples, [sample.target for sample in samples])

    def head_kinds(self) -> list[str]:
        """See :class:`Task`: FCOS first, which learns from few images."""
        return sorted(heads(self.room), key=lambda kind: kind != "fcos")

    def prepared(
        self,
        labels: Labels,
        positions: IntArray,
        options: Imbalance,
        *,
        smoothing: float = 0.0,
        weights_L: FloatArray | None = None,
    ) -> Detection:
        """See :class:`Task`.

        Raises:
            UsageError: ``logit_adjustment``, which boxes have no logits for.
        """
        if options.logit_adjustment:
            raise UsageError(
                "logit_adjustment is for classes of whole images or pixels; detection has balance alone: leave it out"
            )
        return self

    def loss(self, outputs: Any, batch: Batch) -> Loss:
        """See :class:`Task`: that of the head."""
        found: Loss = outputs.loss(batch.targets)
        return found

    def decode(
        self, outputs: Any, sizes: Sequence[Size], settings: ImageSettings, classes: Sequence[str]
    ) -> list[Detections]:
        """See :class:`Task`: boxes in pixels of the images, the surest first."""
        answers = []
        for found, size in zip(outputs.decode(), sizes, strict=True):
            fit = Fit.of(size, settings.size)
            side = [size[1] * settings.size[1] / fit.width, size[0] * settings.size[0] / fit.height]
            corners = found.xyxy_K4.float().cpu().numpy() * np.asarray(side * 2)
            corners = np.clip(corners, 0, [size[1], size[0]] * 2)
            real = ((corners[:, 2:] - corners[:, :2]) > 0).all(axis=1)
            names = [classes[number] for number in found.classes_K.cpu().numpy()[real].tolist()]
            scores = found.scores_K.float().cpu().numpy()[real]
            answers.append(Detections.of(corners[real].tolist(), names, scores.tolist()))
        return answers

    def doubt(self, outputs: Any, sizes: Sequence[Size], settings: ImageSettings, classes: Sequence[str]) -> Doubt:
        """See :class:`Task`: the surest box of each class tells its presence."""
        found = outputs.decode()
        return Doubt.of_presence(
            [
                presence_of_boxes(one.scores_K.float().cpu().numpy(), one.classes_K.cpu().numpy(), len(classes))
                for one in found
            ]
        )

    def settled(self, answer: Detections) -> Boxes:
        """See :class:`Task`: the boxes that pictures show."""
        kept = answer.scores_K >= DRAWN
        names = [name for name, sure in zip(answer.boxes.names, kept, strict=True) if sure]
        return Boxes.of(answer.boxes.xyxy_K4[kept].tolist(), names)

    def agreement(self, truth: Boxes, answer: Boxes, classes: Sequence[str], known: Sequence[str]) -> float:
        """See :class:`Task`."""
        return agreement_of_boxes(truth, answer)

    def form(self, classes: Sequence[str]) -> Form:
        """See :class:`Task`."""
        return CocoResults(classes)

    @property
    def primary(self) -> str:
        """See :class:`Task`."""
        return PRIMARY

    def metric(self, labels: Labels[Boxes], settings: ImageSettings) -> Metric:
        """See :class:`Task`."""
        return BoxMetric(self, labels, settings, labels.classes)

    def scorer(self, labels: Labels[Boxes], settings: ImageSettings, known: Sequence[str]) -> BoxMetric:
        """See :class:`Task`."""
        return BoxMetric(self, labels, settings, known)

    def strata(self, labels: Labels[Boxes]) -> IntArray:
        """See :class:`Task`: the rarest class that an image shows; images without an object have one of their own."""
        return rarest(Presence.of(labels, labels.ids).shown_NC)


class BoxMetric(Metric):
    """mAP over the images' own pixels; beside it that at an overlap of a half.

    Args:
        known: names of the model's classes; an object of another class can't be found.
    """

    def __init__(self, task: Detection, labels: Labels[Boxes], settings: ImageSettings, known: Sequence[str]):
        self.task, self.labels, self.settings, self.known = task, labels, settings, list(known)
        self.boxes = BoxScorer(known)

    def update(self, outputs: Any, batch: Batch) -> None:
        """See :class:`Metric`."""
        answers = self.task.decode(outputs, batch.sizes, self.settings, self.known)
        for position, answer in zip(batch.positions.tolist(), answers, strict=True):
            self.boxes.add(self.labels.ids[position], self.labels.answers[position], answer)

    def state(self) -> Any:
        """See :class:`Metric`."""
        return self.boxes.state()

    def measured(self, states: Sequence[Any]) -> Measured:
        """See :class:`Metric`; what is missing of an mAP of 1 stands for the loss."""
        found = BoxScorer.of(states).scores()
        value = float(found["map"])
        return Measured(value, 1 - value, found["n"], smoothed=value, beside={"map50": found["map50"]})

    def scores(self) -> DictScores:
        """See :class:`Scorer`."""
        return DictScores({"primary": PRIMARY, **self.boxes.scores()}, self.task.shown)
