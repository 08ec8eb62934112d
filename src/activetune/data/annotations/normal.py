"""activetune's own form, ``annotations.parquet``: what all other formats can be converted into.

One row per object, sentence or name, and one row without any for an image that shows none.

| task | columns |
|---|---|
| multilabel | ``id``, ``label`` |
| detection | ``id``, ``label``, ``x_left``, ``y_top``, ``x_right``, ``y_bottom``, ``crowd``, ``width``, ``height`` |
| segmentation | ``id``, ``mask``, ``width``, ``height`` |
| captioning | ``id``, ``caption`` |

Corners are float32 in pixels. A mask is a grey PNG of positions in the list of classes, 8 bits a pixel up to 255
classes and 16 beyond; the largest value, 255 or 65,535, is void. Width and height are those of the image, null where
they are not known. The schema's metadata has the key ``activetune``: JSON with ``kind`` (annotations), ``format`` (1),
``task`` and ``classes``. A file without it that has the columns of boxes is read too; its classes are the names that
occur, sorted.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from activetune.base.errors import RejectedImage, UsageError, first_line, some, unknown_name
from activetune.base.files import parse_json, prepare_file, replacing
from activetune.base.parquet import open_parquet, parts_of, values_of
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files
from activetune.data.annotations._legend import Legend
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, crowd_from, size_from
from activetune.data.annotations._masks import as_pool, mask_labels
from activetune.data.annotations._matching import match
from activetune.data.kinds import VOID, Boxes, Mask, Names, Sentences
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.data.sources._parquet import ParquetSource, Shard

ABOUT = "annotations.parquet: activetune's own form of all answers, as save_annotations writes it"
TASKS = ("captioning", "detection", "multilabel", "segmentation")
MADE_BY = "activetune import … --out FILE.parquet"
KEY, KIND, FORMAT = b"activetune", "annotations", 1
CORNERS = ("x_left", "y_top", "x_right", "y_bottom")
SIZE = [("width", pa.int32()), ("height", pa.int32())]
COLUMNS: dict[str, list[tuple[str, pa.DataType]]] = {
    "multilabel": [("id", pa.string()), ("label", pa.string())],
    "captioning": [("id", pa.string()), ("caption", pa.string())],
    "segmentation": [("id", pa.string()), ("mask", pa.binary()), *SIZE],
    "detection": [
        *(("id", pa.string()), ("label", pa.string())),
        *((corner, pa.float32()) for corner in CORNERS),
        *(("crowd", pa.bool_()), *SIZE),
    ],
}
ANSWERS: dict[str, type] = {"multilabel": Names, "captioning": Sentences, "segmentation": Mask, "detection": Boxes}
ITEMS = {"segmentation": 128}  # whose rows are written together: masks are read in such groups
Size = tuple[int, int] | None


# Writing --------------------------------------------------------------------------------------------------------------


def save_annotations(
    labels: Labels,
    path: str | os.PathLike[str],
    *,
    task: str,
    pool: Pool | None = None,
    overwrite: bool = False,
) -> Path:
    """Write answers as ``annotations.parquet``, in one step; :func:`activetune.read_annotations` gives them back.

    Args:
        labels: answers of the task's kind. path: the file. task: multilabel, segmentation, detection or captioning.
        pool: the images, whose sizes are then kept with boxes; None: without. overwrite: replace a file that is there.

    Returns:
        The path.

    Raises:
        UsageError: answers of another kind, a file that is there already.

    >>> import tempfile
    >>> from activetune import Labels, save_annotations
    >>> from activetune.data.kinds import Names
    >>> labels = Labels(["1.jpg", "2.jpg"], [Names.of(["cat", "dog"]), Names()], ["cat", "dog", "eel"])
    >>> save_annotations(labels, tempfile.mkdtemp() + "/annotations.parquet", task="multilabel").name
    'annotations.parquet'
    """
    _refuse_others(labels, task)
    path = prepare_file(Path(path), own=_holds_annotations, suffixes=(".parquet",), overwrite=overwrite)
    about = {"kind": KIND, "format": FORMAT, "task": task, "classes": list(labels.classes)}
    schema = pa.schema(COLUMNS[task], metadata={KEY: json.dumps(about).encode()})
    rows_of: Callable[[Any, Size], list[tuple]] = _WRITERS[task](labels.classes)
    with replacing(path) as partial, pq.ParquetWriter(partial, schema) as writer:
        step = ITEMS.get(task, 8192)
        for start in range(0, len(labels), step):
            rows = []
            for item, answer in zip(
                labels.ids[start : start + step], labels.answers[start : start + step], strict=True
            ):
                rows += [(item, *row) for row in rows_of(answer, _size(item, pool) if task == "detection" else None)]
            writer.write_table(_table(rows, schema))
    return path


def _holds_annotations(path: Path) -> bool:
    try:
        return KEY in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowException):
        return False


def _table(rows: Sequence[tuple], schema: pa.Schema) -> pa.Table:
    columns = zip(*rows, strict=True)
    try:
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    except UnicodeEncodeError as error:
        raise UsageError(
            f"an answer holds text that is not valid Unicode ({error.object[:40]!r}); correct it"
        ) from None
    return pa.table(arrays, schema=schema)


def _refuse_others(labels: Labels, task: str) -> None:
    """Raise where answers are not of the task's kind, or name classes that the labels do not have."""
    if task not in COLUMNS:
        raise unknown_name("task", task, COLUMNS)
    if task == "segmentation" and len(labels.classes) > 65_535:
        raise UsageError(f"a mask holds 65,535 classes at most, not {len(labels.classes):,}; merge some")
    known = set(labels.classes)
    for item, answer in zip(labels.ids, labels.answers, strict=True):
        if not isinstance(answer, ANSWERS[task]):
            raise UsageError(
                f"the answer to {item!r} is a {type(answer).__name__}, which is no answer of {task}; "
                f"it takes {ANSWERS[task].__name__}"
            )
        names = answer.names if isinstance(answer, Names | Boxes) else ()
        if not known.issuperset(names):
            raise UsageError(
                f"the answer to {item!r} names {some(set(names) - known)}, which the classes do not; "
                "add it to them, or leave the classes out"
            )


