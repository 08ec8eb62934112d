"""COCO's JSON: ``images``, ``annotations`` and ``categories``; boxes, polygons, run lengths, crowds, captions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.errors import UsageError
from activetune.base.files import parse_json
from activetune.base.progress import note
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files
from activetune.data.annotations._legend import BACKGROUND
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, crowd_from, sentence, size_from
from activetune.data.annotations._placed import turned_by
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Box, Polygons, Runs, Shape, polygon, runs
from activetune.data.annotations._sheet import Sheet, column_runs, short
from activetune.data.annotations._studio_results import is_list_of_tasks
from activetune.data.answers import class_name
from activetune.data.labels import Labels

ABOUT = "COCO: a .json with images, annotations and categories, alone or below a folder or zip"
TASKS = ("captioning", "detection", "multilabel", "segmentation")
KEYS = (b'"images"', b'"annotations"')
TOLD = "activetune_task"  # in ``info`` of a file that was written here: what its answers are


def find(files: Files, task: str) -> bool:
    """Whether there is such a JSON; a single ``.json`` counts whatever it holds, so that it is told what is wrong.

    Lists of tasks alone are another format's.
    """
    if files.single is not None:
        return files.single.suffix.lower() == ".json" and not is_list_of_tasks(files.peek(files.names[0]))
    return bool(_candidates(files))


def owns(path: Path) -> bool:
    """Whether a file that is to be replaced is COCO indeed, and not any other JSON."""
    return _has_keys(path.read_bytes())


def _candidates(files: Files) -> list[str]:
    named = [name for name in files.ending(".json") if not name.endswith("classes.json")]
    return [name for name in named if _has_keys(files.peek(name))]


def _has_keys(content: bytes) -> bool:
    return all(key in content for key in KEYS)


def read(files: Files, asked: Asked) -> Labels:
    """The answers of all files that hold some for the task."""
    single = files.single is not None
    images: list[Listed] = []
    answering = whole = False
    classes: list[str] = []
    for name in files.names if single else _candidates(files):
        try:
            content = _content(files, name)
        except UsageError as error:
            if single:
                raise
            asked.problems.add("damaged files, left out", str(error))
            continue
        if _answers(content, asked.task):
            answering = True
            found = _read(content, name, asked)
            images += found.listed
            classes += found.classes or ()
            whole |= found.whole
    if not images:
        what = "captions" if asked.task == "captioning" else "categories"
        told = asked.problems.told()
        lacks = "lists no images" if answering else f"holds no {what}, which {asked.task} needs"
        raise UsageError(f"{asked.problems.where} {lacks}{f'; {told}' if told else ''}")
    if asked.task == "segmentation" and not whole:
        _unmark(images, asked)
    return answers_of(Found(images, list(dict.fromkeys(classes)), whole), asked)


def _unmark(images: Sequence[Listed], asked: Asked) -> None:
    """Take regions for what they show where all are marked as crowds, as Datumaro marks every mask."""
    things = [thing for image in images for thing in image.things]
    if things and all(thing.crowd for thing in things):
        note(
            f"{asked.problems.where}: all of its {len(things):,} objects are marked as crowds (iscrowd), which leaves "
            "nothing to learn: they are read as what they show",
            asked.quiet,
        )
        for image in images:
            image.things = [thing._replace(crowd=False) for thing in image.things]


def _content(files: Files, name: str) -> Mapping[str, Any]:
    try:
        content = parse_json(files.read(name))
    except ValueError as error:
        raise UsageError(f"{files.told(name)} is no JSON that can be read ({error})") from None
    if not isinstance(content, dict) or not all(
        isinstance(content.get(key), list) for key in ("images", "annotations")
    ):
        raise UsageError(f"{files.told(name)} is no COCO file: it must hold the lists images and annotations")
    return content


def _answers(content: Mapping[str, Any], task: str) -> bool:
    """Whether a file holds answers of the task: captions, or else objects with categories."""
    spoken = any(isinstance(entry, dict) and "caption" in entry for entry in content["annotations"])
    return spoken if task == "captioning" else isinstance(content.get("categories"), list)


def _read(content: Mapping[str, Any], where: str, asked: Asked) -> Found:
    problems = asked.problems
    images = _images(content["images"], where, problems)
    names = _categories(content.get("categories"), where, problems)
    for number, entry in enumerate(content["annotations"]):
        place = f"{where}, annotation {number:,}"
        if not isinstance(entry, dict):
            problems.add("annotations that are no objects, left out", place)
            continue
        image = images.get(_key(entry.get("image_id")))
        if image is None:
            problems.add("annotations of images that the file does not list, left out", place)
        elif asked.task == "captioning":
            text = _caption(entry, place, problems)
            image.sentences += [text] if text else []
        else:
            name = names.get(_key(entry.get("category_id")))
            if name is None:
                problems.add("annotations of a category that the file does not list, left out", place)
            image.add(None if name is None else _thing(entry, name, asked.task, place, problems))
    about = content.get("info")
    return Found(
        list(images.values()),
        list(names.values()),
        isinstance(about, dict) and about.get(TOLD) == "segmentation",  # with the background among its categories
    )


def _caption(entry: Mapping[str, Any], place: str, problems: Problems) -> str:
    """What an annotation says; empty where it says nothing."""
    try:
        text = sentence(entry.get("caption"))
    except UsageError:
        text = ""
    if not text:
        problems.add("annotations without a caption, left out", place)
    return text


def _key(value: Any) -> Any:
    """An id as the key of a table: whole numbers are the same as text, and as floats that tables made of them."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None


