"""An image as the checks measure it: whole, and as small copies that are made once for all of them.

Shape legend: H, W rows and columns of the small grey copy; N images, M numbers read off each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from activetune.features.distances import Float32

SIDE = 256  # pixels of a small copy's long side: about what a network sees


class Picture:
    """One decoded image, upright RGB of 8 bits a channel."""

    def __init__(self, image: Image.Image):
        self.image = image

    @cached_property
    def small(self) -> Image.Image:
        """The image, made smaller to ``SIDE`` pixels where it is larger."""
        scale = SIDE / max(self.image.size)
        if scale >= 1:
            return self.image
        width, height = (max(1, round(side * scale)) for side in self.image.size)
        return self.image.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=1.0)

    @cached_property
    def grey(self) -> Image.Image:
        """The small copy's brightness."""
        return self.small.convert("L")

    @cached_property
    def grey_HW(self) -> Float32:
        """The same as numbers from 0 (black) to 1 (white)."""
        return np.asarray(self.grey, dtype=np.float32) / np.float32(255)

    def brightness_above(self, share: float) -> float:
        """The brightness, 0 to 1, that a share of the pixels reaches or exceeds."""
        counts = np.cumsum(self.grey.histogram()[::-1])
        return 1 - float(np.searchsorted(counts, share * counts[-1])) / 255


@dataclass(frozen=True)
class Measure:
    """Something that is read off each image, once, whatever the number of checks that need it.

    Attributes:
        name: under which checks find it. kind: NumPy's type of its numbers. of: reads it off an image.
        shape: of what ``of`` gives; () for a single number.
    """

    name: str
    kind: str
    of: Callable[[Picture], npt.ArrayLike]
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Measuring:
    """Turns an image into a row of all measures, as bytes: what decoding processes hand on in place of pixels."""

    measures: Sequence[Measure]

    @cached_property
    def row_type(self) -> np.dtype[np.void]:
        """A row's type, a field per measure."""
        return np.dtype([(measure.name, measure.kind, measure.shape) for measure in self.measures])

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """The row of an image, (M,) uint8."""
        picture = Picture(image)
        row = np.zeros(1, dtype=self.row_type)
        for measure in self.measures:
            row[measure.name] = measure.of(picture)
        return torch.from_numpy(row.view(np.uint8).copy())
