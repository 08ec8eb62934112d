"""Image files on disk: reading them, and the class names that their folders give."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from activetune.base.errors import RejectedImage
from activetune.base.fingerprint import digest_stream
from activetune.data.answers import class_names


@dataclass(frozen=True)
class FileSource:
    """Image files below ``root``; ``paths`` are relative to it (or absolute, when a manifest says so)."""

    root: Path
    paths: Sequence[str]

    def read(self, index: int) -> bytes:
        """The file's bytes."""
        try:
            return (self.root / self.paths[index]).read_bytes()
        except OSError as error:
            raise RejectedImage(f"unreadable: {error.strerror or error}") from None

    def stamp(self) -> str:
        """Names, sizes and modification times."""
        root = str(self.root)
        return digest_stream(part for path in self.paths for part in (path, file_stamp(os.path.join(root, path))))


def file_stamp(path: str | Path) -> str:
    """A file's size and modification time."""
    try:
        status = os.stat(path)
    except OSError:
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def folder_labels(paths: Sequence[str]) -> list[str | None] | None:
    """The name of the folder each image lies in; no labels at all where that tells nothing apart."""
    folders = [path.rpartition("/")[0] for path in paths]
    if len(set(folders)) < 2:
        return None
    return class_names([folder.rpartition("/")[2] for folder in folders], "the folders", paths)
