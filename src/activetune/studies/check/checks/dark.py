"""``dark``: images of which hardly anything can be seen for want of light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from activetune.base.config import check_settings
from activetune.features.distances import Float32
from activetune.studies.check.checks._beyond import Beyond
from activetune.studies.check.picture import Measure, Picture


def highlights(picture: Picture) -> float:
    """The brightness, 0 to 1, that 1 % of the pixels reach."""
    return picture.brightness_above(0.01)


@dataclass(frozen=True)
class Dark(Beyond):
    """Images whose brightest pixels are dark.

    A white digit on black is not dark: its brightest 1 % are white.

    Settings:
        below: brightness, 0 (black) to 1 (white), that at least 1 % of the pixels of a good image exceed.
    """

    below: float = 0.3

    title: ClassVar[str] = "Dark images"
    order: ClassVar[int] = 50
    measures = (Measure("highlights", "f4", highlights),)
    sign: ClassVar[int] = -1
    pool_is: ClassVar[str] = "dark"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("dark", ("below", self.below, 0, 1))

    def limit(self, values_R: Float32) -> float:
        """See :class:`Beyond`."""
        return self.below

    def told(self, value: float, limit: float) -> str:
        """See :class:`Beyond`."""
        return f"99 % of the pixels have a brightness below {value:.2f} (white is 1); dark is below {limit:.2f}"
