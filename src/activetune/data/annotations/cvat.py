"""CVAT for images 1.1: one XML with every image, its tags, boxes, polygons and masks.

A mask's run lengths go along the rows of its box, outside first. Beside the XML lies ``manifest.jsonl``, which tells
CVAT the order of the images ("predefined" sorting).
"""

from __future__ import annotations

import json
import posixpath
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from activetune.base.errors import UsageError
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files
from activetune.data.annotations._legend import BACKGROUND, is_void
from activetune.data.annotations._listed import Asked, Found, Listed, Thing
from activetune.data.annotations._shapes import Polygons, Runs, Shape, polygon, turned
from activetune.data.annotations._sheet import Region, Sheet, column_runs, runs_of, short_text
from activetune.data.annotations.voc import parse_xml, xml_bytes
from activetune.data.answers import class_name
from activetune.data.images import MAX_PIXELS
from activetune.data.labels import Labels

ABOUT = "CVAT for images 1.1: an .xml with the root <annotations>, alone or below a folder or zip"
TASKS = ("detection", "multilabel", "segmentation")
WRITES = ("classification", "detection", "multilabel", "segmentation")
OFFERS_CLASSES = True
FILE, BESIDE = "annotations.xml", ("manifest.jsonl",)
MAX_BYTES = 2**30  # of an XML file that lies in a folder
CROWD = "crowd"  # the attribute of boxes that stand for several objects
ASKED = 20  # files that are looked at to tell what they are
SHAPES = ("box", "polygon", "mask")


def find(files: Files, task: str) -> bool:
    """Whether there is such an XML file."""
    return bool(_candidates(files, ASKED))


