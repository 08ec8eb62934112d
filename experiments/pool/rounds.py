"""Round by round, when the pool works too: whose doubt is worth following, and is it still where ``pool_probe`` learns?

python experiments/pool/rounds.py

Features, splits and budgets are those of the simulations that ``run.py`` made. ActiveFT picks the lowest budget. From
there each method adds what is missing to the next budget, with all labels so far, and both probes are fitted on all of
them. A method that follows a model's doubt is asked twice: by the doubt of the plain probe, as ``select`` has it, and
by that of the probe with the pool.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from ensembles import scores
from peers import FOLDERS, budgets_of, sides, whole

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.data.labels import Labels
from activetune.features.artefact import Embeddings
from activetune.features.distances import Float32, unit_rows
from activetune.selection.evidence import gather
from activetune.selection.evidence.probe import probabilities
from activetune.selection.problem import Evidence
from activetune.selection.selectors import make_selector
from activetune.studies.simulation.cells import fit_head
from activetune.training.recipe import make_recipe

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets, sets_parser

START = "activeft"
METHODS = ("random", START, "margin", "uncertainty_medoids", "uncertainty_herding", "alfa_mix", "drop_query")
DOUBTFUL = ("margin", "uncertainty_medoids", "uncertainty_herding")  # read the probabilities of a model
LEARNERS = ("linear_probe", "pool_probe")
SEEDS = 3
KEPT = Path(__file__).parent / "results/rounds.json"


def main() -> None:
    options = sets_parser(__doc__, FOLDERS).parse_args()
    keep_sets(KEPT, options.sets, lambda name: measured(name, options.out / FOLDERS[name]))


def measured(name: str, folder: Path) -> list[dict[str, Any]]:
    """One row per method, learner whose doubt it follows, budget and seed; the lowest budget is that of all."""
    budgets = budgets_of(folder)
    ways = [(method, "linear_probe") for method in METHODS] + [(method, "pool_probe") for method in DOUBTFUL]
    rows = []
    for seed in range(SEEDS):
        pool, test = sides(folder, seed)
        features_ND = unit_rows(whole(pool))
        first = make_selector(START).select(Evidence(features_ND), budgets[0], np.random.default_rng(seed)).positions
        for method, learner in ways:
            started = time.perf_counter()
            for budget, picks in grown(method, learner, pool, features_ND, first, budgets[1:], seed):
                seconds = round(time.perf_counter() - started, 2)
                found = scores(pool, test, [pool.ids[position] for position in picks], seed)
                row = {"set": name, "method": method, "learner": learner, "budget": budget, "seed": seed}
                rows.append({**row, "seconds": seconds, **found})
                print(*row.values(), *(f"{100 * value:.1f}" for value in found.values()), flush=True)
                started = time.perf_counter()
    return rows


def grown(
    method: str,
    learner: str,
    pool: Embeddings,
    features_ND: Float32,
    first: IntArray,
    budgets: Sequence[int],
    seed: int,
) -> Iterator[tuple[int, IntArray]]:
    """All picks at each budget; none where the first labels are all of one class."""
    selector, picks = make_selector(method), first
    for number, budget in enumerate(budgets, start=1):
        try:
            evidence = known(pool, features_ND, picks, learner if method in DOUBTFUL else "", seed)
            evidence = gather(evidence, selector.needs | selector.uses, method=method, seed=seed)
        except UsageError as error:
            print(f"left out: {error}", flush=True)
            return
        rng = np.random.default_rng([seed, number])
        more = selector.select(evidence, budget - len(picks), rng).positions
        picks = np.concatenate([picks, more])
        yield budget, picks


def known(pool: Embeddings, features_ND: Float32, picks: IntArray, learner: str, seed: int) -> Evidence:
    """What the labels so far tell, and the probabilities of a learner; of none without one."""
    names = [str(name) for name in pool.labels or ()]
    labels = Labels.of({pool.ids[position]: names[position] for position in picks})
    evidence = Evidence(features_ND, labelled=picks, answers_L=np.asarray(labels.indices))
    if learner != "pool_probe" or len(labels.classes) < 2:
        return evidence
    head = fit_head(make_recipe(learner, None, {}), pool, labels, seed)
    assert head is not None
    return replace(evidence, probs_NC=probabilities(head, whole(pool)))


if __name__ == "__main__":
    main()
