"""Questions about images (VQA) made from boxes: is there one of a class, and how many are there.

A regression on frozen features answers each question of held-out images. Yes and no are asked equally often.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.studies.compare.answers import by_probe
from activetune.studies.compare.probe import Probe, Row
from activetune.studies.compare.sampled import Means
from activetune.studies.compare.side import Side, poolings
from activetune.studies.compare.tested import divided, usable_pool
from activetune.tasks import make_task

MANY = 4  # objects of a class, and more


@dataclass(frozen=True)
class Questions(Probe):
    """Is there one of a class, how many are there: questions made from boxes.

    Attributes:
        pool, labels: images and the boxes of their objects. test: share of the images that is held out.
        common: images that a class must be in, of those that are learned from, and of those that are asked about.
    """

    pool: str = ""
    labels: str = ""
    test: str = "30%"
    common: int = 10

    def __post_init__(self) -> None:
        check_settings("the probe questions", ("common", self.common, 2, np.inf))

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        pool = usable_pool(self.pool)
        labels = make_task("detection").labels_of(self.labels or None, pool, quiet=True)
        kept, held = divided(labels.ids, float(self.test.removesuffix("%")) / 100, seed)
        boxes = dict(zip(labels.ids, labels.answers, strict=True))
        known, asked = (_counts([boxes[item] for item in ids], labels.classes) for ids in (kept, held))
        enough = [
            kind
            for kind in range(len(labels.classes))
            if all(
                self.common <= int((counts[:, kind] > 0).sum()) <= len(counts) - self.common
                for counts in (known, asked)
            )
        ]
        if not enough:
            raise UsageError(f"no class of {self.pool} is in {self.common} images of each side and absent from as many")
        found: dict[str, list[Means]] = {}
        for side in (a, b):
            features = [side.of_pool(pool.subset(ids)) for ids in (kept, held)]
            for pooling in poolings(a, b):
                pair = features[0][pooling], features[1][pooling]
                for what, rights in self._answered(*pair, known, asked, enough, seed).items():
                    found.setdefault(f"{what}, {pooling}", []).append(Means(rights))
        return [Row(what, "accuracy", (one, other)) for what, (one, other) in found.items()]

    def _answered(
        self, features: FloatArray, tested: FloatArray, known: IntArray, asked: IntArray, kinds: list[int], seed: int
    ) -> dict[str, FloatArray]:
        """The share of questions that is answered rightly, of each image that has any."""
        rng = np.random.default_rng([seed, 29])
        present, counted = np.full((2, len(asked), len(kinds)), np.nan)
        for place, kind in enumerate(kinds):
            there = (known[:, kind] > 0).astype(np.int64)
            answer = by_probe(features, there, tested, seed)
            yes = np.flatnonzero(asked[:, kind] > 0)
            rows = np.concatenate([yes, rng.permutation(np.flatnonzero(asked[:, kind] == 0))[: len(yes)]])
            present[rows, place] = answer[rows] == (asked[rows, kind] > 0)
            some = known[:, kind] > 0
            numbers = np.minimum(known[some, kind], MANY)
            if len(np.unique(numbers)) > 1:
                values, targets = np.unique(numbers, return_inverse=True)
                answer = values[by_probe(features[some], targets, tested, seed)]
                counted[yes, place] = answer[yes] == np.minimum(asked[yes, kind], MANY)
        found = {"is there one": _means(present), "how many": _means(counted)}
        return {what: rights for what, rights in found.items() if len(rights)}


def _counts(boxes: list[Any], classes: Any) -> IntArray:
    """(N, C) objects of each class."""
    places = {name: place for place, name in enumerate(classes)}
    found = np.zeros((len(boxes), len(classes)), dtype=np.int64)
    for row, one in enumerate(boxes):
        for name, crowd in zip(one.names, one.crowd_K.tolist(), strict=True):
            found[row, places[name]] += not crowd
    return found


def _means(rights: FloatArray) -> FloatArray:
    """(N,) over the questions of an image."""
    asked = np.isfinite(rights).any(axis=1)
    found = np.zeros(len(rights))
    found[asked] = np.nanmean(rights[asked], axis=1)
    return found[asked]