def _size(item: str, pool: Pool | None) -> Size:
    try:
        return None if pool is None or item not in pool.position else pool.size(pool.position[item])
    except RejectedImage:
        return None


def _name_rows(classes: Sequence[str]) -> Callable[[Names, Size], list[tuple]]:
    return lambda answer, size: [(name,) for name in answer.names or (None,)]


def _sentence_rows(classes: Sequence[str]) -> Callable[[Sentences, Size], list[tuple]]:
    return lambda answer, size: [(text,) for text in answer.texts]


def _box_rows(classes: Sequence[str]) -> Callable[[Boxes, Size], list[tuple]]:
    def rows(answer: Boxes, size: Size) -> list[tuple]:
        height, width = size or (None, None)
        boxes = zip(answer.names, answer.xyxy_K4.tolist(), answer.crowd_K.tolist(), strict=True)
        return [(name, *corners, crowd, width, height) for name, corners, crowd in boxes] or [
            (None, None, None, None, None, None, width, height)
        ]

    return rows


def _mask_rows(classes: Sequence[str]) -> Callable[[Mask, Size], list[tuple]]:
    def rows(answer: Mask, size: Size) -> list[tuple]:
        pixels = answer.pixels()
        if pixels.size and (pixels.min() < VOID or pixels.max() >= len(classes)):
            raise UsageError(
                f"a mask holds positions from {pixels.min()} to {pixels.max()} of {len(classes)} classes; correct it"
            )
        void = _void(len(classes))
        values = np.where(pixels == VOID, void, pixels).astype(np.uint8 if void == 255 else np.uint16)
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "PNG")
        return [(buffer.getvalue(), pixels.shape[1], pixels.shape[0])]

    return rows


def _void(classes: int) -> int:
    """The value of void pixels."""
    return 255 if classes <= 255 else 65_535


_WRITERS: Mapping[str, Callable[[Sequence[str]], Callable[[Any, Size], list[tuple]]]] = {
    "multilabel": _name_rows,
    "captioning": _sentence_rows,
    "detection": _box_rows,
    "segmentation": _mask_rows,
}


# Reading --------------------------------------------------------------------------------------------------------------


