"""Heads on cached views against running the backbone every epoch, in one run.

python benchmarks/cached_training.py --pool POOL --backbone timm/vit_tiny_patch16_224 --weights FILE

The labelled items' features under a few augmented views are computed once, then heads are trained on them (phases one
and three of the recipe ``fact``). Plainly the frozen backbone would see every image of every epoch. Samples a second of
both, and what an epoch costs, medians of several rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import machine

import activetune
from activetune.base.arrays import NO_INDICES
from activetune.base.runtime import resolve_runtime
from activetune.data.labels import pool_labels
from activetune.networks.frofa import ScopedOperation, parse_augmentation
from activetune.networks.heads import make_head
from activetune.networks.network import Network
from activetune.networks.regression import fit_linear
from activetune.tasks import Crops
from activetune.training.batches import Turn
from activetune.training.head_training import HeadTraining, train_head
from activetune.training.job import Job
from activetune.training.settings import Optimisation
from activetune.training.streams import StreamItems, stream_of
from activetune.training.views import Views, embed_views

VIEWS = 4
CASES = {  # head, what it reads, augmentation, items a step, steps timed
    "linear": ("linear", False, "", 256, 400),
    "logistic": ("logistic", False, "", 256, 400),
    "map": ("map", True, "", 64, 60),
    "map, brightness": ("map", True, "c2frofa:brightness:0.8", 64, 60),
    "map, posterize": ("map", True, "cfrofa:posterize:4", 64, 60),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True, help="with labels")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=int, default=500, help="labelled images")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        job = _job(options, Path(work))
        found = {name: statistics.median(case(job) for _ in range(options.rounds)) for name, case in _cases(job)}
    plain = found.pop("backbone every epoch")
    rows = {
        name: {"samples_per_second": round(value), "times_plain": round(value / plain)} for name, value in found.items()
    }
    content = {
        **machine(),
        "backbone": options.backbone,
        "images": len(job.labels),
        "views": VIEWS,
        "backbone_every_epoch": round(plain, 1),
        "rows": rows,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(content, indent=1))


def _job(options: argparse.Namespace, work: Path) -> Job:
    pool = activetune.open_pool(options.pool)
    drawn = np.random.default_rng(0).permutation(len(pool))[: options.images]
    pool = pool.subset([pool.ids[row] for row in np.sort(drawn)])
    backbone = activetune.load_backbone(options.backbone, options.weights)
    runtime = resolve_runtime()
    backbone.to(runtime.device)
    return Job(pool, pool_labels(pool), NO_INDICES, pool, Network(backbone), runtime, 0, work, quiet=True)


def _cases(job: Job) -> list[tuple[str, Callable[[Job], float]]]:
    """Each gives samples a second."""
    tokens, pooled = (embed_views(job, VIEWS, Crops(), tokens=tokens) for tokens in (True, False))
    found: list[tuple[str, Callable[[Job], float]]] = [("backbone every epoch", _backbone)]
    for name, (kind, reads_tokens, steps, size, count) in CASES.items():
        views = tokens if reads_tokens else Views(pooled.features.float())
        training = HeadTraining(steps=count, batch_size=size)
        found.append((name, _head(kind, views, training, parse_augmentation(steps))))
    found.append(("linear, by L-BFGS", _closed(pooled)))
    return found


def _head(
    kind: str, views: Views, training: HeadTraining, augmentation: Sequence[ScopedOperation]
) -> Callable[[Job], float]:
    def samples_per_second(job: Job) -> float:
        head = make_head(kind, views.features.shape[-1], len(job.labels.classes))
        rows = np.arange(len(job.labels))
        seen = training.steps * len(rows) / -(-len(rows) // training.batch_size)
        started = time.perf_counter()
        train_head(head, views, job.labels.indices, rows, training, augmentation=augmentation, seed=0)
        return seen / (time.perf_counter() - started)

    return samples_per_second


def _closed(views: Views) -> Callable[[Job], float]:
    """L-BFGS passes over all views; its iterations are counted."""
    from sklearn.linear_model import LogisticRegression

    counted: list[int] = []
    original = LogisticRegression.fit

    def fit(self: LogisticRegression, *given: np.ndarray) -> LogisticRegression:
        original(self, *given)
        counted.append(int(self.n_iter_.max()))
        return self

    def samples_per_second(job: Job) -> float:
        features, targets = views.pooled(), job.labels.indices
        LogisticRegression.fit = fit
        started = time.perf_counter()
        fit_linear(features, targets, 100.0)
        seconds = time.perf_counter() - started
        LogisticRegression.fit = original
        return counted[-1] * features.shape[0] * features.shape[1] / seconds

    return samples_per_second


def _backbone(job: Job) -> float:
    """An epoch of augmented images through the frozen backbone, decoding included, at most 256 of them."""
    settings = job.backbone.settings
    images = StreamItems(stream_of(job, Optimisation()), settings, seed=0, crops=Crops())
    count = min(256, len(job.labels))
    started = time.perf_counter()
    for part in np.array_split(np.arange(count), -(-count // 32)):
        batch = torch.stack([images[Turn(0, int(position))].image for position in part])
        with torch.inference_mode(), job.runtime.autocast():
            job.backbone.eval()(batch.to(job.runtime.device))
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
