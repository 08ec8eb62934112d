"""A figure whose items can be drawn again, and the difference of two of them over the same items.

Paired bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 16): the items of the
test set are drawn anew with replacement, the same ones for both sides, and the figure is computed of each draw. The
interval is that of the percentiles; draws of which a side has no figure, as their images show nothing but void, are
left out. What is drawn is the test set alone: figures under other draws of the labels that heads learn from are
averaged first. An item is what was taken into the test set by itself: where one image has many
objects, it is the image that is drawn.

The smallest p that W draws can tell is 2 / (W + 1), and Holm's correction multiplies it by the number of rows, so W
follows from that number (:func:`draws_for`).
Shape legend: N items, W draws, Y true classes, C predicted ones, T overlaps, M detections.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.evaluation.boxes import BoxState
from activetune.evaluation.matched_boxes import Matches, Verdicts, matched, weighted_map
from activetune.evaluation.pixels import PixelCounts

CHUNK = 2**22  # numbers that are held at once
DRAWS = 2_000  # at least: enough for the ends of an interval
SMALLEST = 0.01  # p after Holm's correction that a row must be able to reach


class Sampled(ABC):
    """A figure of N items. The classes below are frozen dataclasses of arrays, which a file can hold."""

    @property
    @abstractmethod
    def n(self) -> int:
        """N."""

    @abstractmethod
    def values(self, weights_WN: FloatArray) -> FloatArray:
        """(W,) the figure when each item counts so often."""

    @property
    def value(self) -> float:
        """The figure of all items."""
        return float(self.values(np.ones((1, self.n)))[0])


@dataclass(frozen=True)
class Means(Sampled):
    """The mean of a number per item (N,), such as whether it was answered rightly."""

    values_N: FloatArray

    @classmethod
    def of(cls, answers_N: IntArray, truth_N: IntArray) -> Means:
        """Whether each item was answered rightly.

        >>> Means.of(np.asarray([1, 2]), np.asarray([1, 0])).value
        0.5
        """
        return cls((answers_N == truth_N).astype(np.float64))

    @classmethod
    def over(cls, repeats: Sequence[Means]) -> Means:
        """The mean over repeats, item by item."""
        return cls(np.mean([one.values_N for one in repeats], axis=0))

    @property
    def n(self) -> int:
        """See :class:`Sampled`."""
        return len(self.values_N)

    def values(self, weights_WN: FloatArray) -> FloatArray:
        """See :class:`Sampled`."""
        found: FloatArray = weights_WN @ self.values_N / weights_WN.sum(axis=1)
        return found


@dataclass(frozen=True)
class GroupMeans(Sampled):
    """The mean of a number per part of an item, such as whether each object of an image was told rightly.

    Items are drawn with all of their parts, since the parts of one are alike: drawn by themselves, they would make the
    interval narrower than it is. The figure is the sum over all parts by their number.

    Attributes:
        sums_N: of the parts' numbers. counts_N: of the parts, at least 1.
    """

    sums_N: FloatArray
    counts_N: FloatArray

    @classmethod
    def of(cls, answers_M: IntArray, truth_M: IntArray, items_M: IntArray) -> GroupMeans:
        """Whether each part was answered rightly.

        >>> GroupMeans.of(np.asarray([1, 2, 0]), np.asarray([1, 0, 0]), np.asarray([4, 4, 9])).sums_N.tolist()
        [1.0, 1.0]

        Args:
            items_M: number of the item that each part is of.
        """
        _, places_M = np.unique(items_M, return_inverse=True)
        rights = (answers_M == truth_M).astype(np.float64)
        return cls(np.bincount(places_M, rights).astype(np.float64), np.bincount(places_M).astype(np.float64))

    @property
    def n(self) -> int:
        """See :class:`Sampled`."""
        return len(self.sums_N)

    def values(self, weights_WN: FloatArray) -> FloatArray:
        """See :class:`Sampled`."""
        found: FloatArray = weights_WN @ self.sums_N / (weights_WN @ self.counts_N)
        return found


@dataclass(frozen=True)
class PixelMeans(Sampled):
    """mIoU of one matrix over all images, of a matrix (Y, C) per image."""

    matrices_NYC: FloatArray

    @property
    def n(self) -> int:
        """See :class:`Sampled`."""
        return len(self.matrices_NYC)

    def values(self, weights_WN: FloatArray) -> FloatArray:
        """See :class:`Sampled`."""
        found = np.empty(len(weights_WN))
        _, true, predicted = self.matrices_NYC.shape
        flat = self.matrices_NYC.reshape(self.n, -1)
        size = max(1, CHUNK // max(1, true * predicted))
        for start in range(0, len(found), size):
            matrices = np.rint(weights_WN[start : start + size] @ flat).astype(np.int64)
            for row, matrix in enumerate(matrices, start):
                counts = PixelCounts(true, predicted)
                counts.matrix_YC = matrix.reshape(true, predicted)
                found[row] = counts.ratios.miou
        return found


@dataclass(frozen=True)
class BoxMeans(Sampled):
    """mAP of boxes, matched once; an image that is drawn twice is two images with the same boxes.

    Attributes: those of :class:`activetune.evaluation.matched_boxes.Matches`.
    """

    image_M: IntArray
    class_M: IntArray
    verdict_MT: Verdicts
    objects_NY: IntArray

    @classmethod
    def of(cls, state: BoxState) -> BoxMeans:
        """The boxes that a scorer was given."""
        return cls(*matched(state))

    @property
    def n(self) -> int:
        """See :class:`Sampled`."""
        return len(self.objects_NY)

    def values(self, weights_WN: FloatArray) -> FloatArray:
        """See :class:`Sampled`."""
        return weighted_map(Matches(self.image_M, self.class_M, self.verdict_MT, self.objects_NY), weights_WN)


@dataclass(frozen=True)
class Paired:
    """A figure of both sides, and their difference B - A.

    Attributes:
        interval: of the difference, which 95 % of the draws lie in. p: two-sided, of no difference, from the draws.
        Both are of the draws that have a figure; without any, NaN and 1.
    """

    a: float
    b: float
    interval: tuple[float, float]
    p: float
    n: int

    @property
    def difference(self) -> float:
        """B - A."""
        return self.b - self.a


def draws_for(rows: int) -> int:
    """How many draws let p reach 0.01 in a table of so many rows, after Holm's correction; 2,000 at least.

    >>> draws_for(6), draws_for(51)
    (2000, 10199)
    """
    return max(DRAWS, round(2 * rows / SMALLEST) - 1)


def smallest_p(draws: int) -> float:
    """The smallest p that so many draws can tell, before any correction."""
    return 2 / (draws + 1)


def paired(a: Sampled, b: Sampled, *, seed: int, draws: int = DRAWS) -> Paired:
    """The difference of two figures over the same items.

    >>> rights = np.random.default_rng(0).random((2, 400)) < [[0.6], [0.8]]
    >>> found = paired(Means(rights[0] * 1.0), Means(rights[1] * 1.0), seed=0)
    >>> found.interval[0] > 0 and found.p < 0.01
    True

    Raises:
        ValueError: they are of another number of items.
    """
    if a.n != b.n:
        raise ValueError(f"{a.n} items against {b.n}: a pair needs the same ones")
    rng = np.random.default_rng([seed, a.n])
    differences: list[FloatArray] = []
    size = max(1, CHUNK // a.n)
    for start in range(0, draws, size):
        count = min(size, draws - start)
        weights_WN = rng.multinomial(a.n, np.full(a.n, 1 / a.n), size=count).astype(np.float64)
        differences.append(b.values(weights_WN) - a.values(weights_WN))
    found = np.concatenate(differences)
    found = found[np.isfinite(found)]
    low, high = np.percentile(found, [2.5, 97.5]) if len(found) else (np.nan, np.nan)
    tail = min(int((found <= 0).sum()), int((found >= 0).sum()))
    return Paired(a.value, b.value, (float(low), float(high)), min(1.0, (tail + 1) * smallest_p(len(found))), a.n)


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values of several comparisons, corrected for their number (Holm, 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(ps)), key=ps.__getitem__)
    found, most = [0.0] * len(ps), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(ps) - rank) * ps[place]))
        found[place] = round(most, 12)
    return found
