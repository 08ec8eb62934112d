"""Two backbones side by side: are their features together worth more than those of the better one?

python experiments/pool/ensembles.py --data DIR

ViT-Tiny's features are those of the simulations that ``run.py`` made, ``bundled``'s are computed here. Four ways to
read an image: ViT-Tiny as it is; whitened; both joined, each brought to unit length; both whitened, then joined.
Whitening is learned from the pool's features without labels. Items are picked, and both probes fitted, on the same
features.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from peers import FOLDERS, sides, whole

from activetune.base.arrays import FloatArray
from activetune.data.labels import Labels
from activetune.evaluation.scores import Scores
from activetune.features.artefact import Embeddings
from activetune.features.distances import unit_rows
from activetune.features.embedding import embed
from activetune.selection.select import select
from activetune.studies.simulation.cells import fit_head
from activetune.studies.simulation.scoring import score_head
from activetune.training.recipe import make_recipe

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets, sets_parser

IMAGES = {
    "Caltech-101": ("$DATA/caltech101.zip",),
    "CIFAR-10": ("$OUT/cifar10.parquet", "$OUT/cifar10_test.parquet"),
    "Scenes": ("$OUT/scenes/train", "$OUT/scenes/test"),
}
BUDGETS = {"Caltech-101": (101, 202, 505), "CIFAR-10": (10, 50, 250), "Scenes": (5, 10, 25, 50)}
METHODS, RECIPES = ("random", "activeft"), ("linear_probe", "pool_probe")
SEEDS = 3
SHRINK = 1.0  # of the mean variance, added to each direction's before it is divided by
KEPT = Path(__file__).parent / "results/ensembles.json"


def main() -> None:
    parser = sets_parser(__doc__, IMAGES)
    parser.add_argument("--data", type=Path, default=Path("data"))
    options = parser.parse_args()
    keep_sets(KEPT, options.sets, lambda name: measured(name, options.data, options.out))


def measured(name: str, data: Path, out: Path) -> list[dict[str, Any]]:
    """Top-1 by features, selector, recipe and budget, a list over the seeds."""
    second = bundled(name, data, out)
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for seed in range(SEEDS):
        parts = sides(out / FOLDERS[name], seed)
        for way, pool, test in readings(parts[0], parts[1], second):
            for budget in BUDGETS[name]:
                for method in METHODS:
                    picks = select(pool, budget=budget, method=method, seed=seed, quiet=True).ids
                    for recipe, right in scores(pool, test, picks, seed).items():
                        key = {"set": name, "features": way, "method": method, "recipe": recipe, "budget": budget}
                        row = found.setdefault(tuple(key.values()), {**key, "top1": []})
                        row["top1"].append(right)
                        print(*key.values(), seed, f"{100 * right:.1f}", flush=True)
    return list(found.values())


def bundled(name: str, data: Path, out: Path) -> dict[str, FloatArray]:
    """Features by the bundled network, by item."""
    found: dict[str, FloatArray] = {}
    for place in IMAGES[name]:
        path = place.replace("$DATA", str(data)).replace("$OUT", str(out))
        embeddings = embed(path, backbone="bundled")
        found |= dict(zip(embeddings.ids, whole(embeddings), strict=True))
    return found


def readings(
    pool: Embeddings, test: Embeddings, second: dict[str, FloatArray]
) -> Iterator[tuple[str, Embeddings, Embeddings]]:
    """Pool and test set under each way to read an image."""
    plain = [[whole(side), joined(side, second)] for side in (pool, test)]
    own, other = ([unit_rows(side[place]) for side in plain] for place in (0, 1))
    whitened = [whitened_by(*part) for part in (own, other)]
    ways = {
        "ViT-Tiny": own,
        "ViT-Tiny, whitened": whitened[0],
        "both": [np.hstack(pair) for pair in zip(own, other, strict=True)],
        "both, whitened": [np.hstack(pair) for pair in zip(*whitened, strict=True)],
    }
    for name, (pool_ND, test_ND) in ways.items():
        yield name, replace(pool, features_ND=pool_ND), replace(test, features_ND=test_ND)


def joined(side: Embeddings, by_item: dict[str, FloatArray]) -> FloatArray:
    return np.stack([by_item[item] for item in side.ids])


def whitened_by(pool_ND: FloatArray, test_ND: FloatArray) -> list[FloatArray]:
    """Rows of unit length after every direction has the same variance in the pool."""
    mean = pool_ND.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(pool_ND - mean, rowvar=False))
    turned = directions / np.sqrt(np.maximum(variances, 0) + SHRINK * variances.mean())
    return [unit_rows(((side - mean) @ turned).astype(np.float32)) for side in (pool_ND, test_ND)]


def scores(pool: Embeddings, test: Embeddings, picks: Sequence[str], seed: int) -> dict[str, float]:
    """Top-1 of each recipe that is fitted on features; empty where all labels are of one class."""
    return {name: found.top1 for name, found in probed(pool, test, picks, seed).items()}


def probed(pool: Embeddings, test: Embeddings, picks: Sequence[str], seed: int) -> dict[str, Scores]:
    """All scores of each recipe that is fitted on features; empty where all labels are of one class."""
    names = dict(zip(pool.ids, pool.labels or (), strict=True))
    labels = Labels.of({item: names[item] for item in picks})
    if len(labels.classes) < 2:
        return {}
    heads = {name: fit_head(make_recipe(name, None, {}), pool, labels, seed) for name in RECIPES}
    return {name: score_head(head, labels.classes, test) for name, head in heads.items() if head is not None}


if __name__ == "__main__":
    main()
