"""Step 2: distil the teacher into ``resnet10t`` and teach it rendered glyphs on the way; resumes by itself.

``--backbone`` takes another network of timm, or one of Vision-LSTM (``vil_tiny``); ``--stages`` another schedule;
``--glyphs 0`` photographs alone. The defaults make the bundled backbone.

python experiments/bundled_backbone/train.py --images IMAGES.parquet --weights VIT_TINY.safetensors

Loss on a photograph: 4 (1 - cos(student projection, centred teacher feature)) + KL(teacher's 1,000-way softmax).
Loss on a glyph: cross-entropy over the character classes. Both kinds share every batch, and so the normalisation's
statistics. The resolution grows in stages (64, 80, 96 px), the learning rate falls on one cosine.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from glyphs import CLASSES, distort, render
from safetensors.torch import load_file, save_file
from torch import nn
from views import cut, decode_parquet

from activetune.networks.backbones.timm_ import create_network

BUNDLED = "resnet10t"
STAGES = ("64:12", "80:8", "96:6")  # pixels:epochs
PHOTOGRAPHS, GLYPHS = 128, 32  # a batch
PEAK_LR, WEIGHT_DECAY, WARMUP_STEPS = 2e-3, 0.05, 300
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


class Student(nn.Module):
    """The backbone and the three linear maps that only training needs."""

    def __init__(self, backbone: str, teacher_dim: int, teacher_classes: int):
        super().__init__()
        self.backbone = create_network(backbone, pretrained=False, options={}).train()
        width: int = vars(self.backbone).get(
            "head_hidden_size", self.backbone.num_features
        )  # of what the classifier gets
        self.projection = nn.Linear(width, teacher_dim)
        self.classifier = nn.Linear(width, teacher_classes)
        self.characters = nn.Linear(width, len(CLASSES))


def jitter(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Flip half of the images; vary brightness and contrast by up to 30 %; make one in eight grey."""
    batch = len(images)
    flip, grey, gain, offset = torch.rand(4, batch, 1, 1, 1, generator=generator)
    images = torch.where(flip < 0.5, images.flip(-1), images)
    images = torch.where(grey < 0.125, images.mean(1, keepdim=True), images)
    mean = images.mean((1, 2, 3), keepdim=True)
    varied: torch.Tensor = (images - mean) * (0.7 + 0.6 * gain) + mean * (0.7 + 0.6 * offset)
    return varied.clamp(0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, default=Path("build/bundled_backbone/teacher.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("build/bundled_backbone"))
    parser.add_argument("--backbone", default=BUNDLED, help="timm's name of the network that is trained, or vil_tiny")
    parser.add_argument("--glyphs", type=int, default=GLYPHS, help="of each batch, beside 128 photographs")
    parser.add_argument("--stages", nargs="+", default=STAGES, metavar="PIXELS:EPOCHS")
    parser.add_argument("--lr", type=float, default=PEAK_LR, help="the highest learning rate")
    options = parser.parse_args()

    images, _ = decode_parquet(options.images)
    teacher = load_file(options.teacher)
    features, boxes = teacher["features"].float(), teacher["boxes"]
    centre = features.mean((0, 1))
    weights = load_file(options.weights)
    head_weight, head_bias = weights["head.weight"], weights["head.bias"]
    glyphs, characters = render() if options.glyphs else (torch.empty(0), torch.empty(0))
    print(f"{len(images)} photographs x {len(features)} views, {len(glyphs)} glyphs", flush=True)

    torch.manual_seed(0)
    student = Student(options.backbone, features.shape[-1], len(head_weight)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    decayed = [p for p in student.parameters() if p.ndim > 1]
    plain = [p for p in student.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}], lr=options.lr
    )
    steps_an_epoch = len(images) // PHOTOGRAPHS
    stages = [tuple(map(int, stage.split(":"))) for stage in options.stages]
    sizes = [size for size, epochs in stages for _ in range(epochs)]
    total = len(sizes) * steps_an_epoch
    warm_up = min(WARMUP_STEPS, max(1, total // 10))

    checkpoint = options.out / "student.pt"
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        student.load_state_dict(state["student"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["epoch"]

    for epoch in range(first, len(sizes)):
        generator = torch.Generator().manual_seed(epoch)
        order = torch.randperm(len(images), generator=generator)
        started, sums = time.time(), torch.zeros(3)
        student.train()
        for step in range(steps_an_epoch):
            done = epoch * steps_an_epoch + step
            scale = min(1, (done + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * done / total))
            for group in optimiser.param_groups:
                group["lr"] = options.lr * scale
            batch = order[step * PHOTOGRAPHS : (step + 1) * PHOTOGRAPHS]
            view = torch.randint(len(features), (PHOTOGRAPHS,), generator=generator)
            target = features[view, batch]
            photographs = cut(images[batch].float() / 255, boxes[view, batch], sizes[epoch], mode="bilinear")
            drawn = torch.randint(max(1, len(glyphs)), (options.glyphs,), generator=generator)
            pictures = jitter(photographs, generator)
            if options.glyphs:
                pictures = torch.cat([pictures, distort(glyphs[drawn], sizes[epoch], generator)])
            pictures = ((pictures - MEAN) / STD).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16):
                pooled = student.backbone(pictures)
            pooled = pooled.float()
            projected = student.projection(pooled[:PHOTOGRAPHS])
            distance = 1 - F.cosine_similarity(projected, target - centre).mean()
            wanted = F.softmax(target @ head_weight.T + head_bias, dim=1)
            divergence = F.kl_div(
                F.log_softmax(student.classifier(pooled[:PHOTOGRAPHS]), dim=1), wanted, reduction="batchmean"
            )
            reading = torch.zeros(())
            if options.glyphs:
                reading = F.cross_entropy(student.characters(pooled[PHOTOGRAPHS:]), characters[drawn])
            optimiser.zero_grad(set_to_none=True)
            (4 * distance + divergence + 0.5 * reading).backward()
            nn.utils.clip_grad_norm_(student.parameters(), 5.0)
            optimiser.step()
            sums += torch.tensor([distance.item(), divergence.item(), reading.item()])
        distance, divergence, reading = (sums / steps_an_epoch).tolist()
        print(
            f"epoch {epoch + 1}/{len(sizes)} {sizes[epoch]} px: cosine distance {distance:.4f}, KL {divergence:.3f}, "
            f"glyphs {reading:.3f}, {time.time() - started:.0f} s",
            flush=True,
        )
        torch.save(
            {"student": student.state_dict(), "optimiser": optimiser.state_dict(), "epoch": epoch + 1}, checkpoint
        )

    backbone = {
        name: value.half().contiguous() if value.is_floating_point() else value
        for name, value in student.backbone.state_dict().items()
    }
    name = "bundled" if options.backbone == BUNDLED else options.backbone
    save_file(backbone, options.out / f"{name}.safetensors", metadata={"timm": options.backbone})


if __name__ == "__main__":
    main()
