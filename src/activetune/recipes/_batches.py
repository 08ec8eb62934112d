"""What the network sees when: items in the order of an epoch, each under the crop and flip of its turn.

Every random choice is derived from (seed, epoch, item), never from what ran before, so a run that goes on from a
checkpoint sees what the uninterrupted run would have seen, whatever the number of decoding workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from activetune.backbones import ImageSettings
from activetune.images import decode_image
from activetune.labels import shuffled
from activetune.types import IntArray, Pool
from activetune.vision import import_torchvision


class Turn(NamedTuple):
    """An item's place in the training: in an epoch, and there its first, second, … time (when classes are balanced)."""

    epoch: int
    position: int
    time: int = 0


class AugmentedImages(Dataset[tuple[Tensor, int]]):
    """Items by turn, as (uint8 image (3, H, W), class): another random crop and flip each turn."""

    def __init__(
        self, pool: Pool, targets: IntArray, settings: ImageSettings, *, seed: int, min_crop: float, flip: float
    ):
        self.pool, self.targets, self.seed = pool, targets, seed
        self.augment = _augmentation(settings, min_crop, flip)

    def __getitem__(self, turn: Turn) -> tuple[Tensor, int]:
        image = decode_image(self.pool.read(turn.position))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, *turn))
            return self.augment(image), int(self.targets[turn.position])


def _augmentation(settings: ImageSettings, min_crop: float, flip: float) -> Any:
    import_torchvision()
    from torchvision.transforms import v2

    interpolation = v2.InterpolationMode(settings.interpolation)
    crop = v2.RandomResizedCrop(settings.size, scale=(min_crop, 1.0), interpolation=interpolation, antialias=True)
    return v2.Compose([crop, v2.RandomHorizontalFlip(flip), v2.PILToTensor()])


class Batches:
    """The batches of one epoch, each in its parts, in an order derived from seed and epoch; set ``epoch`` before.

    Args:
        positions: the items trained on. targets: the classes of all items, by position.
        accumulation: parts of a batch. balance: see ``Training``.
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
    ):
        self.positions, self.targets, self.seed = positions, targets, seed
        self.accumulation, self.balance = accumulation, balance
        self.epoch = 0
        self.count = max(1, -(-len(positions) // batch_size))

    def __len__(self) -> int:
        short, longer = divmod(len(self.positions), self.count)
        return longer * min(self.accumulation, short + 1) + (self.count - longer) * min(self.accumulation, short)

    def __iter__(self) -> Iterator[list[Turn]]:
        for batch in self.batches():
            yield from batch

    def batches(self) -> list[list[list[Turn]]]:
        """All batches of the epoch; their sizes differ by one at most, so that none has one image alone."""
        turns = self._turns()
        found = []
        for batch in np.array_split(np.arange(len(turns)), self.count):
            parts = np.array_split(batch, min(self.accumulation, len(batch)))
            found.append([[turns[index] for index in part] for part in parts])
        return found

    def _turns(self) -> list[Turn]:
        rng = np.random.default_rng([self.seed, self.epoch])
        seen: dict[int, int] = {}
        turns = []
        for position in shuffled(self.positions, self.targets, rng, self.balance).tolist():
            turns.append(Turn(self.epoch, position, seen.get(position, 0)))
            seen[position] = turns[-1].time + 1
        return turns


def derive(seed: int, epoch: int, item: int, time: int = 0) -> int:
    """A 63-bit seed of its own for an item's turn in an epoch; item -1 is the epoch itself."""
    entropy = [seed, epoch, item + 1, *([time] if time else [])]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
