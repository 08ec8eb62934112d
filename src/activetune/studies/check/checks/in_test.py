"""``in_test``: images of the pool that lie in the test set, too, exactly or nearly: a model would be scored on what it
has learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from activetune.base.config import check_settings
from activetune.base.progress import progress
from activetune.features.distances import nearest_centroid
from activetune.studies.check.content import LOOKS, PIXELS, Looks, check_looks
from activetune.studies.check.examined import Examined
from activetune.studies.check.finding import Check, Finding, Found

SIDE = "the test set's {}"
EXACT = f"has the same pixels as {SIDE}"


@dataclass(frozen=True)
class InTest(Check):
    """Images of the pool that also lie in the test pool, exactly or nearly.

    Settings:
        bits: of the 63 of a perceptual hash that may differ. likeness: correlation, 0 to 1, that tiny copies need.
        mirrored: look for mirror images, too. cosine: of two images' features, 0 to 1, from which on they are near.
    """

    bits: int = 4
    likeness: float = 0.985
    mirrored: bool = True
    cosine: float = 0.98

    title: ClassVar[str] = "Also in the test set"
    order: ClassVar[int] = 15
    measures = (PIXELS, *LOOKS)
    of_test: ClassVar[bool] = True
    drops: ClassVar[bool] = True
    needs: ClassVar[str] = "test"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_looks("in_test", self.bits, self.likeness)
        check_settings("in_test", ("cosine", self.cosine, 0, 1))

    def find(self, pool: Examined, test: Examined | None) -> Found:
        """See :class:`Check`."""
        assert test is not None
        exact = {bytes(digest): row for row, digest in reversed(list(enumerate(test.rows["pixels"])))}
        looks = Looks(self.bits, self.likeness, self.mirrored)
        for row, content in enumerate(test.rows):
            if exact[content["pixels"].tobytes()] == row:
                looks.add(row, int(content["hash"]), content["tiny"])
        by_features = self._by_features(pool, test)
        found: list[Finding] = []
        with progress(len(pool.rows), "looking for test images", quiet=pool.quiet) as meter:
            for row, content in enumerate(pool.rows):
                meter.advance()
                if (same := exact.get(content["pixels"].tobytes())) is not None:
                    found.append(self._finding(pool, test, row, same, EXACT, None, None))
                elif (match := looks.nearest(int(content["hash"]), content["tiny"])) is not None:
                    how = f"looks like {SIDE}: {match.told(self.bits, self.likeness)}"
                    found.append(self._finding(pool, test, row, match.position, how, match.likeness, self.likeness))
                elif row in by_features:
                    other, cosine = by_features[row]
                    how = f"is like {SIDE}: the cosine of their features is {cosine:.3f} (near from {self.cosine:g} on)"
                    found.append(self._finding(pool, test, row, other, how, cosine, self.cosine))
        found.sort(key=lambda finding: -(2 if finding.value is None else finding.value))
        return Found(found, _remark(found, test))

    def _by_features(self, pool: Examined, test: Examined) -> dict[int, tuple[int, float]]:
        """The test image that each image of the pool is near to by its features, and how near."""
        if pool.embeddings is None or test.embeddings is None:
            return {}
        known, features_ND = pool.featured
        others, features_KD = test.featured
        if not len(others):  # none of the images that have features can be decoded
            return {}
        nearest_N, cosine_N = nearest_centroid(features_ND, features_KD)
        rows = (cosine_N >= self.cosine).nonzero()[0]
        return {int(known[row]): (int(others[nearest_N[row]]), min(float(cosine_N[row]), 1.0)) for row in rows}

    def _finding(
        self, pool: Examined, test: Examined, row: int, other: int, why: str, value: float | None, limit: float | None
    ) -> Finding:
        why = why.format(test.ids[other])
        labels = (pool.labels.get(pool.ids[row]), test.labels.get(test.ids[other]))
        differ = None not in labels and labels[0] != labels[1]
        why += f"; their labels differ: {labels[0]!r} and {labels[1]!r}" if differ else ""
        return Finding(pool.ids[row], why, None if value is None else round(value, 4), limit, test.ids[other])


def _remark(found: list[Finding], test: Examined) -> str:
    """How much of the test set is met, its own copies of what is met included; and how much could not be looked for."""
    size, unread = len(test.ids), len(test.rejected)
    told = []
    if found:
        content = dict(zip(test.ids, map(bytes, test.rows["pixels"]), strict=True))
        met = {content[finding.other] for finding in found}
        exact = {content[finding.other] for finding in found if finding.value is None}
        count, same = (sum(digest in group for digest in content.values()) for group in (met, exact))
        told.append(
            f"{count:,} of {size:,} test images ({100 * count / size:.2f} %) lie in the pool, {same:,} of them pixel "
            "by pixel: a score on them is no score on new images"
        )
    if unread:
        told.append(f"{unread:,} of {size + unread:,} test images can't be read, and were not looked for")
    return "; ".join(told)
