"""The words of a sentence, as captions are learned and scored.

Words are in small letters and Unicode's form NFKC, without punctuation: runs of letters, marks and digits, with the
apostrophes inside them (``don't``). Scripts without spaces are not cut by a dictionary: Han and kana count letter by
letter; others (Thai, Lao, Khmer) as one word from space to space.

Published figures on COCO follow the Penn Treebank, by Stanford's tokeniser in Java. That keeps hyphens inside words
(``red-haired``, here two words) and decimal points, and cuts ``don't`` and ``man's`` in two (``do n't``, ``man 's``).
Scores differ a little between the two ways: compare within one of them.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

APOSTROPHES = "'\u2019"
LETTERWISE = ("CJK UNIFIED", "CJK COMPATIBILITY", "HIRAGANA", "KATAKANA LETTER")  # how the names of such letters begin


def words_of(text: str) -> list[str]:
    """The words of a text, in their order.

    >>> words_of("A man's red-haired dog doesn't bark!")
    ['a', "man's", 'red', 'haired', 'dog', "doesn't", 'bark']
    """
    spaced = "".join(map(_spaced, unicodedata.normalize("NFKC", text).lower()))
    return [word for word in (run.strip("'") for run in spaced.split()) if word]


@lru_cache(maxsize=4096)
def _spaced(letter: str) -> str:
    """A character as it stands among words: itself, a word of its own, or a space."""
    if letter in APOSTROPHES:
        return "'"
    if unicodedata.category(letter)[0] not in "LMN":
        return " "
    return f" {letter} " if unicodedata.name(letter, "").startswith(LETTERWISE) else letter
