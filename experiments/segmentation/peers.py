"""torchvision's own segmentation heads on the same frozen backbone, trained on frames that ``run.py`` picked.

python experiments/segmentation/peers.py --weights DIR

Heads, loss and training are those of torchvision's reference script (references/segmentation/train.py): 30 epochs of
SGD, learning rate 0.01 falling with power 0.9, momentum 0.9, weight decay 1e-4, batches of 8, random crops at one to
two times the size, flips. Frames are prepared and scored by this package; masks are learned from at every second pixel.
The rows stand in results.csv in --out, as those of ``activetune simulate`` do.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from activetune import open_pool
from activetune.base.torchvision_ import import_torchvision
from activetune.data.kinds import VOID
from activetune.data.labels import Labels, in_order
from activetune.data.loading import read_usable
from activetune.data.pool import Pool
from activetune.networks.backbones import Backbone, load_backbone
from activetune.tasks import Batch, Crops, Sample, make_task
from activetune.tasks.segmentation import Segmentation

sys.path.insert(0, str(Path(__file__).parents[1]))
from picks import random_picks

EPOCHS, BATCH, LR = 30, 8, 0.01
BACKBONE = "timm/vit_tiny_patch16_224@352x464"
COLUMNS = ("method", "recipe", "budget", "seed", "miou", "pixel_accuracy", "train_seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--out", type=Path, default=Path("build/segmentation"), help="of pools.py and run.py")
    parser.add_argument("--budget", default="10%")
    options = parser.parse_args()
    backbone = load_backbone(BACKBONE, options.weights / "vit_tiny_patch16_224.safetensors").eval()
    task = make_task("segmentation")
    sides = {}
    for part in ("train", "test"):
        pool = open_pool(options.out / "camvid" / part / "images")
        sides[part] = pool, task.labels_of(options.out / "camvid" / part / "masks", pool)
    test_maps = maps_of(backbone, sides["test"][0])
    folder = options.out / "here-camvid-torchvision"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed, picks in enumerate(random_picks(options.out / "here-camvid-linear-frozen", options.budget)):
        for kind in ("fcn", "deeplabv3"):
            started = time.perf_counter()
            head = trained(kind, backbone, *sides["train"], picks, seed)
            seconds = time.perf_counter() - started
            scores = scored(head, backbone, test_maps, *sides["test"])
            rows.append((kind, "head", options.budget, seed, scores["miou"], scores["pixel_accuracy"], round(seconds)))
            print(*rows[-1], flush=True)
            with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([COLUMNS, *rows])


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


def as_maps(backbone: Backbone, images: Tensor) -> Tensor:
    """(B, D, H, W) of images (B, 3, H, W)."""
    return backbone.grid.as_map(backbone.all_tokens(images)).permute(0, 3, 1, 2)


def maps_of(backbone: Backbone, pool: Pool) -> list[tuple[Tensor, tuple[int, int]]]:
    """The backbone's map of each frame of a pool, and the frame's size."""
    task, found = make_task("segmentation"), []
    for position in range(len(pool)):
        image = read_usable(pool, position)
        with torch.inference_mode():
            maps = as_maps(backbone, task.transform(image, None, backbone.settings, None)[0][None])
        found.append((maps, (image.height, image.width)))
    return found


def scored(
    head: nn.Module, backbone: Backbone, maps: list[tuple[Tensor, tuple[int, int]]], pool: Pool, labels: Labels
) -> dict[str, float]:
    """The mIoU and pixel accuracy at the masks' own resolution."""
    scorer = make_task("segmentation").scorer(in_order(labels, pool.ids), backbone.settings, labels.classes)
    for position, (one, size) in enumerate(maps):
        with torch.inference_mode():
            scorer.update(head(one), Batch.untaught([position], [size]))
    return scorer.scores().as_dict()


if __name__ == "__main__":
    main()
