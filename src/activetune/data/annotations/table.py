"""Tables: CSV, JSON lines or Parquet with a column ``id`` (or ``file_name``) and the columns of a task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import UsageError
from activetune.base.progress import note
from activetune.base.tables import header_of, need_columns, read_table, write_csv
from activetune.data.annotations import box_table, normal
from activetune.data.annotations._columns import column_answers
from activetune.data.annotations._files import Files
from activetune.data.annotations._listed import Asked
from activetune.data.annotations._sheet import Sheet, short
from activetune.data.answers import lost_in_csv
from activetune.data.ids import ids_of
from activetune.data.labels import Labels
from activetune.data.pool import ImageSource
from activetune.data.several import cell_of_names
from activetune.data.sources._further import CAPTIONS, holds_bytes
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
    if box_table.find(files, task):
        return task == "captioning" and bool(set(CAPTIONS) & set(header_of(single)))
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
    named = next((column for column in ID_COLUMNS[1:] if column in columns), name)
    if name != named and not any(item in asked.pool.position for item in ids_of(columns[name])):
        name = named  # an id beside a file's name is mostly a row's number
    ids = ids_of(columns[name])
    if not ids:
        raise UsageError(f"{single} has no row; add answers to it")
    if name != ID_COLUMNS[0]:
        ids = [asked.called(path) for path in ids]
    return column_answers(_Columns(single.parent, columns), ids, asked)


# Writing --------------------------------------------------------------------------------------------------------------

FILE, ALSO = "labels.csv", ("csv",)
WRITES = ("captioning", "classification", "detection", "multilabel")


def owns(path: Path) -> bool:
    """Whether a table that is to be replaced is one of answers."""
    return header_of(path)[:1] == ("id",)


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first, by the columns."""
    if files.single is None:
        return ()
    columns = read_table(files.single)
    named = {"objects": "detection", "captions": "captioning", "caption": "captioning", "labels": "multilabel"}
    found = [task for name, task in named.items() if name in columns]
    if "label" in columns:
        found.append("multilabel" if any(isinstance(cell, list) for cell in columns["label"]) else "classification")
    return [*found, *(["segmentation"] if any("mask" in name for name in columns) else [])]


def write(sheet: Sheet, path: Path) -> None:
    """Write a CSV with the column ``id`` and those of the task; images that nobody has answered have an empty cell."""
    if sheet.task == "captioning":
        rows = [(item, text) for item in sheet.ids for text in sheet.sentences(item) or ("",)]
        write_csv(path, ("id", "caption"), rows)
    elif sheet.task == "detection":
        sized = [(item, cells(sheet, item, (height, width)), width, height) for item, height, width in sheet.sized()]
        boxes = [
            (item, json.dumps(found["objects"], ensure_ascii=False) if found["objects"] is not None else "", *sides)
            for item, found, *sides in sized
        ]
        write_csv(path, ("id", "objects", "width", "height"), boxes)
    elif sheet.task == "multilabel":
        write_csv(
            path,
            ("id", "labels"),
            [(item, cell_of_names(sheet.names(item)) if item in sheet.answers else "") for item in sheet.ids],
        )
    elif sheet.scores is None:
        if lost := lost_in_csv(name for item in sheet.ids for name in sheet.names(item)):
            note(f"{path.name}: {lost}", sheet.quiet)
        write_csv(path, ("id", "label"), [(item, *(sheet.names(item) or ("",))) for item in sheet.ids])
    else:
        predicted = [(item, *(sheet.names(item) or ("",)), *(sheet.score(item) or ("",))) for item in sheet.ids]
        write_csv(path, ("id", "label", "probability"), predicted)


def cells(sheet: Sheet, item: str, size: tuple[int, int]) -> dict[str, Any]:
    """An image's answer as the cells of a row that holds lists; None where nobody has answered."""
    answered = item in sheet.answers
    if sheet.task == "captioning":
        return {"captions": list(sheet.sentences(item)) or None}
    if sheet.task == "multilabel":
        return {"labels": list(sheet.names(item)) if answered else None}
    if sheet.task == "classification":
        return {"label": sheet.names(item)[0] if answered else None}
    boxes = list(sheet.boxes(item))
    objects: dict[str, list[Any]] = {
        "bbox": [[short(x0), short(y0), short(x1 - x0), short(y1 - y0)] for _, (x0, y0, x1, y1), *_ in boxes],
        "category": [name for name, *_ in boxes],
        "iscrowd": [int(crowd) for _, _, crowd, _ in boxes],
    }
    if sheet.score(item) is not None:
        objects["score"] = [score for *_, score in boxes]
    return {"objects": objects if answered else None, "width": size[1], "height": size[0]}
