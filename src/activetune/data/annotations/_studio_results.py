"""Results of Label Studio as objects of an image: choices, boxes, polygons and brushes.

``image_name`` says which image a task is about: ``data.item``, which an export of ours has, or else its address.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np

from activetune.base.errors import UsageError
from activetune.data.annotations._brush import unpacked
from activetune.data.annotations._legend import BACKGROUND, is_void
from activetune.data.annotations._listed import Thing
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Polygons, Runs, polygon, turned
from activetune.data.annotations._sheet import column_runs
from activetune.data.answers import class_name
from activetune.data.formats import is_image_name
from activetune.data.images import MAX_PIXELS

KINDS = {  # types of results, and the task that they answer
    "rectanglelabels": "detection",
    "brushlabels": "segmentation",
    "polygonlabels": "segmentation",
    "textarea": "captioning",
    "choices": "multilabel",
}
WITHOUT_PLACE = (  # types of results that say nothing of a place in the image
    *("textarea", "rating", "number", "relation", "datetime", "taxonomy", "pairwise", "ranker"),
)
CHOICES = ("choice", "choices", "label", "labels", "class")  # columns of JSON_MIN that hold one choice as text
TEXTS = ("caption", "captions", "text")  # and those that hold texts
ITEM, IMAGE = "item", "image"  # fields of ``data``
LOOKED_AT = 2**16  # bytes
OWN_PATH = re.compile(r"^/data/|^/(?:.*/)?data/(?:upload|local-files)/")  # of the server, which may lie below a path
CROWD = "crowd"  # what the notes of a region say of one that stands for several objects


def is_list_of_tasks(content: bytes) -> bool:
    """Whether a JSON text begins like an export of Label Studio."""
    start = content[:LOOKED_AT].lstrip(b"\xef\xbb\xbf \t\r\n")
    return start[:1] == b"[" and any(key in start for key in (b'"data"', b'"annotation_id"', b'"annotator"'))


def image_name(task: Mapping[str, Any]) -> str | None:
    """What a task calls its image; None where it names none."""
    data = task["data"] if isinstance(task.get("data"), dict) else {}
    if isinstance(data.get(ITEM), str) and data[ITEM]:
        return str(data[ITEM])
    texts = {name: value for name, value in data.items() if isinstance(value, str) and value}
    shown = [texts[IMAGE]] if IMAGE in texts else [text for text in texts.values() if is_image_name(_path_of(text))]
    return _path_of(shown[0]) or None if shown else None


def _path_of(address: str) -> str:
    """The path in an address of an image: of local files, uploads, buckets and web servers."""
    try:
        parts = urllib.parse.urlsplit(address) if "://" in address or OWN_PATH.match(address) else None
    except ValueError:  # no address, for instance of brackets that don't close
        parts = None
    if parts is None:
        return address
    local = urllib.parse.parse_qs(parts.query).get("d")
    path = local[0] if local and parts.path.rstrip("/").endswith("local-files") else urllib.parse.unquote(parts.path)
    return path.lstrip("/")


def things(result: Mapping[str, Any], task: str, place: str, problems: Problems) -> list[Thing | None]:
    """The objects of a result, one per class name; None for one that can't be read."""
    kind, value = result.get("type"), result.get("value")
    if not isinstance(kind, str) or kind not in KINDS or kind == "textarea" or not isinstance(value, dict):
        if isinstance(kind, str) and kind in WITHOUT_PLACE:
            return []
        problems.add("results that are no choice, box, polygon or brush, left out", f"{place}, {kind!r}")
        return [None]
    given = value.get(kind)
    try:
        named = [class_name(name) for name in given] if isinstance(given, list) else []
    except UsageError:
        named = []
    names = [name for name in named if name is not None]
    if not names:
        if kind != "choices":
            problems.add("regions without a label, left out", place)
        return [] if kind == "choices" else [None]
    try:
        return [_thing(kind, name, result, value, task) for name in names]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problems.add("regions whose place can't be read, left out", f"{place}, {error}")
        return [Thing(name, damaged=True) for name in names]


def _thing(kind: str, name: str, result: Mapping[str, Any], value: Mapping[str, Any], task: str) -> Thing:
    void = is_void(name, task)
    meta = result.get("meta")
    crowd = void or (isinstance(meta, dict) and CROWD in (meta.get("text") or ()))
    name = BACKGROUND if void else name
    if kind == "choices" or task == "multilabel":
        return Thing(name)
    if kind == "rectanglelabels":
        left, top, width, height = (float(value[side]) / 100 for side in ("x", "y", "width", "height"))
        box, degrees = (left, top, left + width, top + height), float(value.get("rotation") or 0)
        if degrees:
            high, wide = _size(result)
            box = turned(box, degrees, around=(left, top), unit=(wide, high))
        return Thing(name, box, None, crowd)
    if kind == "polygonlabels":
        corners = polygon([float(number) / 100 for corner in value["points"] for number in corner])
        if corners is None:
            raise ValueError("a polygon with fewer than 3 corners")
        return Thing(name, None, Polygons((corners,)), crowd)
    size = _size(result)
    inside_HW = unpacked(value.get("rle"), size)
    return Thing(name, None, Runs(np.asarray(column_runs(inside_HW), dtype=np.int64), size), crowd)


def _size(result: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of the image that a region was drawn on."""
    height, width = int(result["original_height"]), int(result["original_width"])
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"an image of {width} x {height} pixels")
    return height, width
