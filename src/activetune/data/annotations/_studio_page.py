"""Writing for Label Studio: a list of tasks, and the labelling config that fits it.

People's answers become annotations, a model's become predictions, which Label Studio shows as a first suggestion.
"""

from __future__ import annotations

import json
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError
from activetune.data.annotations._brush import packed
from activetune.data.annotations._sheet import Sheet
from activetune.data.annotations._studio_results import CROWD, IMAGE, ITEM

FILE = "tasks.json"
WRITES = ("captioning", "classification", "detection", "multilabel", "segmentation")
CONFIG = "config.xml"
BESIDE = (CONFIG,)
TOOLS = {"detection": "RectangleLabels", "segmentation": "BrushLabels"}
TYPES = {"classification": "choices", "multilabel": "choices", "captioning": "textarea"}
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000", "#000075", "#f032e6")
NAME = "answer"


def companions(sheet: Sheet) -> Mapping[str, bytes]:
    """The labelling config."""
    return {CONFIG: config(sheet.task, sheet.shown_classes()).encode()}


def config(task: str, classes: Sequence[str]) -> str:
    """The labelling config of a task: what a project of Label Studio is set up with.

    Raises:
        UsageError: there is no class to choose from.
    """
    if not classes and task != "captioning":
        raise UsageError("Label Studio needs the classes that a person chooses from; give them with --classes a,b,c")
    view = ElementTree.Element("View")
    image = {"name": IMAGE, "value": f"${IMAGE}", "zoom": "true"}
    ElementTree.SubElement(view, "Image", image)
    about = {"name": NAME, "toName": IMAGE}
    if task == "captioning":
        ElementTree.SubElement(view, "TextArea", {**about, "rows": "3", "maxSubmissions": "10", "editable": "true"})
    elif task in TOOLS:
        labels = ElementTree.SubElement(view, TOOLS[task], about)
        for number, name in enumerate(classes):
            ElementTree.SubElement(labels, "Label", {"value": name, "background": COLOURS[number % len(COLOURS)]})
        if task == "segmentation":
            ElementTree.SubElement(labels, "Label", {"value": "void", "background": "#808080"})
    else:
        one = {"choice": "single", "required": "true"} if task == "classification" else {"choice": "multiple"}
        choices = ElementTree.SubElement(view, "Choices", {**about, **one, "showInLine": "true"})
        for name in classes:
            ElementTree.SubElement(choices, "Choice", {"value": name})
    ElementTree.indent(view)
    return ElementTree.tostring(view, "unicode") + "\n"


def write(sheet: Sheet, path: Path) -> None:
    """Write the list of tasks."""
    path.write_text(json.dumps(tasks_of(sheet), ensure_ascii=False) + "\n", encoding="utf-8")


def tasks_of(sheet: Sheet) -> list[dict[str, Any]]:
    """A task per image: its address and id, people's answers as annotations, a model's as predictions."""
    sheet.refuse_void_names()
    found = []
    for item, height, width in sheet.sized():
        task: dict[str, Any] = {"data": {IMAGE: address(item, sheet.image_url), ITEM: item}}
        for one in (sheet, sheet.suggestions):
            if one is None or item not in one.answers:
                continue
            results = list(_results(one, item, (height, width)))
            if one.scores is None:
                task["annotations"] = [{"result": results, "was_cancelled": False, "ground_truth": False}]
            else:
                scores = one.score(item) or ()
                told = {"score": sum(scores) / len(scores)} if scores else {}
                task["predictions"] = [{"model_version": "activetune", "result": results, **told}]
        found.append(task)
    return found


def address(item: str, front: str) -> str:
    """Where Label Studio finds an image."""
    return front + urllib.parse.quote(item, safe="/")


def _results(sheet: Sheet, item: str, size: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """An image's answer as results."""
    kind = TYPES.get(sheet.task)
    about = {"from_name": NAME, "to_name": IMAGE, "original_width": size[1], "original_height": size[0]}
    if kind == "textarea" and sheet.sentences(item):
        yield {"id": "r1", "type": kind, **about, "value": {"text": list(sheet.sentences(item))}}
    if kind == "choices" and sheet.names(item):
        yield {"id": "r1", "type": kind, **about, "value": {"choices": list(sheet.names(item))}}
    if sheet.task == "detection":
        for number, (name, corners, crowd, score) in enumerate(sheet.boxes(item), 1):
            told = ({} if score is None else {"score": score}) | ({"meta": {"text": [CROWD]}} if crowd else {})
            value = {**_percent(corners, size), "rotation": 0, "rectanglelabels": [name]}
            yield {"id": f"r{number}", "type": "rectanglelabels", **about, "image_rotation": 0, "value": value, **told}
    for number, (name, _, inside_HW) in enumerate(sheet.regions(item), 1):
        value = {"format": "rle", "rle": packed(inside_HW), "brushlabels": [name]}
        yield {"id": f"r{number}", "type": "brushlabels", **about, "image_rotation": 0, "value": value}


def _percent(corners: tuple[float, float, float, float], size: tuple[int, int]) -> dict[str, float]:
    left, top, right, bottom = corners
    x, y = 100 / size[1], 100 / size[0]
    return {"x": left * x, "y": top * y, "width": (right - left) * x, "height": (bottom - top) * y}
