"""A manifest: a CSV, Parquet or JSON lines table with the column ``path`` (or ``file_name``), ``label`` and ``id``.

Paths are relative to the manifest's folder, or absolute. ``~/``, ``file://`` and, where no file is so named, ``\\``
between folders are understood. A manifest elsewhere names files of its own store, see ``_named_elsewhere.py``.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.parquet import open_parquet, read_cells
from activetune.base.tables import JSON_LINES, need_columns, read_table
from activetune.data.answers import class_names
from activetune.data.remote.files import RemoteFiles
from activetune.data.remote.location import Location, RemotePath
from activetune.data.remote.ranged import on_this_machine, opened
from activetune.data.sources._files import FileSource, absent_files
from activetune.data.sources._further import ManifestColumns
from activetune.data.sources._listing import Listing, OpenOptions
from activetune.data.sources._named_elsewhere import files_named_elsewhere

ABOUT = ".csv, .tsv, .parquet or .jsonl manifest with the columns path (or file_name), label (optional), id (optional)"
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
FOLDERS = False
ELSEWHERE = True
HOW = "absolute, or relative to the manifest's folder"
LONGEST = 4_096  # characters of a path or id: no system has longer paths
PATH_COLUMNS = ("path", "file_name")


def find(path: Location, options: OpenOptions) -> Listing:
    """The rows of a manifest; ids are the column ``id``, otherwise the paths as they are written."""
    columns = _columns(path)
    name = next(column for column in PATH_COLUMNS if column in columns)
    given = _texts(columns[name], path, name)
    ids = _texts(columns["id"], path, "id") if "id" in columns else given
    notes: list[str] = []
    labels = class_names(columns["label"], str(path), ids, tell=notes.append) if "label" in columns else None
    source = _named(path.parent, given)
    if given and len(source.absent) == len(given):
        raise UsageError(
            f"0 of {len(given):,} paths of {path} exist; the first: {given[0]!r}, looked for at "
            f"{path.parent / source.paths[0]}; paths are "
            + ("relative to the manifest's folder" if isinstance(path, RemotePath) else HOW)
        )
    further = ManifestColumns(path, _all_columns, partial(_named, path.parent))
    return Listing(ids, labels, source, notes=notes, further=further)


def _all_columns(path: Location) -> Mapping[str, Sequence[Any]]:
    with on_this_machine(path) as file:
        return read_table(file)


def _named(folder: Location, names: Sequence[str | None]) -> FileSource | RemoteFiles:
    """Files that are named as the manifest's images are, None where an item has none."""
    return files_named_elsewhere(folder, names) if isinstance(folder, RemotePath) else named_files(folder, names)


def named_files(folder: Path, names: Sequence[str | None]) -> FileSource:
    """Files that are named as the manifest's images are: by whoever wrote it, so anywhere."""
    paths = ["" if name is None else _understood(name, folder) for name in names]
    nameless = {row: "no file is named" for row, name in enumerate(names) if name is None or "\0" in name}
    return FileSource(folder, paths, {**absent_files(folder, paths, range(len(paths))), **nameless})


def _columns(path: Location) -> Mapping[str, Sequence[Any]]:
    if path.suffix.lower() != ".parquet":
        columns = _all_columns(path)
        if not columns and path.suffix.lower() in JSON_LINES:
            return {"path": []}  # no line, and so no names
        if not any(name in columns for name in PATH_COLUMNS):
            need_columns(columns, ["path"], path)
        return columns
    file = open_parquet(path if isinstance(path, Path) else opened(path))
    names = file.schema_arrow.names
    if not any(name in names for name in PATH_COLUMNS):
        if not file.metadata.num_rows:
            return {"path": []}  # a column without a row does not tell its type
        raise UsageError(
            f"{path} has neither a Hugging Face image column (struct of bytes and path) nor a column 'path'; "
            f"its columns are: {', '.join(names)}"
        )
    wanted = [name for name in (*PATH_COLUMNS, "label", "id") if name in names]
    return read_cells(file, wanted, path)


def _texts(values: Sequence[object], path: Location, column: str) -> list[str]:
    """The cells of a column of paths or ids."""
    found = []
    for row, value in enumerate(values, start=1):
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(text, float) and text.is_integer():
            text = int(text)  # what tables make of whole numbers where some are missing
        if text is None or (isinstance(text, str) and not text.strip()) or text != text:
            raise UsageError(f"{path}: row {row:,} has an empty {column!r}; give one or remove the row")
        if not isinstance(text, str | int) or isinstance(text, bool):
            raise UsageError(f"{path}: row {row:,} has a {type(text).__name__} as its {column!r}; give text")
        if isinstance(text, str) and len(text) > LONGEST:
            told = f"has {len(text):,} characters, {LONGEST:,} are allowed; shorten it"
            raise UsageError(f"{path}: the {column!r} of row {row:,} {told}")
        if "\0" in str(text):
            raise UsageError(f"{path}: the {column!r} of row {row:,} holds a zero character; remove it")
        found.append(str(text).strip())
    return found


def _understood(text: str, folder: Path) -> str:
    """A path as the system knows it."""
    if text[:5].lower() == "file:":
        url = urllib.parse.urlsplit(text)
        if url.netloc in ("", "localhost"):
            text = urllib.parse.unquote(url.path)
    if text.startswith(("~/", "~\\")):
        text = str(Path.home()) + text[1:]
    if "\\" in text and not (folder / text).exists():
        text = text.replace("\\", "/")
    return text
