"""CSV and Parquet tables."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import UsageError
from activetune.base.files import replacing


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file (UTF-8, header line) in one step."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def read_table(path: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """A CSV or Parquet file as columns.

    Raises:
        UsageError: no such file, neither format, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"the file {path} does not exist")
    try:
        if path.suffix.lower() == ".parquet":
            return dict(pq.read_table(path).to_pydict())
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = [row for row in reader if row]
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} can't be read as CSV or Parquet ({error})") from None
    uneven = next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None)
    if uneven is not None:
        raise UsageError(f"{path}: line {uneven} has another number of fields than the header ({len(header)})")
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}
