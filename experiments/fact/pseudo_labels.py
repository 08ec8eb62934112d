"""Attention pooling on labels and pseudo-labels, on a frozen and on a tuned backbone: see README.md beside this file.

python experiments/fact/pseudo_labels.py --data DIR --weights vit_tiny_patch16_224.safetensors

A pool of 4,000 images of CIFAR-10, random labels of each class, ViT-Tiny, one view per image, top-1 on 1,000 test
images. The pseudo-labels are those that ``pool_fact`` would take from these features. Every head learns from the same
items with the same weights; ``true labels`` are of these items too. A cell is one JSON file in --work, so a run can be
cut off and begun again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from activetune.evaluation.metrics import accuracy
from activetune.evaluation.statistics import mean_and_spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

import activetune
from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.base.runtime import resolve_runtime
from activetune.data.labels import Labels, in_order, pool_labels
from activetune.data.pool import Pool
from activetune.networks.backbones import Backbone
from activetune.networks.frofa import ScopedOperation, parse_augmentation
from activetune.networks.heads import ClassHead, make_class_head
from activetune.networks.imbalance import PLAIN, cross_entropy
from activetune.networks.network import Network
from activetune.networks.regression import LinearHead, fit_linear
from activetune.recipes.linear_probe import LinearProbe
from activetune.recipes.pool_fact import PoolFact
from activetune.recipes.pool_probe import PoolProbe
from activetune.tasks import Crops
from activetune.training.head_choice import ATTENTION
from activetune.training.head_training import ClassLesson, HeadTraining, head_logits, train_head
from activetune.training.job import Job
from activetune.training.pool_regression import PoolRegression
from activetune.training.views import Views, embed_views

BACKBONE = "timm/vit_tiny_patch16_224"
SHOTS = (25, 5)
AUGMENTED = {"": "", ", brightness c² 0.1": "c2frofa:brightness:0.1", ", brightness c² 0.3": "c2frofa:brightness:0.3"}
RESULTS = Path(__file__).parent / "results" / "pseudo_labels.json"


@dataclass(frozen=True)
class Lesson:
    """What a head learns: classes of the pool's items, how much each counts, and the rows that are gone over."""

    classes_N: IntArray
    weights_N: FloatArray
    rows: IntArray


