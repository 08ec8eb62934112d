"""Step 1: the teacher's features of several crops of every training image, once, to a file.

python experiments/bundled_backbone/teacher.py --images IMAGES.parquet --weights VIT_TINY.safetensors

With ``--embeddings FOLDER`` they are those that ``activetune embed`` has made: one view, the middle of each image.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from views import cut, decode_parquet, random_boxes

import activetune
from activetune.base.torchvision_ import import_torchvision

import_torchvision()
import timm  # noqa: E402  (timm imports torchvision)

SIZE = 224  # pixels that the teacher sees


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--embeddings", type=Path, help="the folder that `activetune embed` made of the images")
    parser.add_argument("--out", type=Path, default=Path("build/bundled_backbone/teacher.safetensors"))
    options = parser.parse_args()

    if options.embeddings:
        _take_over(options)
        return
    images, labels = decode_parquet(options.images)
    boxes = random_boxes(len(images), options.views, seed=0)
    teacher = timm.create_model("vit_tiny_patch16_224")
    teacher.load_state_dict(load_file(options.weights))
    teacher.eval()

    features = torch.empty(options.views, len(images), teacher.num_features, dtype=torch.float16)
    started, done = time.time(), 0
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for view in range(options.views):
            for batch in torch.arange(len(images)).split(64):
                crops = cut(images[batch].float() / 255, boxes[view, batch], SIZE)
                tokens = teacher.forward_features((crops - 0.5) / 0.5)
                features[view, batch] = teacher.forward_head(tokens, pre_logits=True).half()
                done += len(batch)
            print(f"view {view}: {done} crops, {done / (time.time() - started):.0f} a second", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"features": features, "boxes": boxes, "labels": labels}, options.out)


def _take_over(options: argparse.Namespace) -> None:
    """Write features of view 0 that are there already, with the box of each image that they were made of."""
    embeddings, pool = activetune.load_embeddings(options.embeddings), activetune.open_pool(options.images)
    rows = [embeddings.position[item] for item in pool.ids]
    features = torch.from_numpy(embeddings.features_ND[rows]).half()[None]
    scaled = int(SIZE / float(embeddings.manifest["transform"]["crop_pct"]))
    boxes = torch.tensor([0.0, 0.0, SIZE / scaled, SIZE / scaled]).expand(1, len(rows), 4)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_file({"features": features.contiguous(), "boxes": boxes.contiguous()}, options.out)


if __name__ == "__main__":
    main()
