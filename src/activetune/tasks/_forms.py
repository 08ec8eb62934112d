"""How predictions are written: a table with a row per image, or a file per image in a folder.

A form makes of an image's answer what a journal line holds (plain values), and of all of these the output.
"""

from __future__ import annotations

import base64
import io
import json
import posixpath
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from activetune.base.errors import UsageError, some
from activetune.base.files import parse_json, prepare_file, replacing, sweep_all, write_bytes
from activetune.base.fingerprint import digest_bytes
from activetune.base.tables import header_of, read_table, write_csv
from activetune.data.formats import is_image_name
from activetune.data.kinds import VOID, Detections, Mask
from activetune.tasks._pictures import colours, with_boxes, with_mask, with_text

DRAWN = 0.3  # the least score of a box that is drawn; mAP wants the less sure ones too, an eye does not
RESULT = {"image_id", "category_id", "bbox", "score"}  # the names that COCO's results have
Row = tuple[Any, ...]  # an item's id, then what is told of it


class Form(ABC):
    """Base class of the forms.

    Attributes:
        lists_rejects: whether images that can't be used are listed in a file of their own, and not in the output.
    """

    lists_rejects: ClassVar[bool] = True

    @abstractmethod
    def file(self, out: Path) -> Path:
        """The file that is written last, of the output that was asked for.

        Raises:
            UsageError: the output is no place for this form.
        """

    def refuse(self, ids: Sequence[str]) -> None:
        """Raise a :class:`UsageError` for items that can't be told apart in the output; all can by default."""
        return

    @abstractmethod
    def own(self, file: Path) -> bool:
        """Whether a file that is there is one that this form writes."""

    def prepare(self, file: Path, ids: Sequence[str], *, overwrite: bool, cut_off: bool) -> None:
        """Make the output's place ready, which never holds files of another kind.

        Args:
            ids: of the items. cut_off: whether a run that had made it ready was killed there.

        Raises:
            UsageError: it holds something, and ``overwrite`` is off or it is something else.
        """
        prepare_file(file, own=self.own, overwrite=overwrite)

    def sweep(self, file: Path) -> None:
        """Remove what a killed run was writing to the output, which this run has to itself; nothing by default."""
        return

    @abstractmethod
    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """What is kept of an image's answer: plain values; files of its own are written now.

        Args:
            file: of the output; None where nothing is written.
        """

    def refused(self, item: str, reason: str) -> Row | None:
        """What the output holds of an image that can't be used; nothing by default."""
        return None

    @abstractmethod
    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """An image's answer as the object of a line of JSON: ``id``, and what is told of it by name."""

    @abstractmethod
    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """An RGB image with what a row says of it drawn in.

        Args:
            file: of the finished output.
        """

    @abstractmethod
    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """Write the output of all rows, in one step."""

    @abstractmethod
    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """The rows of a finished output.

        Args:
            items: the ids that it was written for, in their order.
        """


class Table(Form):
    """A ``.csv`` or ``.parquet`` file with the columns id, label, probability; an answer is (label, probability)."""

    header: ClassVar[tuple[str, ...]] = ("id", "label", "probability")

    def file(self, out: Path) -> Path:
        """See :class:`Form`."""
        if out.suffix.lower() not in (".csv", ".parquet"):
            raise UsageError(f"{out}: predictions are written as .csv or .parquet; give --out such a name")
        return out

    def own(self, file: Path) -> bool:
        """See :class:`Form`."""
        return header_of(file) == self.header

    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """See :class:`Form`."""
        return item, *answer

    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """See :class:`Form`."""
        name, prob = answer
        return {"id": item, "label": name, "probability": round(prob, 6)}

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: the class and its probability below it."""
        return with_text(image, f"{row[1]} {100 * row[2]:.0f} %")

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        if file.suffix.lower() == ".csv":
            write_csv(file, self.header, [(item, name, f"{prob:.6f}") for item, name, prob in rows])
            return
        columns = list(zip(*rows, strict=True)) or [(), (), ()]
        types = (pa.string(), pa.string(), pa.float32())
        table = pa.table({name: pa.array(c, t) for name, c, t in zip(self.header, columns, types, strict=True)})
        with replacing(file) as partial:
            pq.write_table(table, partial)

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found = read_table(file)
        columns = (found[name] for name in self.header)
        return [(str(item), str(name), float(prob)) for item, name, prob in zip(*columns, strict=True)]


class NameTable(Table):
    """The same with a row per name; an answer is a list of (name, probability), and without one the label is empty."""

    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """See :class:`Form`."""
        return item, [list(pair) for pair in answer]

    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """See :class:`Form`: all names in one object."""
        return {"id": item, "labels": [{"label": name, "probability": round(prob, 6)} for name, prob in answer]}

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: the names and their probabilities below it."""
        return with_text(image, ", ".join(f"{name} {100 * prob:.0f} %" for name, prob in row[1]) or "nothing")

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        super().write(file, [(item, *pair) for item, named in rows for pair in named or [("", 0.0)]])

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found: dict[str, list[list[Any]]] = {}
        for item, name, prob in super().read(file, items):
            found.setdefault(item, []).extend([[name, prob]] if name else [])
        return list(found.items())


