"""Classes of whole images: nearest neighbours, few labels per class, and a linear probe on all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.features.distances import unit_rows
from activetune.features.text.encoders import load_text_encoder
from activetune.studies.compare.answers import NEIGHBOURS, by_few, by_neighbours, by_probe, some_of_each
from activetune.studies.compare.probe import Probe, Row
from activetune.studies.compare.sampled import Means
from activetune.studies.compare.side import OWN, Side, poolings
from activetune.studies.compare.tested import labelled_sides


@dataclass(frozen=True)
class Classification(Probe):
    """Classes of whole images: nearest neighbours, few-shot, linear probe.

    Attributes:
        pool: images with a class each. test: another pool, or the share that is held out: ``30%``.
        shots: labels per class, each a row; ``repeats`` draws of them are averaged. neighbours: of kNN; 0 leaves it
            out. linear: whether all labels are learned from too.
        prompt: how a class is put into words where both backbones have a text tower (``open_clip/…``): an image then
            has the class whose words are the most alike, without any label.
        most: images of each side at most, drawn at random; 0 is all.
    """

    pool: str = ""
    test: str = "30%"
    shots: tuple[int, ...] = (1, 5, 10)
    repeats: int = 5
    neighbours: int = NEIGHBOURS
    linear: bool = True
    prompt: str = "a photo of a {}."
    most: int = 0

    def __post_init__(self) -> None:
        check_settings(
            "the probe classification",
            ("repeats", self.repeats, 1, np.inf),
            ("neighbours", self.neighbours, 0, np.inf),
            ("most", self.most, 0, np.inf),
            *(("shots", shots, 1, np.inf) for shots in self.shots),
        )

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        (pool, labels), (test, truth) = labelled_sides(self.pool, self.test, seed=seed, most=self.most)
        classes = sorted(set(labels) & set(truth))
        if len(classes) < 2:
            raise UsageError(f"{self.pool} and its test set have fewer than two classes in common; nothing can be told")
        known, asked = (np.isin(names, classes) for names in (labels, truth))
        targets, wanted = (np.searchsorted(classes, names[keep]) for names, keep in ((labels, known), (truth, asked)))
        found: dict[str, list[Means]] = {}
        for side in (a, b):
            features, tested = side.of_pool(pool), side.of_pool(test)
            if a.text and b.text:
                spoken = load_text_encoder(side.text).encode([self.prompt.format(name) for name in classes])
                right = (unit_rows(tested[OWN][asked]) @ spoken.T).argmax(axis=1) == wanted
                found.setdefault("zero-shot, its own text tower", []).append(Means(right.astype(np.float64)))
            for pooling in poolings(a, b):
                for what, means in self._measured(
                    features[pooling][known], targets, tested[pooling][asked], wanted, seed
                ).items():
                    found.setdefault(f"{what}, {pooling}", []).append(means)
        return [Row(what, "top-1", (one, other)) for what, (one, other) in found.items()]

    def _measured(
        self, features: FloatArray, targets: IntArray, tested: FloatArray, wanted: IntArray, seed: int
    ) -> dict[str, Means]:
        """Whether each test item is told rightly, by each way to answer."""
        found: dict[str, Means] = {}
        if self.neighbours:
            right = by_neighbours(features, targets, tested, self.neighbours) == wanted
            found[f"{self.neighbours} nearest neighbours"] = Means(right.astype(np.float64))
        for shots in self.shots:
            repeats: Sequence[FloatArray] = []
            for repeat in range(self.repeats):
                rows = some_of_each(targets, shots, np.random.default_rng([seed, shots, repeat]))
                answer = by_few(features[rows], targets[rows], tested)
                repeats = [*repeats, (answer == wanted).astype(np.float64)]
            found[f"{shots}-shot"] = Means.over(repeats)
        if self.linear:
            found["linear probe"] = Means((by_probe(features, targets, tested, seed) == wanted).astype(np.float64))
        return found
