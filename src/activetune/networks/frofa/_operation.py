"""What an augmentation of features in [0, 1] is, and how its tokens lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """How tokens lie: ``prefix`` tokens without a place, then ``height`` x ``width`` row by row."""

    height: int
    width: int
    prefix: int = 0

    @property
    def tokens(self) -> int:
        """T, prefix tokens included."""
        return self.prefix + self.height * self.width

    def as_map(self, tokens_BTD: Tensor) -> Tensor:
        """The patch tokens of all tokens (B, T, D), as a map (B, height, width, D)."""
        batch = tokens_BTD.shape[0]  # not len(), which fixes the batch where the network is exported
        return tokens_BTD[:, self.prefix :].reshape(batch, self.height, self.width, -1)


@dataclass(frozen=True)
class Operation:
    """One kind of augmentation.

    Attributes:
        apply: ``(unit_BTC, uniform, strength, grid) -> unit_BTC``; ``uniform`` holds ``draws`` random numbers in
            [0, 1) for each sample (B, 1, 1) or each of its channels (B, 1, C), stacked in front.
        least, most: strengths allowed. tried: strengths worth trying, weak to strong.
        spatial: whether it needs the grid.
    """

    apply: Callable[[Tensor, Tensor, float, Grid | None], Tensor]
    least: float
    most: float
    tried: tuple[float, ...]
    draws: int = 1
    spatial: bool = False
