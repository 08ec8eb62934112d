"""Regions of an image, as polygons, COCO's run lengths or masks inside boxes, and the mask that they make together.

A pixel belongs to a polygon where its centre lies inside by the even-odd rule. That is decided here row by row: Pillow
cuts coordinates to whole pixels first, and pycocotools would be a dependency for this alone.
Shape legend: H x W pixels, P corners, R runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from activetune.base.fingerprint import digest, digest_array
from activetune.data.images import MAX_PIXELS
from activetune.data.kinds import VOID, Indices, Mask

Corners = npt.NDArray[np.float32]
Box = tuple[float, float, float, float]


def are_shares(boxes: Sequence[Box]) -> bool:
    """Whether boxes are in shares of the image: none reaches beyond 1, and not all numbers are whole."""
    numbers = [side for box in boxes for side in box]
    return bool(numbers) and all(0 <= side <= 1 for side in numbers) and any(0 < side < 1 for side in numbers)


def turned(
    box: Box, degrees: float, *, around: tuple[float, float] | None = None, unit: tuple[float, float] = (1.0, 1.0)
) -> Box:
    """The box around one that is turned clockwise.

    Args:
        around: the point that it is turned around; None: its centre.
        unit: pixels that the unit of x and of y has, for boxes in shares: an angle is one in pixels.

    >>> [round(side, 6) for side in turned((80, 40, 120, 60), 90)]
    [90.0, 30.0, 110.0, 70.0]

    Raises:
        ValueError: a number that is not finite.
    """
    left, top, right, bottom = box
    if not all(map(math.isfinite, (*box, degrees))):
        raise ValueError(f"the box {box}, turned by {degrees} degrees, is no box")
    middle = ((left + right) / 2, (top + bottom) / 2) if around is None else around
    scale, centre = np.asarray(unit, dtype=np.float64), np.asarray(middle)
    corners = np.asarray([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float64)
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    moved = (corners - centre) * scale @ np.asarray([[cosine, sine], [-sine, cosine]]) / scale + centre
    return (*map(float, moved.min(axis=0)), *map(float, moved.max(axis=0)))  # type: ignore[return-value]


class Shape(Protocol):
    """A region of an image."""

    @property
    def area(self) -> float:
        """In pixels."""
        ...

    def bounds(self) -> Box:
        """The box around it: ``x_left, y_top, x_right, y_bottom``."""
        ...

    def paint(self, mask_HW: Indices, value: int) -> None:
        """Write a value into its pixels."""
        ...

    def fingerprint(self) -> str:
        """Digest of the region."""
        ...


@dataclass(frozen=True, eq=False)
class Polygons:
    """The union of polygons, each (P, 2) corners x, y with P >= 3."""

    parts: tuple[Corners, ...]

    @property
    def area(self) -> float:
        """By the shoelace formula."""
        return sum(_area(part.astype(np.float64)) for part in self.parts)

    def bounds(self) -> Box:
        """See :class:`Shape`."""
        corners = np.concatenate(self.parts)
        return (*map(float, corners.min(axis=0)), *map(float, corners.max(axis=0)))  # type: ignore[return-value]

    def paint(self, mask_HW: Indices, value: int) -> None:
        """See :class:`Shape`."""
        for part in self.parts:
            _fill(mask_HW, part.astype(np.float64), value)

    def scaled(self, width: float, height: float) -> Polygons:
        """The same with x and y multiplied."""
        return Polygons(tuple(part * np.asarray([width, height], dtype=np.float32) for part in self.parts))

    def fingerprint(self) -> str:
        """See :class:`Shape`."""
        return digest("polygons", *map(digest_array, self.parts))


@dataclass(frozen=True, eq=False)
class Runs:
    """Run lengths down the columns of an H x W image, outside first: (R,) whole numbers whose sum is H W."""

    counts_R: npt.NDArray[np.int64]
    size: tuple[int, int]

    @property
    def area(self) -> float:
        """See :class:`Shape`."""
        return float(self.counts_R[1::2].sum())

    def bounds(self) -> Box:
        """See :class:`Shape`; of an empty region a box without area."""
        rows, columns = np.nonzero(self.inside())
        if not len(rows):
            return 0.0, 0.0, 0.0, 0.0
        return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)

    def inside(self) -> npt.NDArray[np.bool_]:
        """(H, W) which pixels belong to it."""
        values = np.arange(len(self.counts_R)) % 2 == 1
        return np.repeat(values, self.counts_R).reshape(self.size[::-1]).T

    def paint(self, mask_HW: Indices, value: int) -> None:
        """See :class:`Shape`."""
        mask_HW[self.inside()] = value

    def fingerprint(self) -> str:
        """See :class:`Shape`."""
        return digest("runs", str(self.size), digest_array(self.counts_R))


@dataclass(frozen=True, eq=False)
class Inset:
    """A mask of its own, spread over a box: a pixel belongs to it by the nearest value of the mask, h x w of them.

    Attributes:
        bits: the mask's values row by row, eight to a byte. grid: h and w. box: in the unit of its file.
    """

    bits: npt.NDArray[np.uint8]
    grid: tuple[int, int]
    box: Box

    @classmethod
    def of(cls, inside: npt.NDArray[Any], box: Box) -> Inset:
        """Of an array (h, w), or (h, w, colours): what is not zero lies inside.

        Raises:
            ValueError: it is no such array.
        """
        if inside.dtype.kind not in "buif" or inside.ndim not in (2, 3) or not inside.size:
            raise ValueError(f"a mask of the shape {inside.shape} and the type {inside.dtype} is no picture")
        flat = inside.any(axis=2) if inside.ndim == 3 else inside.astype(np.bool_)
        return cls(np.packbits(flat), (flat.shape[0], flat.shape[1]), box)

    @property
    def area(self) -> float:
        """See :class:`Shape`."""
        left, top, right, bottom = self.box
        return (right - left) * (bottom - top) * float(self.inside().mean())

    def inside(self) -> npt.NDArray[np.bool_]:
        """(h, w) the mask."""
        height, width = self.grid
        return np.unpackbits(self.bits, count=height * width).reshape(height, width).astype(np.bool_)

    def bounds(self) -> Box:
        """See :class:`Shape`; of the box."""
        return self.box

    def paint(self, mask_HW: Indices, value: int) -> None:
        """See :class:`Shape`."""
        left, top, right, bottom = self.box
        rows, in_rows = _centres(top, bottom, mask_HW.shape[0], self.grid[0])
        columns, in_columns = _centres(left, right, mask_HW.shape[1], self.grid[1])
        mask_HW[rows, columns][self.inside()[in_rows[:, None], in_columns]] = value

    def scaled(self, width: float, height: float) -> Inset:
        """The same with x and y multiplied."""
        left, top, right, bottom = self.box
        return replace(self, box=(left * width, top * height, right * width, bottom * height))

    def fingerprint(self) -> str:
        """See :class:`Shape`."""
        return digest("inset", str(self.grid), str(self.box), digest_array(self.bits))


@dataclass(frozen=True, eq=False)
class ShapesMask(Mask):
    """A mask made of regions, drawn each time.

    Attributes:
        height, width: in pixels. shapes: regions with the position of their class, later ones over earlier ones.
        background: the class of all other pixels, ``VOID`` where they have none.
    """

    height: int
    width: int
    shapes: Sequence[tuple[int, Shape]]
    background: int

    @property
    def size(self) -> tuple[int, int]:
        """See :class:`Mask`."""
        return self.height, self.width

    def pixels(self) -> Indices:
        """See :class:`Mask`."""
        mask_HW = np.full(self.size, self.background, dtype=np.int32)
        for position, shape in self.shapes:
            shape.paint(mask_HW, position)
        return mask_HW

    @cached_property
    def fingerprint(self) -> str:
        """See :class:`Mask`."""
        parts = [f"{position} {shape.fingerprint()}" for position, shape in self.shapes]
        return digest("shapes", f"{self.height} {self.width} {self.background}", *parts)


def drawn(regions: Sequence[tuple[int, Shape, bool]], size: tuple[int, int], background: int) -> ShapesMask:
    """The mask of regions: crowds are void and lie below, and of all others the smaller ones lie on top.

    So does a box that nobody knows the pixels of, which is void.

    Args:
        regions: position of the class or ``VOID``, region, whether it is a crowd.
    """
    ordered = sorted(regions, key=lambda region: (not region[2], -region[1].area))
    shapes = [(VOID if crowd else position, shape) for position, shape, crowd in ordered]
    return ShapesMask(*size, shapes, background)


def may_show(shape: Shape, size: tuple[int, int]) -> bool:
    """Whether a region has an extent that reaches into an image of a size; perhaps between the pixels' centres."""
    if isinstance(shape, Runs):
        return shape.area > 0
    left, top, right, bottom = shape.bounds()
    return max(left, 0) < min(right, size[1]) and max(top, 0) < min(bottom, size[0])


