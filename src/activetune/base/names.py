"""Names that look the same are the same: how paths and ids are compared. They are written as they were found."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence

MOST_DIGITS = 18  # of a number that 64 bits hold


def comparable(name: str) -> str:
    """A path as it is compared: ``/`` between its parts, accents composed (NFC), no blanks around a part, no ``.``.

    macOS and the archives made there decompose accents, and Windows drops blanks at the end of a folder's name.

    >>> comparable("cafe\\u0301 \\\\1.jpg") == comparable("./caf\\u00e9/1.jpg")
    True
    """
    text = name if name.isascii() else unicodedata.normalize("NFC", name)
    parts = [part.strip() for part in text.replace("\\", "/").split("/")]
    return "/".join(part for part in parts if part != ".")


def whole_number(text: str) -> int | None:
    """The number that ASCII digits stand for, at most 18 of them; None where the text is anything else.

    ``isdigit`` is true of ``"²"`` too, and ``int`` refuses thousands of digits.

    >>> whole_number("007"), whole_number("-1"), whole_number("²")
    (7, None, None)
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS else None


def by_comparable(names: Iterable[str]) -> Mapping[str, str]:
    """Names by how they are compared; those that several share are left out."""
    found: dict[str, str | None] = {}
    for name in names:
        key = comparable(name)
        found[key] = None if key in found else name
    return {key: name for key, name in found.items() if name is not None}


def as_known(names: Sequence[str], known: Collection[str]) -> list[str]:
    """``names``, each in the spelling that ``known`` has for it; unchanged where it has none or several."""
    if all(name in known for name in names):
        return list(names)
    spelt = by_comparable(known)
    return [name if name in known else spelt.get(comparable(name), name) for name in names]
