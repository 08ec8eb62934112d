"""Image files elsewhere: one object each, read as a whole in one request."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from activetune.base.errors import RejectedImage
from activetune.data.identity import Place
from activetune.data.images import MAX_BYTES
from activetune.data.remote.faults import BeyondError, Gone, told_apart
from activetune.data.remote.location import RemotePath, State, quoted
from activetune.data.remote.stores import filesystem_of, read_whole

UNTOLD = State()


@dataclass(frozen=True)
class RemoteFiles:
    """Image files below an address. An object that has vanished is a rejected image: a store says so, and means it.

    Attributes:
        paths: relative to ``root``, with ``/``. states: as they were listed, by path; others are not known.
        absent: the positions of those that can't be read by their name alone, and why.
    """

    root: RemotePath
    paths: Sequence[str]
    states: Mapping[str, State] = field(default_factory=dict)
    absent: Mapping[int, str] = field(default_factory=dict)
    parallel: bool = True
    distant: bool = True

    def read(self, index: int) -> bytes:
        """The object's bytes, in one attempt."""
        location = self._at(index)
        if location.state.size > MAX_BYTES:
            raise RejectedImage(f"oversized: {location.state.size:,} bytes, {MAX_BYTES:,} are allowed")
        try:
            found = self._whole(location)
        except Gone:
            raise RejectedImage("unreadable: no such file at its address") from None
        if len(found) > MAX_BYTES:
            raise RejectedImage(f"oversized: more than {MAX_BYTES:,} bytes")
        return found

    def start(self, index: int, count: int) -> bytes:
        """The object's first bytes, in one attempt; none where it has vanished."""
        try:
            location = self._at(index)
            size = location.state.size
            return location.read_part(0, count if size < 0 else min(count, size))
        except (Gone, RejectedImage, BeyondError):
            return b""

    def place(self, index: int) -> Place | None:
        """The object in the state in which it was listed."""
        return None if index in self.absent else self._at(index).place()

    def _at(self, index: int) -> RemotePath:
        if index in self.absent:
            raise RejectedImage(f"unreadable: {self.absent[index]}")
        path = self.paths[index]
        found = self.root / quoted(self.root, path)
        return RemotePath(found.address, "file", self.states.get(path, UNTOLD))

    def _whole(self, location: RemotePath) -> bytes:
        """All bytes of an object; one that was replaced since it was listed may have another size.

        Raises:
            OSError: fewer came than the store has.
        """
        filesystem, path = filesystem_of(location.address)
        size = location.state.size
        try:
            with told_apart(location.address):
                if size < 0:  # a server that never ends would fill the memory
                    return bytes(filesystem.cat_file(path, start=0, end=MAX_BYTES + 1))
                found = read_whole(filesystem, path)
                if len(found) != size and filesystem.info(path).get("size") != len(found):
                    raise ConnectionError(f"{len(found):,} of {size:,} bytes came")
        except BeyondError:  # nothing is there to be read a part of
            return b""
        return found


def leads_out(path: str) -> bool:
    """Whether a relative path leads out of the folder that it is relative to."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    return plain.startswith("../") or plain == ".." or posixpath.isabs(plain)
