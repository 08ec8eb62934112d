"""ActiveFT's picks in the middle of their groups, or the most typical items of them: which teach more?

python experiments/pool/typical.py --data DIR --weights vit_tiny_patch16_224.safetensors

From how many items per pick on the most typical one is the better (the setting ``typical`` of ``activeft``) was chosen
on CIFAR-10. Both probes, ViT-Tiny and the bundled network, on budgets of 90 to 2,500 items per pick.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ensembles import scores

from activetune.features.artefact import Embeddings
from activetune.features.distances import unit_rows
from activetune.features.embedding import embed
from activetune.selection.problem import Evidence
from activetune.selection.selectors.activeft import ActiveFT

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets

SETS = {
    "CIFAR-10": ("cifar10.parquet", "cifar10_test.parquet", (5, 10, 20, 30, 50, 100)),
    "CIFAR-10, long tail": ("cifar10_lt.parquet", "cifar10_test.parquet", (5, 10, 20, 30, 50, 100)),
    "Cells": ("cells/train", "cells/test", (3, 6, 10, 15, 30)),
}
SEEDS = 3
KEPT = Path(__file__).parent / "results/typical.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, help="vit_tiny_patch16_224.safetensors")
    parser.add_argument("--out", type=Path, default=Path("build/pool"), help="of pools.py")
    parser.add_argument("--sets", default=";".join(SETS), help="names with semicolons between")
    options = parser.parse_args()
    backbones = {"ViT-Tiny": ("timm/vit_tiny_patch16_224", options.weights), "bundled": ("bundled", None)}
    keep_sets(
        KEPT,
        options.sets.split(";"),
        lambda name: [
            row
            for told, (backbone, weights) in backbones.items()
            for row in measured(name, told, backbone, weights, options.out)
        ],
    )


def measured(name: str, told: str, backbone: str, weights: Path | None, out: Path) -> list[dict[str, Any]]:
    """One row per budget, kind of picks and probe; a list over the seeds."""
    train, test, budgets = SETS[name]
    pool, scored = (embed(out / place, backbone=backbone, weights=weights) for place in (train, test))
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for budget in budgets:
        for kind, typical in (("middle", 0), ("typical", 1)):
            for seed in range(SEEDS):
                picks = picked(pool, budget, typical, seed)
                for probe, right in scores(pool, scored, [pool.ids[place] for place in picks], seed).items():
                    key = {
                        "set": name,
                        "features": told,
                        "items": len(pool),
                        "budget": budget,
                        "picks": kind,
                        "probe": probe,
                    }
                    found.setdefault(tuple(key.values()), {**key, "top1": {}})["top1"][str(seed)] = round(right, 4)
                    print(*key.values(), seed, f"{100 * right:.1f}", flush=True)
    return list(found.values())


def picked(pool: Embeddings, budget: int, typical: int, seed: int) -> np.ndarray:
    """Positions of the picks."""
    evidence = Evidence(unit_rows(np.asarray(pool.features_ND, dtype=np.float32)))
    return ActiveFT(typical=typical).select(evidence, budget, np.random.default_rng(seed)).positions


if __name__ == "__main__":
    main()
