"""Which class a value or a colour of a mask stands for: a legend, read from a list of classes.

| file | content |
|---|---|
| ``classes.txt`` | lines of ``name``, for the values 0, 1, …; of ``name,value``, ``name,r,g,b`` or ``name,#rrggbb`` |
| ``classes.csv`` | the same, also below a line of column names: ``name``, and ``value``, ``r,g,b`` or ``color`` |
| ``classes.json`` | a list of names; an object of names and values or colours, or one of values and names |
| ``class_dict.csv`` | as ``classes.csv`` |
| ``labelmap.txt`` | CVAT's: lines of ``name:r,g,b:parts:actions`` |

A name such as ``void`` or ``ignore`` is no class: its pixels are not scored and teach nothing. Where 255 is no class it
is void too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.errors import UsageError, some
from activetune.base.files import parse_json
from activetune.base.fingerprint import digest
from activetune.base.names import whole_number
from activetune.base.tables import csv_line, text_of
from activetune.data.annotations._problems import Problems
from activetune.data.answers import class_name
from activetune.data.kinds import VOID, Indices

CVAT_LIST = "labelmap.txt"
LISTS = ("classes.txt", "classes.csv", "classes.json", "class_dict.csv", CVAT_LIST)
VOID_NAMES = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled", "don't care", "dont care", "dontcare"})
VOID_VALUE = 255
BACKGROUND = "background"
LARGEST = 2**16 - 1  # value of a mask
UNKNOWN = -2  # what stands for no class
NAME_COLUMNS = ("name", "class", "label", "class_name")
HEX = re.compile(r"#?[0-9a-fA-F]{6}")

Colour = tuple[int, int, int]
Key = int | Colour


class UnknownValues(UsageError):
    """A mask holds values or colours that stand for no class."""


@dataclass(frozen=True)
class Legend:
    """The classes of masks, and what stands for them.

    Attributes:
        classes: names in order.
        codes: position of a class, or ``VOID``, by grey value or palette index; or by colour, as 65536 r + 256 g + b.
        colours: which of the two. assumed: no list says that 255 is void, it is taken to be.
    """

    classes: tuple[str, ...]
    codes: Mapping[int, int]
    colours: bool = False
    assumed: bool = False

    @cached_property
    def fingerprint(self) -> str:
        """Digest of classes and codes."""
        return digest("legend", str(self.colours), *self.classes, *map(str, sorted(self.codes.items())))

    def positions(self, pixels: npt.NDArray[Any]) -> Indices:
        """(H, W) positions in ``classes`` of an array (H, W) of values, or (H, W, 3) of colours.

        Raises:
            UnknownValues: one that stands for no class. UsageError: colours where values are expected, or else.
        """
        codes_HW = self._codes_of(pixels)
        if self.colours:
            places = np.searchsorted(self._sorted[0], codes_HW)
            np.minimum(places, len(self.codes) - 1, out=places)
            found_HW = np.where(self._sorted[0][places] == codes_HW, self._sorted[1][places], UNKNOWN)
        else:
            found_HW = self._by_value[codes_HW]
        unknown = found_HW == UNKNOWN
        if unknown.any():
            codes = np.unique(codes_HW[unknown]).tolist()
            shown = [f"#{code:06x}" for code in codes] if self.colours else codes
            raise UnknownValues(
                f"{some(shown)} {'stands' if len(codes) == 1 else 'stand'} for no class: add "
                f"{'it' if len(codes) == 1 else 'them'} to the list of classes, as void where it is none"
            )
        return found_HW

    @cached_property
    def _sorted(self) -> tuple[npt.NDArray[np.int64], Indices]:
        """The codes in ascending order, and what each stands for."""
        codes = np.asarray(sorted(self.codes), dtype=np.int64)
        return codes, np.asarray([self.codes[int(code)] for code in codes], dtype=np.int32)

    @cached_property
    def _by_value(self) -> Indices:
        """What each value stands for: a mask is looked up in a table, which is faster than searching the codes."""
        table = np.full(LARGEST + 1, UNKNOWN, dtype=np.int32)
        table[self._sorted[0]] = self._sorted[1]
        return table

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def _codes_of(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(H, W) the code of each pixel."""
        if self.colours:
            if pixels.ndim != 3:
                raise UsageError("it holds values, where the list of classes has colours")
            red, green, blue = np.moveaxis(pixels.astype(np.int64), -1, 0)
            return np.asarray(65536 * red + 256 * green + blue)
        if pixels.ndim == 3:
            if (pixels != pixels[..., :1]).any():
                raise UsageError("it holds colours, where the list of classes has values")
            pixels = pixels[..., 0]
        if pixels.dtype.itemsize > 2 and (pixels.min(initial=0) < 0 or pixels.max(initial=0) > LARGEST):
            raise UsageError(f"it holds values beyond {LARGEST:,}")
        return pixels

    def values_of(self, number: int) -> set[int]:
        """The values, or colours, that stand for a class by its position."""
        return {code for code, place in self.codes.items() if place == number}

    def limited_to(self, classes: Sequence[str], problems: Problems) -> Legend:
        """The same with other classes, in their order; what stands for another one is void."""
        place = {name: number for number, name in enumerate(classes)}
        others = [name for name in self.classes if name not in place]
        if others:
            problems.add(
                "classes that are not among the given ones, their pixels are void", repr(others[0]), len(others)
            )
        moved = {code: VOID if old == VOID else place.get(self.classes[old], VOID) for code, old in self.codes.items()}
        return Legend(tuple(classes), moved, self.colours)


