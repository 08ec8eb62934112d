"""Hugging Face's imagefolder: images in folders of their classes, or beside a ``metadata.jsonl`` with their answers.

The first form is also the one of ``torchvision.datasets.ImageFolder`` and Keras.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from activetune.base.files import write_bytes
from activetune.data.annotations import table
from activetune.data.annotations._class_folders import class_folders, write_class_folders
from activetune.data.annotations._export import exported
from activetune.data.annotations._files import Files, files_at
from activetune.data.annotations._listed import Asked
from activetune.data.annotations._sheet import Sheet
from activetune.data.labels import Labels

ABOUT = "imagefolder: a folder that 'export' wrote, images in folders of their classes or beside a metadata.jsonl"
TASKS = ("captioning", "detection", "multilabel")
WRITES = ("captioning", "classification", "detection", "multilabel")
METADATA, IMAGES = "metadata.jsonl", "images"
PARTS = (METADATA, IMAGES)  # and the folders of classes, which the manifest lists


def find(files: Files, task: str) -> bool:
    """Whether it was exported so: any pool with folders looks the same, and its folders are read with the pool."""
    about = exported(files)
    return about is not None and about.written_as == "imagefolder" and task in TASKS


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first."""
    return table.holds(files_at(files.root / METADATA)) if _described(files) else ("classification",)


def read(files: Files, asked: Asked) -> Labels:
    """The answers of ``metadata.jsonl``, or else the folders' names."""
    if _described(files):
        return table.read(files_at(files.root / METADATA), asked)
    return class_folders(files, asked)


def _described(files: Files) -> bool:
    return METADATA in files.names and not files.members


def write(sheet: Sheet, folder: Path) -> Mapping[str, str]:
    """Write folders of classes, or ``images`` and ``metadata.jsonl``, where each row has the image's id too."""
    if sheet.task == "classification":
        return write_class_folders(sheet, folder)
    places = sheet.copied(folder, IMAGES)
    lines = []
    for item, height, width in sheet.sized():
        if item in places:
            row: dict[str, Any] = {"file_name": places[item], "id": item}
            row |= table.cells(sheet, item, (height, width))
            lines.append(json.dumps(row, ensure_ascii=False))
    write_bytes(folder / METADATA, "".join(f"{line}\n" for line in lines).encode())
    return places
