"""A figure whose items can be drawn again, and the difference of two of them over the same items.

Paired bootstrap (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapters 8 and 16): the items of the
test set are drawn anew with replacement, the same ones for both sides, and the figure is computed of each draw. The
interval is that of the percentiles. What is drawn is the test set alone: figures under other draws of the labels that
heads learn from are averaged first.
Shape legend: N items, W draws, Y true classes, C predicted ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.evaluation.boxes import BoxScorer, BoxState
from activetune.evaluation.pixels import PixelCounts

CHUNK = 2**22  # numbers that are held at once


class Sampled(ABC):
    """A figure of N items.

    Attributes:
        draws: W of a bootstrap, as many as its cost allows.
    """

    draws: ClassVar[int] = 2_000

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
        for row, weights_N in enumerate(weights_WN):
            counts = PixelCounts(true, predicted)
            counts.matrix_YC = np.rint(weights_N @ flat).astype(np.int64).reshape(true, predicted)
            found[row] = counts.ratios.miou
        return found


@dataclass(frozen=True)
class BoxMeans(Sampled):
    """mAP of boxes; an image that is drawn twice is two images with the same boxes."""

    draws: ClassVar[int] = 200

    state: BoxState

    @property
    def n(self) -> int:
        """See :class:`Sampled`."""
        return len(self.state.items)

    def values(self, weights_WN: FloatArray) -> FloatArray:
        """See :class:`Sampled`."""
        return np.asarray([self._map(np.rint(weights_N).astype(np.int64)) for weights_N in weights_WN])

    def _map(self, counts_N: IntArray) -> float:
        items, classes, truth, found = self.state
        drawn = np.repeat(np.arange(self.n), counts_N)
        named = [f"{items[row]}:{copy}" for row, count in enumerate(counts_N.tolist()) for copy in range(count)]
        sides = [_drawn(rows, drawn) for rows in (truth, found)]
        return float(BoxScorer.of([BoxState(named, classes, *sides)]).scores()["map"])


def _drawn(rows: FloatArray, drawn: IntArray) -> FloatArray:
    """The rows of images, whose number stands first, for each image that was drawn, under its new number."""
    by_image = np.argsort(rows[:, 0], kind="stable")
    ordered = rows[by_image]
    starts, ends = (np.searchsorted(ordered[:, 0], drawn, side=side) for side in ("left", "right"))
    counts = ends - starts
    places = np.repeat(starts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
    found: FloatArray = ordered[places]
    found[:, 0] = np.repeat(np.arange(len(drawn)), counts)
    return found


@dataclass(frozen=True)
class Paired:
    """A figure of both sides, and their difference B - A.

    Attributes:
        interval: of the difference, which 95 % of the draws lie in. p: two-sided, of no difference, from the draws.
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


def paired(a: Sampled, b: Sampled, *, seed: int) -> Paired:
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
    rng, draws = np.random.default_rng([seed, a.n]), a.draws
    differences: list[FloatArray] = []
    size = max(1, CHUNK // a.n)
    for start in range(0, draws, size):
        count = min(size, draws - start)
        weights_WN = rng.multinomial(a.n, np.full(a.n, 1 / a.n), size=count).astype(np.float64)
        differences.append(b.values(weights_WN) - a.values(weights_WN))
    found = np.concatenate(differences)
    low, high = np.percentile(found, [2.5, 97.5])
    tail = min(int((found <= 0).sum()), int((found >= 0).sum()))
    return Paired(a.value, b.value, (float(low), float(high)), min(1.0, 2 * (tail + 1) / (draws + 1)), a.n)


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
