"""The user's cache of finished embeddings, keyed by content.

It lies in ``$ACTIVETUNE_CACHE`` (default ``~/.cache/activetune``), beside the caches of timm and Hugging Face, and is
the one place outside the output folder that activetune writes to; ``--no-cache`` leaves it alone, deleting it is safe.

An entry is the folder ``embeddings/OUTLINE-KEY``. The outline is known before any image is read, the key is not:
whether there is an entry of an outline says whether it is worth reading the images first.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from activetune.base.artefact import MANIFEST
from activetune.base.files import cache_folder, remove
from activetune.base.locks import locked_if_free
from activetune.base.progress import note

OUTLINE_DIGITS = 16
ADDING = ".adding-"  # begins the name of an entry that is being copied


def holds(outline: str) -> bool:
    """Whether there is an entry of this outline."""
    return any(cache_folder("embeddings").glob(f"{outline[:OUTLINE_DIGITS]}-*/{MANIFEST}"))


def folder_of(outline: str, key: str) -> Path:
    """Where the artefact of this key lies, or would lie."""
    return cache_folder("embeddings") / f"{outline[:OUTLINE_DIGITS]}-{key}"


def drop(entry: Path) -> None:
    """Forget an entry that turned out to be damaged."""
    with locked_if_free(entry, folder=False) as free:
        if free:
            shutil.rmtree(entry, ignore_errors=True)


def add(entry: Path, folder: Path, files: Sequence[str]) -> None:
    """Copy a finished artefact's files into the cache; where that fails, it costs time later, not the result."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        _sweep(entry.parent)
        with locked_if_free(entry, folder=False) as free:
            if not free or (entry / MANIFEST).is_file():
                return
            remove(entry)  # what is left of one that was being dropped when its process was killed
            copy = entry.with_name(f"{ADDING}{entry.name}")
            try:
                copy.mkdir()
                for name in (*files, MANIFEST):
                    shutil.copyfile(folder / name, copy / name)
                os.replace(copy, entry)
            finally:
                remove(copy)
    except OSError as error:
        note(f"the cache {entry.parent} can't be written ({error.strerror or error}); going on without it")


def _sweep(parent: Path) -> None:
    """Remove the copies that killed processes left half finished."""
    for left in parent.glob(f"{ADDING}*"):
        with locked_if_free(parent / left.name.removeprefix(ADDING), folder=False) as free:
            if free:
                remove(left)
