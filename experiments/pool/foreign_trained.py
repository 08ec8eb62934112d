"""A pool of which a third shows what nobody labelled: does ``pool_fact`` end below what labels alone teach?

python experiments/pool/foreign_trained.py --data DIR

The bundled backbone on images of 64 px, ActiveFT's picks of the pool as it is, three seeds. ``fact``, which reads no
pool, stands beside ``pool_fact`` without a student on the pool as it is and on the same pool with half as many images
of another set. At one budget a student is trained too. Models are kept in --out: a run that is cut off goes on.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import activetune

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets, sets_parser

BACKBONE, SEEDS = "bundled@64", 3
SETS = {  # pool, test set, the other set, and budgets; the middle one has students
    "Cells": ("cells/train", "cells/test", "cifar10.parquet", (6, 15, 30)),
    "CIFAR-10": ("cifar10.parquet", "cifar10_test.parquet", "caltech101.zip", (10, 50, 100)),
}
NO_STUDENT: dict[str, Any] = {"turns": 0}
STUDENT: dict[str, Any] = {"student_augment": "none"}
KEPT = Path(__file__).parent / "results/foreign_trained.json"


def main() -> None:
    parser = sets_parser(__doc__, SETS)
    parser.add_argument("--data", type=Path, required=True, help="holds caltech101.zip")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    keep_sets(KEPT, options.sets, lambda name: measured(name, options.data, options.out, options.seeds))


def measured(name: str, data: Path, out: Path, seeds: int) -> Iterator[dict[str, Any]]:
    """One row per budget, seed and recipe: top-1 on the test set, and the stage that the pilot stopped at."""
    own, test, other, budgets = SETS[name]
    place = out / "foreign" / name
    pool, scored = activetune.open_pool(out / own), out / test
    foreign = activetune.open_pool((data if other.endswith(".zip") else out) / other)
    mixed = with_foreign(pool, foreign, place / "mixed")
    embeddings = activetune.embed(pool, backbone=BACKBONE, out=place / "embeddings", resume=True, quiet=True)
    answers = dict(zip(pool.ids, pool.labels or (), strict=True))
    for seed in range(seeds):
        for budget in budgets:
            picks = activetune.select(embeddings, budget=budget, method="activeft", seed=seed, quiet=True).ids
            labels = {item: answers[item] for item in picks}
            asked: list[tuple[str, Any, dict[str, Any]]] = [("fact", pool, {})]
            for settings in [NO_STUDENT, STUDENT] if budget == budgets[1] else [NO_STUDENT]:
                asked += [("pool_fact", pool, settings), ("pool_fact", mixed, settings)]
            for recipe, given, settings in asked:
                images = "own" if given is pool else "mixed"
                told = f"{recipe}{'-student' if settings == STUDENT else ''}-{images}"
                folder = place / f"{told}-{budget}-{seed}"
                common: dict[str, Any] = {"out": folder, "resume": True, "quiet": True, "backbone": BACKBONE}
                model = activetune.finetune(given, labels=labels, recipe=recipe, settings=settings, seed=seed, **common)
                top1 = activetune.evaluate(model, scored, quiet=True).value
                figures = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["figures"]
                stage = figures.get("stage", "")
                print(name, budget, seed, told, f"{100 * top1:.1f}", stage, flush=True)
                row = {"set": name, "budget": budget, "seed": seed, "recipe": told.rsplit("-", 1)[0], "pool": images}
                yield {**row, "top1": top1, "stage": stage}


def with_foreign(pool: activetune.Pool, other: activetune.Pool, folder: Path) -> activetune.Pool:
    """A folder of the pool's images, under their ids, and of half as many images of another one."""
    if not folder.is_dir():
        drawn = np.random.default_rng(43).permutation(len(other))[: len(pool) // 2]
        foreign = [f"foreign/{hashlib.sha1(other.ids[number].encode()).hexdigest()}.png" for number in drawn]
        for side, rows, names in ((pool, range(len(pool)), pool.ids), (other, drawn, foreign)):
            for row, item in zip(rows, names, strict=True):
                path = folder / item
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(side.read(int(row)))
    return activetune.open_pool(folder, quiet=True)


if __name__ == "__main__":
    main()
