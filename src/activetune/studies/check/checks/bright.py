"""``bright``: overexposed images, nearly white all over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from activetune.base.config import check_settings
from activetune.features.distances import Float32
from activetune.studies.check.checks._beyond import Beyond
from activetune.studies.check.picture import Measure, Picture


def shadows(picture: Picture) -> float:
    """The brightness, 0 to 1, that 95 % of the pixels reach."""
    return picture.brightness_above(0.95)


@dataclass(frozen=True)
class Bright(Beyond):
    """Images that are nearly white all over.

    Something on a white ground is not bright, if it covers a twentieth of the image.

    Settings:
        above: brightness, 0 (black) to 1 (white), that at least 5 % of the pixels of a good image are below.
    """

    above: float = 0.85

    title: ClassVar[str] = "Bright images"
    order: ClassVar[int] = 51
    measures = (Measure("shadows", "f4", shadows),)
    pool_is: ClassVar[str] = "nearly white"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("bright", ("above", self.above, 0, 1))

    def limit(self, values_R: Float32) -> float:
        """See :class:`Beyond`."""
        return self.above

    def told(self, value: float, limit: float) -> str:
        """See :class:`Beyond`."""
        return f"95 % of the pixels have a brightness above {value:.2f} (white is 1); bright is above {limit:.2f}"
