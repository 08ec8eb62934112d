"""One cell of a label column, whichever door it comes through: a class name, or None where nobody has answered yet.

| given | class name |
|---|---|
| ``None``, NaN, ``pandas.NA``, blank text | None: not answered |
| 3, 3.0 | ``"3"``: tables make floats of whole numbers where some are missing |
| True, False | ``"True"``, ``"False"`` |
| other numbers | their shortest form, as Python writes it |
| text, also as UTF-8 bytes | the text without blanks around it, its accents composed (Unicode NFC) |
| lists, arrays, structs, dates and whatever else | refused: an image has one label |

Text is the class, also ``"3.0"`` and ``"nan"``, wherever numbers are something else than text. In CSV they are not: a
column of CSV that holds numbers alone is one of numbers (:func:`as_numbers`), so that it says what the same column of
Parquet says.

Label files, manifests, Hugging Face columns, ``.npz`` archives, :meth:`activetune.Embeddings.from_numpy`,
``{id: label}`` and lists of classes are all read by the functions below, so that they give the same answers.
"""

from __future__ import annotations

import decimal
import math
import numbers
import re
import reprlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from activetune.base.errors import UsageError
from activetune.base.tables import Untyped

MISSING_TEXTS = frozenset({"", "nan", "<na>"})  # as NumPy and pandas write what is missing, in lower case
MISSING_TYPES = frozenset({"NoneType", "NAType", "NaTType"})  # pandas' by their names: it is not a dependency
EXACT, LARGEST = 10**16, 10**300  # from the first on, tables write floats with an exponent
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][+-]?[0-9]+)?")
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)\.0*")
AS_NUMBERS = "labels of a column of numbers alone, in which 2.0 is the class '2' and nan is no answer"
ONE_LABEL = "there is one label an image: a class name or a whole number, or nothing where it is not answered yet"


def class_name(value: object) -> str | None:
    """The class name that a cell holds, None where it holds no answer.

    >>> class_name(" cat "), class_name(3.0), class_name(float("nan"))
    ('cat', '3', None)

    Raises:
        UsageError: the cell is neither text nor a number.
    """
    if isinstance(value, np.datetime64 | np.timedelta64):
        value = None if np.isnat(value) else value
    elif not isinstance(value, np.floating) and getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # NumPy's other scalars, arrays and tensors without a dimension
    if is_missing(value):
        return None
    if isinstance(value, str | bytes):
        return _of_text(value)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, numbers.Real | decimal.Decimal):
        return _of_number(value)
    raise UsageError(f"{_kind(value)} ({reprlib.repr(value)}) is no label; {ONE_LABEL}")


def is_missing(value: object) -> bool:
    """Whether a typed cell holds nothing: None, NaN or pandas' signs for them; text is never missing.

    >>> is_missing(float("nan")), is_missing("nan")
    (True, False)
    """
    return type(value).__name__ in MISSING_TYPES or (
        isinstance(value, numbers.Real | decimal.Decimal) and value != value
    )


@dataclass(frozen=True)
class Numbers:
    """A label column whose numbers are read as numbers.

    Attributes:
        cells: N of them. changed: how many say something else than their text. first: the first such text.
    """

    cells: Sequence[Any]
    changed: int = 0
    first: str = ""

    def told(self, where: object) -> str:
        """A sentence on what was changed; empty where nothing was."""
        return f"{where}: {AS_NUMBERS}: {self.changed:,} (the first: {self.first!r})" if self.changed else ""


def as_numbers(cells: Sequence[Any]) -> Numbers:
    """A column of CSV that holds numbers alone, and gaps, as what they are; any other column as it is.

    Where labels are whole numbers and some are missing, tables make floats of them and write 2.0, and ``nan`` or
    ``<NA>`` or nothing for what is missing. Beside a text such as ``cat`` each of these is a class's name.

    >>> as_numbers(Untyped(["2.0", "nan", "10.0"])).cells, as_numbers(Untyped(["2.0", "nan", "cat"])).cells
    (['2', None, '10'], ['2.0', 'nan', 'cat'])
    """
    if not isinstance(cells, Untyped):
        return Numbers(cells)
    meant: dict[str, str | None] = {}
    for text in set(cells):
        bare = text.strip()
        if bare.lower() in MISSING_TEXTS:
            meant[text] = None
        elif len(bare) < 300 and NUMBER.fullmatch(bare):
            meant[text] = str(int(bare.partition(".")[0])) if WHOLE_NUMBER.fullmatch(bare) else bare
        else:
            return Numbers(cells)
    changed = [text for text in cells if text.strip() != (meant[text] or "")]
    return Numbers([meant[text] for text in cells], len(changed), changed[0] if changed else "")


