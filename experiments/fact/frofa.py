"""Frozen feature augmentation on the pretrained backbone's tokens, by labels per class: see README.md beside this file.

python experiments/fact/frofa.py --data DIR --weights vit_tiny_patch16_224.safetensors

CIFAR-10, random labels, ViT-Tiny, one view per image, 400 steps, top-1 on 2,000 test images. Every strength is shown
and none chosen. A linear probe on the same features stands beside them.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from activetune.evaluation.metrics import accuracy
from activetune.evaluation.statistics import mean_and_spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

import activetune
from activetune.base.arrays import NO_INDICES
from activetune.base.runtime import resolve_runtime
from activetune.data.labels import Labels, pool_labels
from activetune.data.pool import Pool
from activetune.networks.frofa import parse_augmentation
from activetune.networks.network import Network
from activetune.tasks import Crops
from activetune.training.head_choice import Candidate, LightHeads
from activetune.training.head_training import HeadTraining, head_logits
from activetune.training.job import Job
from activetune.training.views import embed_views

SHOTS = (1, 5, 10, 25)
STEPS = {
    "map": "",
    **{f"{scope}:brightness:{v}": f"{scope}:brightness:{v}" for scope in ("frofa", "cfrofa") for v in (0.1, 0.5)},
    **{f"c2frofa:brightness:{v}": f"c2frofa:brightness:{v}" for v in (0.1, 0.3, 0.5, 1)},
    **{f"c2frofa:contrast:{v}": f"c2frofa:contrast:{v}" for v in (1.25, 2, 4)},
    **{f"cfrofa:posterize:{v}": f"cfrofa:posterize:{v}" for v in (2, 4, 6)},
    "brightness then posterize": "c2frofa:brightness:0.3 + cfrofa:posterize:4",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10/")
    parser.add_argument("--weights", type=Path, required=True, help="vit_tiny_patch16_224.safetensors")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "frofa.json")
    options = parser.parse_args()
    train = activetune.open_pool(options.data / "cifar10" / "train.parquet")
    test = activetune.open_pool(options.data / "cifar10" / "test.parquet")
    test = test.subset(np.random.default_rng(1).permutation(sorted(test.ids))[:2000].tolist())
    names = np.asarray([str(name) for name in train.labels or ()])
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as work:
        seen, truth = _tokens(test, options.weights, Path(work)), np.asarray([str(name) for name in test.labels or ()])
        for seed in range(options.seeds):
            rng = np.random.default_rng([seed, 200])
            drawn = [rng.permutation(np.flatnonzero(names == name))[: max(SHOTS)] for name in np.unique(names)]
            for shots in SHOTS:
                pool = train.subset([train.ids[row] for rows in drawn for row in rows[:shots]])
                labels = pool_labels(pool)
                views = _tokens(pool, options.weights, Path(work))
                training = HeadTraining(steps=options.steps)
                heads = LightHeads(views, labels.indices, len(labels.classes), training, seed=seed)
                for row, steps in {"linear": None, **STEPS}.items():
                    kind = "linear" if steps is None else "map"
                    candidate = Candidate(kind, parse_augmentation(steps) if steps else ())
                    head = heads.fit(candidate, np.arange(len(labels)), 100.0)
                    logits = head_logits(head, seen, np.arange(len(test)))
                    top1 = accuracy(np.asarray(labels.classes)[logits.argmax(1)], truth)
                    found.setdefault(row, {}).setdefault(str(shots), []).append(top1)
                    print(f"seed {seed}, {shots} shots, {row}: {100 * top1:.1f}", flush=True)
    content = {**machine(), "steps": options.steps, "top1": found}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for row, by_shots in found.items():
        cells = " | ".join(mean_and_spread(values, factor=100) for values in by_shots.values())
        print(f"| {row} | {cells} |")


def _tokens(pool: Pool, weights: Path, work: Path):
    backbone = activetune.load_backbone("timm/vit_tiny_patch16_224", weights)
    labels = Labels.of(dict.fromkeys(pool.ids, "a"), ["a", "b"])  # read by nothing here
    job = Job(pool, labels, NO_INDICES, pool, Network(backbone), resolve_runtime(), 0, work, quiet=True)
    return embed_views(job, 1, Crops(), tokens=True)


if __name__ == "__main__":
    main()
