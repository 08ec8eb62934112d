"""Tables by columns: CSV in its dialects, Parquet and JSON lines are read, CSV is written.

CSV is read as UTF-8 or UTF-16, with or without a byte order mark, with commas, semicolons or tabs between its fields,
and must begin with a line of column names. Rows of nothing but separators are none, and further columns without a name
or a value are passed over: spreadsheets write both. What is written is UTF-8 with commas, and every text comes back as
it was.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import UsageError, first_line, repeated, some
from activetune.base.files import replacing
from activetune.base.parquet import open_parquet, read_cells

JSON_LINES = frozenset({".jsonl", ".ndjson"})
SEPARATORS = ",\t;"  # the first wins where a header could be read with several
SEPARATOR_LINE = re.compile(r'"?sep=([^"\r\n])"?[,;\t ]*(?:\r\n|\r|\n)', re.IGNORECASE)
IMAGE_ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})

OTHER_NAMES = {
    "id": ("path", "file", "file_name", "filename", "image", "image_id", "item", "name"),
    "path": ("id", "file", "file_name", "filename", "image", "image_path", "name"),
    "label": ("class", "class_name", "labels", "target", "category", "y"),
    "caption": ("text", "description", "captions", "sentence"),
}

SEVERAL = ("labels", "names", "tags", "classes")  # what a column of several names may be called

csv.field_size_limit(2**22)  # characters of a cell: the boxes of a crowded image take more than the usual 131,072
HEADER_BYTES = 10_000  # of a file, in which its first line ends
TOGETHER = 16  # rows, from the first on: Excel writes no separators for last columns that are empty in all of these

Columns = dict[str, list[Any]]


class Untyped(list[Any]):
    """The cells of a column of CSV: all are texts, also where the program that wrote them had numbers, and gaps."""


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file (UTF-8, header line) in one step.

    Cells are written as they are, also those that a spreadsheet would take for a formula: ids must come back unchanged.
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in (header, *rows):
            (quoted if _is_bare(row) else lines).writerow(row)


def csv_line(row: Sequence[object]) -> str:
    r"""One line of such a file, with its end.

    >>> csv_line(["a, b", 1])
    '"a, b",1\n'
    """
    file = io.StringIO()
    csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL if _is_bare(row) else csv.QUOTE_MINIMAL).writerow(row)
    return file.getvalue()


def _is_bare(row: Sequence[object]) -> bool:
    """Whether csv.writer itself would leave a carriage return bare, which ends the line for whoever reads it."""
    return any(isinstance(cell, str) and "\r" in cell for cell in row)


def read_table(path: str | os.PathLike[str]) -> Columns:
    """A CSV (``.csv``, ``.tsv``), Parquet (``.parquet``) or JSON lines (``.jsonl``) file as columns.

    CSV gives text, the others what they hold; JSON lines give None where a line lacks a name.

    Raises:
        UsageError: no such file, none of these formats, or damaged; the line is named.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"the file {path} does not exist" if not path.exists() else f"{path} is no file")
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    if path.suffix.lower() == ".json":
        raise UsageError(
            f"{path} is JSON; give JSON lines (one object a line, in a file ending in .jsonl), CSV or Parquet"
        )
    text = decode_text(path, "CSV or Parquet")
    return _read_json_lines(path, text) if path.suffix.lower() in JSON_LINES else csv_columns(path, text)


def read_own_table(path: Path, names: Sequence[str], again: str) -> Columns:
    """A table that activetune has written.

    Args:
        names: columns that it has. again: how it is made again: ``select again with --overwrite``.

    Raises:
        UsageError: it is missing, damaged, or lacks one of these columns.
    """
    if not path.is_file():
        raise UsageError(f"{path} can't be read (there is no such file); {again}")
    try:
        columns = read_table(path)
    except UsageError as error:
        told = first_line(error).removeprefix(str(path)).lstrip(": ").partition(";")[0]
        raise UsageError(f"{path} can't be read ({told}); {again}") from None
    if missing := [name for name in names if name not in columns]:
        raise UsageError(f"{path} can't be read (it has no column {missing[0]!r}); {again}")
    return columns


