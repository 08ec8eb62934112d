"""Grounded objects: the class of each object in held-out images, from the crop of its box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest
from activetune.data.identity import Contents
from activetune.data.loading import read_usable
from activetune.data.pool import Pool
from activetune.studies.compare.answers import by_probe
from activetune.studies.compare.probe import Probe, Row
from activetune.studies.compare.sampled import Means
from activetune.studies.compare.side import Side, poolings
from activetune.studies.compare.tested import divided, usable_pool
from activetune.tasks import make_task

Crop = tuple[int, tuple[int, int, int, int], str]  # image, box in pixels, class


@dataclass(frozen=True)
class Objects(Probe):
    """Classes of objects by the crops of their boxes.

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

    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """See :class:`Probe`."""
        pool = usable_pool(self.pool)
        labels = make_task("detection").labels_of(self.labels or None, pool, quiet=True)
        share = float(self.test.removesuffix("%")) / 100
        kept, held = divided(labels.ids, share, seed)
        boxes = dict(zip(labels.ids, labels.answers, strict=True))
        sides = [[crop for item in ids for crop in self._crops(pool, item, boxes[item])] for ids in (kept, held)]
        names, counts = np.unique([name for *_, name in sides[0]], return_counts=True)
        classes = [str(name) for name, count in zip(names, counts, strict=True) if count >= self.common]
        sides = [[crop for crop in side if crop[2] in classes] for side in sides]
        if len(classes) < 2 or not sides[1]:
            raise UsageError(
                f"{self.pool} has fewer than two classes with {self.common} objects of {self.least} pixels"
            )
        targets, wanted = (np.asarray([classes.index(name) for *_, name in side]) for side in sides)
        found: dict[str, list[Means]] = {}
        for side in (a, b):
            features = [side.of_images(_cut(pool, crops), len(crops), _key(pool, crops)) for crops in sides]
            for pooling in poolings(a, b):
                answer = by_probe(features[0][pooling], targets, features[1][pooling], seed)
                means = Means((answer == wanted).astype(np.float64))
                found.setdefault(f"{len(classes)} classes of objects, linear probe, {pooling}", []).append(means)
        return [Row(what, "top-1", (one, other)) for what, (one, other) in found.items()]

    def _crops(self, pool: Pool, item: str, boxes: object) -> list[Crop]:
        """The objects of an image that are large enough, with their surroundings."""
        position = pool.position[item]
        height, width = pool.size(position)
        found = []
        for (left, top, right, bottom), name, crowd in zip(
            boxes.xyxy_K4.tolist(),  # type: ignore[attr-defined]
            boxes.names,  # type: ignore[attr-defined]
            boxes.crowd_K.tolist(),  # type: ignore[attr-defined]
            strict=True,
        ):
            if crowd or min(right - left, bottom - top) < self.least:
                continue
            across, along = self.margin * (right - left), self.margin * (bottom - top)
            box = max(0, left - across), max(0, top - along), min(width, right + across), min(height, bottom + along)
            found.append((position, (round(box[0]), round(box[1]), round(box[2]), round(box[3])), name))
        return found


def _cut(pool: Pool, crops: Sequence[Crop]) -> Iterator[Image.Image]:
    """The crops in their order; an image is decoded once for those that follow each other."""
    last, image = -1, None
    for position, box, _ in crops:
        if position != last or image is None:
            last, image = position, read_usable(pool, position)
        yield image.crop(box)


def _key(pool: Pool, crops: Sequence[Crop]) -> str:
    return digest(Contents(pool).fingerprint, *(f"{pool.ids[position]}:{box}" for position, box, _ in crops))
