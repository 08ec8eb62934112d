"""Hugging Face: Parquet files with images, and their answers in further columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import RejectedImage
from activetune.data.annotations import table
from activetune.data.annotations._columns import SomeRows, column_answers
from activetune.data.annotations._files import Files
from activetune.data.annotations._listed import Asked
from activetune.data.annotations._sheet import Sheet
from activetune.data.image_files import image_file
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.sources._listing import OpenOptions
from activetune.data.sources.huggingface import find as images_at

ABOUT = "Hugging Face: .parquet with images and objects, masks, lists of labels or captions, or a folder of such shards"
TASKS = ("captioning", "detection", "multilabel", "segmentation")


def find(files: Files, task: str) -> bool:
    """Whether there are Parquet files with images."""
    if not files.ending(".parquet") or files.members:
        return False
    try:
        return images_at(files.path, OpenOptions()) is not None
    except Exception:  # pyarrow raises nearly anything on damaged files
        return False


def read(files: Files, asked: Asked) -> Labels:
    """The answers in their columns."""
    own = open_pool(files.path, quiet=True)
    assert own.further is not None  # every Parquet file with images has it
    return column_answers(SomeRows(own.further, None), own.ids, asked)


# Writing --------------------------------------------------------------------------------------------------------------

FILE, ALSO = "data.parquet", ("parquet", "embedding_atlas")
WRITES = ("captioning", "classification", "detection", "multilabel")
GROUP = 64  # images that are written together
_BOXES = pa.struct(
    [
        ("bbox", pa.list_(pa.list_(pa.float64()))),
        ("category", pa.list_(pa.string())),
        ("iscrowd", pa.list_(pa.int8())),
        ("score", pa.list_(pa.float64())),
    ]
)
COLUMNS: dict[str, list[tuple[str, pa.DataType]]] = {
    "captioning": [("captions", pa.list_(pa.string()))],
    "classification": [("label", pa.string())],
    "detection": [("objects", _BOXES), ("width", pa.int32()), ("height", pa.int32())],
    "multilabel": [("labels", pa.list_(pa.string()))],
}


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first, by the columns."""
    own = open_pool(files.path, quiet=True)
    names = own.further.names() if own.further is not None else ()
    told = {"objects": "detection", "captions": "captioning", "caption": "captioning", "labels": "multilabel"}
    found = [task for name, task in told.items() if name in names]
    return [*found, *(["classification"] if own.labels is not None else [])]


def write(sheet: Sheet, path: Path) -> None:
    """Write one Parquet file with the columns ``id``, ``image`` (its bytes, and its id as path), and the answers'."""
    columns = COLUMNS[sheet.task]
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("id", pa.string()), ("image", image), *columns])
    features = {field.name: _feature(field.type) for field in schema} | {"image": {"_type": "Image"}}
    schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    with pq.ParquetWriter(path, schema) as writer:
        rows: list[dict[str, object]] = []
        for item, height, width in sheet.sized():
            try:
                content, _ = image_file(sheet.pool, sheet.pool.position[item])
            except RejectedImage as error:
                sheet.problems.add("images that can't be read, left out", f"{item!r}, {error}")
                continue
            answer = table.cells(sheet, item, (height, width))
            rows.append({"id": item, "image": {"bytes": content, "path": item}, **answer})
            if len(rows) == GROUP:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, schema))


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """A column's type as the library ``datasets`` names it, which else takes an image for a pair of bytes and text."""
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    return {"dtype": "float64" if kind == pa.float64() else str(kind), "_type": "Value"}
