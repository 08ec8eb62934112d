"""``odd_size``: thumbnails among photographs, or a scan among thumbnails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.config import check_settings
from activetune.studies.check.examined import Examined
from activetune.studies.check.finding import Check, Finding, Found
from activetune.studies.check.picture import Measure, Picture


def side(picture: Picture) -> float:
    """Pixels per side of a square of the same area."""
    return float(np.sqrt(picture.image.width * picture.image.height))


@dataclass(frozen=True)
class OddSize(Check):
    """Images far smaller or larger than the pool's others.

    Settings:
        times: larger or smaller per side than the pool's median image, above which a size is odd.
    """

    times: float = 4.0

    title: ClassVar[str] = "Odd sizes"
    order: ClassVar[int] = 40
    measures = (Measure("side", "f4", side),)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("odd_size", ("times", self.times, 1, np.inf))

    def find(self, pool: Examined, test: Examined | None) -> Found:
        """See :class:`Check`."""
        sides_R = pool.rows["side"].astype(np.float64)
        if not len(sides_R):
            return Found()
        middle = float(np.median(sides_R))
        apart_R = np.maximum(sides_R / middle, middle / sides_R)
        odd = np.flatnonzero(apart_R > self.times)
        order = odd[np.argsort(-apart_R[odd], kind="stable")]
        return Found([self._finding(pool.ids[row], float(sides_R[row]), middle) for row in order])

    def _finding(self, item: str, value: float, middle: float) -> Finding:
        small = value < middle
        limit = middle / self.times if small else middle * self.times
        why = (
            f"{value:,.0f} pixels per side on average, the pool's median image has {middle:,.0f}; odd is "
            f"{'below' if small else 'above'} {limit:,.0f}"
        )
        return Finding(item, why, round(value, 1), round(limit, 1))
