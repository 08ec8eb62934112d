"""Classes of whole images: nearest neighbours, few labels per class, and a linear probe on all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError, some
from activetune.data.label_notes import describe_foreign
from activetune.features.distances import unit_rows
from activetune.features.text.encoders import load_text_encoder
from activetune.studies.compare.answers import NEIGHBOURS, by_few, by_neighbours, by_probe, some_of_each
from activetune.studies.compare.probe import Probe, Row, rows_of
from activetune.studies.compare.sampled import Means
from activetune.studies.compare.side import OWN, Side, poolings
from activetune.studies.compare.tested import labelled_digests, labelled_sides


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
        if "{}" not in self.prompt:
            raise UsageError(
                f"the probe classification: prompt can't be {self.prompt!r}; put {{}} where the class is named, for "
                'instance prompt = "a photo of a {}."'
            )

    def shown(self, seed: int) -> list[str]:
        """See :class:`Probe`."""
        return labelled_digests(self.pool, self.test, seed=seed, most=self.most)

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        if not (self.neighbours or self.shots or self.linear or (a.text and b.text)):
            raise UsageError(
                "shots is empty, neighbours is 0 and linear is false, so nothing is asked; give one of them "
                "(without any, only backbones that both have a text tower are asked)"
            )
        (pool, labels), (test, truth) = labelled_sides(self.pool, self.test, seed=seed, most=self.most)
        classes = sorted(set(labels) & set(truth))
        if len(classes) < 2:
            raise UsageError(f"{self.pool} and its test set have fewer than two classes in common; nothing can be told")
        known, asked = (np.isin(names, classes) for names in (labels, truth))
        targets, wanted = (np.searchsorted(classes, names[keep]) for names, keep in ((labels, known), (truth, asked)))

        def told(side: Side) -> dict[str, Means]:
            features, tested = side.of_pool(pool), side.of_pool(test)
            found: dict[str, Means] = {}
            if a.text and b.text:
                spoken = load_text_encoder(side.text).encode([self.prompt.replace("{}", name) for name in classes])
                alike = unit_rows(tested[OWN][asked]) @ spoken.T
                found["zero-shot, its own text tower"] = Means.of(alike.argmax(axis=1), wanted)
            for pooling in poolings(a, b):
                answered = self._answered(features[pooling][known], targets, tested[pooling][asked], seed)
                found |= {
                    f"{what}, {pooling}": Means.over([Means.of(one, wanted) for one in answers])
                    for what, answers in answered
                }
            return found

        counts, left_out = np.bincount(targets), _left_out(truth.tolist(), set(labels.tolist()))
        notes = {f"{shots}-shot": _short(counts, shots) for shots in self.shots}
        if self.neighbours > len(targets):
            notes[self._nearest] = f"only {len(targets):,} images are labelled: all of them are asked"
        return [
            replace(row, note="; ".join(filter(None, (notes.get(row.what.partition(",")[0]), left_out))))
            for row in rows_of("top-1", told, a, b)
        ]

    @property
    def _nearest(self) -> str:
        return f"{self.neighbours} nearest neighbours"

    def _answered(
        self, features: FloatArray, targets: IntArray, tested: FloatArray, seed: int
    ) -> Iterator[tuple[str, list[IntArray]]]:
        """The test items' classes, by each way to answer; one that draws its labels answers several times."""
        if self.neighbours:
            yield self._nearest, [by_neighbours(features, targets, tested, self.neighbours)]
        for shots in self.shots:
            draws = [np.random.default_rng([seed, shots, repeat]) for repeat in range(self.repeats)]
            drawn = [some_of_each(targets, shots, rng) for rng in draws]
            yield f"{shots}-shot", [by_few(features[rows], targets[rows], tested) for rows in drawn]
        if self.linear:
            yield "linear probe", [by_probe(features, targets, tested, seed)]


def _left_out(truth: Sequence[str], classes: Collection[str]) -> str:
    """A note where test images are of classes that the pool lacks; empty where none is."""
    foreign = [name for name in truth if name not in classes]
    if not foreign:
        return ""
    names = sorted(set(foreign))
    return (
        f"{len(foreign):,} of {len(truth):,} test images are not asked about, as the pool has no class {some(names)}"
        + describe_foreign(names, classes)
    )


def _short(counts_C: IntArray, shots: int) -> str:
    """A note where classes have fewer labelled images than are asked for; empty where none has."""
    few = counts_C[counts_C < shots]
    if not len(few):
        return ""
    have = f"{few.min():,} to {few.max():,}" if few.min() < few.max() else f"{few.min():,}"
    return f"{len(few):,} of {len(counts_C):,} classes have fewer than {shots:,} images ({have}): all of theirs"