def lost_in_csv(names: Iterable[str]) -> str:
    """A sentence on class names that a column of CSV would not keep, as it would be one of numbers; else empty."""
    read = as_numbers(Untyped(names))
    if not read.changed:
        return ""
    return (
        f"the classes are numbers alone, and who reads CSV takes {read.first!r} for a number or a gap, as this program "
        "does; write .parquet, which keeps the text"
    )


def class_names(
    values: Iterable[object],
    where: str,
    ids: Sequence[str] | None = None,
    *,
    names: Sequence[object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> list[str | None]:
    """The class names that a label column holds, None where it holds no answer.

    Args:
        values: N cells. where: what they come from, for messages. ids: of their N items, for messages.
        names: class names that numbers in ``values`` are positions in (Hugging Face's ``ClassLabel``); -1 is no answer.
        tell: is given a sentence where numbers in CSV were read as numbers (:func:`as_numbers`).

    Raises:
        UsageError: a cell that is neither text nor a number, or a number that is no position in ``names``.
    """
    if isinstance(values, str | bytes | Mapping | Set) or getattr(values, "shape", None) == ():
        raise UsageError(f"{where}: the labels must be a sequence in the order of the items, not {_kind(values)}")
    if isinstance(values, Untyped):
        read = as_numbers(values)
        values = read.cells
        if tell is not None and read.changed:
            tell(read.told(where))
    known: dict[tuple[type, object], str | None] = {}
    found = []
    for row, value in enumerate(_cells(values)):
        key = (type(value), value)
        try:
            name = known[key]
        except (KeyError, TypeError):  # a new value, or one that has no hash
            item = f"row {row + 1:,}" if ids is None else repr(ids[row])
            name = _explained(value, names, f"{where}: the label of {item}")
            if isinstance(value, str | int | float):
                known[key] = name
        found.append(name)
    return found


def _cells(values: Iterable[object]) -> Iterator[object]:
    """The cells one by one; of most NumPy columns as Python values, which are read faster."""
    if (
        isinstance(values, np.ndarray)
        and values.ndim == 1
        and (values.dtype.kind in "iubU" or values.dtype == np.float64)
    ):
        return iter(values.tolist())
    return iter(values)


def _explained(value: object, names: Sequence[object] | None, where: str) -> str | None:
    try:
        name = class_name(value)
    except UsageError:
        raise UsageError(f"{where} is {_kind(value)} ({reprlib.repr(value)}); {ONE_LABEL}") from None
    if names is None or name is None or isinstance(value, str | bytes | bool):
        return name
    position = int(name) if re.fullmatch(r"-?[0-9]+", name) else len(names)
    if position == -1:
        return None
    if not 0 <= position < len(names):
        raise UsageError(f"{where} is {name}, but there are {len(names):,} class names, counted from 0")
    return class_name(names[position])


def _of_text(value: str | bytes) -> str | None:
    try:
        text = value.decode("utf-8") if isinstance(value, bytes) else str.__str__(value)
        text.encode("utf-8")
    except UnicodeError:
        raise UsageError(f"{value!r} is no label: it is not valid Unicode text; name the class otherwise") from None
    return unicodedata.normalize("NFC", text.strip()) or None


def _of_number(value: Any) -> str:
    if isinstance(value, int) and abs(value) < LARGEST:
        return str(int(value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if abs(number) >= LARGEST:
        raise UsageError(f"a number of this size is no label; {ONE_LABEL}")
    if abs(number) < EXACT and number == int(number):
        return str(int(number))
    return str(value if isinstance(value, np.floating) else number)


def _kind(value: object) -> str:
    """``a list of 3 values``, ``a dict``, ``an array of shape (3,)``."""
    shape = getattr(value, "shape", None)
    if shape:
        return f"an array of shape {tuple(shape)}"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)} values"
    if isinstance(value, Mapping | Set | str | bytes):
        return f"a {type(value).__name__}"
    return f"a value of the type {type(value).__name__}"
