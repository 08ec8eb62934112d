"""Semi-supervised classifiers of others on the features, splits and picks of the simulations that ``run.py`` made.

python experiments/pool/peers.py

``LabelSpreading`` on a graph of neighbours and ``SelfTrainingClassifier`` around a logistic regression, both with
scikit-learn's own settings: rows of unit length for the graph, standardised ones for the regression. FixMatch is
semilearn's, by ``semilearn_fixmatch.py``. None chooses anything; where they have a choice (neighbours, how confident) a
user without further labels has none either.

semilearn imports torchaudio, which does not load beside the torch of the rest, so it has an environment of its own:

python -m venv ENV && ENV/bin/pip install torch==2.11.0 torchaudio==2.11.0 torchvision semilearn==0.3.2
ACTIVETUNE_SEMILEARN=ENV/bin/python python experiments/pool/peers.py
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.semi_supervised import LabelSpreading, SelfTrainingClassifier

from activetune.base.arrays import FloatArray, IntArray
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.features.embedding import take
from activetune.selection.artefact import load_selection

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import keep_sets, sets_parser

FOLDERS = {
    "Caltech-101": "here-caltech-frozen",
    "Tiny-ImageNet, 100 classes": "here-tiny-frozen",
    "CIFAR-10": "here-cifar10-frozen",
    "CIFAR-10, long tail": "here-cifar10-lt-frozen",
    "Cells": "here-cells-frozen",
    "Scenes": "here-scenes-frozen",
}
UNKNOWN = -1  # scikit-learn's mark of an item without a label
KEPT = Path(__file__).parent / "results/peers.json"


class FixMatch:
    """semilearn's algorithm, in a process of its own environment, as a classifier of scikit-learn."""

    def fit(self, features: FloatArray, labels: IntArray) -> None:
        """Take the pool; the training comes with the question."""
        self.pool, self.labels = features, labels

    def predict(self, asked: FloatArray) -> IntArray:
        """Train, and answer."""
        worker = Path(__file__).with_name("semilearn_fixmatch.py")
        with tempfile.TemporaryDirectory() as folder:
            given, answers = Path(folder) / "given.npz", Path(folder) / "answers.npy"
            np.savez(given, pool=self.pool, labels=self.labels, asked=asked)
            command = [os.environ["ACTIVETUNE_SEMILEARN"], "-W", "ignore", str(worker), str(given), str(answers)]
            subprocess.run(command, check=True, capture_output=True)
            return np.load(answers)


def peers() -> dict[str, Any]:
    """A new classifier of each kind."""
    regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return {
        "label_spreading": make_pipeline(Normalizer(), LabelSpreading(kernel="knn")),
        "self_training": SelfTrainingClassifier(regression),
        "fixmatch": FixMatch(),
    }


def main() -> None:
    options = sets_parser(__doc__, FOLDERS).parse_args()
    if not os.environ.get("ACTIVETUNE_SEMILEARN"):
        raise SystemExit("ACTIVETUNE_SEMILEARN must name the Python that has semilearn; how to install it stands above")
    keep_sets(KEPT, options.sets, lambda name: measured(name, options.out / FOLDERS[name]))


def measured(name: str, folder: Path) -> list[dict[str, Any]]:
    """Top-1 of each peer by method and budget, a list over the seeds; ``random``'s and ActiveFT's picks."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for path in sorted((folder / "selections").iterdir()):
        selection = load_selection(path)
        method, budget, seed = (selection.manifest[key] for key in ("method", "budget", "seed"))
        if method not in ("random", "activeft"):
            continue
        pool, test = sides(folder, seed)
        for peer, classifier in peers().items():
            started = time.perf_counter()
            right = score(classifier, pool, test, selection.ids)
            key = (peer, method, str(budget))
            empty = {"set": name, "peer": peer, "method": method, "budget": str(budget), "top1": {}, "seconds": {}}
            row = found.setdefault(key, empty)
            row["top1"][str(seed)], row["seconds"][str(seed)] = right, round(time.perf_counter() - started, 2)
            print(name, *key, seed, right if right is None else f"{100 * right:.1f}", flush=True)
    for row in found.values():
        for score_name in ("top1", "seconds"):
            row[score_name] = [row[score_name][seed] for seed in sorted(row[score_name])]
    return list(found.values())


def sides(folder: Path, seed: int) -> tuple[Embeddings, Embeddings]:
    """Pool and test set of a seed, with the labels of both."""
    if (folder / "embeddings/pool").is_dir():
        return load_embeddings(folder / "embeddings/pool"), load_embeddings(folder / "embeddings/test")
    whole = load_embeddings(folder / "embeddings/whole")
    parts = dict(split(folder / "split.csv", seed))
    return (
        take(whole, [item for item in whole.ids if parts.get(item) == "pool"]),
        take(whole, [item for item in whole.ids if parts.get(item) == "test"]),
    )


def budgets_of(folder: Path) -> list[int]:
    """The budgets of a simulation, ascending."""
    return sorted({int(path.stem.split("-")[-2]) for path in (folder / "cells").glob("*.json")})


def split(path: Path, seed: int) -> Iterator[tuple[str, str]]:
    """Each item's part in a seed's split."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from ((row["id"], row["part"]) for row in csv.DictReader(file) if int(row["seed"]) == seed)


def score(classifier: Any, pool: Embeddings, test: Embeddings, picks: Sequence[str]) -> float | None:
    """Top-1 on the test set of a classifier that knows the picks' labels alone; None: they are all of one class."""
    names = sorted({str(label) for label in pool.labels or ()})
    number = {name: place for place, name in enumerate(names)}
    known = set(picks)
    labels = np.array(
        [
            number[str(label)] if item in known else UNKNOWN
            for item, label in zip(pool.ids, pool.labels or (), strict=True)
        ]
    )
    if len(set(labels.tolist()) - {UNKNOWN}) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a regression that separates all, and ten rounds at most
        warnings.filterwarnings("ignore", message="y contains no unlabeled|invalid value encountered")
        classifier.fit(whole(pool), labels)
        answers = classifier.predict(whole(test))
    return float(np.mean([names[answer] == truth for answer, truth in zip(answers, test.labels or (), strict=True)]))


def whole(embeddings: Embeddings) -> FloatArray:
    """(N, D) all features."""
    return np.asarray(embeddings.features_ND, dtype=np.float32)


if __name__ == "__main__":
    main()
