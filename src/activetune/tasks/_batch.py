"""Samples and batches: images with what a task makes of their answers, on their way through a network.

Shape legend: B images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Sample(NamedTuple):
    """One image (3, H, W) uint8, its target, the item's position among the labels, and the image's own size."""

    image: Tensor
    target: Any
    position: int
    size: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Batch:
    """Images that go through the network together.

    Attributes:
        images: (B, 3, H, W) uint8. targets: as the task's loss and metric take them. positions: (B,) among the labels.
        weight: how many units the loss is a mean over (images, or pixels, or boxes); 0: the batch teaches nothing.
        sizes: height and width of each image before it was prepared.
    """

    images: Tensor
    targets: Any
    positions: Tensor
    weight: float
    sizes: Sequence[tuple[int, int]] = ()

    @classmethod
    def of(cls, samples: Sequence[Sample], targets: Any) -> Batch:
        """A batch of samples in which a unit is an image."""
        return cls(
            torch.stack([sample.image for sample in samples]),
            targets,
            torch.tensor([sample.position for sample in samples]),
            float(len(samples)),
            [sample.size for sample in samples],
        )

    @classmethod
    def untaught(cls, positions: Sequence[int], sizes: Sequence[tuple[int, int]]) -> Batch:
        """A batch of outputs that are scored: of its images only positions and sizes are known."""
        return cls(torch.empty(0), None, torch.tensor(positions), float(len(positions)), sizes)

    def some(self, part: slice) -> Batch:
        """Some of its images."""
        return replace(
            self,
            images=self.images[part],
            targets=self.targets[part],
            positions=self.positions[part],
            sizes=self.sizes[part],
        )

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return self._moved(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The same in pinned memory, which a GPU copies from while it computes; the loader asks for it."""
        return self._moved(Tensor.pin_memory)

    def _moved(self, move: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self, images=move(self.images), targets=_moved(self.targets, move), positions=move(self.positions)
        )


def _moved(value: Any, move: Callable[[Tensor], Tensor]) -> Any:
    """Containers with each tensor moved."""
    if isinstance(value, Tensor):
        return move(value)
    if isinstance(value, Mapping):
        return {key: _moved(part, move) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_moved(part, move) for part in value)
    return value