def _candidates(files: Files, most: int | None = None) -> list[str]:
    return [name for name in files.ending(".xml")[:most] if b"<annotations" in files.peek(name).replace(b"\0", b"")]


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first, by the elements that occur."""
    content = b"".join(files.peek(name).replace(b"\0", b"") for name in _candidates(files, ASKED))
    if not content:
        return ()
    if b"<box" in content:
        return ("detection", "segmentation", "multilabel")
    if b"<polygon" in content or b"<mask" in content:
        return ("segmentation", "detection", "multilabel")
    return ("classification", "multilabel") if b"<tag" in content else ("detection", "segmentation", "multilabel")


def read(files: Files, asked: Asked) -> Labels:
    """The answers of all XML files; an image that is listed without anything shows none."""
    found: list[Listed] = []
    classes: list[str] = []
    for name in _candidates(files) or files.names:
        try:
            root = parse_xml(files.read(name, None if files.single is not None else MAX_BYTES), name)
            if root.tag != "annotations" or (not root.findall("image") and root.findall("track")):
                raise UsageError(f"{name} is no file of CVAT for images: export the task as 'CVAT for images 1.1'")
        except UsageError as error:
            if files.single is not None:
                raise
            asked.problems.add("damaged files, left out", str(error))
            continue
        classes += _labels(root, asked.task)
        if tracks := root.findall("track"):
            asked.problems.add("tracks of a video, left out", name, len(tracks))
        for number, element in enumerate(root.findall("image"), start=1):
            image = _image(element, f"{name}, image {number:,}", asked)
            if image is not None:
                found.append(image)
    if not found:
        told = asked.problems.told()
        raise UsageError(f"{asked.problems.where} lists no images{f'; {told}' if told else ''}")
    if asked.task != "multilabel":
        _leave_tags(found)
    listed = [label for label in dict.fromkeys(classes) if not is_void(label, asked.task)]
    return answers_of(Found(found, listed or None), asked)


def _labels(root: ElementTree.Element, task: str) -> list[str]:
    """The labels of the task in CVAT; those of tags alone are classes of whole images."""
    elements = [one for one in root.iter("label") if task == "multilabel" or one.findtext("type") != "tag"]
    return [label for one in elements if (label := class_name(one.findtext("name") or "")) is not None]


def _leave_tags(images: Sequence[Listed]) -> None:
    """Leave tags aside where places are asked for: they are about the whole image, such as that it shows nothing.

    A file of tags alone answers another task, which is said by whoever finds no place in it.
    """
    tags = sum(_is_tag(thing) for image in images for thing in image.things)
    if tags < sum(len(image.things) + image.broken for image in images):
        for image in images:
            image.things = [thing for thing in image.things if not _is_tag(thing)]


def _is_tag(thing: Thing) -> bool:
    return thing.box is None and thing.shape is None and not thing.damaged


def _image(element: ElementTree.Element, place: str, asked: Asked) -> Listed | None:
    name = element.get("name")
    if not name:
        asked.problems.add("images without a name, left out", place)
        return None
    size = _whole(element, "height", "width")
    image = Listed(name, place, (size[0], size[1]) if size and min(size) > 0 else None)
    for number, shape in enumerate(element, start=1):
        where = f"{place}, {shape.tag} {number:,}"
        if shape.tag == "tag" or shape.tag in SHAPES:
            image.add(_thing(shape, image.size, where, asked))
        else:
            asked.problems.add("objects that are neither tag, box, polygon nor mask, left out", where)
            image.add(None)
    return image


def _thing(element: ElementTree.Element, size: tuple[int, int] | None, place: str, asked: Asked) -> Thing | None:
    problems, name = asked.problems, class_name(element.get("label") or "")
    if name is None:
        problems.add("objects without a label, left out", place)
        return None
    void = is_void(name, asked.task)
    crowd = void or any(given.get("name") == CROWD and given.text == "true" for given in element.findall("attribute"))
    name = BACKGROUND if void else name
    if element.tag == "tag" or asked.task == "multilabel":
        return Thing(name)
    try:
        if element.tag == "box":
            left, top, right, bottom = (float(element.get(side) or "") for side in ("xtl", "ytl", "xbr", "ybr"))
            degrees = float(element.get("rotation") or 0)
            box = (left, top, right, bottom)
            return Thing(name, turned(box, degrees) if degrees else box, None, crowd)
        return Thing(name, None, _polygon(element) if element.tag == "polygon" else _mask(element, size), crowd)
    except (ValueError, OverflowError) as error:
        problems.add("objects whose place can't be read, left out", f"{place}, {error}")
        return Thing(name, damaged=True)


def _polygon(element: ElementTree.Element) -> Shape:
    pairs = [pair.split(",") for pair in (element.get("points") or "").split(";")]
    corners = polygon([float(number) for pair in pairs for number in pair])
    if corners is None:
        raise ValueError("a polygon with fewer than 3 corners")
    return Polygons((corners,))


def _mask(element: ElementTree.Element, size: tuple[int, int] | None) -> Shape:
    """A mask in the run lengths of its box as one in those of its image."""
    place = _whole(element, "left", "top", "width", "height")
    if place is None or size is None:
        raise ValueError("a mask without left, top, width or height, or in an image without a size")
    left, top, width, height = place
    lengths = np.asarray([int(text) for text in (element.get("rle") or "").split(",")], dtype=np.int64)
    inside = 0 <= left <= left + width <= size[1] and 0 <= top <= top + height <= size[0]
    if not inside or size[0] * size[1] > MAX_PIXELS or (lengths < 0).any() or lengths.sum() != width * height:
        raise ValueError("run lengths that do not fill the mask's box, or a box outside of its image")
    whole_HW = np.zeros(size, dtype=np.bool_)
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    whole_HW[top : top + height, left : left + width] = flat.reshape(height, width)
    return Runs(np.asarray(column_runs(whole_HW), dtype=np.int64), size)


def _whole(element: ElementTree.Element, *names: str) -> list[int] | None:
    """Attributes as whole numbers; None where one is none."""
    try:
        return [int(float(element.get(name) or "")) for name in names]
    except (ValueError, OverflowError):
        return None


# Writing --------------------------------------------------------------------------------------------------------------


def companions(sheet: Sheet) -> Mapping[str, bytes]:
    """``manifest.jsonl``, the order of the images."""
    lines = [{"version": "1.1"}, {"type": "images"}]
    for item, height, width in sheet.sized():
        stem, suffix = posixpath.splitext(item)
        lines.append({"name": stem, "extension": suffix, "width": width, "height": height})  # type: ignore[dict-item]
    return {"manifest.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()}


def write(sheet: Sheet, path: Path) -> None:
    """Write the XML: labels, and each image under its id, whether it is answered or not."""
    sheet.refuse_void_names()
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "size").text = str(len(sheet.ids))
    labels = ElementTree.SubElement(task, "labels")
    voids = ["void"] if sheet.task == "segmentation" else []
    for name in [*sheet.shown_classes(), *voids]:
        _label(ElementTree.SubElement(labels, "label"), name, sheet.task)
    for number, (item, height, width) in enumerate(sheet.sized()):
        about = {"id": str(number), "name": item, "width": str(width), "height": str(height)}
        _fill(ElementTree.SubElement(root, "image", about), sheet, item)
    ElementTree.indent(root)
    path.write_bytes(xml_bytes(root))


def _label(element: ElementTree.Element, name: str, task: str) -> None:
    """A label of the task, with the attribute of crowds where there are boxes."""
    ElementTree.SubElement(element, "name").text = name
    attributes = ElementTree.SubElement(element, "attributes")
    if task == "detection":
        crowd = ElementTree.SubElement(attributes, "attribute")
        entries = (("name", CROWD), ("mutable", "False"), ("input_type", "checkbox"))
        for tag, text in (*entries, ("default_value", "false"), ("values", "false")):
            ElementTree.SubElement(crowd, tag).text = text


def _fill(image: ElementTree.Element, sheet: Sheet, item: str) -> None:
    """Put an image's answer into its element."""
    source = "manual" if sheet.scores is None else "auto"
    if sheet.task in ("classification", "multilabel"):
        for name in sheet.names(item):
            ElementTree.SubElement(image, "tag", {"label": name, "source": source})
    for name, corners, crowd, _ in sheet.boxes(item):
        sides = zip(("xtl", "ytl", "xbr", "ybr"), map(short_text, corners), strict=True)
        about = {"label": name, "source": source, "occluded": "0", **dict(sides), "z_order": "0"}
        box = ElementTree.SubElement(image, "box", about)
        ElementTree.SubElement(box, "attribute", {"name": CROWD}).text = "true" if crowd else "false"
    for region in sheet.regions(item):
        about = {"label": region.name, "source": source, "occluded": "0", **_runs(region), "z_order": "0"}
        ElementTree.SubElement(image, "mask", about)


def _runs(region: Region) -> dict[str, str]:
    """A region as run lengths along the rows of the box around it."""
    rows, columns = (np.flatnonzero(region.inside_HW.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    inside = region.inside_HW[top : rows[-1] + 1, left : columns[-1] + 1]
    place = {"left": left, "top": top, "width": inside.shape[1], "height": inside.shape[0]}
    return {"rle": ", ".join(map(str, runs_of(inside.ravel()))), **{name: str(value) for name, value in place.items()}}
