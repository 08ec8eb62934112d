"""Questions about images (VQA) made from boxes: is there one of a class, and how many are there.

A regression on frozen features answers each question of held-out images. Whether there is one is asked of as many
images that show the class as of others, drawn from those that are more; how many, of all that show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.data.labels import Labels
from activetune.studies.compare.answers import by_probe
from activetune.studies.compare.probe import Probe, Row, rows_of
from activetune.studies.compare.sampled import Means
from activetune.studies.compare.side import Side, poolings
from activetune.studies.compare.tested import answered_digests, answered_sides
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

    def shown(self, seed: int) -> list[str]:
        """See :class:`Probe`."""
        return answered_digests(make_task("detection"), self.pool, self.labels, self.test)

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        kept, held = answered_sides(make_task("detection"), self.pool, self.labels, self.test, seed=seed)
        known, asked = (_counts(side.labels) for side in (kept, held))
        kinds = self._common(known, asked)
        if not kinds:
            raise UsageError(
                f"no class of {self.pool} is in {self.common} images of each side and absent from as many; "
                "give a larger pool"
            )

        def told(side: Side) -> dict[str, Means]:
            features, tested = side.of_pool(kept.pool), side.of_pool(held.pool)
            return {
                f"{what}, {pooling}": Means(rights)
                for pooling in poolings(a, b)
                for what, rights in self._answered(
                    features[pooling], tested[pooling], known, asked, kinds, seed
                ).items()
            }

        return rows_of("accuracy", told, a, b)

    def _common(self, *sides: IntArray) -> list[int]:
        """The classes that enough images of each side have, and enough have not."""
        there = np.asarray([(counts > 0).sum(axis=0) for counts in sides])
        absent = np.asarray([(counts == 0).sum(axis=0) for counts in sides])
        found: list[int] = np.flatnonzero((np.minimum(there, absent) >= self.common).all(axis=0)).tolist()
        return found

    def _answered(
        self, features: FloatArray, tested: FloatArray, known: IntArray, asked: IntArray, kinds: list[int], seed: int
    ) -> dict[str, FloatArray]:
        """The share of questions that is answered rightly, of each image that has any."""
        rng = np.random.default_rng([seed, 29])
        present, counted = np.full((2, len(asked), len(kinds)), np.nan)
        for place, kind in enumerate(kinds):
            there = (known[:, kind] > 0).astype(np.int64)
            answer = by_probe(features, there, tested, seed)
            yes, no = np.flatnonzero(asked[:, kind] > 0), np.flatnonzero(asked[:, kind] == 0)
            count = min(len(yes), len(no))
            rows = np.concatenate([rng.permutation(one)[:count] if len(one) > count else one for one in (yes, no)])
            present[rows, place] = answer[rows] == (asked[rows, kind] > 0)
            some = known[:, kind] > 0
            numbers = np.minimum(known[some, kind], MANY)
            if len(np.unique(numbers)) > 1:
                values, targets = np.unique(numbers, return_inverse=True)
                answer = values[by_probe(features[some], targets, tested, seed)]
                counted[yes, place] = answer[yes] == np.minimum(asked[yes, kind], MANY)
        found = {"is there one": _means(present), "how many": _means(counted)}
        return {what: rights for what, rights in found.items() if len(rights)}


def _counts(labels: Labels) -> IntArray:
    """(N, C) objects of each class."""
    places = {name: place for place, name in enumerate(labels.classes)}
    found = np.zeros((len(labels), len(places)), dtype=np.int64)
    for row, boxes in enumerate(labels.answers):
        for name, crowd in zip(boxes.names, boxes.crowd_K.tolist(), strict=True):
            found[row, places[name]] += not crowd
    return found


def _means(rights: FloatArray) -> FloatArray:
    """(N,) over the questions of an image."""
    asked = np.isfinite(rights).any(axis=1)
    found = np.zeros(len(rights))
    found[asked] = np.nanmean(rights[asked], axis=1)
    return found[asked]
