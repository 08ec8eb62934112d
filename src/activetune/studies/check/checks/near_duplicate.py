"""``near_duplicate``: images that are nearly the same, by what they look like and by their features.

The first image in the pool's order stays, and so does every other that is near to none that stays: whatever is listed
is near to an image that is kept. Of a chain of frames, each like the next, one stays wherever the scene has changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from activetune.base.config import check_settings
from activetune.base.progress import progress
from activetune.features.graph import nearest_neighbours
from activetune.studies.check.content import LOOKS, PIXELS, Looks, check_looks
from activetune.studies.check.examined import Examined
from activetune.studies.check.finding import Check, Finding, Found

FLOAT_ROUNDING = 1e-6
NUMBER = re.compile(r"\d+")

Near = Mapping[int, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class NearDuplicate(Check):
    """Images that are nearly the same as one that stays: compressed again, resized, mirrored, the next frame.

    Settings:
        bits: of the 63 of a perceptual hash that may differ. likeness: correlation, 0 to 1, that tiny copies need.
        mirrored: look for mirror images, too. cosine: of two images' features, 0 to 1, from which on they are near.
        neighbours: by features an image is compared with so many nearest ones.
    """

    bits: int = 4
    likeness: float = 0.985
    mirrored: bool = True
    cosine: float = 0.98
    neighbours: int = 10

    title: ClassVar[str] = "Near duplicates"
    order: ClassVar[int] = 21
    measures = (PIXELS, *LOOKS)
    drops: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_looks("near_duplicate", self.bits, self.likeness)
        check_settings("near_duplicate", ("cosine", self.cosine, 0, 1), ("neighbours", self.neighbours, 1, 100))

    def find(self, pool: Examined, test: Examined | None) -> Found:
        """See :class:`Check`."""
        listed: dict[int, Finding] = {}
        near = self._by_features(pool) if pool.embeddings is not None else {}
        kept = Looks(self.bits, self.likeness, self.mirrored)
        rows = reversed(list(enumerate(pool.rows["pixels"])))
        distinct = sorted({content.tobytes(): row for row, content in rows}.values())  # the first row of each content
        with progress(len(distinct), "looking for near duplicates", quiet=pool.quiet) as meter:
            for row in distinct:
                finding = self._match(pool, row, kept, near, listed)
                if finding is None:
                    kept.add(row, int(pool.rows["hash"][row]), pool.rows["tiny"][row])
                else:
                    listed[row] = finding
                meter.advance()
        found = sorted(listed.values(), key=lambda finding: -(finding.value or 0))
        return Found(found, _remark(pool, found))

    def _match(
        self, pool: Examined, row: int, kept: Looks, near: Near, listed: Mapping[int, Finding]
    ) -> Finding | None:
        """Why an image does not stay: the one that stays and is most like it."""
        match = kept.nearest(int(pool.rows["hash"][row]), pool.rows["tiny"][row])
        if match is not None:
            how = f"looks like {{}}: {match.told(self.bits, self.likeness)}"
            return self._finding(pool, row, match.position, how, match.likeness, self.likeness)
        stay = [(cosine, other) for other, cosine in near.get(row, ()) if other < row and other not in listed]
        if not stay:
            return None
        cosine, other = max(stay)
        how = f"is like {{}}: the cosine of their features is {cosine:.3f} (near from {self.cosine:g} on)"
        return self._finding(pool, row, other, how, cosine, self.cosine)

    def _by_features(self, pool: Examined) -> Near:
        """The images that each is near to by its features, and how near."""
        known, features_ND = pool.featured
        if len(known) < 2:
            return {}
        index, similarity = nearest_neighbours(features_ND, self.neighbours)
        return {
            int(known[row]): [
                (int(known[other]), min(float(cosine), 1.0))
                for other, cosine in zip(index[row], similarity[row], strict=True)
                if cosine >= self.cosine - FLOAT_ROUNDING
            ]
            for row in (similarity[:, 0] >= self.cosine - FLOAT_ROUNDING).nonzero()[0].tolist()
        }

    def _finding(self, pool: Examined, row: int, other: int, why: str, value: float, threshold: float) -> Finding:
        labels = pool.labels_differ(pool.ids[row], pool.ids[other])
        return Finding(pool.ids[row], why.format(pool.ids[other]) + labels, round(value, 4), threshold, pool.ids[other])


def _remark(pool: Examined, found: list[Finding]) -> str:
    frames = _frames(pool.ids, {finding.id: finding.other for finding in found})
    differ = sum("labels differ" in finding.why for finding in found)
    texts = []
    if frames:
        texts.append(
            f"{frames:,} follow what they are like in the order of the names, which differ in a number alone, as those "
            "of a video's frames do: one per scene is enough to label, and a scene belongs on one side of a split"
        )
    if differ:
        texts.append(f"the labels of {differ:,} differ from those of what they are like")
    return "; ".join(texts)


def _frames(ids: Sequence[str], likeness: Mapping[str, str]) -> int:
    """How many images come right after the one that they are like, or after others that are like the same one."""
    count, before, first = 0, "", ""
    for item in ids:
        follows = (
            item in likeness
            and likeness[item] in (before, first)
            and NUMBER.sub("", item) == NUMBER.sub("", likeness[item])
        )
        first = likeness[item] if follows else item
        count += follows
        before = item
    return count
