"""Ids in files: which items they name, and what was probably meant where they name none."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError, some
from activetune.base.names import as_known
from activetune.base.tables import header_of, need_columns, read_table
from activetune.data.pool import Pool

Ids = Sequence[str] | str | os.PathLike[str]  # or a file with a column of them
EXCLUDE = "exclude"  # a column of findings.csv
IMAGE_TABLE = "images.csv"  # of a folder that ``select --images`` made: the images under the pool's own ids


def read_ids(given: Ids, known: Collection[str], *, what: str, where: str = "", unless: str = "") -> list[str]:
    """The distinct ids that are given, in their order: a sequence, or the column ``id`` of a file.

    Args:
        what: what should know them. where: how a sequence of ids is named in an error.
        unless: a column of a file, which may lack it: its rows that say ``no`` there name no item.

    Raises:
        UsageError: no such column, ids that are no text or that ``known`` does not hold, or anything but ``yes`` and
            ``no`` in ``unless``.
    """
    if not isinstance(given, str | os.PathLike):
        ids = list(dict.fromkeys(as_known(_texts(given, where), known)))
        refuse_unknown(ids, known, where, what)
        return ids
    columns = read_table(given)
    need_columns(columns, ["id"], given, known)
    ids = as_known(ids_of(columns["id"]), known)
    if unless in columns:
        ids = [item for item, meant in zip(ids, _meant(columns[unless], unless, given), strict=True) if meant]
    ids = list(dict.fromkeys(ids))
    refuse_unknown(ids, known, given, what)
    return ids


def read_excluded(given: Ids | None, known: Collection[str], *, what: str) -> list[str]:
    """The ids of items to leave out; of the findings of a check those alone that it says to leave out.

    Raises:
        UsageError: see :func:`read_ids`.
    """
    return [] if given is None else read_ids(given, known, what=what, where="ids to exclude", unless=EXCLUDE)


def _texts(given: Any, where: str) -> list[str]:
    """Ids that are given one by one, as they may also come from an iterator or from a column of a table."""
    if isinstance(given, bytes) or not isinstance(given, Iterable):
        raise UsageError(f"{where} can't be {given!r}; give a list of ids, or a file with a column 'id'")
    ids = list(given)
    for item in ids:
        if not isinstance(item, str):
            raise UsageError(f"{where}: {item!r} is no id, as ids are text; give those of the pool (pool.ids)")
    return ids


def _meant(values: Sequence[object], column: str, path: object) -> list[bool]:
    """Whether the rows say ``yes`` in a column."""
    said = ["" if value is None else str(value).strip().lower() for value in values]
    for row, word in enumerate(said, start=1):
        if word not in ("yes", "no"):
            raise UsageError(f"{path}, row {row}: {column} is {values[row - 1]!r}; write yes or no, or drop the column")
    return [word == "yes" for word in said]


def ids_of(values: Sequence[object]) -> list[str]:
    """A column of ids as text."""
    return ["" if value is None else str(value) for value in values]


def refuse_unknown(ids: Sequence[str], known: Collection[str], where: object, what: str) -> None:
    """Raise a :class:`UsageError` where ids are not in ``known``, with what was probably meant.

    Args:
        where: what holds the ids. what: what should know them.
    """
    unknown = [item for item in ids if item not in known]
    if not unknown:
        return
    raise UsageError(
        f"{where}: {len(unknown):,} of {len(ids):,} ids are not in {what}: {some(unknown)}; "
        + _advice(unknown, known, alone=len(unknown) == len(ids))
    )


def refuse_foreign_ids(ids: Sequence[str], pool: Pool, where: object) -> None:
    """Raise a :class:`UsageError` where ids are not in a pool.

    A folder that ``select --images`` made, or that of its images, has them under other ids than its table, which is
    then the pool that is meant.
    """
    unknown = [item for item in ids if item not in pool.position]
    if not unknown:
        return
    for table in (folder / IMAGE_TABLE for folder in (Path(pool.name), Path(pool.name).parent)):
        if {"id", "path"} <= set(header_of(table)) and set(unknown) <= set(ids_of(read_table(table)["id"])):
            raise UsageError(
                f"{where}: {len(unknown):,} of {len(ids):,} ids are not in the pool {pool.name}: {some(unknown)}; "
                f"give the pool {table}, which has the images under these ids"
            )
    refuse_unknown(ids, pool.position, where, f"the pool {pool.name}")


def _advice(unknown: Sequence[str], known: Collection[str], *, alone: bool) -> str:
    """What to do about ids that are not known; the first of them stands for all.

    Args:
        alone: whether none of the others is known: then they are hardly of images that are gone.
    """
    if any("\n" in item or "\r" in item for item in unknown):
        return "an id holds a line break, perhaps because a quotation mark is missing in the file"
    if "" in unknown:
        return "an id is empty: give one, or remove the row"
    first = unknown[0]
    meant = _tail(first, known)
    if meant is not None and first.endswith(meant):
        front = first[: -len(meant)]
        return f"ids are relative to the pool's root: remove {front!r} in front, so that {first!r} becomes {meant!r}"
    if meant is None:
        meant = _lookalike(first, known)
    if meant is not None:
        gone = "" if alone else " If the image is gone, remove its id"
        return f"did you mean {meant!r} for {first!r}?{gone}"
    example = next(iter(known), None)
    rule = "ids are the paths relative to the pool's root, as in items.parquet and selection.csv"
    rule += "" if example is None else f", for instance {example!r}"
    if alone:
        return f"{rule}: correct them, or give the pool that they come from"
    return f"{rule}: remove those of images that are gone, and correct the others"


def _tail(item: str, known: Collection[str]) -> str | None:
    """The longest end of a path that is an id by itself."""
    parts = item.replace("\\", "/").split("/")
    ends = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((end for end in ends if end and end in known), None)


def _lookalike(item: str, known: Collection[str]) -> str | None:
    """An id that differs in case, accents' encoding, blanks around it, its folder or its suffix only.

    Where several do, none is meant.
    """
    for part in (str, lambda text: os.path.splitext(text)[0], lambda text: text.rpartition("/")[2]):
        wanted = part(_plain(item))
        met = [one for one in known if part(_plain(one)) == wanted]
        if len(met) == 1:
            return met[0]
    return None


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().strip().replace("\\", "/")
