"""Detections in COCO's results layout."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from activetune.base.errors import UsageError
from activetune.base.files import parse_json, replacing
from activetune.data.kinds import Detections
from activetune.tasks._forms._form import Form, Row
from activetune.tasks._pictures import with_boxes

DRAWN = 0.3  # the least score of a box that is drawn; mAP wants the less sure ones too, an eye does not
RESULT = {"image_id", "category_id", "bbox", "score"}  # the names that COCO's results have


class CocoResults(Form):
    """A ``.json`` file in COCO's results layout: per object ``image_id`` (the item's id), ``category_id``, ``bbox``
    (left, top, width, height in pixels), ``score``, and ``category``, the class's name.

    Args:
        classes: C names; a class's ``category_id`` is its position plus 1.
    """

    suffix: ClassVar[str] = ".json"

    def __init__(self, classes: Sequence[str]):
        self.numbers = {name: number for number, name in enumerate(classes, 1)}

    def file(self, out: Path) -> Path:
        """See :class:`Form`."""
        if out.suffix.lower() != ".json":
            raise UsageError(
                f"{out}: detections are written as .json or .jsonl; give --out such a name, or - for JSON "
                "lines on stdout"
            )
        return out

    def own(self, file: Path) -> bool:
        """See :class:`Form`."""
        try:
            found = parse_json(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(found, list) and all(isinstance(one, dict) and one.keys() >= RESULT for one in found)

    def row(self, item: str, answer: Detections, file: Path | None) -> Row:
        """See :class:`Form`."""
        corners = answer.boxes.xyxy_K4.astype(float).round(3)
        sides = (corners[:, 2:] - corners[:, :2]).round(3)
        objects = zip(answer.boxes.names, answer.scores_K.astype(float).round(6), corners, sides, strict=True)
        found = [[name, float(score), *box[:2].tolist(), *side.tolist()] for name, score, box, side in objects]
        return item, found

    def record(self, item: str, answer: Detections) -> dict[str, Any]:
        """See :class:`Form`: all objects in one, each as COCO's results have it."""
        return {"id": item, "objects": [self._result(*one) for one in self.row(item, answer, None)[1]]}

    def _result(self, name: str, score: float, *box: float) -> dict[str, Any]:
        return {"category_id": self.numbers[name], "category": name, "bbox": list(box), "score": score}

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: frames with names and scores, the surest on top; those of a low score are left out."""
        boxes = [
            (f"{name} {score:.2f}", box, self.numbers[name]) for name, score, *box in reversed(row[1]) if score >= DRAWN
        ]
        return with_boxes(image, boxes)

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`; an image without an object has no entry, as COCO has it."""
        found = [{"image_id": item, **self._result(*one)} for item, objects in rows for one in objects]
        with replacing(file) as partial:
            partial.write_text(json.dumps(found, ensure_ascii=False) + "\n", encoding="utf-8")

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`; images without an entry have no object."""
        found: dict[str, list[list[Any]]] = {item: [] for item in items}
        for one in parse_json(file.read_text(encoding="utf-8")):
            found[one["image_id"]].append([one["category"], one["score"], *one["bbox"]])
        return list(found.items())