def header_of(path: Path) -> tuple[str, ...]:
    """The names of a table's columns, from its first line or its schema; none where it is no such table."""
    try:
        if path.suffix.lower() == ".parquet":
            return tuple(pq.read_schema(path).names)
        with path.open("rb") as file:
            start = file.read(HEADER_BYTES)
    except (OSError, ValueError, pa.ArrowException):
        return ()
    return header_in(start, json_lines=path.suffix.lower() in JSON_LINES)


def header_in(content: bytes, *, json_lines: bool = False) -> tuple[str, ...]:
    r"""The names of the columns of CSV, or of the first of some JSON lines, by how it begins; none where it is neither.

    >>> header_in(b"id;label\n1.jpg;cat\n")
    ('id', 'label')
    """
    text = content[:HEADER_BYTES].decode(_encoding_of(content), "ignore").lstrip("\ufeff")
    try:
        if not json_lines:
            separator, text = _dialect(text)
            return tuple(name.strip() for name in next(csv.reader([_first_line(text)], delimiter=separator), []))
        row = json.loads(_first_line(text))
    except (ValueError, RecursionError, csv.Error):
        return ()
    return tuple(row) if isinstance(row, dict) else ()


def need_columns(
    columns: Mapping[str, Sequence[Any]],
    names: Sequence[str],
    where: object,
    known: Collection[str] = (),
    more: str = "",
) -> None:
    """Raise a :class:`UsageError` where a table lacks a column, with what was probably meant.

    Args:
        known: ids that a header would not hold; one that does is a first row. more: what the message says besides.
    """
    missing = [name for name in names if name not in columns]
    if not missing:
        return
    given = list(columns)
    rowlike = [cell for cell in given if cell in known or os.path.splitext(cell)[1].lower() in IMAGE_ENDINGS]
    if rowlike:
        raise UsageError(
            f"{where} has no line of column names: its first line is a row ({some(given)}); "
            f"put a line with {', '.join(names)} above it"
        )
    alike = [cell for cell in given if cell.strip().lower() in (missing[0], *OTHER_NAMES.get(missing[0], ()))]
    advice = f"; rename {alike[0]!r} to {missing[0]!r} if that is it" if alike else ""
    if alike and alike[0].strip().lower() in SEVERAL:
        advice += ", or give --task multilabel where an image may have several"
    raise UsageError(
        f"{where} has no column {missing[0]!r}{more}; its columns are: {', '.join(given) or 'none'}{advice}"
    )


def decode_text(path: Path, kind: str = "text") -> str:
    """The text of a file; see :func:`text_of`.

    Args:
        kind: what it should be, for messages.

    Raises:
        UsageError: it can't be read, or is no text.
    """
    try:
        with path.open("rb") as file:
            content = file.read()
    except OSError as error:
        raise UsageError(f"{path} can't be read ({error.strerror or error}); check its name and rights") from None
    return text_of(content, f"{path} can't be read as {kind}")


