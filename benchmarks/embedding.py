"""Throughput of `embed` against the model alone, in one run.

python benchmarks/embedding.py --pool POOL --backbone timm/vit_tiny_patch16_224 --weights FILE

The model alone sees prepared batches again and again; `embed` reads, decodes and prepares every image. Their ratio is
what the pipeline costs. Both are measured in turn, several times, since machines are noisy; medians are compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

import activetune
from activetune.base.runtime import resolve_runtime
from activetune.data.loading import image_loader
from activetune.features.embedding import EmbedOptions, embed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=int, default=2000, help="images of the pool that are used")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", type=int, default=-1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="file for the figures")
    options = parser.parse_args()

    pool = activetune.open_pool(options.pool)
    drawn = np.sort(np.random.default_rng(0).permutation(len(pool))[: options.images])
    pool = pool.subset([pool.ids[row] for row in drawn])
    backbone = activetune.load_backbone(options.backbone, options.weights)
    runtime = resolve_runtime("auto", options.precision)
    settings = EmbedOptions(precision=options.precision, workers=options.workers)
    batch = next(image_loader(pool, backbone.prepare, batch_size=settings.batch_size, workers=0)).images

    alone, whole, bounds = [], [], []
    for _ in range(options.rounds):
        with torch.inference_mode(), runtime.autocast():
            backbone.to(runtime.device)(batch.to(runtime.device))
            started = time.perf_counter()
            for _ in range(max(1, options.images // len(batch) // 2)):
                backbone(batch.to(runtime.device)).float().cpu()
            alone.append(len(batch) * max(1, options.images // len(batch) // 2) / (time.perf_counter() - started))
        with tempfile.TemporaryDirectory() as folder:
            made = embed(pool, backbone=backbone, out=folder, options=settings, use_cache=False, quiet=True)
        whole.append(made.manifest["figures"]["images_per_second"])
        bounds.append(made.manifest["figures"]["bound"])
        print(f"model alone {alone[-1]:.0f}, embed {whole[-1]:.0f} images/s, {bounds[-1]} binds", flush=True)
    figures = {
        "backbone": options.backbone,
        "precision": runtime.precision,
        "pool": options.pool.stem,
        "images": len(pool),
        "model_alone": round(statistics.median(alone), 1),
        "embed": round(statistics.median(whole), 1),
        "ratio": round(statistics.median(w / a for w, a in zip(whole, alone, strict=True)), 3),
        "bound": statistics.mode(bounds),
    }
    print(json.dumps(figures))
    keep_row(options.out, figures, ("backbone", "precision", "pool"))


if __name__ == "__main__":
    main()