def _images(entries: Sequence[Any], where: str, problems: Problems) -> dict[Any, Listed]:
    found: dict[Any, Listed] = {}
    shared: set[Any] = set()
    lost: set[str] = set()  # names of images that share an id; under another id they have a part of their objects
    for number, entry in enumerate(entries):
        place = f"{where}, image {number:,}"
        name = (entry.get("file_name") or entry.get("coco_url")) if isinstance(entry, dict) else None
        key = _key(entry.get("id")) if isinstance(entry, dict) else None
        if not isinstance(name, str) or not name or key is None:
            problems.add("images without id or file_name, left out", place)
            continue
        if key in found and found[key].name == name:
            problems.add("ids of images that are given twice, the first counts", f"{place}, {key!r}")
            continue
        if key in found or key in shared:  # whose the annotations are can't be told
            problems.add("ids that several images have, which are left out with their annotations", f"{place}, {key!r}")
            lost |= {name} | ({found.pop(key).name} if key in found else set())
            shared.add(key)
            continue
        found[key] = Listed(name, place, size_from(entry.get("height"), entry.get("width")))
    return {key: image for key, image in found.items() if image.name not in lost}


def _categories(entries: Any, where: str, problems: Problems) -> dict[Any, str]:
    """Names by id, in the order of the ids."""
    found: dict[Any, str] = {}
    for number, entry in enumerate(entries if isinstance(entries, list) else ()):
        key = _key(entry.get("id")) if isinstance(entry, dict) else None
        try:
            name = class_name(entry.get("name")) if key is not None else None
        except UsageError:
            name = None
        if name is None:
            problems.add("categories without id or name, left out", f"{where}, category {number:,}")
        elif found.setdefault(key, name) != name:
            problems.add(
                "ids of categories that are given to two names, the first counts",
                f"{where}, category {number:,}, {key!r}",
            )
    return dict(sorted(found.items(), key=lambda item: (not item[0].isdigit(), item[0].zfill(20))))


