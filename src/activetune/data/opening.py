"""Opening a pool: whatever holds images, listed without loading any. The sources stand in ``sources/``."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pyarrow as pa

from activetune.base.errors import UsageError, repeated, some
from activetune.data.formats import IMAGE_SUFFIXES
from activetune.data.pool import Pool
from activetune.data.sources import finders, suffixes
from activetune.data.sources._listing import Listing, OpenOptions


def open_pool(path: str | os.PathLike[str]) -> Pool:
    """List a pool; no image is loaded.

    Args:
        path: a folder of images (searched recursively), a ``.csv`` or ``.parquet`` manifest with a column ``path``
            (and ``label``, ``id``), a ``.parquet`` file in Hugging Face image schema, or a ``.zip`` of images.

    Raises:
        UsageError: nothing there, not one of these, no image in it, repeated ids.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(f"the pool {path} does not exist")
    found = _find(path, OpenOptions())
    if found is None or not len(found.ids):
        raise UsageError(f"the pool {path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    pool = Pool(str(path), found.ids, found.labels, found.source)
    if len(pool.position) < len(pool):
        raise UsageError(f"the ids of {path} are not distinct; repeated: {some(repeated(pool.ids))}")
    return pool


def _find(path: Path, options: OpenOptions) -> Listing | None:
    """The listing of the first source that knows the path."""
    asked = list(finders(path))
    if not asked:
        raise UsageError(
            f"{path} is not a pool: expected a folder of images, or a file ending in {', '.join(suffixes())}"
        )
    try:
        return next((found for find in asked if (found := find(path, options)) is not None), None)
    except (OSError, pa.ArrowException, zipfile.BadZipFile) as error:
        raise UsageError(f"the pool {path} can't be read ({error})") from None