def legend_of(entries: Sequence[tuple[str, Key]], where: str) -> Legend:
    """The legend of names and what stands for each, in the order of the classes; void names are no classes.

    Raises:
        UsageError: values beside colours, a value for two classes, or no class.
    """
    if len({isinstance(key, int) for _, key in entries}) > 1:
        raise UsageError(f"{where} gives some classes a value and some a colour; give all of them one of the two")
    colours = any(isinstance(key, tuple) for _, key in entries)
    classes = list(dict.fromkeys(name for name, _ in entries if not is_void(name)))
    position = {name: number for number, name in enumerate(classes)}
    codes: dict[int, int] = {}
    for name, key in entries:
        code = key if isinstance(key, int) else 65536 * key[0] + 256 * key[1] + key[2]
        if codes.setdefault(code, position.get(name, VOID)) != position.get(name, VOID):
            raise UsageError(f"{where} gives {key} to two classes, one of them {name!r}; give each its own")
    if not classes:
        raise UsageError(f"{where} names no class")
    assumed = not colours and VOID_VALUE not in codes
    return Legend(tuple(classes), codes | ({VOID_VALUE: VOID} if assumed else {}), colours, assumed)


def legend_of_names(names: Sequence[str], where: str) -> Legend:
    """The legend of names for the values 0, 1, … in their order; names that are numbers stand for these values."""
    numbers = [whole_number(name) for name in names]
    are_values = all(number is not None and number <= LARGEST for number in numbers)
    entries = zip(names, numbers, strict=True)
    return legend_of(
        [(name, key if are_values and key is not None else value) for value, (name, key) in enumerate(entries)], where
    )


def legend_of_two(legend: Legend, occurring: Collection[int]) -> Legend:
    """The same legend; where it has two classes, 0 and 1, and 0 and 255 are all that occur, 255 is the second one.

    Programs write masks of two classes so, and as :func:`legend_of_values` reads them where no list is there.
    """
    usual = legend.assumed and dict(legend.codes) == {0: 0, 1: 1, VOID_VALUE: VOID}
    if not usual or not {VOID_VALUE} <= set(occurring) <= {0, VOID_VALUE}:
        return legend
    return Legend(legend.classes, {0: 0, VOID_VALUE: 1})


def legend_of_values(values: Sequence[int]) -> Legend:
    """The legend of values that occur, where no list says what they are: each is a class, 255 is void.

    Where 0 and 255 are all that occur, 255 is a class: such masks have two.
    """
    if values and set(values) == {VOID_VALUE}:
        raise UsageError(
            f"every pixel of the masks has the value {VOID_VALUE}, which is void; name it in a list of classes, "
            "classes.txt, if it is a class"
        )
    both = set(values) <= {0, VOID_VALUE}
    classes = [value for value in sorted(values) if both or value != VOID_VALUE]
    return legend_of([(str(value), value) for value in classes] or [("0", 0)], "the masks")


def legend_of_targets(targets: Mapping[str, Any], first: Sequence[str], where: str, *, background: bool) -> Legend:
    """The legend of names by their value, or by their colour in hexadecimal.

    Args:
        first: the classes in order; of those that are not among them the background stands in front, and the others
            behind, by their value.
        background: value 0 is a class of that name where the targets do not name it; else it is void.

    Raises:
        UsageError: as :func:`legend_of`.
    """
    read = [(class_name(name), _key(key, where)) for key, name in targets.items()]
    entries = [(name, key) for name, key in read if name is not None]
    if all(isinstance(key, int) and key for _, key in entries):
        entries.append((BACKGROUND if background else "void", 0))
    place = {BACKGROUND: -1} | {name: number for number, name in enumerate(first)}
    ordered = sorted(entries, key=lambda entry: (place.get(entry[0], len(place)), isinstance(entry[1], int), entry[1]))
    return legend_of(ordered, where)


