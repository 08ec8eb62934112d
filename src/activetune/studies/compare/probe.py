"""The contract of every probe: a frozen dataclass whose fields are its settings, one file in ``probes/``.

A probe shows both backbones the same images and labels, and tells a figure of each whose items can be drawn again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from activetune.base.discovery import classes_of
from activetune.base.settings import Settings
from activetune.studies.compare.sampled import Sampled
from activetune.studies.compare.side import Side

ROOM = "activetune.studies.compare.probes"


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: is measured: ``5-shot, class token``. metric: ``top-1``. sides: the figure of A and of B. note: what a
            reader of the row must know beside it; empty: nothing.
    """

    what: str
    metric: str
    sides: tuple[Sampled, Sampled]
    note: str = ""


def rows_of(metric: str, told: Callable[[Side], Mapping[str, Sampled]], a: Side, b: Side) -> list[Row]:
    """A row for each figure that is told of both.

    Args:
        told: the figures of a side, by what is measured; the same ones of either.
    """
    one, other = told(a), told(b)
    return [Row(what, metric, (figure, other[what])) for what, figure in one.items()]


@dataclass(frozen=True)
class Probe(Settings, ABC):
    """Base class of the probes.

    Attributes:
        paths: the settings that hold a path, or several.
    """

    paths: ClassVar[Sequence[str]] = ("pool", "test", "labels", "test_labels")

    @abstractmethod
    def shown(self, seed: int) -> list[str]:
        """Digests of all that both are shown and asked: images by their bytes, answers. Nothing is decoded for it.

        Raises:
            UsageError: pools or labels that can't be used.
        """

    @abstractmethod
    def rows(self, a: Side, b: Side, seed: int) -> list[Row]:
        """Measure both."""


def probes() -> Mapping[str, type[Probe]]:
    """The probes by name."""
    return classes_of(ROOM, Probe)
