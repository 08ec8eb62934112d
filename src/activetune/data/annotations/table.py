"""Tables: CSV, JSON lines or Parquet with a column ``id`` (or ``file_name``) and the columns of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import UsageError
from activetune.base.tables import need_columns, read_table
from activetune.data.annotations import normal
from activetune.data.annotations._columns import column_answers
from activetune.data.annotations._files import Files
from activetune.data.annotations._listed import Asked
from activetune.data.ids import ids_of
from activetune.data.labels import Labels
from activetune.data.pool import ImageSource
from activetune.data.sources._further import holds_bytes
from activetune.data.sources.table import named_files

ABOUT = "tables: .csv, .tsv, .jsonl or .parquet with id (or file_name), and label, labels, caption, objects or mask"
TASKS = ("captioning", "detection", "multilabel", "segmentation")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
ID_COLUMNS = ("id", "file_name", "path")


@dataclass(frozen=True)
class _Columns:
    """A table in memory; names of mask files are absolute, or relative to its folder."""

    folder: Path
    columns: Mapping[str, Sequence[Any]]

    def names(self) -> list[str]:
        return list(self.columns)

    def values(self, name: str) -> Sequence[Any]:
        return self.columns[name]

    def class_names(self, name: str, field: str = "") -> None:
        return None

    def given(self, name: str) -> list[bool]:
        return [isinstance(cell, str) and bool(cell) for cell in self.columns[name]]

    def images(self, name: str) -> ImageSource | None:
        paths = [cell if isinstance(cell, str) and cell else None for cell in self.columns[name]]
        return named_files(self.folder, paths) if any(paths) else None


def find(files: Files, task: str) -> bool:
    """Whether it is one table, of whatever columns; Parquet with images or with activetune's own columns is none."""
    single = files.single
    if single is None or single.suffix.lower() not in SUFFIXES:
        return False
    if single.suffix.lower() != ".parquet":
        return True
    try:
        kinds = [field.type for field in pq.read_schema(single)]
        if normal.find(files, task):
            return False
    except (pa.ArrowException, OSError, ValueError, TypeError):
        return True  # reading it says what is wrong
    return not any(map(holds_bytes, kinds))


def read(files: Files, asked: Asked) -> Labels:
    """The answers in the table's columns; rows of one id belong together."""
    single = files.single
    assert single is not None
    columns = read_table(single)
    name = next((column for column in ID_COLUMNS if column in columns), "id")
    need_columns(columns, [name], single, asked.pool.position)
    ids = ids_of(columns[name])
    if not ids:
        raise UsageError(f"{single} has no row; add answers to it")
    return column_answers(_Columns(single.parent, columns), ids, asked)
