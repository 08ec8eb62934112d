"""A manifest: a CSV or Parquet table with the column ``path`` (and ``label``, ``id``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from activetune.base.errors import UsageError
from activetune.base.tables import column_values, need_columns, read_table
from activetune.data.answers import class_names
from activetune.data.ids import ids_of
from activetune.data.sources._files import FileSource, absent_files
from activetune.data.sources._listing import Listing, OpenOptions

ABOUT = ".csv or .parquet manifest with the columns path, label (optional), id (optional)"
SUFFIXES = (".csv", ".parquet")
FOLDERS = False


def find(path: Path, options: OpenOptions) -> Listing | None:
    """The rows of a manifest: ``path`` relative to its folder, ``label`` (optional), ``id`` (otherwise the path)."""
    columns = _columns(path)
    paths = [str(value or "").strip() for value in columns["path"]]
    if "" in paths:
        raise UsageError(f"{path}: row {paths.index('') + 1:,} has an empty 'path'; give one or remove the row")
    ids = ids_of(columns["id"]) if "id" in columns else paths
    if "" in ids:
        raise UsageError(f"{path}: row {ids.index('') + 1:,} has an empty 'id'; give one or remove the row")
    labels = class_names(columns["label"], str(path), ids) if "label" in columns else None
    absent = absent_files(path.parent, paths, range(len(paths)))
    return Listing(ids, labels, FileSource(path.parent, paths, absent)) if paths else None


def _columns(path: Path) -> dict[str, list[Any]]:
    if path.suffix.lower() != ".parquet":
        columns = read_table(path)
        need_columns(columns, ["path"], path)
        return columns
    names = pq.ParquetFile(path).schema_arrow.names
    if "path" not in names:
        raise UsageError(
            f"{path} has neither a Hugging Face image column (struct of bytes and path) nor a column 'path'; "
            f"its columns are: {', '.join(names)}"
        )
    wanted = [name for name in ("path", "label", "id") if name in names]
    table = pq.ParquetFile(path).read(columns=wanted)
    return {name: column_values(table.column(name)) for name in wanted}
