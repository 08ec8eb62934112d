"""The contract of every target."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from activetune.base.files import write_json
from activetune.evaluation.model import Model
from activetune.handover.graph import Graph

Answer = Callable[[Tensor], Sequence[Tensor]]  # images (B, 3, H, W), normalised, to the tensors of the graph's names


class Target(ABC):
    """A kind of file that other programs open.

    Attributes:
        file: that holds the network. beside: the other files; none: the description, ``FILE.json``.
        named: whether ``--out`` may name the file itself.
        quantises: whether it can hold a network of 8-bit numbers.
    """

    file: ClassVar[str]
    beside: ClassVar[tuple[str, ...]] = ()
    named: ClassVar[bool] = True
    quantises: ClassVar[bool] = False

    @property
    def files(self) -> tuple[str, ...]:
        """All files, the one that holds the network last."""
        return *(self.beside or (self._description,)), self.file

    @property
    def _description(self) -> str:
        return f"{self.file}.json"

    def refuse(self, model: Model) -> None:
        """Raise a :class:`UsageError` for a model that this target can't hold; by default it holds all."""
        return

    @abstractmethod
    def write(self, model: Model, graph: Graph, description: Mapping[str, Any], folder: Path) -> None:
        """Write the file that holds the network, with the description in it where it has a place for that.

        Raises:
            MissingExtra: a package is not installed. ActivetuneError: the network can't be exported.
        """

    def quantise(self, folder: Path) -> None:
        """Make the written network one of 8-bit numbers, where :attr:`quantises`."""
        raise NotImplementedError

    @abstractmethod
    def open(self, folder: Path) -> Answer:
        """The written network, as another program opens it."""

    def describe(self, folder: Path, description: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """Write the files beside it; by default the description as JSON.

        Args:
            report: what the checks have found.
        """
        write_json(folder / self._description, description)
