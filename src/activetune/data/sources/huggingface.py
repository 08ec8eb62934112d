"""A Parquet file in Hugging Face image schema: a column ``{bytes, path}``, and labels through its ``ClassLabel``."""

from __future__ import annotations

import bisect
import json
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import RejectedImage
from activetune.base.tables import column_values
from activetune.data.answers import class_names
from activetune.data.identity import Place
from activetune.data.sources._files import FileSource, absent_files, place_of
from activetune.data.sources._listing import Listing, OpenOptions

ABOUT = ".parquet in Hugging Face image schema (image{bytes,path}, label)"
SUFFIXES = (".parquet",)
FOLDERS = False
ROW_GROUP_CACHE_BYTES = 256 * 2**20


@dataclass
class ParquetSource:
    """Images in a Parquet column ``{bytes, path}``; row groups are read when needed, recent ones are kept.

    Attributes:
        starts: the first row of each row group. inside: all rows hold their image's bytes, none names another file.
    """

    path: Path
    column: str
    starts: Sequence[int]
    inside: bool
    parallel: bool = False
    _open: tuple[int, pq.ParquetFile] | None = field(default=None, repr=False, compare=False)
    _groups: OrderedDict[int, pa.ChunkedArray] = field(default_factory=OrderedDict, repr=False, compare=False)

    def read(self, index: int) -> bytes:
        """The bytes in the row, or in the file that the row names."""
        group = bisect.bisect_right(self.starts, index) - 1
        try:
            cell = self._group(group)[index - self.starts[group]].as_py()
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, OSError) and error.errno is not None:  # Arrow calls damaged pages an OSError too
                self._open = None  # so that the next attempt opens the file again
                raise
            raise RejectedImage(f"unreadable in the Parquet file: {error}") from None
        if cell and cell.get("bytes") is not None:
            return bytes(cell["bytes"])
        if cell and cell.get("path"):
            root, paths = self.path.parent, [cell["path"]]
            absent = absent_files(root, paths, [0]) if self.path.exists() else {}  # gone with it: that may pass
            return FileSource(root, paths, absent).read(0)
        raise RejectedImage("empty: the row holds neither bytes nor a path")

    def place(self, index: int) -> Place | None:
        """The row of the file; None where it may name another file, which only reading it tells."""
        return place_of(os.path.realpath(self.path), f"{self.column}:{index}") if self.inside else None

    def _group(self, group: int) -> pa.ChunkedArray:
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), pq.ParquetFile(self.path, memory_map=True))
        if group not in self._groups:
            self._groups[group] = self._open[1].read_row_group(group, columns=[self.column]).column(0)
            while len(self._groups) > 1 and sum(g.nbytes for g in self._groups.values()) > ROW_GROUP_CACHE_BYTES:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group)
        return self._groups[group]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_groups": OrderedDict()}


def find(path: Path, options: OpenOptions) -> Listing | None:
    """The rows of a Parquet file that has an image column; None where it has none."""
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    images = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    if not images:
        return None
    column = "image" if "image" in images else images[0]
    starts = [0]
    for group in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
    count = starts.pop()
    source = ParquetSource(path, column, starts, _holds_bytes(file, column))
    return Listing(_ids(file, column, count), _labels(file, path), source)


def _holds_bytes(file: pq.ParquetFile, column: str) -> bool:
    """Whether the file's statistics say that no row lacks its image's bytes."""
    for group in range(file.num_row_groups):
        columns = [file.metadata.row_group(group).column(number) for number in range(file.metadata.num_columns)]
        found = next((part.statistics for part in columns if part.path_in_schema == f"{column}.bytes"), None)
        if found is None or not found.has_null_count or found.null_count:
            return False
    return True


def _ids(file: pq.ParquetFile, column: str, count: int) -> list[str]:
    """The images' own paths where all are there and distinct, row numbers otherwise."""
    struct = file.schema_arrow.field(column).type
    if struct.get_field_index("path") >= 0:
        table = file.read(columns=[f"{column}.path"])
        names = [cell and cell["path"] for cell in table.column(0).to_pylist()]
        if all(names) and len(set(names)) == count:
            return names
    return [f"{row:08d}" for row in range(count)]


def _labels(file: pq.ParquetFile, path: Path) -> list[str | None] | None:
    """Class names, through the ``ClassLabel`` feature that Hugging Face keeps in the schema's metadata."""
    schema = file.schema_arrow
    column = next((name for name in ("label", "labels", "fine_label") if name in schema.names), None)
    if column is None:
        return None
    values = column_values(file.read(columns=[column]).column(0))
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names")
    return class_names(values, f"{path}, column {column!r}", names=names or None)
