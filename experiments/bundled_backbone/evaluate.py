"""Step 3: the figures of the model card, for the bundled backbone, its teacher and a random network.

python experiments/bundled_backbone/evaluate.py --caltech caltech101.zip --weights VIT_TINY.safetensors

Caltech-101, 10 training and 10 test images per class drawn by seed; logistic regression with C = 100 on features of
unit length. Speed: the model alone, batches of 64, the precision that `auto` takes.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from activetune.evaluation.statistics import mean_and_spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

import activetune
from activetune.base.runtime import resolve_runtime
from activetune.features.distances import unit_rows
from activetune.features.embedding import EmbedOptions, embed
from activetune.networks.backbones import Backbone
from activetune.networks.regression import fit_linear


def probe(embeddings: activetune.Embeddings, seed: int) -> float:
    """Top-1 of one draw of 10 + 10 images per class."""
    rng = np.random.default_rng(seed)
    names = np.asarray(embeddings.labels)
    classes, truth = np.unique(names, return_inverse=True)
    drawn = [rng.permutation(np.flatnonzero(truth == number))[:20] for number in range(len(classes))]
    training = np.concatenate([rows[:10] for rows in drawn])
    test = np.concatenate([rows[10:] for rows in drawn])
    features = unit_rows(embeddings.features_ND)
    head = fit_linear(features[training], truth[training], 100.0)
    return float((head.logits(features[test]).argmax(axis=1) == truth[test]).mean())


def speed(backbone: Backbone, precision: str, images: int = 1024) -> float:
    """Images a second of the network alone, the best of three."""
    runtime = resolve_runtime("cpu", precision)
    batch = torch.randint(0, 256, (64, 3, *backbone.settings.size), dtype=torch.uint8)
    seconds = []
    with torch.inference_mode(), runtime.autocast():
        backbone(batch)
        for _ in range(3):
            started = time.perf_counter()
            for _ in range(images // 64):
                backbone(batch)
            seconds.append(time.perf_counter() - started)
    return images / min(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--caltech", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True, help="the teacher's")
    options = parser.parse_args()

    whole = activetune.open_pool(options.caltech)
    rng = np.random.default_rng(0)
    names = np.asarray(whole.labels)
    some = np.concatenate([rng.permutation(np.flatnonzero(names == name))[:30] for name in np.unique(names)])
    pool = whole.subset([whole.ids[row] for row in np.sort(some)])
    torch.manual_seed(0)
    networks = {
        "bundled": activetune.load_backbone("bundled"),
        "bundled, random weights": activetune.load_backbone("bundled", pretrained=False),
        "ViT-Tiny (teacher)": activetune.load_backbone("timm/vit_tiny_patch16_224", options.weights),
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, backbone in networks.items():
        embeddings = embed(pool, backbone=backbone, options=EmbedOptions(dtype="float32"), quiet=True)
        top1 = [probe(embeddings, seed) for seed in range(5)]
        rows[name] = {"top1": [round(value, 4) for value in top1]}
        print(f"{name:<24} {mean_and_spread(top1, digits=3)}", flush=True)
    for precision in ("fp32", "auto"):
        rows["bundled"][f"images_per_second_{precision}"] = round(speed(networks["bundled"], precision))
    print(rows["bundled"])
    (Path(__file__).parent / "results.json").write_text(json.dumps({**machine(), "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
