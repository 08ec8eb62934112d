"""How good a model is: a metric by which models are chosen in a training, and a scorer of a finished one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from activetune.evaluation.metrics import Measured
from activetune.tasks._batch import Batch


class Scored(Protocol):
    """A model's scores on held-out items.

    Attributes:
        primary: the name of the score that models are compared by. value: that score. n: items.
    """

    @property
    def primary(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def n(self) -> int: ...

    def as_dict(self) -> dict[str, Any]:
        """The content of ``scores.json``."""

    def table(self) -> str:
        """The scores as aligned text."""


class Scorer(Protocol):
    """Gathers a finished model's outputs batch by batch; batches have no targets."""

    def update(self, outputs: Any, batch: Batch) -> None:
        """Take the outputs of a batch."""

    def scores(self) -> Scored:
        """All that is told of the model, of at least one item."""


class Metric(ABC):
    """Gathers outputs batch by batch; its state can be gathered from several processes."""

    @abstractmethod
    def update(self, outputs: Any, batch: Batch) -> None:
        """Take the outputs of a batch."""

    @abstractmethod
    def state(self) -> Any:
        """All that was taken, as plain values or arrays."""

    @abstractmethod
    def measured(self, states: Sequence[Any]) -> Measured:
        """The result of several states, in any order: each item is in one of them, once."""
