"""YOLO: a text file per image, a line per object: ``class cx cy w h``, or ``class x y x y x y …``.

Coordinates are shares of the image's width and height. Where an image has one class, it lies in a folder of that name.
"""

from __future__ import annotations

import math
import posixpath
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from activetune.base.errors import UsageError, first_line
from activetune.base.files import write_bytes
from activetune.base.names import whole_number
from activetune.base.tables import text_of
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._class_folders import class_folders, write_class_folders
from activetune.data.annotations._files import Files, files_at
from activetune.data.annotations._listed import Asked, Found, Listed, Thing
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Polygons, polygon
from activetune.data.annotations._sheet import Sheet, stem_of
from activetune.data.answers import class_name
from activetune.data.labels import Labels

ABOUT = "YOLO: a folder or zip of .txt, one per image, with data.yaml or classes.txt; boxes or polygons"
TASKS = ("detection", "multilabel", "segmentation")
YAML = (".yaml", ".yml")
LISTS = ("classes.txt", "obj.names")
OTHERS = frozenset({"readme", "license", "train", "val", "valid", "test", "classes", "requirements"})  # texts of others
ASKED = 100  # files that are looked at to tell what they are
MOST = 100_000  # classes without a list of their names
MAX_BYTES = 2**24  # of a text or of a YAML file
LARGEST = 2.0  # share, beyond which no box or corner touches its image


def find(files: Files, task: str) -> bool:
    """Whether there are such texts: one with such a line decides, and where all are empty a list of classes."""
    files = _beside(files)
    texts = _texts(files)
    empty, points = True, _points(files)
    for name in texts[:ASKED]:
        first = next((line.split() for line in _peeked(files, name) if line.strip()), None)
        if first is not None and _numbers(first, points) is not None:
            return True  # damaged ones beside it are listed when they are read
        empty &= first is None
    return empty and bool(texts) and bool(_lists(files))


def why_not(files: Files) -> str:
    """Why there is no answer where all lines have a confidence; empty where it is something else."""
    texts, points = _texts(_beside(files)), _points(_beside(files))
    lines = [line.split() for name in texts[:ASKED] for line in _peeked(_beside(files), name) if line.strip()]
    if not lines or not all(_has_confidence(line, points) for line in lines):
        return ""
    return (
        "its lines end with a confidence (behind a box a sixth number), as YOLO writes what a model predicts "
        "(save_conf), and predictions are no answers; give texts that people have made or corrected, with a class and "
        "a box or polygon a line"
    )


def read(files: Files, asked: Asked) -> Labels:
    """The answers of all texts; one without a line is an image without an object."""
    files = _beside(files)
    if asked.task == "multilabel" and not _texts(files):
        return class_folders(files, asked)
    classes = _classes(files, asked.problems)
    names = classes or list(asked.classes or ())
    points = _points(files)
    found = []
    for name in _texts(files):
        image = Listed(asked.called(name), name, relative=True)
        try:
            lines = _lines(files.read(name, MAX_BYTES), name)
        except UsageError as error:
            asked.problems.add("damaged files, left out", str(error))
            continue
        for number, line in enumerate(lines, start=1):
            if line.strip():
                image.add(_thing(line, names, points, f"{name}, line {number:,}", asked.problems))
        found.append(image)
    return answers_of(Found(found, classes or _numbered(found)), asked)


def _numbered(images: Sequence[Listed]) -> list[str] | None:
    """The numbers of classes without names as these, up to the largest."""
    numbers = [thing.name for image in images for thing in image.things]
    largest = max((value for number in numbers if (value := whole_number(number)) is not None), default=-1)
    return [str(number) for number in range(largest + 1)] if largest < MOST else sorted(set(numbers))


def _beside(files: Files) -> Files:
    """All that lies beside a YAML file which was given alone."""
    single = files.single
    return files_at(single.parent) if single is not None and single.suffix.lower() in YAML else files