def text_of(content: bytes, wrong: str) -> str:
    """The text of bytes in UTF-8 or UTF-16, by the byte order mark or by the place of the zero bytes.

    Args:
        wrong: how the message begins where they are no text.

    Raises:
        UsageError: they are in neither encoding.
    """
    encoding = _encoding_of(content)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line, name = content[: error.start].count(b"\n") + 1, encoding.removesuffix("-sig").upper()
        raise UsageError(
            f"{wrong}: it is not {name} text "
            f"(line {line}, byte {content[error.start]:#04x}); save it as UTF-8, in a spreadsheet as 'CSV UTF-8'"
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UsageError(f"{wrong}: line {line} holds a zero character; give text in UTF-8")
    return text.lstrip("\ufeff")  # some programs write the mark twice


def _encoding_of(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = content[:64]
    for encoding, zero, sign in (("utf-16-le", 1, 0), ("utf-16-be", 0, 1)):
        if len(start) >= 4 and not any(start[zero::2]) and all(start[sign::2]):
            return encoding
    return "utf-8-sig"


# CSV --------------------------------------------------------------------------------------------------------------


def _first_line(text: str) -> str:
    return (text.lstrip().splitlines() or [""])[0][:HEADER_BYTES]


def _dialect(text: str) -> tuple[str, str]:
    r"""What stands between the fields, and the text from its line of names on, with all lines at their numbers.

    Spreadsheets write and read a line before the names that tells the separator.

    >>> _dialect("sep=;\nid;label\n")
    (';', '\nid;label\n')
    """
    if told := SEPARATOR_LINE.match(text):
        return told[1], "\n" + text[told.end() :]
    names = _first_line(text)
    return max(SEPARATORS, key=lambda sign: len(next(csv.reader([names], delimiter=sign), []))), text


def csv_columns(path: object, text: str) -> Columns:
    """The columns of a text in CSV, as texts (:class:`Untyped`).

    Args:
        path: what it is called in messages.

    Raises:
        UsageError: it is damaged; the line is named.
    """
    separator, text = _dialect(text)
    rows = list(_rows(path, text, separator))
    first, names = next(((number, row) for number, (_, row) in enumerate(rows) if row), (0, []))
    header = [name.strip() for name in names]
    twice = [name for name in repeated(header) if name]
    if twice:
        raise UsageError(f"{path}: the first line names the column {twice[0]!r} twice; give each its own name")
    single = len(header) == 1  # where a blank cell is a row
    filled = [(number, line, row) for number, (line, row) in enumerate(rows) if row and (single or not _is_blank(row))]
    widths = _widths(filled)
    last = len(rows) - 1 if text.endswith(("\n", "\r")) else len(rows) - 2  # of the rows that are surely whole
    found = []
    for number, line, row in filled:
        if len(row) < len(header) and len(widths[number // TOGETHER]) == 1 and number <= last:
            row = [*row, *[""] * (len(header) - len(row))]
        if len(row) < len(header) or not _is_blank(row[len(header) :]):
            raise UsageError(
                f"{path}: line {line} has another number of fields ({len(row)}) than the header "
                f"({len(header)}: {some(header)}); "
                "put a text that holds a separator in quotation marks"
            )
        if number > first:
            found.append(row)
    return {name: Untyped(row[index] for row in found) for index, name in enumerate(header)}


def _is_blank(row: Sequence[str]) -> bool:
    return not any(cell.strip(" \t") for cell in row)


def _widths(rows: Iterable[tuple[int, int, list[str]]]) -> dict[int, set[int]]:
    """How many fields the rows have, by the :data:`TOGETHER` that they are part of."""
    found: dict[int, set[int]] = {}
    for number, _, row in rows:
        found.setdefault(number // TOGETHER, set()).add(len(row))
    return found


def _rows(path: object, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The rows, each with the number of the line that it begins in; that of an empty line is empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, row
            line = reader.line_num + 1
    except csv.Error as error:
        raise UsageError(f"{path}: {_told(error, line, reader.line_num)}") from None


def _told(error: csv.Error, line: int, last: int) -> str:
    """What is wrong with the quotation marks of a row that begins in a line."""
    if "expected after" in str(error):
        reached = "" if last == line else f" and reaches line {last}"
        return (
            f"a text in quotation marks that begins in line {line}{reached} goes on after its closing mark; "
            "is a mark missing or too many? Inside a text each is doubled"
        )
    if last == line and "field limit" in str(error):
        return f"a text in line {line} has more than {csv.field_size_limit():,} characters; shorten it"
    return f"a quotation mark that opens in line {line} is never closed; close it, or double it inside a text"


# Other formats ----------------------------------------------------------------------------------------------------


def _read_parquet(path: Path) -> Columns:
    try:
        file = open_parquet(path)
        names = file.schema_arrow.names
        if twice := repeated(names):
            raise UsageError(f"{path} names the column {twice[0]!r} twice; give each its own name")
        return read_cells(file, names, path)
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path} can't be read as CSV or Parquet ({first_line(error)}); write it again") from None


def _read_json_lines(path: Path, text: str) -> Columns:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            told = "nested too deeply" if isinstance(error, RecursionError) else first_line(error)
            raise UsageError(
                f"{path} can't be read as JSON lines: line {number} is no JSON ({told}); correct it there"
            ) from None
        if not isinstance(row, dict):
            raise UsageError(
                f"{path} must hold one JSON object a line, with the names of its columns; "
                f"line {number} is something else"
            )
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}
