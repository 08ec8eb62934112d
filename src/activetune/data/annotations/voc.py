"""Pascal VOC: an XML file per image, or a mask per image in the colours of its ``labelmap.txt``.

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
from activetune.data.annotations import masks
from activetune.data.annotations._answers import answers_of
from activetune.data.annotations._files import Files, files_at
from activetune.data.annotations._legend import CVAT_LIST, Colour, values_of
from activetune.data.annotations._listed import Asked, Found, Listed, Thing, size_from
from activetune.data.annotations._masks import encoded_mask
from activetune.data.annotations._placed import turned_by
from activetune.data.annotations._sheet import Sheet, short_text, stem_of
from activetune.data.answers import class_name
from activetune.data.kinds import Mask
from activetune.data.labels import Labels

ABOUT = "Pascal VOC: a folder or zip of .xml, one per image, or of SegmentationClass; or a list below its ImageSets"
TASKS = ("detection", "multilabel", "segmentation")
MASKS, LABEL_MAP = masks.VOC_FOLDER, CVAT_LIST
MAX_BYTES = 2**24  # of the XML of one image
ROOT = "annotation"
START = re.compile(rb"<annotation[\s/>]")
OWN = "activetune"  # in ``source/database`` of files that were written here, whose thin boxes are no slips


def find(files: Files, task: str) -> bool:
    """Whether there are such XML files, by the first one that is whole, or masks; or a list below ``ImageSets``."""
    if files.single is not None and files.single.suffix.lower() == ".txt":
        return _root_of(files.single) is not None
    if task == "segmentation":
        return bool(masks.voc_masks(files))
    return any(START.search(files.peek(name).replace(b"\0", b"")) for name in files.ending(".xml")[:20])


def read(files: Files, asked: Asked) -> Labels:
    """The answers of all XML files or masks, or of those that a list below ``ImageSets`` names."""
    if files.single is not None and files.single.suffix.lower() == ".txt":
        files = _listed_alone(files.single, asked)
    if asked.task == "segmentation":
        return masks.read(files.only([*masks.lists(files), *masks.voc_masks(files)]), asked)
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
        image.add(_thing(element, own, f"{name}, object {number:,}", asked))
    return image


def _thing(element: ElementTree.Element, own: bool, place: str, asked: Asked) -> Thing | None:
    name = class_name(element.findtext("name") or "")
    if name is None:
        asked.problems.add("objects without a name, left out", place)
        return None
    corners = [_number(element.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    known = [corner for corner in corners if corner is not None]
    if len(known) < 4 or asked.task == "multilabel":
        return Thing(name)
    left, top, right, bottom = known
    wide, high = (
        own or right > left,
        own or bottom > top,
    )  # by its own count such a box has one row of pixels: it is a slip
    box = (left - 1 if wide else left, top - 1 if high else top, right, bottom)
    rotations = [one.findtext("value") for one in element.iterfind("attributes/attribute[name='rotation']")]
    around = turned_by(box, next(iter(rotations), None), place, asked.problems)
    return Thing(name, around, crowd=_number(element.findtext("difficult")) == 1)


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


def _listed_alone(path: Path, asked: Asked) -> Files:
    """The XML files or masks of the images that a list names; in one of a class the second field says 1, 0 or -1."""
    root = _root_of(path)
    assert root is not None
    everything = files_at(root)
    if asked.task == "segmentation":
        what, names = "a mask", masks.voc_masks(everything)
    else:
        what, names = "an XML file", everything.ending(".xml")
    stems = {stem_of(name): name for name in names}
    wanted = [line.split()[0] for line in decode_text(path).splitlines() if line.strip()]
    missing = [stem for stem in wanted if stem not in stems]
    if missing:
        asked.problems.add(f"listed images without {what}, left out", repr(missing[0]), len(missing))
    listed = [stems[stem] for stem in dict.fromkeys(wanted) if stem in stems]
    return everything.only([*masks.lists(everything), *listed])


# Writing --------------------------------------------------------------------------------------------------------------

WRITES = ("detection", "segmentation")
PARTS = ("Annotations", "ImageSets", "JPEGImages", MASKS, LABEL_MAP)
VOID_AT = 255  # of the palette; 0 is the background


def holds(files: Files) -> Sequence[str]:
    """The tasks whose answers there are, the likeliest first."""
    boxes, pixels = find(files, "detection"), find(files, "segmentation")
    return TASKS if boxes and pixels else ("segmentation",) if pixels else ("detection", "multilabel")


def write(sheet: Sheet, folder: Path) -> Mapping[str, str]:
    """Write ``JPEGImages``, a list in ``ImageSets``, and ``labelmap.txt``, which CVAT and Datumaro ask for.

    Boxes lie in an XML file per image in ``Annotations``, masks in an indexed PNG in ``SegmentationClass``. An image
    that nobody has answered has none.
    """
    label_map = _label_map(sheet)
    places = sheet.copied(folder, "JPEGImages")
    if sheet.task == "segmentation":
        _write_masks(sheet, folder, places)
    else:
        _write_boxes(sheet, folder, places)
    kind = "Segmentation" if sheet.task == "segmentation" else "Main"
    stems = [stem_of(places[item]) for item in sheet.ids if item in places]
    write_bytes(folder / "ImageSets" / kind / "default.txt", "".join(f"{stem}\n" for stem in stems).encode())
    write_bytes(folder / LABEL_MAP, label_map.encode())
    return places


def _write_boxes(sheet: Sheet, folder: Path, places: Mapping[str, str]) -> None:
    (folder / "Annotations").mkdir(exist_ok=True)
    for item, height, width in sheet.sized():
        if item in places and item in sheet.answers:
            content = _document(sheet, item, posixpath.basename(places[item]), (height, width))
            write_bytes(folder / "Annotations" / f"{stem_of(places[item])}.xml", content)


def _write_masks(sheet: Sheet, folder: Path, places: Mapping[str, str]) -> None:
    (folder / MASKS).mkdir(exist_ok=True)
    values, palette = values_of(sheet.classes), [colour_of(value) for value in range(VOID_AT + 1)]
    for item, *_ in sheet.sized():
        answer = sheet.answers.get(item)
        if item in places and isinstance(answer, Mask):
            write_bytes(folder / MASKS / f"{stem_of(places[item])}.png", encoded_mask(answer, values, VOID_AT, palette))


def _label_map(sheet: Sheet) -> str:
    """The lines of ``labelmap.txt``: classes, those of masks with their colour.

    Raises:
        UsageError: classes of masks that it can't hold, or more of them than a palette has colours.
    """
    unfit = [name for name in sheet.classes if ":" in name or name.startswith("#") or len(name.splitlines()) > 1]
    lines = [f"{name}:::" for name in sheet.classes if name not in unfit]
    if sheet.task == "segmentation":
        sheet.refuse_void_names()
        if unfit:
            raise UsageError(
                f"{LABEL_MAP} can't hold the class {unfit[0]!r}; rename it, or give another format, such as --to masks"
            )
        values = [*values_of(sheet.classes), VOID_AT]
        if max(values[:-1], default=0) >= VOID_AT:
            raise UsageError(
                f"a palette has room for {VOID_AT - 1} classes beside background and void, and these are "
                f"{len(sheet.classes):,}; give another format, such as --to masks"
            )
        told = zip([*sheet.classes, "void"], map(colour_of, values), strict=True)
        lines = [f"{name}:{red},{green},{blue}::" for name, (red, green, blue) in told]
    return "".join(f"{line}\n" for line in ["# label:color_rgb:parts:actions", *lines])


def colour_of(value: int) -> Colour:
    """The colour of a value in Pascal VOC's palette: its bits by turns are the highest of red, green and blue.

    >>> colour_of(15), colour_of(255)
    ((192, 128, 128), (224, 224, 192))
    """
    red, green, blue = (sum((value >> 3 * turn + part & 1) << 7 - turn for turn in range(3)) for part in range(3))
    return red, green, blue


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
