"""torchvision's own FCOS on the same frozen backbone, trained on images that ``run.py`` picked.

python experiments/detection/peers.py --weights DIR

Head, loss, matching and training are those of torchvision's reference script (references/detection/train.py): 26 epochs
of SGD, momentum 0.9, weight decay 1e-4, batches of 2, a learning rate of 0.01 per 16 images that rises over the first
epoch and falls tenfold after 16 and 22, and flips. It reads one map, as a plain ViT gives no pyramid. Boxes are scored
by this package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from activetune.base.torchvision_ import import_torchvision
from activetune.data.kinds import Boxes, Detections
from activetune.data.labels import Labels
from activetune.data.loading import read_usable
from activetune.data.pool import Pool
from activetune.evaluation.boxes import BoxScorer
from activetune.networks.backbones import Backbone
from activetune.networks.boxes import nms

sys.path.insert(0, str(Path(__file__).parents[1]))
from torchvision_peers import Peers, as_maps, main

EPOCHS, BATCH, LR, STEPS = 26, 2, 0.01 / 8, (16, 22)


class Frozen(nn.Module):
    """The backbone as torchvision's detectors read one: a map of features, and their number."""

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone, self.out_channels = [backbone], backbone.token_size  # in a list: no parameter of the detector

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        (backbone,) = self.backbone
        with torch.no_grad():
            return {"0": as_maps(backbone, images)}


def trained(kind: str, backbone: Backbone, pool: Pool, labels: Labels[Boxes], picks: list[str], seed: int) -> nn.Module:
    """A detector, trained on the picked images."""
    import_torchvision()
    from torchvision.models.detection import fcos
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    fcos.box_ops.batched_nms = nms  # theirs does not load beside a torch without CUDA

    torch.manual_seed(seed)
    settings = backbone.settings
    height, width = settings.size
    detector = fcos.FCOS(
        Frozen(backbone),
        len(labels.classes),
        min_size=height,
        max_size=width,
        image_mean=list(settings.mean),
        image_std=list(settings.std),
        anchor_generator=AnchorGenerator(sizes=((16,),), aspect_ratios=((1.0,),)),
    ).train()
    data = [read(pool, labels, item) for item in picks]
    optimiser = torch.optim.SGD(detector.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, STEPS, gamma=0.1)
    batches = -(-len(picks) // BATCH)
    warm = torch.optim.lr_scheduler.LinearLR(optimiser, 1e-3, total_iters=batches)
    for epoch in range(EPOCHS):
        for rows in torch.randperm(len(picks)).split(BATCH):
            images, targets = zip(*(flipped(*data[row]) for row in rows.tolist()), strict=True)
            loss = sum(detector(list(images), list(targets)).values())
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            if epoch == 0:
                warm.step()
        schedule.step()
    return detector.eval()


def read(pool: Pool, labels: Labels[Boxes], item: str) -> tuple[Tensor, dict[str, Tensor]]:
    """An image in [0, 1], and its boxes as torchvision takes them."""
    answer = labels.answers[labels.ids.index(item)]
    place = {name: number for number, name in enumerate(labels.classes)}
    pixels_HWC = np.array(read_usable(pool, pool.position[item]))
    image = torch.from_numpy(pixels_HWC).permute(2, 0, 1).float() / 255
    numbers = torch.tensor([place[name] for name in answer.names], dtype=torch.int64)
    return image, {"boxes": torch.from_numpy(answer.xyxy_K4).float(), "labels": numbers}


def flipped(image: Tensor, target: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The same, or its mirror image."""
    if torch.rand(()).item() < 0.5:
        return image, target
    boxes = target["boxes"].clone()
    boxes[:, [0, 2]] = image.shape[-1] - boxes[:, [2, 0]]
    return image.flip(-1), {**target, "boxes": boxes}


def scoring(backbone: Backbone, pool: Pool, labels: Labels[Boxes]) -> Callable[[nn.Module], dict[str, Any]]:
    """What scores a detector on a test set."""

    def scored(detector: nn.Module) -> dict[str, Any]:
        scorer = BoxScorer(labels.classes)
        for item, truth in zip(labels.ids, labels.answers, strict=True):
            image, _ = read(pool, labels, item)
            with torch.inference_mode():
                (found,) = detector([image])
            names = [labels.classes[number] for number in found["labels"].tolist()]
            scorer.add(item, truth, Detections.of(np.asarray(found["boxes"]).tolist(), names, found["scores"].tolist()))
        return scorer.scores()

    return scored


PEERS = Peers(
    task="detection",
    data="bccd",
    labels="labels",
    simulation="here-bccd-fcos",
    budget="50%",
    backbone="timm/vit_tiny_patch16_224@288x384",
    kinds=("fcos",),
    scores=("map", "map50", "map75", "ar"),
    train=trained,
    scoring=scoring,
    kept=Path(__file__).parent / "results/peers.json",
)

if __name__ == "__main__":
    main(PEERS, __doc__.splitlines()[0])
