"""The contract of a tracker: where another program's records of a training are written, on this machine alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

PROJECT = "activetune"  # under which other programs show the runs
EXTRA = "tracking"


@dataclass
class Tracker(ABC):
    """Base class of the trackers.

    Attributes:
        folder: for its files, new and empty. name: of the run. settings: what is trained with, told once.
        package: that it needs.
    """

    folder: Path
    name: str
    settings: Mapping[str, Any]
    package: ClassVar[str]

    @abstractmethod
    def begin(self) -> None:
        """Open the record, and write the settings."""

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write values of a step, at least so far that they outlive this process."""

    @abstractmethod
    def end(self, scores: Mapping[str, float], *, finished: bool) -> None:
        """Write the final scores and close the record.

        Args:
            finished: whether the training came to its end.
        """
