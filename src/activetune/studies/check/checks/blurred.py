"""``blurred``: images out of focus, moved, or enlarged from far fewer pixels.

A sharp image loses much of the difference between neighbouring pixels when it is blurred once more, a blurred one
little: what is left is the measure. Contrast and noise-free flat areas cancel out of it. After Crete et al., "The blur
effect: perception and estimation with a new no-reference perceptual blur metric", SPIE 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.config import check_settings
from activetune.features.distances import Float32
from activetune.studies.check.checks._beyond import Beyond
from activetune.studies.check.picture import Measure, Picture

REACH = 4  # pixels to either side over which an image is blurred once more
ROWS = 64  # of an image that are looked at, about
FLAT = 0.1  # between the darkest and the brightest pixel (0 to 1), below which there is noise alone
SHORTEST = 16  # pixels of a side below which there is too little to tell


def blur(picture: Picture) -> float:
    """Share, 0 to 1, of the differences between neighbours that is left after blurring; NaN for tiny or flat images.

    Of the two directions the more blurred one counts: a moving camera blurs one alone.
    """
    grey_HW = picture.grey_HW
    if min(grey_HW.shape) < SHORTEST:
        return float("nan")
    if float(grey_HW.max() - grey_HW.min()) < FLAT:
        return float("nan")
    return max(_along_rows(grey_HW), _along_rows(grey_HW.T))


def _along_rows(grey_HW: Float32) -> float:
    grey_HW = np.ascontiguousarray(grey_HW[:: max(1, len(grey_HW) // ROWS)])
    padded = np.pad(grey_HW, ((0, 0), (REACH + 1, REACH)), mode="edge").cumsum(axis=1)
    width = 2 * REACH + 1
    blurred_HW = (padded[:, width:] - padded[:, :-width]) / width
    before, after = (np.abs(np.diff(image, axis=1)) for image in (grey_HW, blurred_HW))
    total = float(before.sum())
    return 1 - float(np.maximum(before - after, 0).sum()) / total if total else float("nan")


@dataclass(frozen=True)
class Blurred(Beyond):
    """Images out of focus or moved, far more blurred than the pool's others.

    Settings:
        above: share, 0 to 1, of the differences between neighbouring pixels that a good image loses less of when it is
            blurred once more. beyond_median: by how much an image must be above the pool's median, too: microscopes
            give softer images than cameras.
    """

    above: float = 0.55
    beyond_median: float = 0.2

    title: ClassVar[str] = "Blurred images"
    order: ClassVar[int] = 52
    measures = (Measure("blur", "f4", blur),)
    pool_is: ClassVar[str] = "blurred"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("blurred", ("above", self.above, 0, 1), ("beyond_median", self.beyond_median, 0, 1))

    def limit(self, values_R: Float32) -> float:
        """See :class:`Beyond`."""
        return max(self.above, float(np.median(values_R)) + self.beyond_median)

    def told(self, value: float, limit: float) -> str:
        """See :class:`Beyond`."""
        return (
            f"blurring it once more leaves {100 * value:.0f} % of the differences between neighbouring pixels; "
            f"blurred is above {100 * limit:.0f} %"
        )
