"""Parquet's columns as Python values, in memory that their file's real content bounds.

A text or image that many rows share stands in a file once: a file of half a kilobyte may hold 200 GB of them. So texts
and bytes are read as dictionaries, each value once with the rows' numbers beside it, and rows that share one share one
Python value. Where a value of its own has to be made for each row (in lists and structs), what that takes is counted
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from activetune.base.errors import refuse_beyond_memory

CELL_BYTES = 56  # of a text as a Python value, and its place in a list
MOST_AT_ONCE = 2**31 - 2**20  # bytes that a dictionary of Arrow's can hold


def open_parquet(source: Any, **options: Any) -> pq.ParquetFile:
    """An open Parquet file whose texts and bytes are read as dictionaries.

    Args:
        source: a path, or a file that can be sought in. options: of ``pyarrow.parquet.ParquetFile``.
    """
    file = pq.ParquetFile(source, **options)
    about = file.metadata
    # What is told of single columns is not asked for: where it is damaged, pyarrow ends the whole process.
    fits = all(about.row_group(group).total_byte_size <= MOST_AT_ONCE for group in range(about.num_row_groups))
    columns = [about.schema.column(place) for place in range(about.num_columns)]
    leaves = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
    if not fits or not leaves:
        return file
    if hasattr(source, "seek"):
        source.seek(0)
    return pq.ParquetFile(source, read_dictionary=leaves, metadata=about, **options)


def schema_of(file: pq.ParquetFile) -> pa.Schema:
    """Names, types and metadata of a file's columns; the types are those of the values, not of dictionaries."""
    schema = file.schema_arrow
    return pa.schema([field.with_type(_plain(field.type)) for field in schema], schema.metadata)


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_struct(kind):
        fields = [kind.field(place) for place in range(kind.num_fields)]
        return pa.struct([field.with_type(_plain(field.type)) for field in fields])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    return kind


def read_cells(file: pq.ParquetFile, names: Sequence[str], where: object) -> dict[str, list[Any]]:
    """The cells of some columns.

    Args:
        where: the file, for messages.

    Raises:
        UsageError: they would take more memory than is free.
    """
    rows = file.metadata.num_rows
    refuse_beyond_memory(
        f"{where} holds {rows:,} rows and", rows * max(1, len(names)) * CELL_BYTES, "give a part of it"
    )
    return {name: [cell for part in parts_of(file, name) for cell in values_of(part, where)] for name in names}


def parts_of(file: pq.ParquetFile, name: str) -> Iterator[pa.ChunkedArray]:
    """A column, row group by row group: of several at once Arrow can't read dictionaries inside of structs."""
    for group in range(file.num_row_groups):
        table = file.read_row_groups([group], columns=[name])
        if not table.num_columns:
            raise pa.ArrowInvalid(f"it has no column {name!r}")
        yield sound(table.column(0))


def sound(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column whose rows have numbers that its dictionaries hold: Arrow itself takes them from the file unchecked.

    Raises:
        ArrowInvalid: others.
    """
    for chunk in column.chunks:
        _refuse_wild(chunk)
    return column


def _refuse_wild(array: pa.Array) -> None:
    if pa.types.is_dictionary(array.type):
        ends = pc.min_max(array.indices)
        low, high = ends["min"].as_py(), ends["max"].as_py()
        if low is not None and (low < 0 or high >= len(array.dictionary)):
            raise pa.ArrowInvalid("damaged: rows name values that are not there")
    for inner in _parts(array):
        _refuse_wild(inner)


def _parts(array: pa.Array) -> list[pa.Array]:
    """The arrays inside of a struct or a list."""
    if pa.types.is_struct(array.type):
        return [array.field(place) for place in range(array.type.num_fields)]
    if pa.types.is_map(array.type):
        return [array.keys, array.items]
    nested = pa.types.is_list(array.type) or pa.types.is_large_list(array.type)
    return [array.flatten()] if nested else []


def values_of(column: pa.ChunkedArray, where: object, *, small_floats: bool = False) -> list[Any]:
    """A column as Python values; those that Python has no type for stay Arrow's.

    Args:
        small_floats: float32 as Python's float, where 0.1 becomes 0.10000000149; otherwise they stay NumPy's.

    Raises:
        UsageError: they would take more memory than is free.
    """
    if not small_floats and (pa.types.is_float16(column.type) or pa.types.is_float32(column.type)):
        return [None if np.isnan(value) else value for value in column.to_numpy()]
    if pa.types.is_dictionary(column.type):
        return [value for chunk in column.chunks for value in _shared(chunk, where)]
    refuse_beyond_memory(where, sum(map(_unpacked, column.chunks)), "give a part of it")
    try:
        values: list[Any] = column.to_pylist()
    except (pa.ArrowException, ValueError, OverflowError):  # a time that Python has no type for, among others
        values = list(column)  # as Arrow's own scalars
    return values


def _shared(chunk: pa.DictionaryArray, where: object) -> list[Any]:
    """The values of a dictionary; equal ones are one object."""
    values = values_of(pa.chunked_array([chunk.dictionary]), where)
    return [None if place is None else values[place] for place in chunk.indices.to_pylist()]


def _unpacked(array: pa.Array) -> int:
    """Bytes that the texts of an array's dictionaries take where each row gets its own."""
    if pa.types.is_dictionary(array.type):
        if not _has_length(array.type.value_type):
            return 0
        lengths = pc.cast(pc.binary_length(array.dictionary), pa.int64())
        return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
    return sum(map(_unpacked, _parts(array)))


def _has_length(kind: pa.DataType) -> bool:
    large = pa.types.is_large_string(kind) or pa.types.is_large_binary(kind)
    return bool(large or pa.types.is_string(kind) or pa.types.is_binary(kind))