class SentenceTable(Table):
    """The same with the columns id, caption; an answer is :class:`~activetune.data.kinds.Sentences` of one sentence."""

    header: ClassVar[tuple[str, ...]] = ("id", "caption")

    def row(self, item: str, answer: Any, file: Path | None) -> Row:
        """See :class:`Form`."""
        return item, answer.texts[0]

    def record(self, item: str, answer: Any) -> dict[str, Any]:
        """See :class:`Form`."""
        return {"id": item, "caption": answer.texts[0]}

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: the sentence below it."""
        return with_text(image, row[1])

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        if file.suffix.lower() == ".csv":
            write_csv(file, self.header, rows)
            return
        columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)] or [
            pa.array([], pa.string())
        ] * 2
        table = pa.table(dict(zip(self.header, columns, strict=True)))
        with replacing(file) as partial:
            pq.write_table(table, partial)

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found = read_table(file)
        return [(str(item), str(text)) for item, text in zip(found["id"], found["caption"], strict=True)]


class CocoResults(Form):
    """A ``.json`` file in COCO's results layout: per object ``image_id`` (the item's id), ``category_id``, ``bbox``
    (left, top, width, height in pixels), ``score``, and ``category``, the class's name.

    Args:
        classes: C names; a class's ``category_id`` is its position plus 1.
    """

    def __init__(self, classes: Sequence[str]):
        self.numbers = {name: number for number, name in enumerate(classes, 1)}

    def file(self, out: Path) -> Path:
        """See :class:`Form`."""
        if out.suffix.lower() != ".json":
            raise UsageError(f"{out}: detections are written as .json; give --out such a name")
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


class Masks(Form):
    """A folder of PNG masks beside the images' names, with ``classes.csv`` and ``masks.csv`` (id, file).

    A pixel's value is the position of its class; more than 255 classes make 16-bit masks. ``classes.csv`` has the
    columns name, value, red, green, blue, and the masks of up to 255 classes are shown in these colours.

    Args:
        classes: C names.
    """

    header: ClassVar[tuple[str, ...]] = ("id", "file", "digest")

    def __init__(self, classes: Sequence[str]):
        self.classes = classes
        self.colours_C3 = colours(len(classes))

    def file(self, out: Path) -> Path:
        """See :class:`Form`."""
        if out.suffix:
            raise UsageError(f"{out}: masks are written to a folder; give one, for instance {out.with_suffix('')}")
        return out / "masks.csv"

    def own(self, file: Path) -> bool:
        """See :class:`Form`."""
        return header_of(file) == self.header

    def prepare(self, file: Path, ids: Sequence[str], *, overwrite: bool, cut_off: bool) -> None:
        """See :class:`Form`: a folder that is empty or holds an earlier run's masks; others are never replaced."""
        if cut_off:
            return
        listed = set(read_table(file)["file"]) if self.own(file) else None
        refuse_others(file.parent, map(picture_name, ids), listed, "--out")
        super().prepare(file, ids, overwrite=overwrite, cut_off=cut_off)

    def refuse(self, ids: Sequence[str]) -> None:
        """See :class:`Form`: two images whose masks would have one name."""
        first: dict[str, str] = {}
        for item in ids:
            other = first.setdefault(picture_name(item), item)
            if other != item:
                raise UsageError(f"the masks of {other!r} and {item!r} would have one name; predict them apart")

    def sweep(self, file: Path) -> None:
        """See :class:`Form`."""
        sweep_all(file.parent)

    def row(self, item: str, answer: Mask, file: Path | None) -> Row:
        """See :class:`Form`: the mask is written now."""
        name, content = picture_name(item), self._encoded(answer)
        if file is not None:
            write_bytes(file.parent / name, content)
        return item, name, digest_bytes(content)

    def record(self, item: str, answer: Mask) -> dict[str, Any]:
        """See :class:`Form`: the PNG itself, in base64."""
        height, width = answer.pixels().shape
        png = base64.b64encode(self._encoded(answer)).decode("ascii")
        return {"id": item, "height": height, "width": width, "png": png}

    def _encoded(self, mask: Mask) -> bytes:
        buffer = io.BytesIO()
        self._image(mask).save(buffer, format="PNG")
        return buffer.getvalue()

    def picture(self, image: Image.Image, row: Row, file: Path) -> Image.Image:
        """See :class:`Form`: the mask's colours over it."""
        with Image.open(file.parent / row[1], formats=["PNG"]) as mask:
            numbers_HW = np.asarray(mask).astype(np.int32)
        void = 255 if len(self.classes) <= 255 else 2**16 - 1
        return with_mask(image, np.where(numbers_HW == void, VOID, numbers_HW), self.classes)

    def _image(self, mask: Mask) -> Image.Image:
        pixels_HW = mask.pixels()
        if len(self.classes) > 255:
            return Image.fromarray(np.where(pixels_HW == VOID, 2**16 - 1, pixels_HW).astype(np.uint16))
        image = Image.fromarray(np.where(pixels_HW == VOID, 255, pixels_HW).astype(np.uint8)).convert("P")
        image.putpalette(self.colours_C3.flatten().tolist())
        return image

    def write(self, file: Path, rows: Sequence[Row]) -> None:
        """See :class:`Form`."""
        table = [
            (name, value, *colour)
            for value, (name, colour) in enumerate(zip(self.classes, self.colours_C3.tolist(), strict=True))
        ]
        before = [row[1:] for row in self.read(file, [])] if self.own(file) else []
        write_csv(file.with_name("classes.csv"), ("name", "value", "red", "green", "blue"), table)
        write_csv(file, self.header, rows)
        written, folder = {row[1] for row in rows}, file.parent.resolve()
        for name, digest in before:  # masks of images that the pool no longer has, as they were written
            mask = (folder / name).resolve()
            gone = name not in written and mask.is_relative_to(folder) and mask.is_file()
            if gone and digest_bytes(mask.read_bytes()) == digest:
                mask.unlink()

    def read(self, file: Path, items: Sequence[str]) -> list[Row]:
        """See :class:`Form`."""
        found = read_table(file)
        return [tuple(map(str, row)) for row in zip(*(found[name] for name in self.header), strict=True)]


