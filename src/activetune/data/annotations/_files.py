"""The files at a path, be it a folder, a zip or one file alone: their names, and their bytes when asked for."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from activetune.base.errors import RejectedImage, UsageError, first_line
from activetune.base.tables import header_in, header_of
from activetune.data.pool import ImageSource
from activetune.data.sources._files import FileSource
from activetune.data.sources._walk import walk
from activetune.data.sources.zip import DAMAGED, ZipSource, member_name, unwanted


@dataclass(frozen=True)
class Files:
    """The regular files at a path.

    Attributes:
        path: what was given. root: the folder or zip that ``names`` are relative to; of a single file its folder.
        names: sorted, with ``/``. members: the place of each in a zip; none of a folder.
    """

    path: Path
    root: Path
    names: Sequence[str]
    members: Sequence[int] = ()

    @property
    def single(self) -> Path | None:
        """The file, where the path is one that holds no others."""
        return None if self.path == self.root else self.path

    def told(self, name: str) -> str:
        """One of the files in a message."""
        return f"{name} of {self.root}" if self.single is None else str(self.path)

    def ending(self, *suffixes: str) -> list[str]:
        """The names with one of these suffixes, in whatever case."""
        return [name for name in self.names if name.lower().endswith(suffixes)]

    def read(self, name: str, most: int | None = None) -> bytes:
        """A file's bytes.

        Args:
            most: how many are allowed; None: no limit for a file that the user named, the one of images for all others.

        Raises:
            UsageError: it can't be read, or has more.
        """
        try:
            content = self._all.read(self._position[name]) if self.single is None else self.single.read_bytes()
        except (RejectedImage, OSError) as error:
            raise UsageError(f"{self.told(name)} can't be read ({first_line(error)}); copy the file again") from None
        if most is not None and len(content) > most:
            raise UsageError(f"{self.told(name)} has {len(content):,} bytes, {most:,} are allowed")
        return content

    def peek(self, name: str) -> bytes:
        """A file's bytes, none where it can't be read."""
        try:
            return self.read(name)
        except UsageError:
            return b""

    def header(self, name: str) -> tuple[str, ...]:
        """The names of a table's columns, none where it is no table; looked at once."""
        if name not in self._headers:
            single = self.single
            self._headers[name] = header_in(self.peek(name)) if single is None else header_of(single)
        return self._headers[name]

    def source(self, names: Sequence[str]) -> ImageSource:
        """A picklable source of some of the files."""
        if not self.members:
            return FileSource(self.root, list(names))
        return ZipSource(self.root, [self.members[self._position[name]] for name in names])

    def only(self, names: Iterable[str]) -> Files:
        """The same without all other files."""
        kept = [name for name in names if name in self._position]
        return Files(self.root, self.root, kept, [self.members[self._position[name]] for name in kept if self.members])

    @cached_property
    def _headers(self) -> dict[str, tuple[str, ...]]:
        return {}

    @cached_property
    def _all(self) -> ImageSource:
        return self.source(self.names)

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.names)}


def files_at(path: str | os.PathLike[str]) -> Files:
    """What lies at a path.

    Raises:
        UsageError: nothing, or it can't be listed.
    """
    if not os.fspath(path):
        raise UsageError("the answers have no name: an empty text is no path; the folder you are in is '.'")
    path = Path(path).expanduser()
    try:
        there, folder, regular = path.exists(), path.is_dir(), path.is_file()
    except (OSError, ValueError) as error:  # a name that is too long, a zero character
        raise UsageError(f"{str(path)!r} can't be looked for ({error}); give another name") from None
    if not there:
        raise UsageError(f"{path} does not exist; give a file or folder of answers")
    if folder:
        found = walk(path)
        return Files(path, path, sorted([*found.images, *found.others]))
    if not regular:
        raise UsageError(f"{path} is neither a folder nor a file; give one of them")
    return _in_zip(path) if path.suffix.lower() == ".zip" else Files(path, path.parent, [path.name])


def _in_zip(path: Path) -> Files:
    try:
        with zipfile.ZipFile(path) as archive:
            named = ((member_name(info), number, info) for number, info in enumerate(archive.infolist()))
            members = {name: number for name, number, info in named if _is_file(name, info)}
    except (OSError, *DAMAGED) as error:
        raise UsageError(
            f"{path} can't be read as a zip ({first_line(error)}); pack it again, or give the folder"
        ) from None
    names = sorted(members)
    return Files(path, path, names, [members[name] for name in names])


def _is_file(name: str, info: zipfile.ZipInfo) -> bool:
    return not info.is_dir() and not name.endswith("/") and unwanted(name, info) is None
