"""A file that one process derives and writes again and again, and that somebody may edit meanwhile.

What others have written into it is never written over: it is kept beside it, under another name.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from activetune.base.files import replacing
from activetune.base.fingerprint import digest_bytes
from activetune.base.progress import note


class OwnFile:
    """The file at ``path``; ``edited`` are the files, oldest first, that keep what others had made of it."""

    def __init__(self, path: Path):
        """The file as it is now: this is what is read of it."""
        self.path = path
        self.edited: list[Path] = []
        self._stat: tuple[int, ...] = ()
        self._digest = ""
        with contextlib.suppress(OSError):  # none there; or one that can't be read, which its reader tells
            self._stat, self._digest = _about(path.stat()), digest_bytes(path.read_bytes())

    def write(self, content: bytes) -> None:
        """Write the file in one step; what somebody else has made of it is kept before.

        Raises:
            OSError: it can't be written, or what is in it can't be kept; then it is as it was.
        """
        self._keep_edit()
        with replacing(self.path) as partial:
            partial.write_bytes(content)
            stat = _about(partial.stat())
        self._stat, self._digest = stat, digest_bytes(content)

    def _keep_edit(self) -> None:
        try:
            stat = _about(self.path.stat())
        except FileNotFoundError:
            return
        if stat == self._stat:
            return
        found = self.path.read_bytes()
        if digest_bytes(found) != self._digest:  # and not only copied or touched
            kept = self._free_name()
            with replacing(kept) as partial:
                partial.write_bytes(found)
            self.edited.append(kept)
            note(
                f"{self.path} was changed while the page was open: {kept.name} beside it keeps what it held, and the "
                f"page goes on in {self.path.name}; to take the changes up, end the page, put {kept.name} in the place "
                f"of {self.path.name}, and start again"
            )
        self._stat, self._digest = stat, digest_bytes(found)

    def _free_name(self) -> Path:
        number = 1
        while (path := self.path.with_name(f"{self.path.stem}.edited-{number}{self.path.suffix}")).exists():
            number += 1
        return path


def _about(stat: os.stat_result) -> tuple[int, ...]:
    """What changes with a file's content, or with the file."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
