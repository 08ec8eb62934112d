"""What the helpers that train in torch share: scaled features, layers, batches and checked settings.

All randomness comes from the generators that are passed in: torch's global state is neither read nor changed.
Shape legend: N items, D feature size, B items of a batch, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from activetune.base.arrays import IntArray
from activetune.base.config import check_settings
from activetune.base.settings import Settings
from activetune.features.distances import Float32, pieces
from activetune.selection.problem import Evidence


@dataclass(frozen=True)
class HelperTraining(Settings):
    """How a helper is trained.

    Attributes:
        steps: batches of the training, at most. batch_size: items in one. lr, weight_decay: AdamW's.
    """

    steps: int = 500
    batch_size: int = 128
    lr: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        check_settings(
            "helper",
            ("steps", self.steps, 1, np.inf),
            ("batch_size", self.batch_size, 1, np.inf),
            ("lr", self.lr, 0, np.inf),
            ("weight_decay", self.weight_decay, 0, np.inf),
        )

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """AdamW on all weights; without a decay it is Adam."""
        return torch.optim.AdamW(network.parameters(), lr=self.lr, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class Inputs:
    """Features as a network wants them: centred, coordinates of about unit size, on the device, a few rows at a time.

    Unit rows have coordinates near 1 / sqrt(D) that often share a large mean; networks learn slowly from those. One
    number scales all coordinates, so that directions of small variance stay small.
    """

    features_ND: Float32
    mean_D: Float32
    scale: float
    device: torch.device

    @classmethod
    def of(cls, evidence: Evidence) -> Inputs:
        """Mean and scale are those of the population (all items but the excluded)."""
        rows, columns = evidence.population, evidence.features_ND.shape[1]
        total_D, squares = np.zeros(columns), 0.0
        for part in pieces(len(rows), columns):
            block = evidence.features_ND[rows[part]].astype(np.float64)
            total_D += block.sum(axis=0)
            squares += float((block**2).sum())
        mean_D = total_D / len(rows)
        length = np.sqrt(max(0.0, squares / len(rows) - float(mean_D @ mean_D)))
        scale = np.sqrt(columns) / length if length > 1e-6 else 1.0  # all items equal: nothing to enlarge but noise
        return cls(evidence.features_ND, mean_D.astype(np.float32), float(scale), torch.device(evidence.device))

    def __getitem__(self, rows: IntArray | slice) -> Tensor:
        """(B, D) of some items."""
        block = (self.features_ND[rows] - self.mean_D) * np.float32(self.scale)
        return torch.from_numpy(block).to(self.device)

    def __len__(self) -> int:
        return len(self.features_ND)

    def pieces(self, width: int) -> Iterator[tuple[slice, Tensor]]:
        """All items in pieces, for networks whose widest layer has ``width`` units."""
        for part in pieces(len(self), max(width, self.features_ND.shape[1])):
            yield part, self[part]


def perceptron(sizes: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Linear layers of the given sizes with ReLU between them; weights drawn as torch's own layers draw theirs."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layer: nn.Linear = nn.utils.skip_init(nn.Linear, inputs, outputs, device=generator.device)  # type: ignore[no-untyped-call]
        bound = max(inputs, 1) ** -0.5
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.uniform_(-bound, bound, generator=generator)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def batches(rows: IntArray, size: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Endless batches of at most ``size`` rows: each pass over the rows is shuffled anew, its rest is left out."""
    size = min(size, len(rows))
    while True:
        shuffled = rng.permutation(rows)
        for start in range(0, len(rows) - size + 1, size):
            yield shuffled[start : start + size]
