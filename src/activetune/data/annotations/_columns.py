"""Answers in columns, as tables and Hugging Face's data sets have them, whatever holds these columns.

| column | cell |
|---|---|
| ``objects`` | ``{"bbox": [[x, y, width, height], …], "category": […]}``, or a list of one such struct per object |
| ``labels``, ``label`` | a list of names, or of positions in the names of a ``ClassLabel`` |
| ``labels`` | a text with ``;`` or ``|`` between names, or a list in JSON: ``[]`` is an image that shows none |
| ``label`` | a name; further rows of an image have its further names |
| ``caption``, ``captions``, ``text`` | a sentence, or a list of them |
| ``mask``, ``annotation``, ``label``, …, ``mask_file_name`` | an image that is a mask, or the name of its file |
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activetune.base.errors import UsageError, some
from activetune.base.files import parse_json
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, crowd_from, sentence, size_from
from activetune.data.annotations._masks import as_pool, mask_labels
from activetune.data.annotations._matching import match
from activetune.data.annotations._problems import Problems
from activetune.data.annotations.coco import corners, region
from activetune.data.answers import AS_NUMBERS, Numbers, as_numbers, class_name, is_missing
from activetune.data.labels import Labels
from activetune.data.pool import FurtherColumns, ImageSource
from activetune.data.several import SEPARATOR, parts_of_cell
from activetune.data.sources._further import CAPTIONS

OBJECTS = "objects"
LABELS = ("labels", "label", "fine_label")
MASKS = ("mask", "masks", "annotation", "label", "labels", "segmentation", "segmentation_mask", "semantic_mask")
CATEGORIES = ("category", "categories", "label", "labels", "category_id", "class")
SIZES = (("height", "width"), ("image_height", "image_width"))
WANTED = {  # columns by the task, the preferred one first; masks are looked for before objects
    "captioning": CAPTIONS,
    "detection": (OBJECTS,),
    "multilabel": (*LABELS, OBJECTS),
    "segmentation": (OBJECTS,),
}


@dataclass(frozen=True)
class SomeRows:
    """Some rows of what a source knows; images are read by their own rows."""

    further: FurtherColumns
    rows: Sequence[int] | None

    def names(self) -> Sequence[str]:
        """See :class:`FurtherColumns`."""
        return self.further.names()

    def values(self, name: str) -> Sequence[Any]:
        """See :class:`FurtherColumns`."""
        cells = self.further.values(name)
        if self.rows is None:
            return cells
        cells = as_numbers(cells).cells if name in LABELS else cells  # which all of them together tell
        return [cells[row] for row in self.rows]

    def class_names(self, name: str, field: str = "") -> Sequence[str] | None:
        """See :class:`FurtherColumns`."""
        return self.further.class_names(name, field)

    def images(self, name: str) -> ImageSource | None:
        """See :class:`FurtherColumns`."""
        found = self.further.images(name)
        return found if found is None or self.rows is None else _Picked(found, self.rows)

    def given(self, name: str) -> Sequence[bool]:
        """See :class:`FurtherColumns`."""
        known = self.further.given(name)
        return known if self.rows is None else [known[row] for row in self.rows]


@dataclass(frozen=True)
class _Picked:
    """Some images of a source."""

    source: ImageSource
    rows: Sequence[int]

    @property
    def parallel(self) -> bool:
        return self.source.parallel

    def read(self, index: int) -> bytes:
        return self.source.read(self.rows[index])

    def place(self, index: int) -> Any:
        return self.source.place(self.rows[index])


def column_answers(table: FurtherColumns, names: Sequence[str], asked: Asked) -> Labels:
    """The answers that a table's columns hold.

    Args:
        names: what each row calls its image; rows of one image belong together.

    Raises:
        UsageError: no column for the task, or no answer in it.
    """
    column = column_for(table, asked.task)
    if column is None:
        needed = (*MASKS, OBJECTS) if asked.task == "segmentation" else WANTED[asked.task]
        there = [name for name in needed if name in table.names()]
        if there:
            raise UsageError(_without_masks(table, there, asked.problems.where))
        boxes = ", or per row a box (xmin, ymin, xmax, ymax) and its class" if asked.task == "detection" else ""
        raise UsageError(
            f"{asked.problems.where} has no column for {asked.task}: it needs one of {', '.join(needed)}{boxes}; "
            f"it has {some(sorted(table.names()), 8) or 'none'}"
        )
    source = table.images(column) if asked.task == "segmentation" and column != OBJECTS else None
    if source is not None:
        return _masks(table, column, source, names, asked)
    return answers_of(_rows(table, column, names, asked), asked)


def _without_masks(table: FurtherColumns, columns: Sequence[str], where: str) -> str:
    """Why the columns that masks may stand in hold none."""
    filled = [name for name in columns if any(table.given(name))]
    remedy = "--labels also takes a folder of masks that are called as the images, or a COCO file"
    if not filled:
        empty = f"its column {columns[0]!r} is empty; write the names of the mask files there"
        return f"{where} holds no mask: {empty}; {remedy}"
    return f"{where} holds no mask: the cells of its column {filled[0]!r} name no image files that are there; {remedy}"


def column_for(table: FurtherColumns, task: str) -> str | None:
    """The column with a task's answers; None where there is none."""
    columns = set(table.names())
    if task == "segmentation":
        for name in (f"{name}{ending}" for ending in ("", "_file_name") for name in MASKS):
            if name in columns and table.images(name) is not None:
                return name
    return next((name for name in WANTED[task] if name in columns), None)


