"""Which labels, when the pool works too: every selector that reads features alone, under the probe without and with it.

python experiments/pool/selections.py

Features, splits and budgets are those of the simulations that ``run.py`` made, items are picked anew. Beside top-1
stands what is known of the picks without a label, so that it can be asked which of it predicts accuracy:

- ``emd`` and ``radius``: mean and largest distance of the pool's items to their nearest pick.
- ``unreached``: share of the items that no pick reaches within two steps on the graph of neighbours.
- ``faint``: minus the mean logarithm of what arrives at an item where every pick spreads the same over the graph.

``activeft, by density`` weighs an item by its distance to its neighbours, so that sparse regions, where rare classes
may lie, have more of the picks than their share.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ensembles import scores
from peers import FOLDERS, budgets_of, sides, whole

from activetune.base.arrays import IntArray
from activetune.features.artefact import Embeddings
from activetune.features.distances import Float32, coverage, unit_rows
from activetune.features.graph import Graph, nearest_neighbours
from activetune.selection.problem import Evidence
from activetune.selection.selectors import make_selector
from activetune.selection.selectors.activeft import ActiveFT

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets, sets_parser

METHODS = (
    "random",
    "k_center",
    "k_means",
    "typiclust",
    "probcover",
    "usl",
    "max_herding",
    "rep_div",
    "bilaf",
    "activeft",
    "activeft:tail",
    "activeft:released",
    "activeft:paper",
)
DENSITIES = (0.5, 1.0)  # the power of an item's distance to its neighbours
SEEDS = 3
NEIGHBOURS, ALPHA = 10, 0.8  # of pool_probe
FAINTEST = 1e-12
KEPT = Path(__file__).parent / "results/selections.json"


def main() -> None:
    options = sets_parser(__doc__, FOLDERS).parse_args()
    keep_sets(KEPT, options.sets, lambda name: measured(name, options.out / FOLDERS[name]))


def measured(name: str, folder: Path) -> list[dict[str, Any]]:
    """One row per method, budget and seed."""
    budgets = budgets_of(folder)
    rows = []
    for seed in range(SEEDS):
        pool, test = sides(folder, seed)
        features_ND = unit_rows(whole(pool))
        index_NK, similarity_NK = nearest_neighbours(features_ND, NEIGHBOURS)
        graph = Graph.of(index_NK, similarity_NK, NEIGHBOURS)
        weights = {f"activeft, by density {power:g}": sparse(similarity_NK, power) for power in DENSITIES}
        for budget in budgets:
            for method in (*METHODS, *weights):
                started = time.perf_counter()
                picks = picked(method, features_ND, budget, seed, weights)
                seconds = round(time.perf_counter() - started, 2)
                found = scores(pool, test, [pool.ids[position] for position in picks], seed)
                told = {**coverage(features_ND, picks), **on_graph(graph, picks), "classes": classes(pool, picks)}
                rows.append(
                    {"set": name, "method": method, "budget": budget, "seed": seed, "seconds": seconds, **told, **found}
                )
                print(name, method, budget, seed, *(f"{100 * value:.1f}" for value in found.values()), flush=True)
    return rows


def picked(method: str, features_ND: Float32, budget: int, seed: int, weights: Mapping[str, Float32]) -> IntArray:
    """Positions of the picks."""
    evidence, rng = Evidence(features_ND), np.random.default_rng(seed)
    if method in weights:
        return ActiveFT().weighed(evidence, budget, rng, weights[method]).positions
    name, _, preset = method.partition(":")
    return make_selector(name, preset or None).select(evidence, budget, rng).positions


def sparse(similarity_NK: Float32, power: float) -> Float32:
    """(N,) weights by the distance to the neighbours; their mean is 1."""
    distance_N = np.sqrt(np.maximum(2 - 2 * similarity_NK.mean(axis=1), FAINTEST))
    weights_N = distance_N**power
    return (weights_N / weights_N.mean()).astype(np.float32)


def on_graph(graph: Graph, picks: IntArray) -> dict[str, float]:
    """How far the graph carries what the picks say."""
    known_N1 = np.zeros((graph.joined_NN.shape[0], 1), dtype=np.float32)
    known_N1[picks] = 1
    near_N1 = known_N1 + graph.joined_NN @ known_N1
    near_N1 = near_N1 + graph.joined_NN @ near_N1
    faint = -np.log(np.maximum(graph.spread(known_N1, ALPHA), FAINTEST)).mean()
    return {"unreached": round(float((near_N1 == 0).mean()), 4), "faint": round(float(faint), 4)}


def classes(pool: Embeddings, picks: IntArray) -> int:
    """How many classes the picks meet."""
    return len({str((pool.labels or ())[position]) for position in picks})


if __name__ == "__main__":
    main()
