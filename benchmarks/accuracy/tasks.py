"""What is compared: images and splits, backbones, budgets, selectors.

Nothing is chosen by looking at a test set. Shape legend: N items, D feature size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import activetune

Sides = tuple[activetune.Pool, list[str], activetune.Pool, list[str]]

ALONE = (
    *("random", "k_center", "k_means", "typiclust", "probcover", "max_herding", "usl", "bilaf", "rep_div"),
    *("activeft", "activeft:power=1", "activeft:tail", "activeft:paper", "activeft:released"),
)
ROUNDS = (
    *("auto", "coreset", "least_confidence", "margin", "entropy", "bald", "badge", "learn_loss", "vaal", "ta_vaal"),
    *("alfa_mix", "drop_query", "uncertainty_herding", "uncertainty_medoids"),
)


@dataclass(frozen=True)
class Task:
    """One pool and test set under one backbone.

    Attributes:
        sides: opens them below a folder of data sets; the seed is for a pool or a split that is itself drawn.
        drawn: whether each seed has a pool of its own, and, where it is held out of the same images, a test set. One
            draw for all seeds would hide what another changes (a point on Caltech-101; in a small class luck decides
            much), and a method without any randomness would show no spread.
    """

    sides: Callable[[Path, int], Sides]
    backbone: str
    budgets: tuple[str, ...]
    drawn: bool = False

    def runs(self, seeds: int) -> list[list[int]]:
        """The seeds that share a pool."""
        return [[seed] for seed in range(seeds)] if self.drawn else [list(range(seeds))]


def caltech101(data: Path, seed: int) -> Sides:
    """Ids sorted, shuffled by ``default_rng(seed)``: the first 70 % are the pool, the rest is the test set."""
    pool = activetune.open_pool(data / "caltech101.zip")
    order = np.random.default_rng(seed).permutation(sorted(pool.ids)).tolist()
    cut = round(0.7 * len(order))
    return pool, order[:cut], pool, order[cut:]


def cifar10(data: Path, seed: int) -> Sides:
    """All 50,000 training images are the pool; the official test set."""
    pool, test = (activetune.open_pool(data / "cifar10" / f"{part}.parquet") for part in ("train", "test"))
    return pool, list(pool.ids), test, list(test.ids)


def cifar10_lt(data: Path, seed: int) -> Sides:
    """Class c of 0 ... 9 keeps 5,000 / 100^(c / 9) images, drawn by ``default_rng(seed)``; the test is balanced."""
    pool, _, test, tests = cifar10(data, seed)
    rng = np.random.default_rng(seed)
    kept: list[int] = []
    for number, name in enumerate(sorted(set(map(str, pool.labels or ())))):
        rows = np.flatnonzero(np.asarray(pool.labels) == name)
        kept += rng.choice(rows, round(len(rows) * 100 ** (-number / 9)), replace=False).tolist()
    return pool, [pool.ids[row] for row in sorted(kept)], test, tests


def _tasks() -> dict[str, Task]:
    shares, counts = ("0.5%", "1%", "2%"), ("120", "300", "600")
    vit, bundled = "timm/vit_tiny_patch16_224", "bundled"
    return {
        "caltech101-vit": Task(caltech101, vit, counts, drawn=True),
        "caltech101-bundled": Task(caltech101, bundled, counts, drawn=True),
        "cifar10-lt-vit": Task(cifar10_lt, vit, shares, drawn=True),
        "cifar10-vit": Task(cifar10, vit, shares),
        "cifar10-lt-bundled": Task(cifar10_lt, bundled, shares, drawn=True),
        "cifar10-bundled": Task(cifar10, bundled, shares),
    }


TASKS = _tasks()