def _texts(files: Files) -> list[str]:
    """The texts below folders called ``labels``; without any, all that are not called like something else."""
    named = [name for name in files.ending(".txt") if "ImageSets" not in name.split("/")]
    below = [name for name in named if "labels" in posixpath.dirname(name).lower().split("/")]
    stems = {name: posixpath.basename(name).lower().split(".")[0] for name in below or named}
    others = {"classes"} if below else OTHERS  # beside images, and there alone, lie texts of all kinds
    return [name for name, stem in stems.items() if stem not in others]


def _lines(content: bytes, where: str) -> list[str]:
    """The lines of a text; :class:`UsageError` where it is none."""
    return text_of(content, f"{where} can't be read as text").split("\n")


def _peeked(files: Files, name: str) -> list[str]:
    """The lines of a text, none where it can't be read."""
    try:
        return _lines(files.peek(name), name)
    except UsageError:
        return []


def _thing(line: str, names: Sequence[str], points: int, place: str, problems: Problems) -> Thing | None:
    numbers = _numbers(line.split(), points)
    if numbers is None and _has_confidence(line.split(), points):
        problems.add("lines with a confidence at their end, a model's predictions and no answers, left out", place)
        return None
    if numbers is None:
        problems.add("lines that are neither class, cx, cy, w, h nor class and 3 corners or more, left out", place)
        return None
    number, *rest = numbers[:5] if points else numbers  # behind a box with points stand these
    if number < 0 or number != int(number) or (names and number >= len(names)):
        known = f"number from 0 to {len(names) - 1}" if names else "whole number from 0 on"
        problems.add(f"lines whose class is no {known}, left out", f"{place}, {number:g}")
        return None
    if max(map(abs, rest)) > LARGEST:
        problems.add(
            "lines in pixels, where YOLO has shares of the image's width and height from 0 to 1, left out", place
        )
        return None
    name = names[int(number)] if names else str(int(number))
    if len(rest) == 4:
        x, y, width, height = rest
        return Thing(name, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
    corners = polygon(rest)
    return None if corners is None else Thing(name, None, Polygons((corners,)))


def _numbers(fields: Sequence[str], points: int = 0) -> list[float] | None:
    """The numbers of a line: 5, or an odd number from 7 on; with points behind the box as many as these have more."""
    try:
        numbers = [float(text) for text in fields]
    except ValueError:
        return None
    polygonal = len(numbers) >= 7 and len(numbers) % 2 == 1
    fits = len(numbers) == 5 or (len(numbers) == 5 + points if points else polygonal)
    return numbers if fits and all(math.isfinite(number) and abs(number) < 1e30 for number in numbers) else None


def _has_confidence(fields: Sequence[str], points: int) -> bool:
    """Whether a line has a number from 0 to 1 more than a box or polygon takes, as predictions have."""
    numbers = _numbers(fields, points) or _numbers(fields[:-1], points)
    if numbers is None or len(numbers) == len(fields):
        return False
    try:
        return 0 <= float(fields[-1]) <= 1
    except ValueError:
        return False


# Lists of classes -----------------------------------------------------------------------------------------------------


def _lists(files: Files) -> list[str]:
    """The files that name the classes, the one nearest to the root first."""
    named = files.ending(*YAML) + [name for name in files.names if posixpath.basename(name).lower() in LISTS]
    return sorted(named, key=lambda name: (name.count("/"), not name.lower().endswith(YAML), name))


def _classes(files: Files, problems: Problems) -> list[str]:
    """The names in the order of their numbers; programs that draw boxes write lists in an order of their own."""
    wrong: UsageError | None = None
    classes: list[str] = []
    first = ""
    for other in _lists(files):
        try:
            names = _listed_in(files, other)
        except UsageError as error:
            wrong = wrong or error
            continue  # a YAML file about something else
        if not first:
            first, classes = other, names
        elif any(one != another for one, another in zip(names, classes, strict=False)):
            problems.add(
                f"lists of classes with another order than {first}, which counts (remove the wrong one)", other
            )
    if wrong is not None and not first:
        raise wrong
    return classes


def _listed_in(files: Files, name: str) -> list[str]:
    """The names in a file."""
    content = files.read(name, MAX_BYTES)
    if not name.lower().endswith(YAML):
        given: list[Any] = [line.strip() for line in _lines(content, f"{name} of {files.root}") if line.strip()]
    else:
        given = _of_yaml(content, f"{name} of {files.root}")
    try:
        names = [class_name(value) for value in given]
    except UsageError as error:
        raise UsageError(f"{name} of {files.root}: {error}") from None
    if None in names or len(set(names)) < len(names):
        raise UsageError(f"{name} of {files.root}: the names of the classes must be distinct, and none empty")
    return [str(value) for value in names]


def _points(files: Files) -> int:
    """How many numbers of points stand behind a box: those that ``kpt_shape`` of a YAML file says; 0 without."""
    for name in (name for name in _lists(files) if name.lower().endswith(YAML)):
        try:
            shape = _table(files.read(name, MAX_BYTES), name).get("kpt_shape")
        except UsageError:
            continue
        numbers = [whole_number(str(one)) for one in shape] if isinstance(shape, list) else []
        if numbers and all(numbers):
            return math.prod(number or 0 for number in numbers)
    return 0


def _table(content: bytes, where: str) -> dict[str, Any]:
    """A YAML file's table, all as it is written, as YAML takes names such as ``no`` for false; empty if it is none."""
    import yaml

    class AsWritten(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # nothing but text without a tag that says otherwise

    try:
        found = yaml.load(content, Loader=AsWritten)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UsageError(f"{where} is no YAML that can be read ({first_line(error)})") from None
    return found if isinstance(found, dict) else {}


def _of_yaml(content: bytes, where: str) -> list[Any]:
    """``names`` as a list, or by number."""
    names = _table(content, where).get("names")
    if isinstance(names, dict) and set(names) == set(map(str, range(len(names)))):
        return [names[str(number)] for number in range(len(names))]
    if isinstance(names, list) and names:
        return list(names)
    raise UsageError(f"{where} must have names: a list of classes, or classes by number from 0 on")


# Writing --------------------------------------------------------------------------------------------------------------

WRITES = ("classification", "detection")
PARTS = ("data.yaml", "images", "labels", "train")


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first: by the first line of a text; else folders per class."""
    files = _beside(files)
    points = _points(files)
    for name in _texts(files)[:ASKED]:
        for line in _peeked(files, name):
            numbers = _numbers(line.split(), points)
            if numbers is not None:
                return (
                    ("detection", "multilabel")
                    if points or len(numbers) == 5
                    else ("segmentation", "detection", "multilabel")
                )
    return ("detection", "multilabel") if _texts(files) else ("classification",)


def write(sheet: Sheet, folder: Path) -> Mapping[str, str]:
    """Write ``images``, ``labels`` with a text per answered image, and ``data.yaml``; or ``train`` with class folders.

    Crowds have no place there and are left out.
    """
    if sheet.task == "classification":
        return write_class_folders(sheet, folder, "train")
    places = sheet.copied(folder, "images")
    numbers = {name: number for number, name in enumerate(sheet.classes)}
    (folder / "labels").mkdir(exist_ok=True)
    for item, height, width in sheet.sized():
        if item not in places or item not in sheet.answers:
            continue
        lines = []
        for name, (left, top, right, bottom), crowd, _ in sheet.boxes(item):
            if crowd:
                sheet.problems.add("crowds, which YOLO can't hold, left out", repr(item))
                continue
            centre = ((left + right) / 2 / width, (top + bottom) / 2 / height)
            shares = (*centre, (right - left) / width, (bottom - top) / height)
            lines.append(" ".join([str(numbers[name]), *map(repr, shares)]))
        write_bytes(folder / "labels" / f"{stem_of(places[item])}.txt", "".join(f"{line}\n" for line in lines).encode())
    write_bytes(folder / "data.yaml", _yaml(sheet.classes))
    return places


def _yaml(classes: Sequence[str]) -> bytes:
    """``data.yaml``; where no image is held out, training and validation are the same."""
    import yaml

    content = {"train": "images", "val": "images", "names": dict(enumerate(classes))}
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True)).encode()
