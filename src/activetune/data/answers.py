"""One cell of a label column, whichever door it comes through: a class name, or None where nobody has answered yet.

| given | class name |
|---|---|
| ``None``, NaN, ``pandas.NA``, blank text, the texts ``nan`` (in any case) and ``<NA>`` | None: not answered |
| 3, 3.0, ``"3"``, ``"3.0"``, ``"3."`` | ``"3"``: tables make floats of whole numbers where some are missing |
| True, False | ``"True"``, ``"False"`` |
| other numbers | their shortest form, as Python writes it |
| other text, also as UTF-8 bytes | the text without blanks around it, its accents composed (Unicode NFC) |
| lists, arrays, structs, dates and whatever else | refused: an image has one label |

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
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np

from activetune.base.errors import UsageError

MISSING_TEXTS = frozenset({"", "nan", "<na>"})  # as NumPy and pandas write what is missing, in lower case
MISSING_TYPES = frozenset({"NoneType", "NAType", "NaTType"})  # pandas' by their names: it is not a dependency
EXACT, LARGEST = 10**16, 10**300  # from the first on, tables write floats with an exponent
WHOLE_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)\.0*")
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
    """Whether a table's cell holds nothing: None, NaN or pandas' signs for them; text is never missing.

    >>> is_missing(float("nan")), is_missing("nan")
    (True, False)
    """
    return type(value).__name__ in MISSING_TYPES or (
        isinstance(value, numbers.Real | decimal.Decimal) and value != value
    )


def class_names(
    values: Iterable[object], where: str, ids: Sequence[str] | None = None, *, names: Sequence[object] | None = None
) -> list[str | None]:
    """The class names that a label column holds, None where it holds no answer.

    Args:
        values: N cells. where: what they come from, for messages. ids: of their N items, for messages.
        names: class names that numbers in ``values`` are positions in (Hugging Face's ``ClassLabel``); -1 is no answer.

    Raises:
        UsageError: a cell that is neither text nor a number, or a number that is no position in ``names``.
    """
    if isinstance(values, str | bytes | Mapping | Set) or getattr(values, "shape", None) == ():
        raise UsageError(f"{where}: the labels must be a sequence in the order of the items, not {_kind(values)}")
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
    text = unicodedata.normalize("NFC", text.strip())
    if text.lower() in MISSING_TEXTS:
        return None
    return str(int(text.partition(".")[0])) if len(text) < 300 and WHOLE_NUMBER.fullmatch(text) else text


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