def rectangle(box: Box) -> Polygons:
    """A box as a region."""
    left, top, right, bottom = box
    return Polygons((np.asarray([(left, top), (right, top), (right, bottom), (left, bottom)], dtype=np.float32),))


def polygon(flat: Any) -> Corners | None:
    """The corners of ``[x, y, x, y, …]``; None where these are fewer than 3.

    Raises:
        ValueError: it is no such list of finite numbers.
    """
    with np.errstate(over="ignore"):
        corners = _numbers(flat).astype(np.float32)
    if corners.ndim != 1 or len(corners) % 2 or not np.isfinite(corners).all():
        raise ValueError("no list of x and y by turns")
    return corners.reshape(-1, 2) if len(corners) >= 6 else None


def runs(counts: Any, size: Any) -> Runs:
    """COCO's run lengths, as a list or as its compressed text.

    Raises:
        ValueError: they are damaged, or do not add up to the size's pixels.
    """
    sides = _numbers(size)
    if len(sides) != 2 or not ((sides >= 1) & (sides <= MAX_PIXELS)).all():
        raise ValueError("a size is height and width")
    height, width = map(int, sides.tolist())
    numbers = _unpacked(counts) if isinstance(counts, str | bytes) else _numbers(counts)
    if numbers.ndim != 1 or not (np.abs(numbers) <= height * width).all():
        raise ValueError("run lengths are whole numbers from 0 to the number of pixels")
    whole = numbers.astype(np.int64)
    if (whole != numbers).any() or (whole < 0).any():
        raise ValueError("run lengths are whole numbers from 0 to the number of pixels")
    if int(whole.sum()) != height * width:
        raise ValueError(f"the run lengths add up to {int(whole.sum()):,}, not to {height} x {width}")
    return Runs(whole, (height, width))


