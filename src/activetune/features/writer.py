"""Features that grow on disk batch by batch and survive any kill.

``features.partial`` is a ``.npy`` file whose number of rows is filled in at the end. ``progress.json`` says how many
batches and rows of it are sure; it is replaced in one step, after the rows have reached the disk. Going on cuts the
file to that length, so that whatever a dying process left behind it is gone.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np

from activetune.base.errors import UsageError, first_line
from activetune.base.files import read_json, replacing, write_json

FEATURES, PARTIAL, PROGRESS = "features.npy", "features.partial", "progress.json"
HEADER_BYTES = 128


@dataclass(frozen=True)
class Progress:
    """What is sure on disk: ``batches`` of ``batch_size`` images gave ``rows`` rows; the rest were rejected.

    Replaced as a whole, never changed: an interrupt between two fields would leave it wrong.
    """

    key: str
    batch_size: int
    batches: int = 0
    rows: int = 0
    rejected: tuple[tuple[str, str], ...] = ()
    content: str = ""  # digest of all these images' digests

    @property
    def images(self) -> int:
        """Images dealt with, rejected ones included."""
        return self.rows + len(self.rejected)


class FeatureWriter:
    """Appends batches of features to a file in ``folder``; use it as a context manager.

    Args:
        key: of the run. dtype: NumPy's, of the features. called: how an error speaks of the run.

    Going on after a kill: construct it with the same folder and key. On leaving the context, by whatever exception,
    everything appended so far is made sure.

    Raises:
        UsageError: the folder's unfinished run has another key, or its files are damaged.
    """

    def __init__(self, folder: Path, key: str, *, batch_size: int, dtype: str, called: str = "embedding"):
        self._folder, self._dtype, self._called = folder, np.dtype(dtype), called
        self._partial = folder / PARTIAL
        self._row_shape: tuple[int, ...] = ()
        self._content = hashlib.sha256()
        self.progress = Progress(key, batch_size)
        if (folder / PROGRESS).is_file():
            self.progress = _read_progress(folder, key, called)
        else:
            self._save()
        if not self._partial.exists() and (folder / FEATURES).is_file() and self.progress.rows:
            (folder / FEATURES).rename(self._partial)  # it died between the file's last name and the manifest
        self._file: BinaryIO = self._partial.open("r+b" if self._partial.exists() else "w+b")
        self._cut()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Make everything appended so far sure, and close the file."""
        try:
            if not self._file.closed:
                self.save()
        finally:
            self._file.close()

    def check(self, digests: bytes) -> None:
        """Check, before the first batch is appended, that the images dealt with are still what they were.

        Args:
            digests: of their bytes as they are now, in the pool's order.

        Raises:
            UsageError: they are not.
        """
        self._content.update(digests)
        if self.progress.images and self._content.hexdigest() != self.progress.content:
            raise UsageError(changed(f"{self._called} in {self._folder}"))

    def append(self, features: np.ndarray | None, rejected: list[tuple[str, str]], digests: Sequence[bytes]) -> None:
        """One batch: features (B, D) or (B, T, D), None where it has no usable image; (id, reason) of the others; the
        digests of the bytes of all of them.
        """
        if features is not None:
            if not self._row_shape:
                self._row_shape = features.shape[1:]
                self._write_header(0)
            self._file.write(np.ascontiguousarray(features, dtype=self._dtype).data)
        self._content.update(b"".join(digests))
        before = self.progress
        self.progress = replace(
            before,
            batches=before.batches + 1,
            rows=before.rows + (0 if features is None else len(features)),
            rejected=(*before.rejected, *rejected),
            content=self._content.hexdigest(),
        )

    def save(self) -> None:
        """Make everything appended so far sure."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._save()

    def finish(self) -> Path:
        """Fill in the number of rows and give the file its last name."""
        self._write_header(self.progress.rows)
        self.save()
        self._file.close()
        return self._partial.rename(self._folder / FEATURES)

    def _save(self) -> None:
        write_json(self._folder / PROGRESS, asdict(self.progress))

    def _cut(self) -> None:
        """Drop whatever lies beyond the rows that are sure."""
        if self.progress.rows:
            self._row_shape = _shape_and_dtype(self._partial)[0][1:]
        row_bytes = int(np.prod(self._row_shape)) * self._dtype.itemsize
        size = HEADER_BYTES + self.progress.rows * row_bytes
        if self.progress.rows and self._partial.stat().st_size < size:
            raise UsageError(
                f"{self._partial} is shorter than {PROGRESS} says; start again with --overwrite instead of --resume"
            )
        self._file.truncate(size)
        self._file.seek(0, os.SEEK_END)

    def _write_header(self, rows: int) -> None:
        self._file.seek(0)
        self._file.write(_header(self._dtype, (rows, *self._row_shape)))
        self._file.seek(0, os.SEEK_END)


def changed(what: str) -> str:
    """What is said of an unfinished run that can't be gone on with."""
    return (
        f"images that the unfinished {what} is made from were changed since; start again with --overwrite instead of "
        "--resume"
    )


def join(parts: Sequence[Path], path: Path) -> None:
    """Write finished features one after another as one file, in one step; it has the bytes of one that grew whole.

    Args:
        parts: at least one, of one kind of rows.

    Raises:
        UsageError: they are not.
    """
    shapes, dtypes = zip(*map(_shape_and_dtype, parts), strict=True)
    if len({shape[1:] for shape in shapes}) > 1 or len(set(dtypes)) > 1:
        raise UsageError(f"shards in {parts[0].parent.parent} have features of different kinds; start with --overwrite")
    with replacing(path) as partial, partial.open("wb") as whole:
        whole.write(_header(dtypes[0], (sum(shape[0] for shape in shapes), *shapes[0][1:])))
        for part in parts:
            with part.open("rb") as file:
                file.seek(HEADER_BYTES)
                shutil.copyfileobj(file, whole, 2**20)


def _header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype.str, "fortran_order": False, "shape": shape})
    header = buffer.getvalue()
    if len(header) != HEADER_BYTES:
        raise AssertionError(f"NumPy wrote a header of {len(header)} bytes, {HEADER_BYTES} are kept for it")
    return header


def _read_progress(folder: Path, key: str, called: str) -> Progress:
    content = read_json(folder / PROGRESS)
    try:
        content["rejected"] = tuple((item, reason) for item, reason in content["rejected"])
        found = Progress(**content)
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{folder / PROGRESS} is damaged; start again with --overwrite instead of --resume") from None
    if found.key != key:
        raise UsageError(
            f"{folder} holds an unfinished {called} of another pool, backbone or transform; "
            "give the same ones to go on with --resume, or --overwrite to start again"
        )
    return found


def _shape_and_dtype(path: Path) -> tuple[tuple[int, ...], np.dtype]:
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except Exception as error:  # a header is a Python literal: on a damaged one NumPy raises nearly anything
        raise UsageError(
            f"{path} is damaged ({first_line(error)}); start again with --overwrite instead of --resume"
        ) from None
    return tuple(shape), dtype
