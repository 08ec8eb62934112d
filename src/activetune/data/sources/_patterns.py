"""Patterns that stand for several files: ``*``, ``?``, ``[…]`` and WebDataset's ``train-{000000..000009}.tar``."""

from __future__ import annotations

import fnmatch
import glob
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from activetune.base.errors import UsageError, some
from activetune.data.remote.listing import entries_below, entries_in
from activetune.data.remote.location import FILE, Location, RemotePath, quoted

BRACES = re.compile(r"\{([^{}]*)\}")
RANGE = re.compile(r"(\d+)\.\.(\d+)")
MOST = 100_000  # names that one pattern may stand for


def is_pattern(path: Location) -> bool:
    """Whether a path stands for several files."""
    text = _text(path)
    return any(_is_list(found[1]) for found in BRACES.finditer(text)) or _has_magic(path, text)


def files_of_pattern(path: Location, *, quiet: bool = True) -> list[Location]:
    """The files that a pattern stands for, sorted; none where the path is no pattern.

    Args:
        quiet: no sentences about a long listing elsewhere.

    Raises:
        UsageError: a name in braces that is not there: all of them are meant. ReadingFault: a listing is out of reach.
    """
    if not is_pattern(path):
        return []
    found: list[Location] = []
    missing = []
    for name in in_full(_text(path)):
        one: Location = RemotePath(name) if isinstance(path, RemotePath) else Path(name)
        if _has_magic(one, name):
            found += _matching(one, quiet)
        elif (there := _there(one)) is not None:
            found.append(there)
        else:
            missing.append(str(one))
    if missing and found:
        raise UsageError(
            f"{path} stands for {len(missing) + len(found):,} files, of which {len(missing):,} do not exist: "
            f"{some(missing)}; give a pattern of those that do"
        )
    return sorted(found, key=lambda one: str(one).split("/"))


def in_full(text: str) -> Iterator[str]:
    """The names that braces stand for: ``{8..11}`` is 8, 9, 10, 11, ``{08..11}`` has two digits, ``{a,b}`` is a, b.

    >>> list(in_full("{train,val}-{08..10}.tar"))
    ['train-08.tar', 'train-09.tar', 'train-10.tar', 'val-08.tar', 'val-09.tar', 'val-10.tar']

    Raises:
        UsageError: more than 100,000 names.
    """
    names = [""]
    rest = text
    while (found := next((one for one in BRACES.finditer(rest) if _is_list(one[1])), None)) is not None:
        parts = _parts(found[1], text)
        if len(names) * len(parts) > MOST:
            raise UsageError(f"{text} stands for more than {MOST:,} names; give a folder, or a pattern with *")
        names = [name + rest[: found.start()] + part for name in names for part in parts]
        rest = rest[found.end() :]
    yield from (name + rest for name in names)


def _is_list(inside: str) -> bool:
    return "," in inside or RANGE.fullmatch(inside) is not None


def _parts(inside: str, text: str) -> list[str]:
    found = RANGE.fullmatch(inside)
    if found is None:
        return inside.split(",")
    first, last = int(found[1]), int(found[2])
    if abs(last - first) >= MOST:
        raise UsageError(f"{text} stands for more than {MOST:,} names; give a folder, or a pattern with *")
    digits = max(len(found[1]), len(found[2])) if found[1].startswith("0") else 0
    step = 1 if last >= first else -1
    return [f"{number:0{digits}d}" for number in range(first, last + step, step)]


def _text(path: Location) -> str:
    return path.address if isinstance(path, RemotePath) else str(path)


def _has_magic(path: Location, text: str) -> bool:
    """Over HTTP ``?`` begins a query."""
    if isinstance(path, RemotePath) and path.is_web:
        text = text.partition("?")[0]
    return glob.has_magic(text.partition("://")[2] if isinstance(path, RemotePath) else text)


def _there(path: Location) -> Location | None:
    if isinstance(path, RemotePath):
        found = path.looked_at((path.suffix.lower(),))
        return found if found is not None and not found.is_dir() else None
    return path if path.exists() else None


def _matching(path: Location, quiet: bool) -> list[Location]:
    """The files that match ``*``, ``?`` and ``[…]``."""
    if isinstance(path, Path):
        return [Path(found) for found in glob.iglob(str(path))]  # noqa: PTH207  (a pattern of any depth)
    root = path
    while _has_magic(root, root.address):
        root = root.parent
    wanted = path.address[len(root.address) :].lstrip("/")
    entries = entries_below(root, quiet=quiet) if "/" in wanted else entries_in(root, [""])
    return [
        replace(root / quoted(root, entry.name), kind=FILE, state=entry.state)
        for entry in entries
        if _matches(entry.name, wanted)
    ]


def _matches(name: str, pattern: str) -> bool:
    """As glob: ``*`` stays within a folder, and no sign stands for a point that begins a name."""
    names, patterns = name.split("/"), pattern.split("/")
    return len(names) == len(patterns) and all(
        fnmatch.fnmatchcase(one, part) and (not one.startswith(".") or part.startswith("."))
        for one, part in zip(names, patterns, strict=True)
    )
