"""A ``.zip`` of images, read in place; labels come from its folders as a folder's do."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activetune.base.errors import RejectedImage
from activetune.data.formats import is_image_name
from activetune.data.identity import Place
from activetune.data.sources._files import folder_labels, place_of
from activetune.data.sources._listing import Listing, OpenOptions

ABOUT = ".zip of images"
SUFFIXES = (".zip",)
FOLDERS = False


@dataclass
class ZipSource:
    """Images inside a zip file, read in place; nothing is ever extracted."""

    path: Path
    names: Sequence[str]
    parallel: bool = False
    _open: tuple[int, zipfile.ZipFile] | None = field(default=None, repr=False, compare=False)

    def read(self, index: int) -> bytes:
        """The member's bytes, unpacked in memory."""
        try:
            return self._archive().read(self.names[index])
        except OSError:
            self._open = None  # so that the next attempt opens the file again
            raise
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError) as error:
            raise RejectedImage(f"unreadable in the zip: {error}") from None

    def place(self, index: int) -> Place | None:
        """The member of the zip."""
        return place_of(os.path.realpath(self.path), self.names[index])

    def _archive(self) -> zipfile.ZipFile:
        """One open file a process: file offsets must not be shared with a forked worker."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), zipfile.ZipFile(self.path))
        return self._open[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def find(path: Path, options: OpenOptions) -> Listing | None:
    """The images in a zip; ids are their paths inside it."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(
            {
                name
                for name in archive.namelist()
                if is_image_name(name) and not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
            }
        )
    return Listing(names, folder_labels(names), ZipSource(path, names)) if names else None