def _numbers(values: Any) -> npt.NDArray[np.float64]:
    if not isinstance(values, list | tuple | np.ndarray) or any(isinstance(value, str | bytes) for value in values):
        raise ValueError("no list of numbers")
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from None


def _unpacked(text: str | bytes) -> npt.NDArray[np.int64]:
    """The numbers of COCO's compressed text: 5 bits a sign, differences to the last but one from the fourth on."""
    signs = (
        np.frombuffer(text.encode("latin-1") if isinstance(text, str) else text, dtype=np.uint8).astype(np.int64) - 48
    )
    if not len(signs) or (signs < 0).any() or (signs > 63).any() or signs[-1] & 32:
        raise ValueError("no compressed run lengths")
    ends = np.flatnonzero(~signs & 32)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 10:
        raise ValueError("a run length of more than 50 bits")
    places = np.arange(len(signs)) - np.repeat(starts, lengths)
    numbers = np.add.reduceat((signs & 31) << (5 * places), starts)
    numbers -= np.where(signs[ends] & 16, np.int64(1) << (5 * lengths), 0)
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers


def _centres(start: float, end: float, pixels: int, values: int) -> tuple[slice, npt.NDArray[np.intp]]:
    """The pixels whose centre lies from start to end, and which of the values spread over that each of them takes."""
    first, last = (min(max(math.ceil(edge - 0.5), 0), pixels) for edge in (start, end))
    places = (np.arange(first, max(first, last)) + 0.5 - start) / (end - start) * values
    return slice(first, max(first, last)), np.clip(places.astype(np.intp), 0, values - 1)


def _area(corners_P2: npt.NDArray[np.float64]) -> float:
    x, y = corners_P2.T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2


def _fill(mask_HW: Indices, corners_P2: npt.NDArray[np.float64], value: int) -> None:
    """Write into the pixels whose centre a polygon holds: those with an odd number of edges to the left of it."""
    height, width = mask_HW.shape
    x, y = corners_P2.T
    top, bottom = (min(max(math.ceil(edge - 0.5), 0), height) for edge in (y.min(), y.max()))
    left, right = (min(max(math.ceil(edge - 0.5), 0), width) for edge in (x.min(), x.max()))
    if top >= bottom or left >= right:
        return
    centres = np.arange(top, bottom)[:, None] + 0.5
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    rows, edges = np.nonzero((y <= centres) != (next_y <= centres))
    share = (centres[rows, 0] - y[edges]) / (next_y[edges] - y[edges])
    crossings = x[edges] + share * (next_x[edges] - x[edges])
    columns = np.clip(np.ceil(crossings - 0.5), left, right).astype(np.int64) - left
    flips = np.bincount(rows * (right - left + 1) + columns, minlength=(bottom - top) * (right - left + 1))
    inside = np.cumsum(flips.reshape(bottom - top, -1), axis=1)[:, :-1] % 2 == 1
    mask_HW[top:bottom, left:right][inside] = value
