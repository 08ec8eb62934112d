"""The order in which items are trained on: batches of an epoch, and their parts.

Every random choice is derived from (seed, epoch, item), never from what ran before, so a run that goes on from a
checkpoint sees what the uninterrupted run would have seen, whatever the number of decoding workers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from activetune.base.arrays import IntArray
from activetune.data.splits import shuffled


class Turn(NamedTuple):
    """An item's place in the training: in an epoch, and there its first, second, … time (when classes are balanced)."""

    epoch: int
    position: int
    time: int = 0


class Batches:
    """The batches of one epoch, each in its parts, in an order derived from seed and epoch; set ``epoch`` before.

    Of several processes each gets its share of each part (``share``): every ``world``-th item, from its own number on.
    :meth:`sizes` counts whole parts. Where a part has fewer items than there are processes, the processes without an
    item get the part's first one, as all of them must make equally many forward passes; see :meth:`empty`.

    Args:
        positions: the items trained on; a course may set others before an epoch.
        targets: (L,) the strata of all items, by position, which ``balance`` evens out.
        accumulation: parts of a batch. balance: see :class:`Optimisation`.
        count: batches of an epoch, of ``batch_size`` items each: the items come again and again in an endless sequence,
            which an epoch enters at item ``skip``. None: as many batches as it takes for each item to come once.

    Attributes:
        gone: batches of the epoch that were trained on before the run was cut off; the others come.
    """

    def __init__(
        self,
        positions: IntArray,
        targets: IntArray,
        batch_size: int,
        seed: int,
        *,
        accumulation: int = 1,
        balance: float = 0.0,
        count: int | None = None,
    ):
        self.positions, self.targets, self.seed = positions, targets, seed
        self.accumulation, self.balance = accumulation, balance
        self.epoch, self.skip, self.gone = 0, 0, 0
        self.share = 0, 1
        self.batch_size = batch_size
        self.count = max(1, -(-len(positions) // batch_size)) if count is None else count
        self.items = len(positions) if count is None else count * batch_size

    def __len__(self) -> int:
        return sum(map(len, self.sizes()))

    def __iter__(self) -> Iterator[list[Turn]]:
        gone = sum(map(sum, self._all_sizes()[: self.gone]))
        turns = itertools.islice(self._turns(), gone, None)
        for parts in self.sizes():
            for size in parts:
                part = list(itertools.islice(turns, size))
                rank, world = self.share
                yield part[rank::world] or part[:1]

    def empty(self, size: int) -> bool:
        """Whether a part of so many items has none for this process."""
        return size <= self.share[0]

    def span(self, first: int, count: int) -> None:
        """Take ``count`` batches of the endless sequence of epoch 0, from batch ``first`` on."""
        self.epoch, self.skip = 0, first * self.batch_size
        self.count, self.items = count, count * self.batch_size

    def sizes(self) -> list[list[int]]:
        """Items in each part of each batch to come; batches differ by one at most: none has one image alone."""
        return self._all_sizes()[self.gone :]

    def _all_sizes(self) -> list[list[int]]:
        batches = _even(self.items, self.count) if self.count else []
        return [_even(size, min(self.accumulation, size)) for size in batches]

    def _turns(self) -> list[Turn]:
        rng = np.random.default_rng([self.seed, self.epoch])
        seen = np.zeros(int(self.positions.max()) + 1, dtype=np.int64)
        turns: list[Turn] = []
        done = 0
        while done < self.skip + self.items:
            order = shuffled(self.positions, self.targets, rng, self.balance)
            if done + len(order) <= self.skip:  # a whole pass that was gone through before
                seen += np.bincount(order, minlength=len(seen))
                done += len(order)
                continue
            for position in order.tolist():
                if done >= self.skip:
                    turns.append(Turn(self.epoch, position, int(seen[position])))
                seen[position] += 1
                done += 1
        return turns[: self.items]


def _even(total: int, parts: int) -> list[int]:
    """Parts of a total that differ by one at most, larger ones first."""
    short, longer = divmod(total, parts)
    return [short + (number < longer) for number in range(parts)]


def derive(seed: int, epoch: int, item: int, time: int = 0) -> int:
    """A 63-bit seed of its own for an item's turn in an epoch; item -1 is the epoch itself."""
    entropy = [seed, epoch, item + 1, *([time] if time else [])]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