def _masks(table: FurtherColumns, column: str, source: ImageSource, names: Sequence[str], asked: Asked) -> Labels:
    given = [name if has else None for name, has in zip(names, table.given(column), strict=True)]
    matched = match([name for name in given if name is not None], asked.pool, asked.problems)
    indices: dict[str, int] = {}
    for row, name in enumerate(given):
        if name is not None and name in matched:
            indices.setdefault(matched[name], row)
    pool = as_pool(f"{asked.problems.where}, column {column!r}", [f"of {name!r}" for name in names], source)
    return mask_labels(pool, indices, None, asked)


def _rows(table: FurtherColumns, column: str, names: Sequence[str], asked: Asked) -> Found:
    """A listed image for each name, with all that its rows say."""
    read, problems = Numbers(table.values(column)), asked.problems
    if column in LABELS and asked.task != "captioning":
        read = as_numbers(read.cells)
        if read.changed:
            problems.add(AS_NUMBERS, repr(read.first), read.changed)
    cells = read.cells
    classes = table.class_names(column, _field(cells)) if asked.task != "captioning" else None
    sizes = _sizes(table, len(names))
    images: dict[str, Listed] = {}
    for row, (name, cell) in enumerate(zip(names, cells, strict=True)):
        place = f"row {row + 1:,}"
        image = images.setdefault(name, Listed(name, place, sizes[row], answered=False))
        if is_missing(cell) or (isinstance(cell, str) and not cell.strip()):
            continue
        try:
            if asked.task == "captioning":
                image.sentences += _sentences(cell)
                image.answered = True
            elif column == OBJECTS:
                for thing in _things(cell, classes, asked.task, place, problems):
                    image.add(thing)
                image.answered = True
            else:
                labels = _labels(cell, classes, column)
                if column == "label" and isinstance(cell, str) and SEPARATOR.search(cell):
                    problems.add("names with ; or | in the column 'label', one class each", f"{place}, {cell!r}")
                image.things += [Thing(label) for label in labels or ()]
                image.answered |= labels is not None
        except UsageError as error:
            problems.add("cells that can't be read, left out", f"{place}, column {column!r}, {error}")
    return Found(list(images.values()), classes)


