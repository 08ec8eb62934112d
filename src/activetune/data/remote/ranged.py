"""Files that are read from place to place: zips, tars and Parquet files elsewhere, without copying them as a whole."""

from __future__ import annotations

import contextlib
import errno
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from activetune.base.errors import ReadingFault, UsageError
from activetune.data.remote.faults import BeyondError
from activetune.data.remote.location import Location, RemotePath, insist

BLOCK = 2**19  # bytes that are asked for at once


class _Parts(io.RawIOBase):
    """A remote file that is read from place to place."""

    def __init__(self, location: RemotePath):
        if location.state.size < 0:
            raise ReadingFault(
                f"{location} does not tell its size, without which it can't be read in parts; copy it to this machine"
            )
        self.location, self.size, self.at = location, location.state.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, f"a place before the beginning of {self.location}")  # as a file of this machine
        self.at = base + offset
        return self.at

    def tell(self) -> int:
        return self.at

    def readinto(self, buffer: Any) -> int:
        stop = min(self.at + len(buffer), self.size)
        if stop <= self.at:
            return 0
        try:
            found = insist(self.location, lambda: self.location.read_part(self.at, stop))
        except BeyondError:
            raise ReadingFault(f"{self.location} is shorter than when it was listed; run the command again") from None
        buffer[: len(found)] = found
        self.at += len(found)
        return len(found)


def opened(location: Location, block: int = BLOCK) -> BinaryIO:
    """A file to read from place to place, wherever it lies.

    Args:
        block: bytes that are asked for at once where it is remote.

    Raises:
        OSError, ReadingFault: it can't be opened.
    """
    if isinstance(location, Path):
        return location.open("rb")
    return io.BufferedReader(_Parts(location), block)  # type: ignore[return-value,type-var]


@contextlib.contextmanager
def on_this_machine(location: Location) -> Iterator[Path]:
    """A file as one of this machine: itself, or a copy for as long as the block lasts. For tables, not for images.

    Raises:
        ReadingFault: it can't be read. UsageError: what the block raises, with the file's own name in it.
    """
    if isinstance(location, Path):
        yield location
        return
    with tempfile.TemporaryDirectory(prefix="activetune-") as folder:
        copy = Path(folder) / location.name
        copy.write_bytes(location.read_bytes())
        try:
            yield copy
        except UsageError as error:
            raise UsageError(str(error).replace(str(copy), str(location))) from None
