"""Class names that are nearly equal: the same but for case, blanks or one letter.

Two names are alike where

- they are the same without regard to case, blanks, ``_`` and ``-`` (``fire truck`` and ``Fire_truck``), or
- one letter is missing, added, replaced or swapped with its neighbour in a single word of at least three letters
  (``rabbit`` and ``rabit``). A replaced letter counts in words of six letters on, or where one of the names has a tenth
  of the other's labels or fewer: short words such as ``house`` and ``mouse`` are more often two classes than one.

Digits count as they are: ``class_12`` and ``class_13`` are not alike.

Pairs are found by what is left of each name when one letter is taken away: two names of which that has something in
common are compared, all others never meet. That is O(C) for C names in time and memory, not O(C^2).
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

RARE = 10  # times as many labels, from which on the rarer one of two similar short names is taken for a slip
SHORTEST, LONG = 3, 6  # letters of a word in which one letter may be too many or too few, and may be replaced
CROWD = 50  # names with a part in common, beyond which they follow a pattern (codes, say) and are not slips

SEPARATORS = re.compile(r"(?<=\w)[\s_-]+(?=\w)")
WORD = re.compile(r"[^\W\d_]+")


def near_names(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Pairs of nearly equal names, sorted; of each pair the one with more labels first.

    Args:
        counts: how many labels each name has.

    >>> near_names({"rabbit": 40, "rabit": 2, "Rabbit": 9, "cat": 5})
    [('rabbit', 'Rabbit'), ('rabbit', 'rabit')]
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        groups[_without_spelling(name)].append(name)
    pairs = [(names[0], other) for names in groups.values() for other in names[1:]]
    leaders = {_words(names[0]): names[0] for names in groups.values()}
    totals = {words: sum(counts[name] for name in groups[_without_spelling(one)]) for words, one in leaders.items()}
    for first, second in _one_letter_apart(leaders):
        many, few = sorted((first, second), key=lambda words: (-totals[words], words))
        if _is_a_slip(many, few, totals[few] * RARE <= totals[many]):
            pairs.append((leaders[many], leaders[few]))
    return sorted(pairs)


def nearest_spellings(names: Iterable[str], known: Iterable[str]) -> dict[str, str]:
    """The one of ``known`` that each of ``names`` is nearly equal to, without those that are like none.

    >>> nearest_spellings(["Cat", "bird"], ["cat", "dog"])
    {'Cat': 'cat'}
    """
    right = dict.fromkeys(known, 2)  # more than the others, so that of equal spellings a known one stands first
    wrong = dict.fromkeys((name for name in names if name not in right), 1)
    pairs = near_names({**wrong, **right})
    return {b: a for a, b in pairs if a in right and b in wrong} | {a: b for a, b in pairs if a in wrong and b in right}


def _words(name: str) -> str:
    """A name in lower case with its words set apart by one blank."""
    return SEPARATORS.sub(" ", unicodedata.normalize("NFKC", name).casefold().strip())


def _without_spelling(name: str) -> str:
    """A name without case, and without blanks other than those between two digits."""
    return re.sub(r"(?<!\d) | (?!\d)", "", _words(name))


def _one_letter_apart(names: Iterable[str]) -> set[tuple[str, str]]:
    """Pairs of names that may be one letter apart: those with an equal part after at most one letter is taken away."""
    parts: dict[str, list[str]] = defaultdict(list)
    for name in names:
        parts[name].append(name)
        for part in {name[:i] + name[i + 1 :] for i, sign in enumerate(name) if sign.isalpha()}:
            parts[part].append(name)
    return {
        (first, second) if first < second else (second, first)
        for met in parts.values()
        if 1 < len(met) <= CROWD
        for number, first in enumerate(met)
        for second in met[:number]
        if first != second
    }


def _is_a_slip(first: str, second: str, rare: bool) -> bool:
    """Whether one letter in a single word is all that sets two names apart."""
    words, others = first.split(" "), second.split(" ")
    differing = [(a, b) for a, b in zip(words, others, strict=False) if a != b]
    if len(words) != len(others) or len(differing) != 1:
        return False
    word, other = differing[0]
    letters = min(len(word), len(other))
    if letters < SHORTEST or not (WORD.fullmatch(word) and WORD.fullmatch(other)):
        return False
    if len(word) != len(other):
        short, long = sorted((word, other), key=len)
        return len(long) == len(short) + 1 and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))
    places = [i for i in range(len(word)) if word[i] != other[i]]
    swapped = (
        len(places) == 2
        and places[1] == places[0] + 1
        and (word[places[0]], word[places[1]]) == (other[places[1]], other[places[0]])
    )
    return swapped or (len(places) == 1 and (rare or letters >= LONG))
