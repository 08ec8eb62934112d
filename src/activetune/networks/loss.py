"""What a loss is, wherever it is computed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class Loss(NamedTuple):
    """The loss of a batch: the sum over its units, how many these are, and named sums of its parts for the history."""

    sum: Tensor
    weight: float
    parts: Mapping[str, Tensor] = {}