def refuse_others(folder: Path, names: Iterable[str], listed: Collection[str] | None, option: str) -> None:
    """Refuse a folder for pictures that holds anything but those that were written there before.

    Args:
        names: of the pictures to write. listed: of those that were written there before; None: nothing was.
        option: that names the folder.

    Raises:
        UsageError: it does.
    """
    present = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    if present and listed is None:
        raise UsageError(
            f"the folder {folder} is not empty (it holds {some(present)}), and none of it was written by this command; "
            f"nothing was written: choose another {option}"
        )
    others = [name for name in names if name not in (listed or ()) and (folder / name).exists()]
    if others:
        raise UsageError(
            f"{some(others)} in {folder} would be replaced, and this command did not write them; nothing was written: "
            f"choose another {option}"
        )


def picture_name(item: str) -> str:
    """An item's picture below an output folder: its id with the suffix ``.png``, never outside of it.

    >>> picture_name("day/0001.jpg"), picture_name("../../etc/a.jpg"), picture_name("clip.mp4#000250")
    ('day/0001.png', '__/__/etc/a.png', 'clip.mp4#000250.png')
    """
    parts = [part for part in item.replace("\\", "/").replace("\0", "_").split("/") if part not in ("", ".")]
    *folders, name = ["__" if part == ".." else part for part in parts] or ["_"]
    stem = posixpath.splitext(name)[0] if is_image_name(name) else name  # a frame of a video has no such suffix
    return posixpath.join(*folders, f"{stem}.png")
