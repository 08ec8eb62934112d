"""A pool with images of classes that nobody labelled: does learning from it do harm?

python experiments/pool/foreign.py

Features, splits and picks are those of the simulations that ``run.py`` made. The same labels are learned with the pool
as it is and with half as many images more, so that a third of it is foreign: images of another set; or classes of the
set itself, the last third of them, of which no label is given and no test image asked. A third case is a small part of
the pool beside so many images of another set that nine in ten are foreign. ``linear_probe``, which reads no pool,
stands beside all.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ensembles import scores
from peers import FOLDERS, sides, whole

from activetune.features.artefact import Embeddings
from activetune.features.embedding import take
from activetune.selection.select import select

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets, sets_parser

OTHERS = {"Caltech-101": "CIFAR-10", "CIFAR-10": "Caltech-101", "CIFAR-10, long tail": "Scenes", "Cells": "CIFAR-10"}
BUDGETS = {
    "Caltech-101": (101, 505),
    "CIFAR-10": (10, 20, 50, 250),
    "CIFAR-10, long tail": (10, 20, 50),
    "Cells": (6, 15, 30),
}
SHOTS = {"Caltech-101": (1, 5), "CIFAR-10": (1, 2, 5, 25)}  # of the classes that are known
FLOODED = {"Caltech-101": (101,), "CIFAR-10": (10, 20, 50), "Cells": (6, 15, 30)}  # where nine in ten are foreign
METHODS, SEEDS = ("random", "activeft"), 3
KEPT = Path(__file__).parent / "results/foreign.json"


def main() -> None:
    options = sets_parser(__doc__, OTHERS).parse_args()
    keep_sets(
        KEPT,
        options.sets,
        lambda name: [row for case in cases(name, options.out) for row in measured(name, *case)],
    )


def cases(name: str, out: Path) -> Iterator[tuple[str, int, Embeddings, Embeddings, Embeddings, tuple[int, ...]]]:
    """What is foreign, the seed, the set's own pool and test set, the foreign images, and the budgets."""
    for seed in range(SEEDS):
        pool, test = sides(out / FOLDERS[name], seed)
        rng = np.random.default_rng([seed, 37])
        other, _ = sides(out / FOLDERS[OTHERS[name]], seed)
        yield "another set", seed, pool, test, drawn(other, len(pool) // 2, rng), BUDGETS[name]
        if name in FLOODED:
            apart = np.random.default_rng([seed, 41])
            few = drawn(pool, len(other) // 9, apart)
            yield "another set, nine in ten", seed, few, test, drawn(other, 9 * len(few), apart), FLOODED[name]
        if name not in SHOTS:
            continue
        names = sorted({str(label) for label in pool.labels or ()})
        unknown = set(names[2 * len(names) // 3 :])
        own, strange = parted(pool, unknown)
        asked, _ = parted(test, unknown)
        budgets = tuple(shots * (len(names) - len(unknown)) for shots in SHOTS[name])
        yield "classes without a label", seed, own, asked, drawn(strange, len(own) // 2, rng), budgets


def parted(side: Embeddings, classes: set[str]) -> tuple[Embeddings, Embeddings]:
    """The items of all other classes, and those of these."""
    inside = [str(label) in classes for label in side.labels or ()]
    return (
        take(side, [item for item, hit in zip(side.ids, inside, strict=True) if not hit]),
        take(side, [item for item, hit in zip(side.ids, inside, strict=True) if hit]),
    )


def drawn(side: Embeddings, count: int, rng: np.random.Generator) -> Embeddings:
    """Some of the items, at random; all where there are no more."""
    return take(side, [side.ids[position] for position in np.sort(rng.permutation(len(side))[:count])])


def measured(
    name: str,
    kind: str,
    seed: int,
    pool: Embeddings,
    test: Embeddings,
    foreign: Embeddings,
    budgets: tuple[int, ...],
) -> Iterator[dict[str, Any]]:
    """One row per selector and budget: top-1 without the pool, with it, and with the foreign images in it."""
    both = replace(
        pool,
        ids=[*pool.ids, *(f"foreign/{item}" for item in foreign.ids)],
        labels=[*(pool.labels or ()), *(foreign.labels or ())],
        features_ND=np.concatenate([whole(pool), whole(foreign)]),
    )
    for budget in budgets:
        for method in METHODS:
            picks = select(pool, budget=budget, method=method, seed=seed, quiet=True).ids
            alone, with_foreign = (scores(side, test, picks, seed) for side in (pool, both))
            if not alone:
                continue
            row = {"set": name, "foreign": kind, "method": method, "budget": budget, "seed": seed}
            top1 = {**alone, "with_foreign": with_foreign["pool_probe"]}
            print(*row.values(), len(pool), len(foreign), *(f"{100 * one:.1f}" for one in top1.values()), flush=True)
            yield {**row, **top1, "share": round(len(foreign) / len(both), 3)}


if __name__ == "__main__":
    main()
