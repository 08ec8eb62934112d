"""Heads on cached views against running the backbone every epoch, in one run, task by task.

python benchmarks/cached_training.py --pool POOL --backbone timm/vit_tiny_patch16_224 --weights FILE
python benchmarks/cached_training.py --task segmentation --pool POOL --labels MASKS --backbone …@352x464 --weights FILE

The labelled items' features under a few augmented views are computed once, then heads are trained on them (the frozen
recipes, phases one and three of the recipe ``fact``). Plainly the frozen backbone would see every image of every epoch.
Images per second of both and of the model alone, on images that are prepared already: medians of several rounds. A
task's figures take the place of its earlier ones in --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import machine

import activetune
from activetune.base.arrays import NO_INDICES
from activetune.base.runtime import resolve_runtime
from activetune.data.labels import in_order
from activetune.networks.frofa import parse_augmentation
from activetune.networks.heads import Head
from activetune.networks.imbalance import Imbalance
from activetune.networks.network import Network
from activetune.networks.regression import fit_linear
from activetune.tasks import Crops, Task, task_of
from activetune.training.batches import Turn
from activetune.training.dense_heads import DenseLesson
from activetune.training.head_training import ClassLesson, HeadTraining, train_head
from activetune.training.job import Job
from activetune.training.settings import Optimisation
from activetune.training.streams import StreamItems, stream_of
from activetune.training.views import Views, embed_views

VIEWS = 4
# By task: the head, augmentation, items per step, steps timed.
CASES: dict[str, dict[str, tuple[str, str, int, int]]] = {
    "classification": {
        "linear": ("linear", "", 256, 400),
        "logistic": ("logistic", "", 256, 400),
        "map": ("map", "", 64, 60),
        "map, brightness": ("map", "c2frofa:brightness:0.8", 64, 60),
        "map, posterize": ("map", "cfrofa:posterize:4", 64, 60),
    },
    "multilabel": {"linear": ("linear", "", 256, 400), "map": ("map", "", 64, 60)},
    "segmentation": {
        "linear": ("linear", "", 32, 60),
        "segmenter": ("segmenter", "", 32, 20),
        "mask2former": ("mask2former", "", 8, 4),
    },
    "detection": {"fcos": ("fcos", "", 16, 12), "detr": ("detr", "", 16, 12)},
    "captioning": {"lstm": ("lstm", "", 32, 8), "transformer": ("transformer", "", 32, 8)},
}
ON_POOLED = "linear, by L-BFGS"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", choices=CASES, default="classification")
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--labels", type=Path, help="default: the pool's own")
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--images", type=int, default=500, help="labelled images, at most")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        job = _job(options, Path(work))
        cases = _cases(job)
        rounds = [{name: case(job) for name, case in cases} for _ in range(options.rounds)]
        found = {name: statistics.median(one[name] for one in rounds) for name, _ in cases}
        images = len(job.labels)
    plain, alone = found.pop("backbone every epoch"), found.pop("model alone")
    row = {
        **machine(),
        "backbone": options.backbone,
        "images": images,
        "views": VIEWS,
        "model_alone": round(alone, 1),
        "backbone_every_epoch": round(plain, 1),
        "heads": {
            name: {"images_per_second": round(value, 1), "times_plain": round(value / plain, 3)}
            for name, value in found.items()
        },
    }
    tasks = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else {}
    tasks[options.task] = row
    options.out.write_text(json.dumps(tasks, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(row, indent=1))


def _job(options: argparse.Namespace, work: Path) -> Job:
    whole, task = activetune.open_pool(options.pool), task_of(options.task, None)
    labels = task.labels_of(options.labels, whole)
    drawn = np.random.default_rng(0).permutation(len(labels))[: options.images]
    labels = in_order(labels, [labels.ids[row] for row in np.sort(drawn)])
    backbone = activetune.load_backbone(options.backbone, options.weights)
    runtime = resolve_runtime()
    backbone.to(runtime.device)
    given: Mapping[str, Any] = {"quiet": True, "task": task}
    return Job(whole.subset(labels.ids), labels, NO_INDICES, whole, Network(backbone), runtime, 0, work, **given)


def _cases(job: Job) -> list[tuple[str, Callable[[Job], float]]]:
    """Each gives images per second."""
    found: list[tuple[str, Callable[[Job], float]]] = [("model alone", _alone), ("backbone every epoch", _backbone)]
    kept: dict[tuple[Task, bool], Views] = {}
    for name, (kind, steps, size, count) in CASES[job.task.name].items():
        own = replace(job, task=task_of(job.task.name, kind))
        which = own.task, own.task.head_class(kind).reads != "pooled"
        if which not in kept:
            kept[which] = embed_views(own, VIEWS, Crops(), tokens=which[1])
        found.append((name, _head(kind, kept[which], size, count, steps)))
    if job.task.name == "classification":
        found.append((ON_POOLED, _closed(kept[job.task, False])))
    return found


def _head(kind: str, views: Views, size: int, steps: int, augmentation: str) -> Callable[[Job], float]:
    training = HeadTraining(steps=steps, batch_size=size)

    def images_per_second(job: Job) -> float:
        rows = np.arange(len(job.labels))
        head: Head = job.task.head(job.backbone, job.labels, kind)
        head.adapt(views.features)
        lesson: ClassLesson | DenseLesson
        if job.task.placed:
            lesson = DenseLesson(job.task, job.strata, 0.0, views)
        else:
            lesson = ClassLesson(job.targets, len(job.labels.classes), rows, Imbalance(), 0.1, views, job.strata)
        seen = steps * len(rows) / -(-len(rows) // size)
        started = time.perf_counter()
        train_head(head, views, lesson, rows, training, augmentation=parse_augmentation(augmentation), seed=0)
        return seen / (time.perf_counter() - started)

    return images_per_second


def _closed(views: Views) -> Callable[[Job], float]:
    """L-BFGS passes over all views; its iterations are counted."""
    from sklearn.linear_model import LogisticRegression

    counted: list[int] = []
    original = LogisticRegression.fit

    def fit(self: LogisticRegression, *given: np.ndarray) -> LogisticRegression:
        original(self, *given)
        counted.append(int(self.n_iter_.max()))
        return self

    def images_per_second(job: Job) -> float:
        features, targets = views.pooled(), job.targets
        LogisticRegression.fit = fit
        started = time.perf_counter()
        fit_linear(features, targets, 100.0)
        seconds = time.perf_counter() - started
        LogisticRegression.fit = original
        return float(counted[-1] * features.shape[0] * features.shape[1] / seconds)

    return images_per_second


def _backbone(job: Job) -> float:
    """An epoch of augmented images through the frozen backbone, decoding included, at most 256 of them."""
    started = time.perf_counter()
    count = sum(_through(job, batch) for batch in _batches(job))
    return count / (time.perf_counter() - started)


def _alone(job: Job) -> float:
    """The backbone on images that are prepared already."""
    batches = list(_batches(job))
    started = time.perf_counter()
    count = sum(_through(job, batch) for batch in batches)
    return count / (time.perf_counter() - started)


def _batches(job: Job) -> Iterator[torch.Tensor]:
    images = StreamItems(stream_of(job, Optimisation()), job.backbone.settings, seed=0, crops=Crops())
    count = min(256, len(job.labels))
    for part in np.array_split(np.arange(count), -(-count // 32)):
        yield torch.stack([images[Turn(0, int(position))].image for position in part])


def _through(job: Job, batch: torch.Tensor) -> int:
    with torch.inference_mode(), job.runtime.autocast():
        job.backbone.eval()(batch.to(job.runtime.device))
    return len(batch)


if __name__ == "__main__":
    main()
