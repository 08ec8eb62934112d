"""Image files on disk: reading them, where they lie, and the class names that their folders give."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from activetune.base.errors import RejectedImage
from activetune.data.answers import class_names
from activetune.data.identity import Place
from activetune.data.pool import ImageSource
from activetune.data.reading import read_image_file, read_start
from activetune.data.remote.files import RemoteFiles, leads_out
from activetune.data.remote.location import Location, RemotePath, State


@dataclass(frozen=True)
class FileSource:
    """Image files below ``root``.

    Attributes:
        paths: relative to ``root`` (or absolute, when a manifest says so).
        absent: the positions of those that were missing from the start, and why: they are rejected, whereas a file
            that goes missing later is waited for.
    """

    root: Path
    paths: Sequence[str]
    absent: Mapping[int, str] = field(default_factory=dict)
    parallel: bool = True

    def read(self, index: int) -> bytes:
        """The file's bytes."""
        if index in self.absent:
            raise RejectedImage(f"unreadable: {self.absent[index]}")
        return read_image_file(os.path.join(self.root, self.paths[index]))

    def start(self, index: int, count: int) -> bytes:
        """The file's first bytes; none where it can't be read."""
        return b"" if index in self.absent else read_start(os.path.join(self.root, self.paths[index]), count)

    def place(self, index: int) -> Place | None:
        """The file."""
        return None if index in self.absent else place_of(os.path.join(self._resolved, self.paths[index]))

    @cached_property
    def _resolved(self) -> str:
        return os.path.realpath(self.root)


def optional_files(root: Path, paths: Sequence[str | None]) -> FileSource:
    """Files below a folder; a path of None, or one that leads out of the folder, is an item without a file."""
    real = os.path.realpath(root)
    named = [path or "" for path in paths]
    absent = {row: "no file is named" for row, path in enumerate(paths) if not path or "\0" in path}
    for row, path in enumerate(named):
        if row not in absent and not Path(os.path.realpath(os.path.join(root, path))).is_relative_to(real):
            absent[row] = "the path leads out of the folder"
    present = [row for row in range(len(named)) if row not in absent]
    return FileSource(root, named, {**absent_files(root, named, present), **absent})


def optional_below(root: Location, states: Mapping[str, State], paths: Sequence[str | None]) -> ImageSource:
    """The same of files that lie anywhere.

    Args:
        states: of those elsewhere, as they were listed.
    """
    if isinstance(root, Path):
        return optional_files(root, paths)
    absent = {row: "no file is named" for row, path in enumerate(paths) if not path}
    for row, path in enumerate(paths):
        if path and leads_out(path):
            absent[row] = "the path leads out of the folder"
    return RemoteFiles(root, [path or "" for path in paths], states, absent)


def absent_files(root: Path, paths: Sequence[str], positions: Iterable[int]) -> dict[int, str]:
    """Those of ``positions`` whose file is missing, and why."""
    found = {}
    for position in positions:
        try:
            os.stat(os.path.join(root, paths[position]))
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            found[position] = getattr(error, "strerror", None) or str(error)
    return found


def place_in(location: Location, part: str = "") -> Place | None:
    """A file that lies anywhere, or a part of it, as a place; None where its state is not known."""
    if isinstance(location, RemotePath):
        return location.place(part)
    return place_of(os.path.realpath(location), part)


def place_of(path: str, part: str = "") -> Place | None:
    """A file, or a part of it, as a place; None where the file can't be looked at."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    state = f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    return Place(f"{path}\0{part}" if part else path, status.st_size, state, changed)


def folder_labels(paths: Sequence[str]) -> list[str | None] | None:
    """The name of the folder each image lies in; no labels at all where that tells nothing apart."""
    folders = [path.rpartition("/")[0] for path in paths]
    if len(set(folders)) < 2:
        return None
    return class_names([folder.rpartition("/")[2] for folder in folders], "the folders", paths)
