"""What lies below an address: names, sizes and states, page by page, without any object's bytes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from activetune.base.interrupts import raise_if_interrupted
from activetune.base.progress import note
from activetune.data.remote.faults import Gone, Refused
from activetune.data.remote.location import FOLDER, RemotePath, State, quoted, unquoted

AT_ONCE = 16  # folders that are listed at the same time
MOST_FOLDERS = 5_000  # in the root: with more, one long listing asks less often than one of each
EVERY_SECONDS = 10.0


@dataclass(frozen=True)
class Entry:
    """A file below a folder.

    Attributes:
        name: relative to the folder, as people read it. state: as it was listed.
    """

    name: str
    state: State


class _Count:
    """Tells now and then how many files a long listing has found."""

    def __init__(self, root: RemotePath, quiet: bool):
        self.root, self.quiet, self.found, self.spoken = root, quiet, 0, time.monotonic()

    def add(self, count: int) -> None:
        raise_if_interrupted()
        self.found += count
        if time.monotonic() - self.spoken >= EVERY_SECONDS:
            self.spoken = time.monotonic()
            note(f"listing {self.root}: {self.found:,} files so far", self.quiet)


def entries_below(root: RemotePath, *, quiet: bool = False) -> Iterator[Entry]:
    """The files below a folder at any depth, in no order. The folders in it are listed at the same time.

    Args:
        quiet: without a sentence every ten seconds.

    Raises:
        ReadingFault: it can't be listed at present. Gone: there is no such folder.
    """
    count = _Count(root, quiet)
    first = root.ask(lambda filesystem, path: filesystem.ls(_as_folder(root, path), detail=True))
    folders = [told["name"] for told in first if told.get("type") == FOLDER]
    base = root.ask(lambda filesystem, path: path).rstrip("/")
    if len(folders) > MOST_FOLDERS:
        first, folders = [], [base]
    yield from _files(root, base, first, count)
    executor = ThreadPoolExecutor(max(1, min(AT_ONCE, len(folders))), "listing")
    try:
        for found in executor.map(lambda folder: _below(root, folder), folders):
            yield from _files(root, base, found, count)
    finally:
        executor.shutdown(cancel_futures=True)


def entries_in(root: RemotePath, folders: Iterable[str]) -> Iterator[Entry]:
    """The files that lie in some folders below ``root`` themselves; a folder that can't be listed has none."""
    count = _Count(root, quiet=True)
    base = root.ask(lambda filesystem, path: path).rstrip("/")

    def in_folder(folder: str) -> list[Mapping[str, Any]]:
        place = root / quoted(root, folder) if folder else root
        try:
            found: list[Mapping[str, Any]] = place.ask(
                lambda filesystem, path: filesystem.ls(_as_folder(place, path), detail=True)
            )
        except (Gone, Refused):
            return []
        return found

    with ThreadPoolExecutor(AT_ONCE, "listing") as executor:
        for found in executor.map(in_folder, folders):
            yield from _files(root, base, found, count)


def _below(root: RemotePath, folder: str) -> list[Mapping[str, Any]]:
    """What the filesystem finds below one of the folders, which may have gone meanwhile."""
    try:
        found: Mapping[str, Mapping[str, Any]] = root.ask(
            lambda filesystem, _: filesystem.find(folder, detail=True, withdirs=False)
        )
    except Gone:
        return []
    return list(found.values())


def _files(root: RemotePath, base: str, told: Iterable[Mapping[str, Any]], count: _Count) -> Iterator[Entry]:
    """The files among what a filesystem tells, by their names below ``base``; marks of empty folders are none."""
    number = 0
    for one in told:
        name = str(one["name"])
        if one.get("type") == FOLDER or name.endswith("/") or not name.startswith(f"{base}/"):
            continue
        number += 1
        yield Entry(unquoted(root, name[len(base) + 1 :]), State.of(one))
    count.add(number)


def _as_folder(root: RemotePath, path: str) -> str:
    """A folder as its filesystem takes it: over HTTP a page's address ends with a slash."""
    return f"{path.rstrip('/')}/" if root.is_web else path
