"""``odd_aspect``: strips, of which a network sees the middle alone, or everything squeezed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.config import check_settings
from activetune.features.distances import Float32
from activetune.studies.check.checks._beyond import Beyond
from activetune.studies.check.picture import Measure, Picture


def elongation(picture: Picture) -> float:
    """The long side by the short one, 1 or more."""
    return max(picture.image.size) / min(picture.image.size)


@dataclass(frozen=True)
class OddAspect(Beyond):
    """Images far longer than wide, or wider than long.

    Settings:
        above: times as long as its short side that the long side of a good image may be. times_median: and times as
            much as in the pool's median image: a pool of panoramas is meant so.
    """

    above: float = 4.0
    times_median: float = 2.0

    title: ClassVar[str] = "Odd aspect ratios"
    order: ClassVar[int] = 41
    measures = (Measure("elongation", "f4", elongation),)
    pool_is: ClassVar[str] = "long and narrow"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("odd_aspect", ("above", self.above, 1, np.inf), ("times_median", self.times_median, 1, np.inf))

    def limit(self, values_R: Float32) -> float:
        """See :class:`Beyond`."""
        return max(self.above, self.times_median * float(np.median(values_R)))

    def told(self, value: float, limit: float) -> str:
        """See :class:`Beyond`."""
        return f"its long side is {value:.1f} times the short one; odd is above {limit:.1f} times"
