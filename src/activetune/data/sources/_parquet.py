"""Images in Parquet files, read row group by row group."""

from __future__ import annotations

import bisect
import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import ActivetuneError, RejectedImage, first_line
from activetune.base.parquet import open_parquet, sound
from activetune.data.identity import Place
from activetune.data.images import MAX_BYTES
from activetune.data.remote.location import Location
from activetune.data.remote.ranged import opened
from activetune.data.sources._files import FileSource, absent_files, place_in

ROW_GROUP_CACHE_BYTES = 256 * 2**20
OPEN_FILES = 8


@dataclass(frozen=True)
class Shard:
    """A Parquet file, its image column, and how many rows its row groups have."""

    path: Location
    column: str
    rows: Sequence[int]


@dataclass
class ParquetSource:
    """Images in Parquet files; row groups are read when needed, recent ones are kept.

    Attributes:
        inside: all rows hold their image's bytes, none names another file.
    """

    shards: Sequence[Shard]
    inside: bool
    parallel: bool = False
    one_reader: bool = field(init=False, repr=False)  # elsewhere each process would fetch every row group for itself
    _starts: list[int] = field(init=False, repr=False)  # the first row of each row group, of all files
    _parts: list[tuple[int, int]] = field(init=False, repr=False)  # file and row group
    _firsts: list[int] = field(init=False, repr=False)  # the first row of each file
    _files: OrderedDict[int, pq.ParquetFile] = field(default_factory=OrderedDict, repr=False, compare=False)
    _groups: OrderedDict[int, pa.ChunkedArray] = field(default_factory=OrderedDict, repr=False, compare=False)
    _process: int = field(default_factory=os.getpid, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.one_reader = any(not isinstance(shard.path, Path) for shard in self.shards)
        self._starts, self._parts, self._firsts, count = [], [], [], 0
        for number, shard in enumerate(self.shards):
            self._firsts.append(count)
            for group, rows in enumerate(shard.rows):
                self._starts.append(count)
                self._parts.append((number, group))
                count += rows

    def read(self, index: int) -> bytes:
        """The bytes in the row, or in the file that the row names."""
        part = bisect.bisect_right(self._starts, index) - 1
        try:
            cell = self._group(part)[index - self._starts[part]].as_py()
        except ActivetuneError:  # out of reach, of a file elsewhere
            raise
        except Exception as error:  # on a damaged file Arrow raises nearly anything, and calls it an OSError too
            if isinstance(error, OSError) and error.errno is not None:
                self._files.clear()  # so that the next attempt opens the file again
                raise
            raise RejectedImage(f"unreadable in the Parquet file: {first_line(error)}") from None
        cell = cell if isinstance(cell, dict) else {"bytes": cell}
        if cell.get("bytes") is not None:
            if len(cell["bytes"]) > MAX_BYTES:
                raise RejectedImage(f"oversized: {len(cell['bytes']):,} bytes, {MAX_BYTES:,} are allowed")
            return bytes(cell["bytes"])
        if isinstance(cell.get("path"), str) and cell["path"]:
            return _read_beside(self.shards[self._parts[part][0]].path, cell["path"])
        raise RejectedImage("empty: the row holds neither bytes nor a path")

    def place(self, index: int) -> Place | None:
        """The row of the file; None where it may name another file, which only reading it tells."""
        if not self.inside:
            return None
        number = self._parts[bisect.bisect_right(self._starts, index) - 1][0]
        shard = self.shards[number]
        return place_in(shard.path, f"{shard.column}:{index - self._firsts[number]}")

    def _group(self, part: int) -> pa.ChunkedArray:
        if self._process != os.getpid():  # a forked worker reads through files of its own
            self._files, self._groups, self._process = OrderedDict(), OrderedDict(), os.getpid()
        if part not in self._groups:
            number, group = self._parts[part]
            if number not in self._files:
                self._files[number] = parquet_file(self.shards[number].path)
                while len(self._files) > OPEN_FILES:
                    self._files.popitem(last=False)
            file = self._files[number]
            self._groups[part] = sound(file.read_row_group(group, columns=[self.shards[number].column]).column(0))
            while len(self._groups) > 1 and sum(g.nbytes for g in self._groups.values()) > ROW_GROUP_CACHE_BYTES:
                self._groups.popitem(last=False)
        self._groups.move_to_end(part)
        return self._groups[part]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict(), "_groups": OrderedDict()}


def parquet_file(path: Location) -> pq.ParquetFile:
    """An open Parquet file; of one elsewhere the parts alone are read that are asked for."""
    return open_parquet(path, memory_map=True) if isinstance(path, Path) else open_parquet(opened(path))


def _read_beside(parquet: Location, name: str) -> bytes:
    """A file that a row names, which must lie in the Parquet file's folder: such files are passed around."""
    if not isinstance(parquet, Path):
        raise RejectedImage(f"unreadable: the row holds no bytes; {name!r} beside a Parquet file elsewhere is not read")
    root = parquet.parent
    try:
        inside = Path(os.path.realpath(root / name)).is_relative_to(os.path.realpath(root))
    except ValueError:
        raise RejectedImage("unreadable: the path holds a zero character") from None
    if not inside:
        raise RejectedImage(f"unreadable: the row names {name!r}, which is outside of the Parquet file's folder")
    absent = absent_files(root, [name], [0]) if parquet.exists() else {}  # gone with it: that may pass
    return FileSource(root, [name], absent).read(0)
