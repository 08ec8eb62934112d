"""Masks: a folder or zip of PNG, TIFF or BMP files called as the images, with a list of what their values stand for."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from activetune.base.errors import RejectedImage, UsageError
from activetune.base.files import write_bytes
from activetune.base.progress import note
from activetune.base.tables import header_of, read_table, write_csv
from activetune.data.annotations import fiftyone
from activetune.data.annotations._files import Files
from activetune.data.annotations._legend import LISTS, Legend, read_legend
from activetune.data.annotations._listed import Asked
from activetune.data.annotations._masks import SUFFIXES, as_pool, decode_mask, encoded_mask, mask_labels
from activetune.data.annotations._matching import MASK_FOLDERS, match
from activetune.data.annotations._sheet import Sheet, stem_of
from activetune.data.kinds import Mask
from activetune.data.labels import Labels
from activetune.data.pool import Pool

ABOUT = "masks: a folder or zip of .png, .tif or .bmp called as the images, with classes.txt, .csv or .json"
TASKS = ("segmentation",)
LISTING = "masks.csv"
VOC_FOLDER = "SegmentationClass"
LIKE_A_LIST = re.compile(r"class|label|colou?r|palette", re.IGNORECASE)
OTHER_ANSWERS = (".json", ".xml", ".yaml", ".yml", ".parquet")  # beside which images are images


def find(files: Files, task: str) -> bool:
    """Whether there are masks: in or below a folder called so, or images beside no other kind of answer."""
    names = _masks(files)
    if files.single is not None or not names or voc_masks(files) or fiftyone.find(files, task):
        return False
    if _below(names) or files.root.name.lower() in MASK_FOLDERS:
        return True
    stems = {stem_of(name).lower() for name in names}
    texts = [
        name for name in files.ending(".txt") if stem_of(name).lower() in stems
    ]  # others, such as a README, are none
    others = [name for name in files.ending(*OTHER_ANSWERS) if posixpath.basename(name).lower() not in LISTS]
    return not (texts or others)


def voc_masks(files: Files) -> list[str]:
    """The masks that lie as Pascal VOC has them, which is a format of its own."""
    return [name for name in _masks(files) if posixpath.basename(posixpath.dirname(name)) == VOC_FOLDER]


def read(files: Files, asked: Asked) -> Labels:
    """The masks by the images that are called so."""
    names = _masks(files)
    names = _below(names) or names
    pool = as_pool(str(files.path), names, files.source(names))
    listed = _listed(files)
    called = [listed.get(name, asked.called(name)) for name in names]
    matched = match(called, asked.pool, asked.problems, without=_own(pool, asked.pool))
    indices: dict[str, int] = {}
    for index, name in enumerate(called):
        item = matched.get(name)
        if item is not None:
            indices[item] = index
    legend = _legend(files)
    others = [name for name in files.ending(".txt", ".csv", ".json") if LIKE_A_LIST.search(posixpath.basename(name))]
    if legend is None and others:
        note(
            f"{files.path}: {others[0]} is not read; a list of the masks' classes is called {', '.join(LISTS[:3])}",
            asked.quiet,
        )
    return mask_labels(pool, indices, legend, asked)


def _listed(files: Files) -> dict[str, str]:
    """The ids by the masks' files, where ``masks.csv`` lists them as ``predict`` writes it."""
    if LISTING not in files.names or files.members or not {"id", "file"} <= set(header_of(files.root / LISTING)):
        return {}
    columns = read_table(files.root / LISTING)
    return dict(zip(map(str, columns["file"]), map(str, columns["id"]), strict=True))


def lie_apart(files: Files) -> bool:
    """Whether there are masks in a folder called so, which are told from images by that."""
    return bool(_below(_masks(files)))


def hold_colours_alone(files: Files) -> bool:
    """Whether the first mask has colours that no list of classes explains: then it may be any image."""
    names = _masks(files)
    if not names or _legend(files) is not None:
        return False
    try:
        return decode_mask(files.read(names[0])).ndim > 2
    except RejectedImage:
        return False


def _masks(files: Files) -> list[str]:
    return files.ending(*SUFFIXES)


def _below(names: Sequence[str]) -> list[str]:
    """Those in a folder that is called like one of masks."""
    return [name for name in names if MASK_FOLDERS & set(posixpath.dirname(name).lower().split("/"))]


def lists(files: Files) -> list[str]:
    """The lists of classes."""
    return [name for name in files.names if posixpath.basename(name).lower() in LISTS]


def _legend(files: Files) -> Legend | None:
    """That of the list of classes nearest to the root; None where there is none."""
    named = lists(files)
    if not named:
        return None
    nearest = min(name.count("/") for name in named)
    best = [name for name in named if name.count("/") == nearest]
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


# Writing --------------------------------------------------------------------------------------------------------------

WRITES = ("segmentation",)
PARTS = ("classes.csv", "images", "masks")


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are."""
    return TASKS


def write(sheet: Sheet, folder: Path) -> Mapping[str, str]:
    """Write ``images``, ``masks`` with a grey PNG per answered image, and ``classes.csv``."""
    sheet.refuse_void_names()
    places = sheet.copied(folder, "images")
    void = 255 if len(sheet.classes) <= 255 else 2**16 - 1
    (folder / "masks").mkdir(exist_ok=True)
    for item, *_ in sheet.sized():
        answer = sheet.answers.get(item)
        if item in places and isinstance(answer, Mask):
            write_bytes(
                folder / "masks" / f"{stem_of(places[item])}.png", encoded_mask(answer, range(len(sheet.classes)), void)
            )
    rows = [(name, value) for value, name in enumerate(sheet.classes)]
    write_csv(folder / "classes.csv", ("name", "value"), [*rows, ("void", void)])
    return places
