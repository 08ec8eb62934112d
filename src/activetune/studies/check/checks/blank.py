"""``blank``: images of nothing: one colour, a lens cap, an empty scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from activetune.base.config import check_settings
from activetune.features.distances import Float32
from activetune.studies.check.checks._beyond import Beyond
from activetune.studies.check.picture import Measure, Picture

CELLS, CELL = 8, 8  # cells per side at most, and pixels per side of one
VISIBLE = 0.02  # standard deviation of a channel (0 to 1) within a cell that shows something; noise is averaged out


def filled(picture: Picture) -> float:
    """Share, 0 to 1, of the image's cells in which anything is to be seen."""
    image = picture.small
    if min(image.size) > CELLS * CELL:
        image = image.resize((CELLS * CELL, CELLS * CELL), Image.Resampling.BOX)
    values = np.asarray(image, dtype=np.float32) / np.float32(255)
    down, across = (max(1, min(CELLS, side // 2)) for side in values.shape[:2])
    high, wide = values.shape[0] // down, values.shape[1] // across
    cells = values[: down * high, : across * wide].reshape(down, high, across, wide, 3)
    return float((cells.std(axis=(1, 3)).max(axis=-1) >= VISIBLE).mean())


@dataclass(frozen=True)
class Blank(Beyond):
    """Images of one colour, with next to nothing on them.

    Settings:
        below: share, 0 to 1, of 8 x 8 cells in which something is to be seen in a good image.
    """

    below: float = 0.04

    title: ClassVar[str] = "Blank images"
    order: ClassVar[int] = 53
    measures = (Measure("filled", "f4", filled),)
    drops: ClassVar[bool] = True
    sign: ClassVar[int] = -1
    pool_is: ClassVar[str] = "nearly blank"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("blank", ("below", self.below, 0, 1))

    def limit(self, values_R: Float32) -> float:
        """See :class:`Beyond`."""
        return self.below

    def told(self, value: float, limit: float) -> str:
        """See :class:`Beyond`."""
        return (
            f"{100 * value:.0f} % of its area shows something other than one tone; blank is below {100 * limit:.0f} %"
        )
