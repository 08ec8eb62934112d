"""Masks: a folder or zip of PNG, TIFF or BMP files called as the images, with a list of what their values stand for."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from activetune.base.errors import UsageError
from activetune.data.annotations._files import Files
from activetune.data.annotations._legend import LISTS, Legend, read_legend
from activetune.data.annotations._listed import Asked
from activetune.data.annotations._masks import SUFFIXES, as_pool, mask_labels
from activetune.data.annotations._matching import MASK_FOLDERS, match
from activetune.data.labels import Labels
from activetune.data.pool import Pool

ABOUT = "masks: a folder or zip of .png, .tif or .bmp called as the images, with classes.txt, .csv or .json"
TASKS = ("segmentation",)
OTHER_ANSWERS = (".json", ".xml", ".yaml", ".yml", ".txt", ".parquet")  # beside which images are images


def find(files: Files, task: str) -> bool:
    """Whether there are masks: below a folder called so, or images beside no other kind of answer."""
    names = _masks(files)
    others = [name for name in files.ending(*OTHER_ANSWERS) if posixpath.basename(name).lower() not in LISTS]
    return files.single is None and bool(names) and (not others or bool(_below(names)))


def read(files: Files, asked: Asked) -> Labels:
    """The masks by the images that are called so."""
    names = _masks(files)
    names = _below(names) or names
    pool = as_pool(str(files.path), names, files.source(names))
    matched = match(names, asked.pool, asked.problems, without=_own(pool, asked.pool))
    indices: dict[str, int] = {}
    for index, name in enumerate(names):
        item = matched.get(name)
        if item is not None:
            indices[item] = index
    return mask_labels(pool, indices, _legend(files), asked)


def lie_apart(files: Files) -> bool:
    """Whether there are masks in a folder called so, which are told from images by that."""
    return bool(_below(_masks(files)))


def _masks(files: Files) -> list[str]:
    return files.ending(*SUFFIXES)


def _below(names: Sequence[str]) -> list[str]:
    """Those in a folder that is called like one of masks."""
    return [name for name in names if MASK_FOLDERS & set(posixpath.dirname(name).lower().split("/"))]


def _legend(files: Files) -> Legend | None:
    """That of the list of classes nearest to the root; None where there is none."""
    lists = [name for name in files.names if posixpath.basename(name).lower() in LISTS]
    if not lists:
        return None
    nearest = min(name.count("/") for name in lists)
    best = [name for name in lists if name.count("/") == nearest]
    if len(best) > 1:
        raise UsageError(f"{files.path} holds {' and '.join(best)}; keep one list of classes")
    return read_legend(files.read(best[0]), best[0], f"{best[0]} of {files.path}")


def _own(masks: Pool, pool: Pool) -> set[str]:
    """The items of a pool that are masks themselves, since it lies around them."""
    places = {place.name for index in range(len(masks)) if (place := masks.place(index)) is not None}
    if not places:
        return set()
    return {
        item for index, item in enumerate(pool.ids) if (place := pool.place(index)) is not None and place.name in places
    }
