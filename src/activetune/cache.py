"""The user's cache of finished embeddings, keyed by content.

It lies in ``$ACTIVETUNE_CACHE`` (default ``~/.cache/activetune``), beside the caches of timm and Hugging Face, and is
the one place outside the output folder that activetune writes to; ``--no-cache`` leaves it alone, deleting it is safe.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from activetune.runtime import note
from activetune.store import MANIFEST


def cache_folder() -> Path:
    """Where finished embeddings are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ACTIVETUNE_CACHE") or Path(base) / "activetune") / "embeddings"


def find(key: str) -> Path | None:
    """The cached artefact of this key, if there is a finished one."""
    folder = cache_folder() / key
    return folder if (folder / MANIFEST).is_file() else None


def add(key: str, folder: Path) -> None:
    """Copy a finished artefact into the cache; a cache that can't be written costs time later, not the result."""
    target = cache_folder() / key
    if target.exists():
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".adding-") as temporary:
            copy = Path(temporary) / key
            shutil.copytree(folder, copy)
            os.replace(copy, target)
    except OSError as error:
        note(f"the cache {target.parent} can't be written ({error.strerror or error}); going on without it")
