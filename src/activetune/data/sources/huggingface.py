"""Parquet files in Hugging Face image schema: a column ``{bytes, path}``, and labels through its ``ClassLabel``.

One file, a folder of shards, or a pattern (``data/train-*.parquet``) that names some of them.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import UsageError, repeated
from activetune.base.parquet import parts_of, read_cells, schema_of, values_of
from activetune.data.answers import class_names
from activetune.data.remote.location import Location
from activetune.data.sources import _listing as reasons
from activetune.data.sources._class_labels import class_label_names
from activetune.data.sources._further import ParquetColumns, holds_bytes
from activetune.data.sources._listing import LeftOut, Listing, OpenOptions
from activetune.data.sources._metadata import LABEL_COLUMNS
from activetune.data.sources._parquet import ParquetSource, Shard, parquet_file
from activetune.data.sources._shards import below, each, shards_at

LONGEST = 4_096  # characters of a path
ABOUT = ".parquet in Hugging Face image schema (image{bytes,path}, label), a folder or a pattern of such shards"
SUFFIXES = (".parquet",)
FOLDERS = True
ELSEWHERE = True
IMAGE_COLUMNS = ("image", "img")  # preferred, and read where they hold bytes alone
SPLIT = re.compile(r"(.+?)-\d{5}-of-\d{5}")


@dataclass(frozen=True)
class _Table:
    """What is known of a Parquet file before any image is read."""

    shard: Shard
    paths: Sequence[str | None]
    labels: Sequence[str | None] | None
    notes: Sequence[str]


def find(path: Location, options: OpenOptions) -> Listing | None:
    """The rows of the Parquet files at a path; None where these have no image column."""
    files = shards_at(path, SUFFIXES, options)
    read = each(files, _read, "reading columns", quiet=options.quiet)
    tables = [table for table in read if table is not None]
    if not tables:
        return None
    left_out = LeftOut()
    left_out.add(reasons.NO_IMAGES, len(files) - len(tables))
    shards = [table.shard for table in tables]
    labels = None
    if any(table.labels is not None for table in tables):
        labels = [name for table in tables for name in table.labels or [None] * len(table.paths)]
    source = ParquetSource(shards, inside=not any(_may_name_files(table) for table in tables))
    notes = [text for table in tables for text in table.notes] + _splits(path, shards)
    return Listing(_ids(path, tables), labels, source, left_out, notes, ParquetColumns(shards))


def _read(path: Location) -> _Table | None:
    """A file's columns but for the images; None where it has no images."""
    file = parquet_file(path)
    column = image_column(schema_of(file))
    if column is None:
        return None
    if twice := repeated(file.schema_arrow.names):
        raise UsageError(f"{path} names the column {twice[0]!r} twice; give each its own name")
    rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    labels, notes = _labels(file, path)
    return _Table(Shard(path, column, rows), _paths(file, path, column) or [None] * sum(rows), labels, notes)


def image_column(schema: pa.Schema) -> str | None:
    """The column of images: a struct with the field ``bytes``, or bytes alone under one of their usual names."""
    found = []
    for column in schema:
        if pa.types.is_struct(column.type):
            place = column.type.get_field_index("bytes")
            kind = column.type.field(place).type if place >= 0 else pa.string()
            if holds_bytes(kind) or pa.types.is_null(kind):  # null: every row names a file instead
                found.append(column.name)
        elif column.name in IMAGE_COLUMNS and holds_bytes(column.type):
            found.append(column.name)
    return next((name for name in IMAGE_COLUMNS if name in found), found[0] if found else None)


def _paths(file: pq.ParquetFile, path: Location, column: str) -> list[str | None] | None:
    """The images' own paths, None where there are none."""
    struct = schema_of(file).field(column).type
    place = struct.get_field_index("path") if pa.types.is_struct(struct) else -1
    if place < 0 or str(struct.field(place).type) not in ("string", "large_string", "string_view"):
        return None
    parts = (part.flatten()[0] for part in parts_of(file, f"{column}.path"))  # None where the struct is
    return [cell for part in parts for cell in values_of(part, path)]


def _may_name_files(table: _Table) -> bool:
    """Whether a row may stand for a file beside the Parquet file: one that is so named is there.

    The file's statistics would tell whether all rows hold bytes, but pyarrow ends the whole process on damaged ones.
    """
    if not isinstance(table.shard.path, Path):
        return False  # elsewhere such files are not read
    with os.scandir(table.shard.path.parent) as entries:
        there = {entry.name for entry in entries} | {""}  # "": an absolute path
    paths = {path for path in table.paths if path and len(path) <= LONGEST}
    return any(posixpath.normpath(path).partition("/")[0] in there for path in paths)


def _ids(path: Location, tables: Sequence[_Table]) -> list[str]:
    """The images' own paths where all are there and distinct; row numbers, behind the file's name, otherwise."""
    count = sum(len(table.paths) for table in tables)
    names = [name for table in tables for name in table.paths if name and len(name) <= LONGEST and "\0" not in name]
    if len(set(names)) == count:
        return names
    if len(tables) == 1:
        return [f"{row:08d}" for row in range(count)]
    root = path if path.is_dir() else path.parent
    found = []
    for table in tables:
        stem = below(table.shard.path, root).removesuffix(".parquet")
        found += [f"{stem}/{row:08d}" for row in range(len(table.paths))]
    return found


def _labels(file: pq.ParquetFile, path: Location) -> tuple[list[str | None] | None, list[str]]:
    """Class names, through the ``ClassLabel`` feature that Hugging Face keeps in the schema's metadata, and notes."""
    schema = schema_of(file)
    column = next((name for name in LABEL_COLUMNS if name in schema.names and _is_plain(schema, name)), None)
    if column is None:
        return None, []
    values = read_cells(file, [column], path)[column]
    names, damaged = class_label_names(schema, column)
    notes = [f"{path}: its Hugging Face metadata is damaged ({damaged}); labels are the numbers"] if damaged else []
    return class_names(values, f"{path}, column {column!r}", names=names), notes


def _is_plain(schema: pa.Schema, column: str) -> bool:
    """Whether a column's cells are single values: several classes per image, or a mask, are no class name."""
    return not pa.types.is_nested(schema.field(column).type)


def _splits(path: Location, shards: Sequence[Shard]) -> list[str]:
    """A sentence where shards of several splits are taken together."""
    found = {match[1] for shard in shards if (match := SPLIT.match(shard.path.name))}
    if len(found) < 2:
        return []
    names = sorted(found)
    first = next(shard.path for shard in shards if shard.path.name.startswith(f"{names[0]}-"))
    return [
        f"{path} holds {len(names)} splits, taken together ({', '.join(names)}); "
        f"'{first.parent / names[0]}-*.parquet' is the first alone"
    ]
