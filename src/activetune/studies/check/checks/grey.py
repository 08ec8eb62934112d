"""``grey``: images without colour in a pool of coloured ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.config import check_settings
from activetune.features.distances import Float32
from activetune.studies.check.checks._beyond import Beyond
from activetune.studies.check.picture import Measure, Picture


def colour(picture: Picture) -> float:
    """Mean difference, 0 to 1, between the strongest and the weakest of a pixel's three channels."""
    red, green, blue = (np.asarray(channel) for channel in picture.small.split())
    strongest, weakest = np.maximum(np.maximum(red, green), blue), np.minimum(np.minimum(red, green), blue)
    return float((strongest - weakest).mean()) / 255


@dataclass(frozen=True)
class Grey(Beyond):
    """Images without colour, where the pool's others have some.

    Settings:
        below: mean difference, 0 to 1, between the channels of a pixel that an image in colour exceeds.
    """

    below: float = 0.005

    title: ClassVar[str] = "Grey images among coloured ones"
    order: ClassVar[int] = 60
    measures = (Measure("colour", "f4", colour),)
    sign: ClassVar[int] = -1
    pool_is: ClassVar[str] = "grey"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("grey", ("below", self.below, 0, 1))

    def limit(self, values_R: Float32) -> float:
        """See :class:`Beyond`."""
        return self.below

    def told(self, value: float, limit: float) -> str:
        """See :class:`Beyond`."""
        return f"the channels of its pixels differ by {100 * value:.2f} % on average; grey is below {100 * limit:.2f} %"
