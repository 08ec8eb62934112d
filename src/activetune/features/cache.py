"""The user's cache of finished embeddings and captions, keyed by content.

It lies in ``$ACTIVETUNE_CACHE`` (default ``~/.cache/activetune``), beside the caches of timm and Hugging Face, and is
the one place outside the output folder that activetune writes to; ``--no-cache`` leaves it alone, deleting it is safe.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from activetune.base.artefact import MANIFEST
from activetune.base.progress import note


def cache_folder(what: str = "embeddings") -> Path:
    """Where finished embeddings, or other things by their name, are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ACTIVETUNE_CACHE") or Path(base) / "activetune") / what


def folder_of(key: str) -> Path:
    """Where the artefact of this key lies, or would lie."""
    return cache_folder() / key


def drop(key: str) -> None:
    """Forget an entry that turned out to be damaged."""
    shutil.rmtree(folder_of(key), ignore_errors=True)


def add(key: str, folder: Path, files: Sequence[str]) -> None:
    """Copy a finished artefact's files into the cache; where that fails, it costs time later, not the result."""
    target = folder_of(key)
    if target.exists():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".adding-") as temporary:
            copy = Path(temporary) / key
            copy.mkdir()
            for name in (*files, MANIFEST):
                shutil.copyfile(folder / name, copy / name)
            os.replace(copy, target)
    except OSError as error:
        note(f"the cache {target.parent} can't be written ({error.strerror or error}); going on without it")