class WeightedLesson(ClassLesson):
    """Classes of items, some of which count less."""

    def __init__(self, lesson: Lesson, classes: int, smoothing: float, views: Views):
        super().__init__(lesson.classes_N, classes, lesson.rows, PLAIN, smoothing, views)
        self.weights_N = torch.from_numpy(lesson.weights_N).float()

    def targets(self, rows: IntArray, views: IntArray) -> Tensor:
        """See :class:`ClassLesson`; the weights are one column more."""
        return torch.cat([super().targets(rows, views), self.weights_N[rows, None].to(self.device)], dim=1)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See :class:`ClassLesson`: the weighted mean."""
        answers_BC, weights_B = targets[:, :-1], targets[:, -1]
        losses_B = cross_entropy(outputs, answers_BC, self.added_C, self.smoothing, reduction="none")
        return (losses_B * weights_B).sum() / weights_B.sum()


@dataclass(frozen=True)
class Given:
    """The pool with its true classes, and the images that score."""

    pool: Pool
    truth: Labels
    test: Pool
    weights: Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with cifar10/")
    parser.add_argument("--weights", type=Path, required=True, help="vit_tiny_patch16_224.safetensors")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tuned", type=int, default=0, help="so many seeds on backbones that `fact` has tuned too")
    parser.add_argument("--pool", type=int, default=4000, help="images of the pool")
    parser.add_argument("--test", type=int, default=1000, help="images that score")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--work", type=Path, default=Path("build/fact/pseudo_labels"))
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    given = _given(options)
    for seed in range(options.seeds):
        for shots in SHOTS:
            for backbone in ("frozen", "fact")[: 2 if seed < options.tuned else 1]:
                path = options.work / f"{backbone}-{shots}-{seed}.json"
                if not path.is_file():
                    path.write_text(json.dumps(_measured(backbone, given, shots, seed, options), indent=1) + "\n")
    _collect(options)


def _given(options: argparse.Namespace) -> Given:
    train = activetune.open_pool(options.data / "cifar10" / "train.parquet")
    test = activetune.open_pool(options.data / "cifar10" / "test.parquet")
    pool = train.subset(np.random.default_rng(0).permutation(train.ids)[: options.pool].tolist())
    scored = np.random.default_rng(1).permutation(sorted(test.ids))[: options.test].tolist()
    return Given(pool, in_order(pool_labels(pool), pool.ids), test.subset(scored), options.weights)


def _measured(backbone: str, given: Given, shots: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Top-1 of every head on the same items."""
    rng = np.random.default_rng([seed, 200])
    indices = given.truth.indices
    drawn = [rng.permutation(np.flatnonzero(indices == one))[: max(SHOTS)] for one in np.unique(indices)]
    labelled = np.sort(np.concatenate([rows[:shots] for rows in drawn]))
    if backbone == "frozen":
        seen_by, own, work = activetune.load_backbone(BACKBONE, given.weights), None, options.work / "frozen"
    else:
        work = options.work / f"{backbone}-{shots}-{seed}"
        seen_by, own = _tuned(backbone, given, labelled, seed, work)
    work.mkdir(exist_ok=True)
    views, seen = (_tokens(pool, seen_by, work) for pool in (given.pool, given.test))
    cell: dict[str, Any] = {"top1": {}}
    truth = np.asarray([str(name) for name in given.test.labels or ()])
    for row, found in _heads(views, indices, labelled, own, seed, options.steps):
        if isinstance(found, dict):
            cell |= found
            continue
        if isinstance(found, LinearHead):
            logits = found.logits(seen.pooled()[0])
        else:
            logits = head_logits(found, seen, np.arange(len(truth)))
        cell["top1"][row] = accuracy(np.asarray(given.truth.classes)[logits.argmax(1)], truth)
        print(f"{backbone}, seed {seed}, {shots} labels per class, {row}: {100 * cell['top1'][row]:.1f}", flush=True)
    if own is not None:
        for path in work.glob("views-*"):
            path.unlink()
    return cell


def _tuned(recipe: str, given: Given, labelled: IntArray, seed: int, out: Path) -> tuple[Backbone, LinearHead]:
    """The backbone that a recipe has tuned on the labels, and its own head."""
    answers = {given.truth.ids[row]: given.truth.names[row] for row in labelled}
    options: dict[str, Any] = {"backbone": BACKBONE, "weights": given.weights, "recipe": recipe, "seed": seed}
    model = activetune.finetune(given.pool, labels=answers, out=out / "model", resume=True, quiet=True, **options)
    assert list(model.classes) == list(given.truth.classes)
    return model.backbone, LinearHead.read_from(model.network.classifier())


def _tokens(pool: Pool, backbone: Backbone, work: Path) -> Views:
    labels = Labels.of(dict.fromkeys(pool.ids, "a"), ["a", "b"])  # read by nothing here
    job = Job(pool, labels, NO_INDICES, pool, Network(backbone), resolve_runtime(), 0, work, quiet=True)
    return embed_views(job, 1, Crops(), tokens=True)


