"""The class names of one image in one cell of a table: text with ``;`` or ``|`` between them, or a list in JSON.

Label files, tables of answers and the history of a project read and write the same form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.files import parse_json
from activetune.base.tables import Untyped
from activetune.data.answers import as_numbers

SEPARATOR = re.compile(r"[;|]")


def cell_of_names(names: Sequence[str]) -> str:
    """Several names in one cell: with ``;`` between them, ``[]`` for none.

    It is JSON where a name holds a separator, or where a column of such names alone would be one of numbers and gaps.

    >>> cell_of_names(["cat", "dog"]), cell_of_names([]), cell_of_names(["a;b"]), cell_of_names(["2.0"])
    ('cat;dog', '[]', '["a;b"]', '["2.0"]')
    """
    plain = names and not any(SEPARATOR.search(name) or name.startswith("[") for name in names)
    plain = plain and not as_numbers(Untyped(names)).changed
    return ";".join(names) if plain else json.dumps(list(names), ensure_ascii=False)


def parts_of_cell(text: str) -> list[Any]:
    """What stands between the separators of such a cell, or in its list: each for ``class_name``, as it may be blank.

    >>> parts_of_cell("cat; dog"), parts_of_cell('["a;b"]'), parts_of_cell("[]"), parts_of_cell("")
    (['cat', ' dog'], ['a;b'], [], [])

    Raises:
        UsageError: it begins like a list and is none.
    """
    if not text.strip().startswith("["):
        return SEPARATOR.split(text) if text.strip() else []
    try:
        found: list[Any] = parse_json(text)
    except ValueError as error:
        told = f"{text[:40]!r} is no list in JSON ({error})"
        raise UsageError(f"{told}; correct it, or put ; between the names") from None
    return found