def find(files: Files, task: str) -> bool:
    """Whether it is a Parquet file with activetune's metadata, or with the columns of boxes."""
    if files.single is None or files.single.suffix.lower() != ".parquet":
        return False
    try:
        schema = pq.read_schema(files.single)
    except (pa.ArrowException, OSError, ValueError, TypeError):
        return False
    return KEY in (schema.metadata or {}) or set(CORNERS) <= set(schema.names)


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first."""
    assert files.single is not None
    task = str(_about(pq.read_schema(files.single), files.single).get("task", "detection"))
    return (task, "multilabel") if task == "detection" else (task,)


def read(files: Files, asked: Asked) -> Labels:
    """The answers as they were written; names of a detection are answers of multilabel too."""
    assert files.single is not None
    path = files.single
    try:
        file = open_parquet(path)
        about = _about(file.schema_arrow, path)
        task = str(about.get("task", "detection"))
        if asked.task != task and (task, asked.task) != ("detection", "multilabel"):
            raise UsageError(f"{path} holds answers of the task {task}, not of {asked.task}; give --task {task}")
        missing = [
            name for name, _ in COLUMNS[task] if name not in (*file.schema_arrow.names, "crowd", "width", "height")
        ]
        if missing:
            raise UsageError(f"{path} has no column {missing[0]!r}, which answers of {task} have; save them again")
        if task == "segmentation":
            return _masks(file, path, about.get("classes", []), asked)
        names = [name for name in file.schema_arrow.names if name in dict(COLUMNS[task])]
        columns = {name: _cells(file, name, path) for name in names}
        listed = list(_listed(columns, task, asked))
    except (pa.ArrowException, OSError, OverflowError, ValueError, TypeError) as error:
        raise UsageError(f"{path} can't be read as annotations ({first_line(error)}); save them again") from None
    written_here = KEY in (file.schema_arrow.metadata or {})
    return answers_of(Found(listed, about.get("classes"), pixels=written_here), asked)


def _cells(file: pq.ParquetFile, name: str, path: Path) -> list[Any]:
    """A column; corners in float32 as Python's floats."""
    return [cell for part in parts_of(file, name) for cell in values_of(part, path, small_floats=True)]


def _about(schema: pa.Schema, path: Path) -> dict[str, Any]:
    """What the metadata says; nothing where there is none."""
    text = (schema.metadata or {}).get(KEY)
    if text is None:
        return {}
    try:
        about = parse_json(text)
    except ValueError as error:
        told = first_line(error)
        raise UsageError(
            f"{path} can't be read as annotations: its metadata are damaged ({told}); save them again"
        ) from None
    good = isinstance(about, dict) and about.get("kind") == KIND and about.get("task") in COLUMNS
    names = about.get("classes") if good else None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise UsageError(f"{path} can't be read as annotations: its metadata are damaged; save them again")
    if not isinstance(about.get("format"), int) or about["format"] > FORMAT:
        raise UsageError(f"{path} was made by a newer activetune; update to read it")
    return dict(about)


def _listed(columns: Mapping[str, Sequence[Any]], task: str, asked: Asked) -> Iterator[Listed]:
    """The images with the rows that each has."""
    images: dict[str, Listed] = {}
    for row, item in enumerate(columns["id"]):
        cells = {name: values[row] for name, values in columns.items()}
        place = f"row {row + 1:,}"
        if not isinstance(item, str) or not item:
            asked.problems.add("rows without an id, left out", place)
            continue
        image = images.setdefault(item, Listed(item, place))
        if task == "captioning":
            if isinstance(cells["caption"], str):
                image.sentences.append(cells["caption"])
            continue
        if task == "detection":
            image.size = image.size or size_from(cells.get("height"), cells.get("width"))
        if cells["label"] is not None:
            image.things.append(_thing(cells, task, place, asked))
    yield from images.values()


def _thing(cells: Mapping[str, Any], task: str, place: str, asked: Asked) -> Thing:
    name = str(cells["label"])
    if task == "multilabel":
        return Thing(name)
    corners = [cells[corner] for corner in CORNERS]
    numbers = [float(corner) for corner in corners if isinstance(corner, int | float)]
    if len(numbers) < 4:
        return Thing(name)
    return Thing(name, (numbers[0], numbers[1], numbers[2], numbers[3]), crowd=crowd_from(cells.get("crowd")))


def _masks(file: pq.ParquetFile, path: Path, classes: Sequence[str], asked: Asked) -> Labels:
    """The masks, read from the file when they are used."""
    ids = [str(item) for item in _cells(file, "id", path)]
    rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    codes = {value: value for value in range(len(classes))} | {_void(len(classes)): VOID}
    legend = Legend(tuple(classes), codes)
    matched = match(ids, asked.pool, asked.problems)
    indices: dict[str, int] = {}
    for row, item in enumerate(ids):
        if item in matched and indices.setdefault(matched[item], row) != row:
            asked.problems.add("ids that are given twice, the first counts", repr(item))
    pool = as_pool(str(path), ids, ParquetSource([Shard(path, "mask", rows)], inside=True))
    return mask_labels(pool, indices, legend, asked)
