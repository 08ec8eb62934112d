"""The contract of a form: what of a prediction is kept in a row, and how rows become an output."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from activetune.base.files import prepare_file

Row = tuple[Any, ...]  # an item's id, then what is told of it


class Form(ABC):
    """Base class of the forms.

    Attributes:
        suffix: that an output's name may always end in; empty where it is a folder.
        lists_rejects: whether images that can't be used are listed in a file of their own, and not in the output.
    """

    suffix: ClassVar[str]
    lists_rejects: ClassVar[bool] = True

    @abstractmethod
    def file(self, out: Path) -> Path:
        """The file that is written last, of the output that was asked for.

        Raises:
            UsageError: the output is no place for this form.
        """

    def refuse(self, ids: Sequence[str]) -> None:
        """Raise a :class:`UsageError` for items that can't be told apart in the output; all can by default."""
        return

    @abstractmethod
    def own(self, file: Path) -> bool:
        """Whether a file that is there is one that this form writes."""

    def prepare(self, file: Path, ids: Sequence[str], *, overwrite: bool, cut_off: bool) -> None:
        """Make the output's place ready, which never holds files of another kind.

        Args:
            ids: of the items. cut_off: whether a run that had made it ready was killed there.

        Raises:
            UsageError: it holds something, and ``overwrite`` is off or it is something else.
        """
        prepare_file(file, own=self.own, overwrite=overwrite)

    def sweep(self, file: Path) -> None:
        """Remove what a killed run was writing to the output, which this run has to itself; nothing by default."""
        return

    @abstractmethod
    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """What is kept of an image's answer: plain values; files of its own are written now.

        Args:
            file: of the output; None where nothing is written.
        """

    def refused(self, item: str, reason: str) -> Row | None:
        """What the output holds of an image that can't be used; nothing by default."""
        return None

    @abstractmethod
    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """An image's answer as the object of a line of JSON: ``id``, and what is told of it by name."""

    @abstractmethod
    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """An RGB image with what a row says of it drawn in.

        Args:
            file: of the finished output.
        """

    @abstractmethod
    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """Write the output of all rows, in one step."""

    @abstractmethod
    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """The rows of a finished output.

        Args:
            items: the ids that it was written for, in their order.
        """
