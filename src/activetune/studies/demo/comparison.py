"""The demo's first part: what a linear probe is worth on the picks of several selectors.

Shape legend: N items, D feature size.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from activetune.base.arrays import FloatArray
from activetune.base.artefact import MANIFEST
from activetune.base.progress import progress
from activetune.base.run import Run
from activetune.data.labels import Labels
from activetune.evaluation.scores import ScoreKeeper, Scores
from activetune.features.artefact import Embeddings
from activetune.features.embedding import take
from activetune.recipes.linear_probe import LinearProbe
from activetune.selection.artefact import Selection, save_selection
from activetune.selection.select import select
from activetune.studies.demo.pools import DemoPool
from activetune.studies.simulation.cells import fit_head
from activetune.studies.simulation.scoring import score_head

PER_CLASS = "random_per_class"  # as many of each class, which nobody can pick before the labels are known
METHODS = ("random", PER_CLASS, "k_center", "k_means", "activeft")
CELLS = (*((method, "bundled") for method in METHODS), ("k_means", "pixels"))  # selector, features
HEADER = ("method", "features", "budget", "seed", "top1", "balanced_accuracy", "classes", "seconds")


def pixels_of(pool: DemoPool, ids: Sequence[str]) -> FloatArray:
    """(N, D) the pictures themselves as features, 0 to 1."""
    images = (Image.open(io.BytesIO(pool.pictures[item])) for item in ids)
    return np.stack([np.asarray(image, dtype=np.float32).ravel() / 255 for image in images])


def compared(
    sources: Mapping[str, Embeddings], pool: DemoPool, seeds: int, selections: Path, run: Run
) -> list[tuple[Any, ...]]:
    """Select, probe and score for each selector, budget and seed.

    Args:
        sources: embeddings of all images by what they are features of. selections: folder that keeps the picks.

    Returns:
        The rows of ``results.csv``.
    """
    cells = [cell for cell in CELLS if cell[1] in sources]
    choice = {
        name: take(found, [item for item in found.ids if item not in pool.test]) for name, found in sources.items()
    }
    test = {name: take(found, sorted(pool.test)) for name, found in sources.items()}
    rows = []
    with progress(
        len(cells) * len(pool.budgets) * seeds, "selecting and probing", unit="cells", quiet=run.quiet
    ) as meter:
        for (method, features), budget, number in itertools.product(cells, pool.budgets, range(seeds)):
            seed = run.seed + number
            chosen = _chosen(choice[features], method, budget, len(pool.classes), seed, run.device)
            scores = _probed(choice[features], chosen, test[features], seed)
            seconds = chosen.manifest["figures"]["seconds"]
            known = len({pool.answers[item] for item in chosen.ids})
            rows.append((method, features, budget, seed, scores.top1, scores.balanced_accuracy, known, seconds))
            if features == "bundled":
                _keep(chosen, selections / f"{method}-{budget}-{number}")
            meter.advance()
    return rows


def _chosen(embeddings: Embeddings, method: str, budget: int, classes: int, seed: int, device: str) -> Selection:
    """The picks of a method.

    One thread: products this small gain nothing from more, and lose much where the machine is shared.
    """
    asked: dict[str, Any] = {"budget": budget, "method": method}
    if method == PER_CLASS:
        asked = {"budget": f"{budget // classes}/class", "method": "random"}
    return select(embeddings, **asked, seed=seed, device=device, workers=1, quiet=True)


def _probed(embeddings: Embeddings, chosen: Selection, test: Embeddings, seed: int) -> Scores:
    """Scores on the held-out items of a linear probe that learned the chosen ones.

    They choose its strength too. Picks of one class alone teach no difference: whoever learned from them answers that
    class always, and so it is scored.
    """
    training = take(embeddings, chosen.ids)
    labels = Labels.of(dict(zip(training.ids, training.labels or (), strict=True)))
    if len(labels.classes) == 1:
        truths = [str(name) for name in test.labels or ()]
        keeper = ScoreKeeper(labels.classes, truths)
        keeper.add(np.ones((len(truths), 1)), truths)
        return keeper.scores()
    head = fit_head(LinearProbe(), training, labels, seed)
    assert head is not None
    return score_head(head, labels.classes, test)


def _keep(selection: Selection, folder: Path) -> None:
    (folder / MANIFEST).unlink(missing_ok=True)
    save_selection(selection, folder)