def _thing(entry: Mapping[str, Any], name: str, task: str, place: str, problems: Problems) -> Thing:
    """An object with what the task reads of it."""
    if task == "multilabel":
        return Thing(name)
    given = entry.get("bbox")
    box = corners(given, place, problems)
    if not entry.get("segmentation"):  # which lies where the object does
        about = entry.get("attributes")
        box = turned_by(box, about.get("rotation") if isinstance(about, dict) else None, place, problems)
    drawn = task == "segmentation" or box is None
    shape = region(entry.get("segmentation"), place, problems) if drawn else None
    return Thing(
        name, box, shape, crowd_from(entry.get("iscrowd")), damaged=box is None and shape is None and bool(given)
    )


def corners(value: Any, place: str, problems: Problems) -> Box | None:
    """``x, y, width, height`` as corners."""
    if value is None or value == []:
        return None
    try:
        if not isinstance(value, list) or not all(isinstance(side, int | float) for side in value):
            raise ValueError("no list of numbers")
        x, y, width, height = map(float, value)
    except (ValueError, OverflowError):
        problems.add("boxes that are not 4 numbers, left out", place)
        return None
    return x, y, x + width, y + height


def region(value: Any, place: str, problems: Problems) -> Shape | None:
    """A region: a list of polygons, or run lengths as ``{"counts": …, "size": [height, width]}``."""
    if value is None or value == []:
        return None
    try:
        if isinstance(value, dict):
            return runs(value.get("counts"), value.get("size"))
        if not isinstance(value, list):
            raise ValueError("neither polygons nor run lengths")
        parts = [polygon(part) for part in value]
    except ValueError as error:
        problems.add("regions that are damaged, left out", f"{place}, {error}")
        return None
    good = tuple(part for part in parts if part is not None)
    if len(good) < len(parts):
        problems.add("polygons with fewer than 3 corners, left out", place, len(parts) - len(good))
    return Polygons(good) if good else None


# Writing --------------------------------------------------------------------------------------------------------------

FILE = "instances.json"
WRITES = ("captioning", "detection", "segmentation")


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first: as the file says, or else captions, boxes, regions."""
    for name in files.names if files.single is not None else _candidates(files):
        try:
            content = _content(files, name)
        except UsageError:
            continue
        about = content.get("info")
        told = about.get(TOLD) if isinstance(about, dict) else None
        if told in TASKS:
            return (told,)
        return ("captioning",) if _answers(content, "captioning") else ("detection", "segmentation", "multilabel")
    return ()


def write(sheet: Sheet, path: Path) -> None:
    """Write one JSON: each image under its id, with its boxes, regions (run lengths) or captions."""
    numbers = {name: number for number, name in enumerate(sheet.classes, 1)}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (item, height, width) in enumerate(sheet.sized(), 1):
        images.append({"id": number, "file_name": item, "width": width, "height": height})
        for entry in _entries(sheet, item, numbers):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **entry})
    content = {
        "info": {"description": "exported by activetune", TOLD: sheet.task},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in numbers.items()],
    }
    if sheet.task == "captioning":
        del content["categories"]
    path.write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")


def _entries(sheet: Sheet, item: str, numbers: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    for text in sheet.sentences(item):
        yield {"caption": text}
    for name, (left, top, right, bottom), crowd, score in sheet.boxes(item):
        box = [short(left), short(top), short(right - left), short(bottom - top)]
        told = {} if score is None else {"score": short(score)}
        yield {"category_id": numbers[name], "bbox": box, "area": short(box[2] * box[3]), "iscrowd": int(crowd), **told}
    for name, void, inside_HW in sheet.regions(item):
        if void and BACKGROUND not in numbers:
            continue  # what no region covers is void then
        region = Runs(np.asarray(column_runs(inside_HW)), inside_HW.shape)
        left, top, right, bottom = region.bounds()
        yield {
            "category_id": numbers[BACKGROUND if void else name],
            "bbox": [left, top, right - left, bottom - top],
            "area": region.area,
            "iscrowd": int(void),
            "segmentation": {"counts": region.counts_R.tolist(), "size": list(inside_HW.shape)},
        }
