"""Tables with a row per box, as TensorFlow's and Roboflow's CSV, Open Images' and many of one's own.

A row has the image's name, four numbers and a class; the columns are found by their names, however they are spelt.
Rows of one image belong together, and a row without numbers and class is an image that shows none. Numbers are pixels
from the upper left corner, or shares of the image where none is above 1.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import UsageError
from activetune.base.tables import JSON_LINES, Columns, csv_columns, read_table, text_of
from activetune.data.annotations import normal
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files, files_at
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, crowd_from, size_from
from activetune.data.annotations._shapes import Box, are_shares
from activetune.data.answers import AS_NUMBERS, as_numbers, class_name, is_missing
from activetune.data.ids import ids_of
from activetune.data.labels import Labels
from activetune.data.sources._further import holds_bytes

ABOUT = "box tables: .csv, .tsv, .jsonl or .parquet with a row per box (xmin, ymin, xmax, ymax, class, filename)"
TASKS = ("detection", "multilabel")
CSV = (".csv", ".tsv")
SUFFIXES = (*CSV, *JSON_LINES, ".parquet")
ASKED = 100  # tables of a folder that are looked at to tell what they are
IMAGES = (  # names of files first: beside them, an id is mostly a row's number
    *("filename", "file_name", "image_path", "image_name", "imageid", "image_id", "image", "path", "file", "id"),
)
CLASSES = ("label", "class", "class_name", "label_name", "labelname", "category", "category_name")
CORNERS = (
    *(("xmin", "ymin", "xmax", "ymax"), ("x_min", "y_min", "x_max", "y_max"), ("x1", "y1", "x2", "y2")),
    *(("x_left", "y_top", "x_right", "y_bottom"), ("left", "top", "right", "bottom")),
)
SIDES = (
    *(("bbox_x", "bbox_y", "bbox_width", "bbox_height"), ("x", "y", "width", "height"), ("x", "y", "w", "h")),
    ("left", "top", "width", "height"),
)
SIZES = (("image_height", "image_width"), ("height", "width"))
CROWDS = ("crowd", "iscrowd", "is_crowd", "isgroupof", "difficult")


@dataclass(frozen=True)
class _Layout:
    """Which columns of a table say what, by their names as they are written.

    Attributes:
        label: empty where no column has the class. box: four of them; with ``sized``, width and height are the last
            two, otherwise the lower right corner.
        size: height and width of the image, crowd: whether a box is one; none where there are no such columns.
    """

    image: str
    label: str
    box: tuple[str, ...]
    sized: bool
    size: tuple[str, ...]
    crowd: str


def _layout(names: Sequence[str]) -> _Layout | None:
    """The layout of a table with these columns; None where it has no box per row."""
    spelt = {name.strip().lower().replace(" ", "_"): name for name in names}
    image = next((spelt[name] for name in IMAGES if name in spelt), None)
    label = next((spelt[name] for name in CLASSES if name in spelt), "")
    box = next((group for group in (*CORNERS, *SIDES) if spelt.keys() >= set(group)), None)
    if image is None or box is None:
        return None
    size = next((pair for pair in SIZES if spelt.keys() >= set(pair) and not set(pair) & set(box)), ())
    crowd = next((spelt[name] for name in CROWDS if name in spelt), "")
    columns, sides = tuple(spelt[name] for name in box), tuple(spelt[name] for name in size)
    return _Layout(image, label, columns, box in SIDES, sides, crowd)


def find(files: Files, task: str) -> bool:
    """Whether it is such a table, or a folder or zip in which there are some."""
    return any(_tables(files, task, ASKED))


def is_one(path: Path) -> bool:
    """Whether a file is such a table."""
    return find(files_at(path), TASKS[0])


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first."""
    return TASKS


def _tables(files: Files, task: str, most: int | None = None) -> Iterator[str]:
    """The names of the tables with a box per row; without a class they are about boxes alone.

    Args:
        most: files that are looked at; None: all.
    """

    def fits(layout: _Layout | None) -> bool:
        return layout is not None and (task != "multilabel" or bool(layout.label))

    single = files.single
    if single is not None:
        known = single.suffix.lower() in SUFFIXES and not _is_of_another_format(files, single)
        if known and fits(_layout(files.header(single.name))):
            yield single.name
        return
    for name in files.ending(*CSV)[:most]:
        if fits(_layout(files.header(name))):
            yield name


