"""What ``pool_probe`` costs by the size of the pool: seconds of the processor, and memory at its peak.

python benchmarks/pool_probe.py [--items 1000000]

Synthetic features of 192 numbers, 100 classes of uneven size, 1,000 labels drawn at random; the graph, the choice of
how labels spread and both regressions are those of ``finetune --recipe pool_probe``, without its images. Each size has
a process of its own, and so its own peak. Rows go into ``pool_probe.json``, in place of one of that size.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.arrays import NO_INDICES
from activetune.features.distances import Float32
from activetune.recipes.pool_probe import PoolProbe

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

SIZES = (10_000, 50_000, 100_000, 300_000, 1_000_000)
SIZE, CLASSES, LABELS, HELD_OUT = 192, 100, 1_000, 10_000
STEP = 65_536
NEAR = 1.0  # of a class's centre, beside noise of 1
KEPT = Path(__file__).with_suffix(".json")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, action="append", help=f"default: {SIZES}, each in its own process")
    options = parser.parse_args()
    if options.items and len(options.items) == 1:
        row = measured(options.items[0])
        print(json.dumps(row))
        keep_row(KEPT, row, ("items",))
        return
    for items in options.items or SIZES:
        subprocess.run([sys.executable, __file__, "--items", str(items)], check=True)


def measured(items: int) -> dict[str, Any]:
    """What a pool of that size takes, and how good both probes are on items outside of it."""
    features_ND, classes_N = pool(items + HELD_OUT)
    rng = np.random.default_rng(1)
    positions_L = np.sort(rng.permutation(items)[:LABELS])
    indices = classes_N[positions_L]
    before = peak_mb()
    started, spent = time.perf_counter(), time.process_time()
    recipe = PoolProbe()
    head = recipe.fit_on_features(features_ND[:items], positions_L, indices, held_out=NO_INDICES, seed=0)
    seconds, spent = time.perf_counter() - started, time.process_time() - spent
    first = recipe.probe.fit(features_ND[positions_L], indices, recipe.imbalance, held_out=NO_INDICES, seed=0).head
    asked, truth = features_ND[items:], classes_N[items:]
    right = {
        name: round(float((one.logits(asked).argmax(axis=1) == truth).mean()), 4)
        for name, one in (("probe", first), ("with_pool", head))
        if one is not None
    }
    return {
        "items": items,
        "seconds": round(seconds, 1),
        "processor_seconds": round(spent, 1),
        "peak_mb": round(peak_mb()),
        "features_mb": round(features_ND.nbytes / 2**20),
        "before_mb": round(before),
        **right,
    }


def pool(items: int) -> tuple[Float32, np.ndarray[Any, np.dtype[np.int64]]]:
    """Features (N, D) around a centre per class, and class indices (N,)."""
    rng = np.random.default_rng(0)
    centres_CD = rng.standard_normal((CLASSES, SIZE), dtype=np.float32)
    classes_N = rng.choice(CLASSES, items, p=rng.dirichlet(np.full(CLASSES, 3.0))).astype(np.int64)
    features_ND = np.empty((items, SIZE), dtype=np.float32)
    background = rng.standard_normal((24, SIZE), dtype=np.float32)
    for start in range(0, items, STEP):
        part = slice(start, start + STEP)
        count = len(classes_N[part])
        noise = rng.standard_normal((count, 24), dtype=np.float32) @ background / np.float32(np.sqrt(24) / 4)
        features_ND[part] = NEAR * centres_CD[classes_N[part]] + noise
        features_ND[part] += rng.standard_normal((count, SIZE), dtype=np.float32)
    return features_ND, classes_N


def peak_mb() -> float:
    """Memory of this process at its highest, so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
