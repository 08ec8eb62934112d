"""The rows of a pool's features that one process holds, and what several processes find out together.

Each of R processes holds a contiguous part of the N rows: the first one the first N / R, and so on. An algorithm works
on its own rows; where it needs all of them it asks here. One process is answered at once, by what it gave; several ask
by a collective, in which all take part. What travels is what the answer takes (a sum per centroid, the rows of picks),
never a number per item. Sums of float32 are added in another order than in one process, so that their last digits
differ; everything that is decided here is the same in all processes.
Random numbers are drawn by the first process alone, from the generator that one process would use.
Shape legend: N items of all processes, n of this one, D feature size, P positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed

from activetune.base.arrays import IntArray
from activetune.base.ranks import from_first, rank_and_world

Float32 = npt.NDArray[np.float32]
Value = TypeVar("Value")
Numbers = TypeVar("Numbers", Tensor, npt.NDArray[Any])
NOWHERE = np.iinfo(np.int64).max  # a position behind all others


@dataclass(frozen=True)
class Holding:
    """A part of the rows; positions count within it, global ones from its ``start`` on.

    Attributes:
        start: rows of the processes before this one.
        rank, world: number of this process, and how many share the rows.
    """

    start: int = 0
    rank: int = 0
    world: int = 1

    @classmethod
    def of(cls, total: int) -> tuple[Holding, slice]:
        """The part of ``total`` rows that this process holds, and which it is.

        >>> Holding.of(10)  # in one process
        (Holding(start=0, rank=0, world=1), slice(0, 10, None))
        """
        rank, world = rank_and_world()
        bounds = [total * number // world for number in range(world + 1)]
        return cls(bounds[rank], rank, world), slice(bounds[rank], bounds[rank + 1])

    # Numbers ------------------------------------------------------------------------------------------------------

    def added(self, values: Numbers) -> Numbers:
        """The sum of the processes' arrays of one shape, entry by entry."""
        return self._reduced(values, distributed.ReduceOp.SUM)

    def largest(self, values: Numbers) -> Numbers:
        """The largest of the processes' values, entry by entry."""
        return self._reduced(values, distributed.ReduceOp.MAX)

    def least(self, values: Numbers) -> Numbers:
        """The least of the processes' values, entry by entry."""
        return self._reduced(values, distributed.ReduceOp.MIN)

    def total(self, value: float) -> float:
        """The sum of one number per process."""
        return value if self.world == 1 else float(self.added(np.array([value], dtype=np.float64))[0])

    def count(self, value: int) -> int:
        """The sum of one whole number per process."""
        return value if self.world == 1 else int(self.added(np.array([value]))[0])

    def _reduced(self, values: Numbers, operation: Any) -> Numbers:
        if self.world == 1:
            return values
        if isinstance(values, np.ndarray):
            sent = torch.from_numpy(np.array(values, order="C"))
            distributed.all_reduce(sent, operation)
            found: Numbers = sent.numpy()
            return found
        tensor = values.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(tensor, operation)
        return tensor

    # Rows and positions -------------------------------------------------------------------------------------------

    def joined(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The processes' arrays (P, …) one after another: global positions that ascend stay so."""
        if self.world == 1:
            return values
        lengths = self.added(np.eye(self.world, dtype=np.int64)[self.rank] * len(values))
        padded = torch.zeros((int(lengths.max()), *values.shape[1:]), dtype=torch.from_numpy(values[:0].copy()).dtype)
        padded[: len(values)] = torch.from_numpy(np.ascontiguousarray(values))
        parts = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(parts, padded)
        return np.concatenate([part[:length].numpy() for part, length in zip(parts, lengths, strict=True)])

    def rows(self, values_ND: npt.NDArray[Any], positions: IntArray) -> npt.NDArray[Any]:
        """(P, …) the rows at global positions, of the processes' arrays (n, …)."""
        if self.world == 1:
            return values_ND[positions]
        found = np.zeros((len(positions), *values_ND.shape[1:]), dtype=values_ND.dtype)
        here = self._here(positions, len(values_ND))
        found[here] = values_ND[positions[here] - self.start]
        return self.added(found)

    def own(self, positions: IntArray, size: int) -> IntArray:
        """Those of some global positions that lie in this process's ``size`` rows, counted within them."""
        return positions if self.world == 1 else positions[self._here(positions, size)] - self.start

    def _here(self, positions: IntArray, size: int) -> npt.NDArray[np.bool_]:
        return (positions >= self.start) & (positions < self.start + size)

    def at(self, positions: IntArray, places: IntArray) -> IntArray:
        """Global positions, named by their places in the list of all processes' ``positions``, one after another."""
        if self.world == 1:
            return positions[places]
        before = int(self.joined(np.array([len(positions)]))[: self.rank].sum())
        found = np.zeros(len(places), dtype=np.int64)
        here = (places >= before) & (places < before + len(positions))
        found[here] = positions[places[here] - before] + self.start
        return self.added(found)

    def first_of(self, value: float, position: int) -> tuple[float, int]:
        """The largest of one value per process, and the lowest global position of those that have it.

        Args:
            position: in this process's rows.
        """
        if self.world == 1:
            return value, position
        best = float(self.largest(np.array([value]))[0])
        mine = self.start + position if value == best and position != NOWHERE else NOWHERE
        return best, int(self.least(np.array([mine]))[0])

    # Chance -------------------------------------------------------------------------------------------------------

    def agreed(self, find: Callable[[], Value]) -> Value:
        """What ``find`` gives in the first process, in all of them."""
        return find() if self.world == 1 else from_first(find)

    def drawn(
        self, positions: IntArray, count: int, rng: np.random.Generator, weights: Float32 | None = None
    ) -> IntArray:
        """``count`` distinct ones of all processes' positions at random: global ones, in the order drawn.

        Args:
            positions: in this process's rows. weights: of its positions, > 0; None: all alike.
        """
        if self.world > 1 and weights is not None:
            return self._drawn_by_weight(positions, count, rng, weights)
        shares = None if weights is None else weights / weights.sum(dtype=np.float64)
        total = self.count(len(positions))
        return self.at(positions, self.agreed(lambda: rng.choice(total, count, replace=False, p=shares)))

    def _drawn_by_weight(self, positions: IntArray, count: int, rng: np.random.Generator, weights: Float32) -> IntArray:
        """NumPy's draw without replacement, of which each process answers the part that falls on its own rows."""
        left = weights.astype(np.float64)
        found: dict[int, None] = {}
        while len(found) < count:
            missing = count - len(found)
            ends = np.concatenate([[0], self.joined(np.array([left.sum()])).cumsum()])
            before, end = ends[self.rank], ends[self.rank + 1]
            asked = self.agreed(lambda missing=missing: rng.random(missing))  # type: ignore[misc]
            asked = np.minimum(asked * ends[-1], np.nextafter(ends[-1], 0))
            here = (asked >= before) & (asked < end)
            place = (np.cumsum(left) + before).searchsorted(asked[here], side="right").clip(max=len(left) - 1)
            drawn = np.zeros(missing, dtype=np.int64)
            drawn[here] = positions[place] + self.start
            left[place] = 0
            found |= dict.fromkeys(self.added(drawn).tolist())
        return np.asarray(list(found), dtype=np.int64)

    def shuffled(self, positions: IntArray, most: int, rng: np.random.Generator) -> IntArray:
        """The first ``most`` of all processes' positions in a random order, as global ones."""
        total = self.count(len(positions))
        return self.at(positions, self.agreed(lambda: rng.permutation(total)[:most]))

    # Input --------------------------------------------------------------------------------------------------------

    def dealt(self, find: Callable[[], Sequence[Any]]) -> Any:
        """Of the R things that ``find`` gives in the first process the one that is for this process."""
        if self.world == 1:
            return find()[0]
        given = [list(find())] if self.rank == 0 else [None]
        told: list[Any] = [None]
        distributed.scatter_object_list(told, given[0], src=0)
        return told[0]


WHOLE = Holding()
