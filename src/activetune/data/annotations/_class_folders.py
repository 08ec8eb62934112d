"""Images in folders that are called as their classes: how a person sorts them, and what many trainers read."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from pathlib import Path

from activetune.base.errors import UsageError
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files
from activetune.data.annotations._listed import Asked, Found, Listed, Thing
from activetune.data.annotations._sheet import Sheet, folders_of
from activetune.data.answers import class_name
from activetune.data.formats import is_image_name
from activetune.data.labels import Labels

WAITING = "_unlabelled"  # the folder of images that nobody has answered


def class_folders(files: Files, asked: Asked) -> Labels:
    """The class of each image, by the folder that it lies in."""
    known = {} if asked.export is None else {folder: name for name, folder in asked.export.folders.items()}
    found = []
    for name in files.names:
        if not is_image_name(name):
            continue
        folder = posixpath.basename(posixpath.dirname(name))
        if folder == WAITING:
            found.append(Listed(asked.called(name), name, answered=False))
            continue
        label = class_name(known.get(folder, folder))
        if label is None:
            asked.problems.add("images outside of a class's folder, left out", name)
            continue
        found.append(Listed(asked.called(name), name, things=[Thing(label)]))
    if not found:
        raise UsageError(
            f"{asked.problems.where} has no image in a folder that is called as its class; give one with such folders"
        )
    return answers_of(Found(found), asked)


def write_class_folders(sheet: Sheet, folder: Path, below: str = "") -> Mapping[str, str]:
    """Copy or link the images into folders of their classes.

    Where images wait for an answer, all classes have a folder to move them to; else none is empty, which some trainers
    refuse.
    """
    homes = {name: posixpath.join(below, home) for name, home in folders_of(sheet.classes).items()}
    for home in homes.values() if any(item not in sheet.answers for item in sheet.ids) else ():
        (folder / home).mkdir(parents=True, exist_ok=True)
    waiting = posixpath.join(below, WAITING)
    return sheet.copied(
        folder, {item: homes[sheet.answers[item]] if item in sheet.answers else waiting for item in sheet.ids}
    )
