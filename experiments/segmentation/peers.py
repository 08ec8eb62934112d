"""torchvision's own segmentation heads on the same frozen backbone, trained on frames that ``run.py`` picked.

python experiments/segmentation/peers.py --weights DIR

Heads, loss and training are those of torchvision's reference script (references/segmentation/train.py): 30 epochs of
SGD, learning rate 0.01 falling with power 0.9, momentum 0.9, weight decay 1e-4, batches of 8, random crops at one to
two times the size, flips. Frames are prepared and scored by this package; masks are learned from at every second pixel.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from activetune.base.torchvision_ import import_torchvision
from activetune.data.kinds import VOID
from activetune.data.labels import Labels, in_order
from activetune.data.loading import read_usable
from activetune.data.pool import Pool
from activetune.networks.backbones import Backbone
from activetune.tasks import Batch, Crops, Sample, make_task
from activetune.tasks.segmentation import Segmentation

sys.path.insert(0, str(Path(__file__).parents[1]))
from torchvision_peers import Peers, as_maps, main

EPOCHS, BATCH, LR = 30, 8, 0.01


def trained(kind: str, backbone: Backbone, pool: Pool, labels: Labels, picks: list[str], seed: int) -> nn.Module:
    """One of torchvision's heads, trained on the picked frames."""
    import_torchvision()
    from torchvision.models.segmentation.deeplabv3 import DeepLabHead
    from torchvision.models.segmentation.fcn import FCNHead

    torch.manual_seed(seed)
    make = {"fcn": FCNHead, "deeplabv3": DeepLabHead}[kind]
    head = make(backbone.token_size, len(labels.classes)).train()
    chosen, answers = pool.subset(picks), in_order(labels, picks)
    images = [read_usable(chosen, position) for position in range(len(chosen))]
    task = Segmentation(stride=2)
    optimiser = torch.optim.SGD(head.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4)
    batches = -(-len(picks) // BATCH)
    schedule = torch.optim.lr_scheduler.PolynomialLR(optimiser, EPOCHS * batches, power=0.9)
    crops = Crops(min_crop=0.25, flip=0.5)  # a window of a quarter of the area: the frame at twice its size
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(picks)).split(BATCH):
            if len(rows) < 2:  # batch norm on a single frame
                continue
            samples = []
            for row in rows.tolist():
                found = task.transform(images[row], task.target(answers, row), backbone.settings, crops)
                samples.append(Sample(*found, row, (images[row].height, images[row].width)))
            batch = task.collate(samples)
            with torch.no_grad():
                maps = as_maps(backbone, batch.images)
            logits = functional.interpolate(head(maps), size=batch.targets.shape[1:], mode="bilinear")
            loss = functional.cross_entropy(logits, batch.targets.long(), ignore_index=VOID)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return head.eval()


def scoring(backbone: Backbone, pool: Pool, labels: Labels) -> Callable[[nn.Module], dict[str, float]]:
    """What scores a head on a test set, at the masks' own resolution; the backbone runs once for all heads."""
    task, found = make_task("segmentation"), []
    for position in range(len(pool)):
        image = read_usable(pool, position)
        with torch.inference_mode():
            maps = as_maps(backbone, task.transform(image, None, backbone.settings, None)[0][None])
        found.append((maps, (image.height, image.width)))

    def scored(head: nn.Module) -> dict[str, float]:
        scorer = task.scorer(in_order(labels, pool.ids), backbone.settings, labels.classes)
        for position, (maps, size) in enumerate(found):
            with torch.inference_mode():
                scorer.update(head(maps), Batch.untaught([position], [size]))
        return scorer.scores().as_dict()

    return scored


PEERS = Peers(
    task="segmentation",
    data="camvid",
    labels="masks",
    simulation="here-camvid-linear-frozen",
    budget="10%",
    backbone="timm/vit_tiny_patch16_224@352x464",
    kinds=("fcn", "deeplabv3"),
    scores=("miou", "pixel_accuracy"),
    train=trained,
    scoring=scoring,
    kept=Path(__file__).parent / "results/peers.json",
)

if __name__ == "__main__":
    main(PEERS, __doc__.splitlines()[0])
