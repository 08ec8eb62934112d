"""Grounded objects: the class of each object in held-out images, from the crop of its box."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest
from activetune.data.identity import Contents
from activetune.data.loading import read_usable
from activetune.data.pool import Pool
from activetune.studies.compare.answers import by_probe
from activetune.studies.compare.probe import Probe, Row, rows_of
from activetune.studies.compare.sampled import GroupMeans
from activetune.studies.compare.side import Side, poolings
from activetune.studies.compare.tested import Answered, answered_digests, answered_sides
from activetune.tasks import make_task

Crop = tuple[int, tuple[int, int, int, int], str]  # image, box in pixels, class


@dataclass(frozen=True)
class Objects(Probe):
    """Classes of objects by the crops of their boxes. The items that are drawn again are images, with all their crops.

    Attributes:
        pool, labels: images and the boxes of their objects. test: share of the images that is held out.
        least: pixels of a crop's shorter side. margin: around a box, as a share of its sides.
        common: objects that a class must have among those that are learned from.
    """

    pool: str = ""
    labels: str = ""
    test: str = "30%"
    least: int = 32
    margin: float = 0.1
    common: int = 5

    def __post_init__(self) -> None:
        check_settings(
            "the probe objects",
            ("least", self.least, 1, np.inf),
            ("margin", self.margin, 0, 5),
            ("common", self.common, 1, np.inf),
        )

    def shown(self, seed: int) -> list[str]:
        """See :class:`Probe`."""
        return answered_digests(make_task("detection"), self.pool, self.labels, self.test)

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        known, asked = (
            _Crops(one.pool, self._crops(one))
            for one in answered_sides(make_task("detection"), self.pool, self.labels, self.test, seed=seed)
        )
        names, counts = np.unique(known.names, return_counts=True)
        classes = [str(name) for name, count in zip(names, counts, strict=True) if count >= self.common]
        known, asked = known.of(classes), asked.of(classes)
        if len(classes) < 2 or not asked.crops:
            raise UsageError(
                f"{self.pool} has fewer than two classes with {self.common} objects of {self.least} pixels; lower them"
            )
        targets, wanted = (np.asarray([classes.index(name) for name in side.names]) for side in (known, asked))

        images = np.asarray([position for position, *_ in asked.crops])

        def told(side: Side) -> dict[str, GroupMeans]:
            learned, tested = (side.of_images(one.images(), len(one.crops), one.key) for one in (known, asked))
            return {
                f"{len(classes)} classes of objects, linear probe, {pooling}": GroupMeans.of(
                    by_probe(learned[pooling], targets, tested[pooling], seed), wanted, images
                )
                for pooling in poolings(a, b)
            }

        return rows_of("top-1", told, a, b)

    def _crops(self, side: Answered) -> list[Crop]:
        """The objects that are large enough, with their surroundings."""
        found = []
        for position, boxes in enumerate(side.labels.answers):
            height, width = side.pool.size(position)
            for (left, top, right, bottom), name, crowd in zip(
                boxes.xyxy_K4.tolist(), boxes.names, boxes.crowd_K.tolist(), strict=True
            ):
                if crowd or min(right - left, bottom - top) < self.least:
                    continue
                across, along = self.margin * (right - left), self.margin * (bottom - top)
                start = round(max(0, left - across)), round(max(0, top - along))
                end = round(min(width, right + across)), round(min(height, bottom + along))
                found.append((position, (*start, *end), name))
        return found


@dataclass(frozen=True)
class _Crops:
    """Objects of a pool's images, those of an image one after the other."""

    pool: Pool
    crops: Sequence[Crop]

    @property
    def names(self) -> list[str]:
        """The class of each."""
        return [name for *_, name in self.crops]

    def of(self, classes: Collection[str]) -> _Crops:
        """Those of some classes."""
        return replace(self, crops=[crop for crop in self.crops if crop[2] in classes])

    @property
    def key(self) -> str:
        """Digest of what they show."""
        return digest(
            Contents(self.pool).fingerprint, *(f"{self.pool.ids[position]}:{box}" for position, box, _ in self.crops)
        )

    def images(self) -> Iterator[Image.Image]:
        """Each; an image of the pool is decoded once for all of its objects."""
        last, image = -1, None
        for position, box, _ in self.crops:
            if position != last or image is None:
                last, image = position, read_usable(self.pool, position)
            yield image.crop(box)
