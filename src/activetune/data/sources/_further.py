"""What sources know of their items beside image and label: columns of tables and Parquet files, read when asked for."""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from activetune.base.errors import UsageError, first_line
from activetune.base.names import by_comparable
from activetune.base.parquet import read_cells, schema_of
from activetune.data.answers import as_numbers
from activetune.data.pool import ImageSource
from activetune.data.remote.location import Location
from activetune.data.sources._class_labels import class_label_names
from activetune.data.sources._metadata import FILE_NAME, LABEL_COLUMNS, NAME_COLUMNS, items_of, nearest_last
from activetune.data.sources._parquet import ParquetSource, Shard, parquet_file


@contextlib.contextmanager
def _explained(shard: Shard) -> Iterator[None]:
    """What pyarrow raises on a damaged file, as a sentence."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise UsageError(f"{shard.path} can't be read ({first_line(error)}); copy the file again") from None


CAPTIONS = ("caption", "captions", "text")  # columns whose rows of one image are several sentences


@dataclass(frozen=True)
class ParquetColumns:
    """The columns of Parquet files with images, beside these."""

    shards: Sequence[Shard]

    def names(self) -> list[str]:
        """The columns of the first file."""
        first = self.shards[0]
        return [name for name in self._schema(first).names if name != first.column]

    def values(self, name: str) -> list[Any]:
        """The cells of all files, None in a file that has no such column."""
        found: list[Any] = []
        for shard in self.shards:
            if name not in self._schema(shard).names:
                found += [None] * sum(shard.rows)
                continue
            with _explained(shard):
                found += read_cells(parquet_file(shard.path), [name], shard.path)[name]
        return found

    def class_names(self, name: str, field: str = "") -> list[str] | None:
        """Those of the ``ClassLabel`` in the first file's Hugging Face metadata."""
        return class_label_names(self._schema(self.shards[0]), name, field)[0]

    def images(self, name: str) -> ImageSource | None:
        """A column of encoded images, which every file has."""
        for shard in self.shards:
            schema = self._schema(shard)
            if name not in schema.names or not holds_bytes(schema.field(name).type):
                return None
        return ParquetSource([Shard(shard.path, name, shard.rows) for shard in self.shards], inside=False)

    def given(self, name: str) -> list[bool]:
        """Which cells hold something; of structs with an image the path alone is read."""
        found: list[bool] = []
        for shard in self.shards:
            schema = self._schema(shard)
            if name not in schema.names:
                found += [False] * sum(shard.rows)
                continue
            kind = schema.field(name).type
            slim = pa.types.is_struct(kind) and kind.get_field_index("path") >= 0
            with _explained(shard):
                file = parquet_file(shard.path)
                for group in range(file.num_row_groups):
                    read = file.read_row_group(group, columns=[f"{name}.path" if slim else name])
                    found += read.column(0).is_valid().to_pylist()
        return found

    def _schema(self, shard: Shard) -> pa.Schema:
        with _explained(shard):
            return schema_of(parquet_file(shard.path))


@dataclass(frozen=True)
class TableColumns:
    """The columns of the tables beside images, such as an imagefolder's ``metadata.jsonl``.

    Attributes:
        ids: N items as paths that the tables' file names lead to. tables: the tables' paths.
        read: the columns of a table; picklable. files: a source of files, None where an item has none; picklable.
    """

    ids: Sequence[str]
    tables: Sequence[str]
    read: Callable[[str], Mapping[str, Sequence[Any]]]
    files: Callable[[Sequence[str | None]], ImageSource]

    def names(self) -> list[str]:
        """The columns of all tables."""
        return list(dict.fromkeys(name for _, columns in self._tables() for name in columns if name != FILE_NAME))

    def values(self, name: str) -> list[Any]:
        """The cells by item; of rows the first, or all sentences or class names; of tables the nearest one."""
        return [cell for _, cell in self._cells(name)]

    def class_names(self, name: str, field: str = "") -> list[str] | None:
        """None: tables hold the names themselves."""
        return None

    def images(self, name: str) -> ImageSource | None:
        """Files that a column of texts names, relative to its table."""
        cells = self._cells(name)
        if not any(isinstance(cell, str) and cell for _, cell in cells):
            return None
        paths = [posixpath.join(folder, cell) if isinstance(cell, str) and cell else None for folder, cell in cells]
        return self.files([path and posixpath.normpath(path.replace("\\", "/")) for path in paths])

    def given(self, name: str) -> list[bool]:
        """Which items have a cell."""
        return [cell is not None and cell != "" for _, cell in self._cells(name)]

    def _tables(self) -> list[tuple[str, Mapping[str, Sequence[Any]]]]:
        return nearest_last({path: self.read(path) for path in self.tables})

    def _cells(self, name: str) -> list[tuple[str, Any]]:
        """Each item's cell, and the folder of the table that it stands in."""
        known, found = by_comparable(self.ids), dict[str, tuple[str, Any]]()
        for path, columns in self._tables():
            items = items_of(path, [str(value or "") for value in columns[FILE_NAME]], known)
            cells = columns.get(name, [None] * len(items))
            cells = as_numbers(cells).cells if name in LABEL_COLUMNS else cells
            own: dict[str, list[Any]] = {}
            for item, cell in zip(items, cells, strict=True):
                if item is not None and cell is not None:
                    own.setdefault(item, []).append(cell)
            for item, rows in own.items():
                found[item] = posixpath.dirname(path), _joined(name, rows)
        return [found.get(item, ("", None)) for item in self.ids]


def _joined(name: str, cells: list[Any]) -> Any:
    """What the cells of an image's rows come to: several sentences or class names, or else the first one."""
    if name in NAME_COLUMNS and all(isinstance(cell, str | int | float) for cell in cells):
        cells = list(dict.fromkeys(cell for cell in cells if cell != "")) or cells[:1]
        return cells if len(cells) > 1 else cells[0]
    several = name in CAPTIONS and len(cells) > 1 and all(isinstance(cell, str) for cell in cells)
    return cells if several else cells[0]


@dataclass(frozen=True)
class ManifestColumns:
    """The further columns of a manifest.

    Attributes:
        files: a source of files that are named as the manifest's images are, None where an item has none; picklable.
    """

    path: Location
    read: Callable[[Location], Mapping[str, Sequence[Any]]]
    files: Callable[[Sequence[str | None]], ImageSource]

    def names(self) -> list[str]:
        """All of them."""
        return list(self.read(self.path))

    def values(self, name: str) -> Sequence[Any]:
        """The cells by row."""
        return self.read(self.path)[name]

    def class_names(self, name: str, field: str = "") -> list[str] | None:
        """None: manifests hold the names themselves."""
        return None

    def images(self, name: str) -> ImageSource | None:
        """Files that a column of texts names."""
        cells = self.values(name)
        if not any(isinstance(cell, str) and cell for cell in cells):
            return None
        return self.files([cell if isinstance(cell, str) and cell else None for cell in cells])

    def given(self, name: str) -> list[bool]:
        """Which rows have a cell."""
        return [cell is not None and cell != "" for cell in self.values(name)]


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column's cells are encoded images: bytes, or structs that hold them."""
    if pa.types.is_struct(kind):
        place = kind.get_field_index("bytes")
        kind = kind.field(place).type if place >= 0 else pa.string()
    return any(test(kind) for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view))
