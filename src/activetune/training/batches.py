"""What the network sees when: items in the order of an epoch, each under the crop and flip of its turn.

Every random choice is derived from (seed, epoch, item), never from what ran before, so a run that goes on from a
checkpoint sees what the uninterrupted run would have seen, whatever the number of decoding workers.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from activetune.base.arrays import IntArray
from activetune.base.config import Checked, check_settings
from activetune.base.torchvision_ import import_torchvision
from activetune.data.loading import read_usable
from activetune.data.pool import Pool
from activetune.data.splits import shuffled
from activetune.networks.backbones import ImageSettings


class Turn(NamedTuple):
    """An item's place in the training: in an epoch, and there its first, second, … time (when classes are balanced)."""

    epoch: int
    position: int
    time: int = 0


@dataclass(frozen=True)
class Crops(Checked):
    """How images are varied.

    Attributes:
        min_crop: smallest share of the image that a random crop shows. flip: chance of a horizontal flip.
    """

    min_crop: float = 0.35
    flip: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("training", ("min_crop", self.min_crop, 0.01, 1), ("flip", self.flip, 0, 1))


class AugmentedImages(Dataset[tuple[Tensor, int]]):
    """Items by turn, as (uint8 image (3, H, W), position): another random crop and flip each turn."""

    def __init__(self, pool: Pool, settings: ImageSettings, *, seed: int, crops: Crops):
        self.pool, self.seed = pool, seed
        self.augment = _augmentation(settings, crops)

    def __getitem__(self, turn: Turn) -> tuple[Tensor, int]:
        image = read_usable(self.pool, turn.position)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, *turn))
            return self.augment(image), turn.position


def _augmentation(settings: ImageSettings, crops: Crops) -> Any:
    import_torchvision()
    from torchvision.transforms import v2

    interpolation = v2.InterpolationMode(settings.interpolation)
    scale = (crops.min_crop, 1.0)
    crop = v2.RandomResizedCrop(settings.size, scale=scale, interpolation=interpolation, antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(crops.flip), v2.PILToTensor()])


class Batches:
    """The batches of one epoch, each in its parts, in an order derived from seed and epoch; set ``epoch`` before.

    Args:
        positions: the items trained on, which may be others in another epoch.
        targets: the classes of all items, by position.
        accumulation: parts of a batch. balance: see ``Optimisation``.
        count: batches of an epoch, of ``batch_size`` items each, for which the items come again and again, from item
            ``skip`` of that sequence on; None: as many as it takes for each item to come once.
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
        self.epoch, self.skip = 0, 0
        self.count = max(1, -(-len(positions) // batch_size)) if count is None else count
        self.items = len(positions) if count is None else count * batch_size

    def __len__(self) -> int:
        return sum(map(len, self.sizes()))

    def __iter__(self) -> Iterator[list[Turn]]:
        turns = iter(self._turns())
        for parts in self.sizes():
            for size in parts:
                yield list(itertools.islice(turns, size))

    def sizes(self) -> list[list[int]]:
        """Items in each part of each batch; batches differ by one at most, so that none has one image alone."""
        batches = _even(self.items, self.count)
        return [_even(size, min(self.accumulation, size)) for size in batches]

    def _turns(self) -> list[Turn]:
        rng = np.random.default_rng([self.seed, self.epoch])
        seen: dict[int, int] = {}
        turns: list[Turn] = []
        while len(turns) < self.skip + self.items:
            for position in shuffled(self.positions, self.targets, rng, self.balance).tolist():
                turns.append(Turn(self.epoch, position, seen.get(position, 0)))
                seen[position] = turns[-1].time + 1
        return turns[self.skip : self.skip + self.items]


def _even(total: int, parts: int) -> list[int]:
    """Parts of a total that differ by one at most, larger ones first."""
    short, longer = divmod(total, parts)
    return [short + (number < longer) for number in range(parts)]


def derive(seed: int, epoch: int, item: int, time: int = 0) -> int:
    """A 63-bit seed of its own for an item's turn in an epoch; item -1 is the epoch itself."""
    entropy = [seed, epoch, item + 1, *([time] if time else [])]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