def _sizes(table: FurtherColumns, count: int) -> list[tuple[int, int] | None]:
    columns = table.names()
    for names in SIZES:
        if all(name in columns for name in names):
            sides = zip(*(table.values(name) for name in names), strict=True)
            return [size_from(*pair) for pair in sides]
    return [None] * count


def _sentences(cell: Any) -> list[str]:
    """The sentences of a cell, one or a list, which a text may hold as JSON."""
    if isinstance(cell, str) and cell.strip().startswith("["):
        with contextlib.suppress(ValueError):  # a sentence may begin with a bracket
            found = parse_json(cell)
            cell = found if isinstance(found, list) and all(isinstance(text, str) for text in found) else cell
    texts = [sentence(text) for text in (cell if isinstance(cell, list | tuple) else [cell])]
    return [text for text in texts if text]


def _labels(cell: Any, classes: Sequence[str] | None, column: str) -> list[str] | None:
    """The names of a cell; None where it says that nobody has answered, which a list without a name does not say."""
    if isinstance(cell, str) and column == "labels" and classes is None:
        parts = parts_of_cell(cell)
        answered, cell = bool(cell.strip()) and not parts, parts
    else:
        answered = isinstance(cell, list | tuple)
    given = list(cell) if isinstance(cell, list | tuple) else [cell]
    names = [name for name in (_class(value, classes) for value in given) if name is not None]
    return names if names or answered else None


def _json(text: str) -> Any:
    """What a text in a cell holds."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise UsageError(f"{text[:40]!r} is no JSON ({error})") from None


def _class(value: Any, classes: Sequence[str] | None) -> str | None:
    """A class name; a number is a position where names are known."""
    if classes is None or not isinstance(value, int) or isinstance(value, bool):
        return class_name(value)
    if not -1 <= value < len(classes):
        raise UsageError(f"{value} is no position among {len(classes):,} class names")
    return class_name(classes[value]) if value >= 0 else None


# Objects --------------------------------------------------------------------------------------------------------------


def _field(cells: Sequence[Any]) -> str:
    """The field of objects that has their classes; empty where the column has no objects."""
    for cell in cells:
        first = cell[0] if isinstance(cell, list) and cell else cell
        if isinstance(first, dict):
            return next((name for name in CATEGORIES if name in first), "")
    return ""


def _things(cell: Any, classes: Sequence[str] | None, task: str, place: str, problems: Problems) -> list[Thing | None]:
    """The objects of a cell, a struct of lists or a list of structs; None for those without a class."""
    cell = _json(cell) if isinstance(cell, str) else cell
    if isinstance(cell, Mapping):
        lengths = {name: len(values) for name, values in cell.items() if isinstance(values, list)}
        if len(set(lengths.values())) > 1:
            raise UsageError(f"its lists have different lengths ({', '.join(f'{k} {v}' for k, v in lengths.items())})")
        count = next(iter(lengths.values()), 0)
        cell = [{name: cell[name][row] for name in lengths} for row in range(count)]
    if not isinstance(cell, list) or not all(isinstance(entry, Mapping) for entry in cell):
        raise UsageError("it is neither a struct of lists nor a list of structs")
    found: list[Thing | None] = []
    for number, entry in enumerate(cell, start=1):
        where = f"{place}, object {number:,}"
        field = next((name for name in CATEGORIES if name in entry), "")
        try:
            name = _class(entry.get(field), classes)
        except UsageError:
            name = None
        if name is None:
            problems.add("objects without a class, left out", where)
            found.append(None)
            continue
        shape = region(entry.get("segmentation"), where, problems) if task != "multilabel" else None
        crowd = entry.get("iscrowd", entry.get("is_crowd", entry.get("crowd")))
        box = corners(entry.get("bbox"), where, problems)
        damaged = box is None and shape is None and bool(entry.get("bbox"))
        found.append(Thing(name, box, shape, crowd_from(crowd), damaged))
    return found