def _is_of_another_format(files: Files, path: Path) -> bool:
    """Whether it is Parquet with images, or in activetune's own form."""
    if path.suffix.lower() != ".parquet":
        return False
    try:
        return any(holds_bytes(field.type) for field in pq.read_schema(path)) or normal.find(files, TASKS[0])
    except (pa.ArrowException, OSError, ValueError, TypeError):
        return True  # the reader of other tables says what is wrong


def read(files: Files, asked: Asked) -> Labels:
    """The boxes of all tables, or their classes."""
    found = list(chain.from_iterable(_listed(files, name, asked) for name in _tables(files, asked.task)))
    if not found:
        raise UsageError(f"{asked.problems.where} has no row; add a row per box")
    return answers_of(Found(found), asked)


def _listed(files: Files, name: str, asked: Asked) -> list[Listed]:
    """The images of a table with their boxes; in a folder it names files beside it, or below or above."""
    columns = _columns(files, name)
    layout = _layout(list(columns))
    if layout is None:
        return []
    if not layout.label:
        raise UsageError(f"{files.told(name)} has no column for the class of a box; name it {' or '.join(CLASSES[:2])}")
    labels = as_numbers(columns[layout.label])
    if labels.changed:
        asked.problems.add(AS_NUMBERS, repr(labels.first), labels.changed)
    columns = {**columns, layout.label: list(labels.cells)}
    boxes = [_box(cells, layout.sized) for cells in zip(*(columns[side] for side in layout.box), strict=True)]
    relative = are_shares([box for box in boxes if box is not None and box[0] == box[0]])
    folder, images = "" if files.single else posixpath.dirname(name), dict[str, Listed]()
    for row, (image, box) in enumerate(zip(ids_of(columns[layout.image]), boxes, strict=True)):
        place = f"row {row + 1:,}" if files.single else f"{name}, row {row + 1:,}"
        if not image:
            asked.problems.add("rows without the name of an image, left out", place)
            continue
        listed = images.get(image)
        if listed is None:
            size = size_from(*(columns[side][row] for side in layout.size)) if layout.size else None
            called = asked.called(posixpath.join(folder, image.replace("\\", "/")))
            listed = images[image] = Listed(called, place, size, relative=relative)
        _add(listed, columns, layout, row, box, place, asked)
    return list(images.values())


def _columns(files: Files, name: str) -> Columns:
    if files.single is not None:
        return read_table(files.single)
    told = files.told(name)
    return csv_columns(told, text_of(files.read(name), f"{told} can't be read as CSV"))


def _box(cells: Sequence[Any], sized: bool) -> Box | None:
    """The corners that a row has; NaN where it has none, None where they can't be read."""
    if all(is_missing(cell) or str(cell).strip() == "" for cell in cells):
        return (math.nan,) * 4
    try:
        left, top, right, bottom = (float(cell) for cell in cells)
    except (TypeError, ValueError, OverflowError):
        return None
    if not all(map(math.isfinite, (left, top, right, bottom))):
        return None
    return (left, top, left + right, top + bottom) if sized else (left, top, right, bottom)


def _add(
    listed: Listed,
    columns: Mapping[str, Sequence[Any]],
    layout: _Layout,
    row: int,
    box: Box | None,
    place: str,
    asked: Asked,
) -> None:
    """Give an image what a row says of it."""
    try:
        name = class_name(columns[layout.label][row])
    except UsageError:
        name = None
    empty = box is not None and box[0] != box[0]
    if name is None and empty:
        return
    if name is None:
        asked.problems.add("boxes without a class, left out", place)
        listed.add(None)
    elif box is None:
        told = ", ".join(str(columns[side][row]) for side in layout.box)
        asked.problems.add("boxes with a number that can't be read, left out", f"{place}, {told}")
        listed.add(Thing(name) if asked.task == "multilabel" else None)
    else:
        crowd = bool(layout.crowd) and crowd_from(columns[layout.crowd][row])
        listed.add(Thing(name, None if empty else box, crowd=crowd))
