"""ActiveFT's picks in the middle of their groups, or the most typical items of them: which teach more?

python experiments/pool/typical.py --data DIR --weights vit_tiny_patch16_224.safetensors

From how many items per pick on the most typical one is the better (the setting ``typical`` of ``activeft``) was chosen
on CIFAR-10. Both probes, ViT-Tiny and the bundled network, on budgets of 90 to 2,500 items per pick. Of Tiny-ImageNet
ten pools are made, of ten classes each, 70 % of their images; the rest is scored on.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ensembles import probed
from peers import whole

from activetune.features.artefact import Embeddings
from activetune.features.distances import unit_rows
from activetune.features.embedding import embed, take
from activetune.selection.problem import Evidence
from activetune.selection.selectors.activeft import ActiveFT

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets, sets_parser

TENS = "Tiny-ImageNet, ten classes"
SETS = {
    "CIFAR-10": (("$OUT/cifar10.parquet", "$OUT/cifar10_test.parquet"), (5, 10, 20, 30, 50, 100)),
    "CIFAR-10, long tail": (("$OUT/cifar10_lt.parquet", "$OUT/cifar10_test.parquet"), (5, 10, 20, 30, 50, 100)),
    "Cells": (("$OUT/cells/train", "$OUT/cells/test"), (3, 6, 10, 15, 30)),
    TENS: (("$DATA/tiny_imagenet_100.parquet",), (2, 3, 4, 7, 14)),
}
SEEDS, TEN = 3, 10
KEPT = Path(__file__).parent / "results/typical.json"


def main() -> None:
    parser = sets_parser(__doc__, SETS)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weights", type=Path, required=True, help="vit_tiny_patch16_224.safetensors")
    options = parser.parse_args()
    places = {"$DATA": str(options.data), "$OUT": str(options.out)}
    keep_sets(
        KEPT,
        options.sets,
        lambda name: [
            *measured(name, "ViT-Tiny", "timm/vit_tiny_patch16_224", options.weights, places),
            *measured(name, "bundled", "bundled", None, places),
        ],
    )


def measured(name: str, told: str, backbone: str, weights: Path | None, places: dict[str, str]) -> list[dict[str, Any]]:
    """One row per budget, kind of picks and probe; by draw, its scores."""
    paths, budgets = SETS[name]
    for mark, folder in places.items():
        paths = tuple(path.replace(mark, folder) for path in paths)
    parts = [embed(path, backbone=backbone, weights=weights) for path in paths]
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for seed, pool, test in draws(name, parts):
        for budget in budgets:
            for kind, typical in (("middle", 0), ("typical", 1)):
                for probe, scored in probed(pool, test, picked(pool, budget, typical, seed), seed).items():
                    scores = {"top1": scored.top1, "balanced_accuracy": scored.balanced_accuracy}
                    key = {"set": name, "features": told, "items": len(pool), "budget": budget, "picks": kind}
                    row = found.setdefault((*key.values(), probe), {**key, "probe": probe})
                    for score, value in scores.items():
                        row.setdefault(score, {})[str(seed)] = round(value, 4)
                    print(*key.values(), probe, seed, *scores.values(), flush=True)
    return list(found.values())


def draws(name: str, parts: Sequence[Embeddings]) -> Iterator[tuple[int, Embeddings, Embeddings]]:
    """A number, a pool and its test set: the same for three seeds, or one of ten classes after the other."""
    if name != TENS:
        yield from ((seed, parts[0], parts[1]) for seed in range(SEEDS))
        return
    labels = np.asarray([str(label) for label in parts[0].labels or ()])
    names = np.random.default_rng(5).permutation(np.unique(labels))
    for seed in range(len(names) // TEN):
        mine = np.flatnonzero(np.isin(labels, names[TEN * seed : TEN * (seed + 1)]))
        order = [parts[0].ids[row] for row in np.random.default_rng(seed).permutation(mine)]
        cut = round(0.7 * len(order))
        yield seed, take(parts[0], sorted(order[:cut])), take(parts[0], sorted(order[cut:]))


def picked(pool: Embeddings, budget: int, typical: int, seed: int) -> list[str]:
    """Ids of the picks."""
    evidence = Evidence(unit_rows(whole(pool)))
    picks = ActiveFT(typical=typical).select(evidence, budget, np.random.default_rng(seed))
    return [pool.ids[position] for position in picks.positions]


if __name__ == "__main__":
    main()
