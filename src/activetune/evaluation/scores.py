"""What a model is worth on held-out items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Scores:
    """Accuracy on held-out items: shares in [0, 1], and how many items each stands on."""

    top1: float
    n: int
    per_class: Mapping[str, Mapping[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """The content of ``scores.json``."""
        return {"top1": self.top1, "n": self.n, "per_class": {name: dict(row) for name, row in self.per_class.items()}}
