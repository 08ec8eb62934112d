"""A pool: N images by id, and where their bytes lie."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import ActivetuneError, ReadingFault, RejectedImage
from activetune.data.identity import Contents, Place
from activetune.data.images import image_size
from activetune.data.patience import NO_PATIENCE, Patience

__all__ = ["NO_PATIENCE", "FurtherColumns", "ImageSource", "KnownContent", "Patience", "Pool", "check_complete"]

HEADER_BYTES = 2**16  # of an image file, in which its size nearly always stands


class ImageSource(Protocol):
    """Where the encoded images of a pool lie; picklable, so that decoding workers can have their own.

    Attributes:
        parallel: several threads may call ``read`` at a time.
    """

    @property
    def parallel(self) -> bool: ...  # noqa: D102

    def read(self, index: int) -> bytes:
        """The encoded bytes of item ``index``.

        Raises:
            RejectedImage: they are damaged, or were missing when the pool was opened.
            OSError: they can't be read now; it is tried again.
        """
        ...

    def place(self, index: int) -> Place | None:
        """The file that item ``index`` is read from and its state, without reading it; None where that is not known."""
        ...


@runtime_checkable
class KnownContent(Protocol):
    """A source that tells what an item is without decoding it: what it gives as bytes is made anew each time."""

    def digest(self, index: int) -> bytes:
        """The digest of item ``index``, 16 bytes; the first one of a file may take as long as reading it."""
        ...


class FurtherColumns(Protocol):
    """What a source knows of its items beside image and label, read when it is asked for; picklable.

    Values and images stand in the order of the source's own items.
    """

    def names(self) -> Sequence[str]:
        """The columns that there are."""
        ...

    def values(self, name: str) -> Sequence[Any]:
        """A column's cells, None where an item has none."""
        ...

    def class_names(self, name: str, field: str = "") -> Sequence[str] | None:
        """Names that whole numbers in a column, or in a field of its structs, are positions in; None without."""
        ...

    def images(self, name: str) -> ImageSource | None:
        """A column whose cells are images themselves; None where they are something else."""
        ...

    def given(self, name: str) -> Sequence[bool]:
        """Which cells of a column hold something, without reading images."""
        ...


@dataclass(frozen=True)
class Pool:
    """N images by id, not loaded.

    Attributes:
        name: what the user gave to open it.
        ids: N distinct item ids (a path relative to the pool's root, or the data set's key).
        labels: N class names, None where unknown; or None when the pool has no labels at all.
        source: reads an item's bytes.
        rows: position of each item inside ``source`` (None: the same position).
        patience: how often a read is tried again.
        left_out: number of entries by reason that lie beside the images and are not part of the pool.
        further: what the source knows of its items beside these; None: nothing.
        several: a sentence where an image has several class names there, and none has a label for that.
    """

    name: str
    ids: Sequence[str]
    labels: Sequence[str | None] | None
    source: ImageSource
    rows: IntArray | None = None
    patience: Patience = field(default_factory=Patience)
    left_out: Mapping[str, int] = field(default_factory=dict)
    further: FurtherColumns | None = field(default=None, compare=False)
    several: str = field(default="", compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Item id to position."""
        return {item: index for index, item in enumerate(self.ids)}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the ids and of every image's bytes; what has changed since it was last read is read now."""
        return Contents(self).fingerprint

    @property
    def parallel(self) -> bool:
        """Whether several threads may read at a time."""
        return self.source.parallel

    @property
    def distant(self) -> bool:
        """Whether reading an item is mostly waiting for another machine, so that several are best asked for at once."""
        return self.parallel and bool(getattr(self.source, "distant", False))

    @property
    def one_reader(self) -> bool:
        """Whether several processes that read it would each fetch all of it, because items come many at a time."""
        return bool(getattr(self.source, "one_reader", False))

    def read(self, index: int) -> bytes:
        """The encoded bytes of the item at ``index``.

        Raises:
            RejectedImage: they are damaged, or were missing when the pool was opened.
            ReadingFault: they can't be read at present, however often it was tried.
        """
        try:
            return self.patience.read(self.source, self._row(index))
        except OSError as error:
            raise ReadingFault(
                f"{self.ids[index]} of {self.name} can't be read ({error.strerror or error}), although it is part of "
                f"the pool; {self.patience.told}. "
                "What is finished is kept: when the pool can be read again, go on with --resume. "
                "A file that never can be is best replaced by an empty one, which is listed as rejected"
            ) from error

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of the item at ``index`` as it is decoded, from its file's header where that tells them.

        Raises:
            RejectedImage, ReadingFault: as :meth:`read`; RejectedImage too where it is no image.
        """
        start = getattr(self.source, "start", None)  # the first bytes, where the source can read them alone
        found = None
        if start is not None:
            with contextlib.suppress(OSError, ValueError, RejectedImage):
                found = image_size(start(self._row(index), HEADER_BYTES), whole=False)
        found = found or image_size(self.read(index))
        assert found is not None  # of a whole image
        return found

    def place(self, index: int) -> Place | None:
        """The file that the item at ``index`` is read from and its state; None where that is not known."""
        return self.source.place(self._row(index))

    @property
    def tells(self) -> bool:
        """Whether the source tells what an item is, in place of the bytes that it gives."""
        return isinstance(self.source, KnownContent)

    def digest(self, index: int) -> bytes:
        """The digest of the item at ``index`` as its source tells it.

        Raises:
            ReadingFault: the file can't be read at present.
        """
        assert isinstance(self.source, KnownContent)
        try:
            return self.source.digest(self._row(index))
        except OSError as error:
            raise ReadingFault(f"{self.ids[index]} of {self.name} can't be read ({error.strerror or error})") from error

    def subset(self, ids: Sequence[str]) -> Pool:
        """The pool of the given ids, in their order."""
        rows = np.asarray([self.position[item] for item in ids], dtype=np.int64)
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return replace(self, ids=list(ids), labels=labels, rows=rows if self.rows is None else self.rows[rows])

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])


def check_complete(images: int, used: int, rejected: int, what: str) -> None:
    """Check that each image was either used or rejected, before a result is sealed.

    Raises:
        ActivetuneError: some were neither, or both.
    """
    if used + rejected != images:
        raise ActivetuneError(
            f"{what} would hold {used:,} images and {rejected:,} rejected ones of {images:,}; nothing was sealed: run "
            "the command again with --overwrite, and report this if it comes back"
        )