def _heads(
    views: Views, truth_N: IntArray, labelled: IntArray, own: LinearHead | None, seed: int, steps: int
) -> Iterator[tuple[str, Any]]:
    """The heads row by row, and what there is to tell of the pseudo-labels.

    Args:
        own: the head that labels have taught on this backbone already; None fits a linear probe.
    """
    features_ND, classes, recipe = views.pooled()[0], len(np.unique(truth_N)), PoolFact()
    taught = truth_N[labelled]
    label_head = own or LinearProbe().fit_on_features(features_ND, labelled, taught, held_out=NO_INDICES, seed=seed)
    assert label_head is not None
    regression = PoolRegression(features_ND, labelled, taught, classes, recipe.pool, PLAIN, seed=seed)
    alpha, probe_share = recipe.pool.alphas[0], recipe.pool.probe_shares[0]
    every = np.arange(len(labelled))
    pseudo_labels = regression.propagation.pseudo_label(every, label_head, alpha, probe_share)
    free = np.setdiff1d(np.arange(len(truth_N)), labelled)
    pseudo = recipe.pseudo.draw(pseudo_labels, free, seed, features_ND=features_ND, head=label_head)
    right = float((pseudo_labels.classes_N[pseudo] == truth_N[pseudo]).mean())
    yield "pseudo-labels", {"pseudo_labels": len(pseudo), "right": right}
    oversampled = recipe.pseudo.oversampled(labelled, pseudo)
    lessons = {
        "labels": Lesson(truth_N, np.ones(len(truth_N)), labelled),
        "pseudo-labels": Lesson(pseudo_labels.classes_N, pseudo_labels.certainty_N, oversampled),
        "true labels": Lesson(truth_N, np.ones(len(truth_N)), oversampled),
    }
    yield "linear, labels", label_head
    if own is None:
        probe = PoolProbe().fit_on_features(features_ND, labelled, taught, held_out=NO_INDICES, seed=seed)
        yield "linear, pool", probe
    else:
        yield "linear, pool", regression.fit_pool_probe(pseudo_labels, every)
    for name, lesson in lessons.items():
        if name != "labels":
            yield f"linear, {name}", _linear(features_ND, lesson, classes, recipe.pool.strength)
        for suffix, steps_of in AUGMENTED.items():
            if suffix and name != "pseudo-labels":  # frofa.py has them on labels alone
                continue
            augmentation = parse_augmentation(steps_of) if steps_of else ()
            yield f"map, {name}{suffix}", _attention(views, lesson, classes, augmentation, seed, steps)


def _linear(features_ND: FloatArray, lesson: Lesson, classes: int, strength: float) -> LinearHead:
    rows, times = np.unique(lesson.rows, return_counts=True)
    weights = lesson.weights_N[rows] * times
    return fit_linear(features_ND[rows], lesson.classes_N[rows], strength, classes=classes, weights_L=weights)


def _attention(
    views: Views, lesson: Lesson, classes: int, augmentation: tuple[ScopedOperation, ...], seed: int, steps: int
) -> ClassHead:
    training = HeadTraining(steps=steps)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = make_class_head(ATTENTION, views.features.shape[-1], classes)
    head.adapt(views.features[:, np.unique(lesson.rows)])
    weighted = WeightedLesson(lesson, classes, training.label_smoothing, views)
    train_head(head, views, weighted, lesson.rows, training, augmentation=augmentation, seed=seed)
    return head


def _collect(options: argparse.Namespace) -> None:
    """Keep the cells beside this file, and print them as a table."""
    found: dict[str, dict[str, Any]] = {}
    for backbone in ("frozen", "fact"):
        for shots in SHOTS:
            paths = [options.work / f"{backbone}-{shots}-{seed}.json" for seed in range(options.seeds)]
            cells = [json.loads(path.read_text()) for path in paths if path.is_file()]
            if cells:
                rows = {row: [cell["top1"][row] for cell in cells] for row in cells[0]["top1"]}
                others = {name: [cell[name] for cell in cells] for name in ("pseudo_labels", "right")}
                found.setdefault(backbone, {})[str(shots)] = {"top1": rows, **others}
    content = {**machine(), "pool": options.pool, "test": options.test, "steps": options.steps, "cells": found}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for backbone, by_shots in found.items():
        for count, cell in by_shots.items():
            for row, values in cell["top1"].items():
                print(f"| {backbone} | {count} | {row} | {mean_and_spread(values, factor=100)} |")


if __name__ == "__main__":
    main()
