"""Files that are a pool together: one, those of a folder, or those of a pattern."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from activetune.base.progress import progress
from activetune.data.remote.location import FILE, Location, RemotePath, quoted
from activetune.data.sources._listing import OpenOptions
from activetune.data.sources._patterns import files_of_pattern
from activetune.data.sources._walk import walk

AT_ONCE = 8  # files elsewhere that are looked into at the same time
Found = TypeVar("Found")


def shards_at(path: Location, suffixes: Sequence[str], options: OpenOptions) -> list[Location]:
    """The files with one of these suffixes, sorted: the file at a path, those below a folder, or of a pattern."""
    if not path.is_dir():
        return [path] if path.exists() else files_of_pattern(path, quiet=options.quiet)
    found = walk(path, follow_links=options.follow_links, quiet=options.quiet)
    names = sorted(name for name in found.others if name.lower().endswith(tuple(suffixes)))
    if isinstance(path, RemotePath):
        return [replace(path / quoted(path, name), kind=FILE, state=found.states[name]) for name in names]
    return [path / name for name in names]


def below(path: Location, root: Location) -> str:
    """A file's path relative to a folder that it lies in, with ``/``."""
    if isinstance(path, Path):
        return os.path.relpath(path, str(root)).replace(os.sep, "/")
    return str(path).removeprefix(str(root)).lstrip("/")


def each(
    files: Sequence[Location], look: Callable[[Location], Found], label: str, *, quiet: bool = False
) -> Iterator[Found]:
    """What ``look`` finds in each file, in their order; elsewhere several are looked into at the same time.

    Args:
        label, quiet: of the progress that is shown where they lie elsewhere.
    """
    if not any(isinstance(file, RemotePath) for file in files):
        yield from map(look, files)
        return
    executor = ThreadPoolExecutor(AT_ONCE, "looking")
    try:
        with progress(len(files), label, unit="files", quiet=quiet) as meter:
            for found in executor.map(look, files):
                yield found
                meter.advance()
    finally:
        executor.shutdown(cancel_futures=True)
