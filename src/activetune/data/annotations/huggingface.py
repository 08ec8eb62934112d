"""Hugging Face: Parquet files with images, and their answers in further columns."""

from __future__ import annotations

from activetune.data.annotations._columns import SomeRows, column_answers
from activetune.data.annotations._files import Files
from activetune.data.annotations._listed import Asked
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
