"""Pascal VOC: an XML file per image.

Corners are counted from 1 there and belong to the box, so 1 is taken off the left and upper ones. What is ``difficult``
is not scored there, and becomes a crowd here.
"""

from __future__ import annotations

import math
import posixpath
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

from activetune.base.errors import UsageError, first_line
from activetune.base.files import write_bytes
from activetune.base.tables import decode_text
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files, files_at
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, size_from
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._sheet import Sheet, short_text
from activetune.data.answers import class_name
from activetune.data.labels import Labels

ABOUT = "Pascal VOC: a folder or zip of .xml, one per image; or a list of images below its ImageSets"
TASKS = ("detection", "multilabel")
MAX_BYTES = 2**24  # of the XML of one image
ROOT = "annotation"
START = re.compile(rb"<annotation[\s/>]")
OWN = "activetune"  # in ``source/database`` of files that were written here, whose thin boxes are no slips


def find(files: Files, task: str) -> bool:
    """Whether there are such XML files, by the first one that is whole; or a list below ``ImageSets``."""
    if files.single is not None and files.single.suffix.lower() == ".txt":
        return _root_of(files.single) is not None
    return any(START.search(files.peek(name).replace(b"\0", b"")) for name in files.ending(".xml")[:20])


def read(files: Files, asked: Asked) -> Labels:
    """The answers of all XML files, or of those that a list below ``ImageSets`` names."""
    if files.single is not None and files.single.suffix.lower() == ".txt":
        files = _listed_alone(files.single, asked.problems)
    found = []
    for name in files.ending(".xml"):
        try:
            image = _image(name, parse_xml(files.read(name, MAX_BYTES), name), asked)
        except UsageError as error:
            asked.problems.add("damaged files, left out", str(error))
            continue
        if image is not None:
            found.append(image)
    return answers_of(Found(found), asked)


def parse_xml(content: bytes, name: str) -> ElementTree.Element:
    """An XML document's root.

    Raises:
        UsageError: damaged, or with a document type, which could unpack to any size or read other files.
    """
    if b"<!DOCTYPE" in content.replace(b"\0", b""):  # also in UTF-16
        raise UsageError(f"{name} declares a document type (<!DOCTYPE …>), which is refused; remove it")
    try:
        return ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise UsageError(f"{name} is no XML that can be read ({first_line(error)})") from None


def _image(name: str, root: ElementTree.Element, asked: Asked) -> Listed | None:
    if root.tag != ROOT:
        asked.problems.add(f"XML files whose root is not <{ROOT}>, left out", name)
        return None
    size = size_from(root.findtext("size/height"), root.findtext("size/width"))
    image = Listed(asked.called(name), name, size)
    own = root.findtext("source/database") == OWN
    for number, element in enumerate(root.findall("object"), start=1):
        image.add(_thing(element, own, f"{name}, object {number:,}", asked.problems))
    return image


def _thing(element: ElementTree.Element, own: bool, place: str, problems: Problems) -> Thing | None:
    name = class_name(element.findtext("name") or "")
    if name is None:
        problems.add("objects without a name, left out", place)
        return None
    corners = [_number(element.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    known = [corner for corner in corners if corner is not None]
    if len(known) < 4:
        return Thing(name)
    left, top, right, bottom = known
    wide, high = (
        own or right > left,
        own or bottom > top,
    )  # by its own count such a box has one row of pixels: it is a slip
    box = (left - 1 if wide else left, top - 1 if high else top, right, bottom)
    return Thing(name, box, crowd=_number(element.findtext("difficult")) == 1)


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# Lists of images ------------------------------------------------------------------------------------------------------


def _root_of(path: Path) -> Path | None:
    """The folder that ``ImageSets`` lies in."""
    return next((parent.parent for parent in path.resolve().parents if parent.name == "ImageSets"), None)


def _listed_alone(path: Path, problems: Problems) -> Files:
    """The XML files of the images that a list names; in a list of one class the second field says 1, 0 or -1."""
    root = _root_of(path)
    assert root is not None
    everything = files_at(root)
    stems = {posixpath.splitext(posixpath.basename(name))[0]: name for name in everything.ending(".xml")}
    wanted = [line.split()[0] for line in decode_text(path).splitlines() if line.strip()]
    missing = [stem for stem in wanted if stem not in stems]
    if missing:
        problems.add("listed images without an XML file, left out", repr(missing[0]), len(missing))
    return everything.only(stems[stem] for stem in dict.fromkeys(wanted) if stem in stems)


# Writing --------------------------------------------------------------------------------------------------------------

WRITES = ("detection",)
LABEL_MAP = "labelmap.txt"
PARTS = ("Annotations", "ImageSets", "JPEGImages", LABEL_MAP)


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first."""
    return TASKS


def write(sheet: Sheet, folder: Path) -> Mapping[str, str]:
    """Write ``JPEGImages``, an XML file per image in ``Annotations``, a list in ``ImageSets``, and ``labelmap.txt``.

    An image that nobody has answered has no XML file. The last file names the classes, as CVAT and Datumaro ask for.
    """
    places = sheet.copied(folder, "JPEGImages")
    (folder / "Annotations").mkdir(exist_ok=True)
    for item, height, width in sheet.sized():
        if item in places and item in sheet.answers:
            name = posixpath.basename(places[item])
            content = _document(sheet, item, name, (height, width))
            write_bytes(folder / "Annotations" / f"{posixpath.splitext(name)[0]}.xml", content)
    stems = [posixpath.splitext(posixpath.basename(places[item]))[0] for item in sheet.ids if item in places]
    write_bytes(folder / "ImageSets" / "Main" / "default.txt", "".join(f"{stem}\n" for stem in stems).encode())
    named = "".join(f"{name}:::\n" for name in sheet.classes if not {":", "\n"} & set(name))  # which it can't hold
    write_bytes(folder / LABEL_MAP, f"# label:color_rgb:parts:actions\n{named}".encode())
    return places


def _document(sheet: Sheet, item: str, name: str, size: tuple[int, int]) -> bytes:
    """An image's XML."""
    root = ElementTree.Element(ROOT)
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", name)
    _add(ElementTree.SubElement(root, "source"), "database", OWN)
    sides = ElementTree.SubElement(root, "size")
    for side, pixels in (("width", size[1]), ("height", size[0]), ("depth", 3)):
        _add(sides, side, str(pixels))
    _add(root, "segmented", "0")
    for label, (left, top, right, bottom), crowd, _ in sheet.boxes(item):
        element = ElementTree.SubElement(root, "object")
        for tag, value in (("name", label), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", f"{crowd:d}")):
            _add(element, tag, value)
        box = ElementTree.SubElement(element, "bndbox")
        corners = (("xmin", left + 1), ("ymin", top + 1), ("xmax", right), ("ymax", bottom))
        for tag, corner in corners:
            _add(box, tag, short_text(corner))
    ElementTree.indent(root)
    return xml_bytes(root)


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    ElementTree.SubElement(parent, tag).text = text


def xml_bytes(root: ElementTree.Element) -> bytes:
    """An XML document.

    Raises:
        UsageError: a text holds a sign that XML can't.
    """
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            if any((ord(sign) < 32 and sign not in "\t\n\r") or ord(sign) in (0xFFFE, 0xFFFF) for sign in text):
                raise UsageError(f"{text!r} holds a control character, which XML can't hold; rename it, or export JSON")
    content: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=True)
    return content + b"\n"