def values_of(classes: Sequence[str]) -> list[int]:
    """A value for each class where 0 is the background's, as in Pascal VOC and FiftyOne: the others count from 1.

    >>> values_of(["sky", "background", "road"])
    [1, 0, 2]
    """
    counted = iter(range(1, len(classes) + 1))
    return [0 if name == BACKGROUND else next(counted) for name in classes]


def is_void(name: str, task: str = "segmentation") -> bool:
    """Whether a name stands for pixels without a class; in tasks without masks each name is a class.

    >>> is_void("Ignore"), is_void("ignore", "detection")
    (True, False)
    """
    return task == "segmentation" and name.casefold() in VOID_NAMES


def read_legend(content: bytes, name: str, where: str) -> Legend:
    """The legend of a file; see the table above.

    Raises:
        UsageError: it is none of these.
    """
    if name.lower().endswith(".json"):
        return legend_of(_of_json(content, where), where)
    try:
        text = text_of(content, f"{where} is no list of classes")
        if name.lower().endswith(CVAT_LIST):
            lines = [line.split(":")[:2] for line in text.splitlines() if line.strip() and not line.startswith("#")]
            text = "".join(csv_line([name, *",".join(colours).split(",")]) for name, *colours in lines)
        rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(text)) if any(map(str.strip, row))]
    except csv.Error as error:
        raise UsageError(f"{where} is no list of classes ({error}); give UTF-8 text") from None
    if rows and name.lower().endswith(".csv") and any(cell.lower() in NAME_COLUMNS for cell in rows[0]):
        rows = [_ordered(row, rows[0], where) for row in rows[1:]]
    return legend_of([_entry(row, number, where) for number, row in enumerate(rows)], where)


def _ordered(row: Sequence[str], header: Sequence[str], where: str) -> list[str]:
    """The cells of a row that count: name, then value or colour."""
    cells = dict(zip((name.lower() for name in header), row, strict=False))
    name = next(cells[column] for column in NAME_COLUMNS if column in cells)
    kinds = (
        ("value",),
        ("id",),
        ("index",),
        ("r", "g", "b"),
        ("red", "green", "blue"),
        ("color",),
        ("colour",),
        ("hex",),
    )
    wanted = next((kind for kind in kinds if all(column in cells for column in kind)), None)
    if wanted is None and len(header) > 1:
        raise UsageError(f"{where} has the columns {', '.join(header)}; give name, and value, or r,g,b, or color")
    return [name, *(cells[column] for column in wanted or ())]


def _entry(row: Sequence[str], number: int, where: str) -> tuple[str, Key]:
    """The name and key of a row; without a key its number."""
    name, keys = class_name(row[0]), list(row[1:])
    if name is None:
        raise UsageError(f"{where}: row {number + 1} has no name")
    return name, number if not keys else _key(keys if len(keys) > 1 else keys[0], f"{where}: {name!r}")


def _key(value: Any, where: str) -> Key:
    """A value from 0 to 65,535, or a colour as three numbers or hexadecimal."""
    if isinstance(value, str) and HEX.fullmatch(value) and (value.startswith("#") or not value.isdigit()):
        red, green, blue = bytes.fromhex(value.removeprefix("#"))
        return red, green, blue
    try:
        parts = [int(part) for part in value] if isinstance(value, list | tuple) else int(value)
    except (TypeError, ValueError, OverflowError):  # JSON knows Infinity
        parts = []
    if isinstance(parts, int) and 0 <= parts <= LARGEST:
        return parts
    if isinstance(parts, list) and len(parts) == 3 and all(0 <= part <= 255 for part in parts):
        return parts[0], parts[1], parts[2]
    raise UsageError(f"{where} has {value!r}; give a value from 0 to {LARGEST:,}, a colour as r,g,b, or as #rrggbb")


def _of_json(content: bytes, where: str) -> list[tuple[str, Key]]:
    try:
        found = parse_json(content)
    except ValueError as error:
        raise UsageError(f"{where} is no JSON that can be read ({error})") from None
    if isinstance(found, list):
        pairs = [(name, number) for number, name in enumerate(found)]
    elif isinstance(found, dict) and all(whole_number(key) is not None for key in found):
        pairs = [(name, int(value)) for value, name in sorted(found.items(), key=lambda pair: int(pair[0]))]
    elif isinstance(found, dict):
        pairs = list(found.items())
    else:
        raise UsageError(f"{where} must hold a list of names, or an object of names and values")
    entries = []
    for given, key in pairs:
        name = class_name(given)
        if name is None:
            raise UsageError(f"{where}: a class has no name")
        entries.append((name, _key(key, f"{where}: {name!r}")))
    return entries
