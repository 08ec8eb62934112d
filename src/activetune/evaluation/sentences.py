"""CIDEr-D and BLEU-4 of generated sentences, each against all sentences that people said of its image.

CIDEr-D (Vedantam, Zitnick & Parikh, "CIDEr: Consensus-based Image Description Evaluation", CVPR 2015, equations 1-5).
For each n of 1 … 4, a sentence s is a vector g_n(s): a number per n-gram w,

    g_n(s)_w = h_w(s) log(N / max(1, d_w))

with h_w how often w occurs in s (a count: the common length of a vector cancels in the cosine) and d_w the number of
the N images with w in one of their references. An image with the candidate c and the references S scores

    10 / 4 sum_n 1 / |S| sum_s exp(-(l(c) - l(s))^2 / (2 sigma^2)) min(g_n(c), g_n(s)) . g_n(s) / (|g_n(c)| |g_n(s)|)

with sigma 6 and l the number of words; the minimum is what D adds, so that a word said again and again earns nothing.
The figure is the mean over the images, in [0, 10]; papers often print it times 100. An n-gram that all images have
weighs nothing, so a single image scores 0. A sentence of fewer than n words has no n-gram, and scores 0 for that n:
four words are needed for 10. The released code counts bigrams for the lengths, which differ alike unless a sentence is
empty.

BLEU-4 (Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", ACL 2002) over the whole set:

    min(1, exp(1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4)

with p_n the share of candidates' n-grams found in a reference (each at most as often as in one of them), c the words of
all candidates and r the length of the reference closest to each (the shorter one of two). Nothing is smoothed.

Words are those of ``data/words.py``, which says how they differ from published ones.
Shape legend: N images.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import or_
from typing import NamedTuple

import numpy as np

from activetune.base.arrays import FloatArray
from activetune.base.errors import UsageError
from activetune.data.kinds import Sentences
from activetune.data.words import words_of

ORDERS = range(1, 5)
SIGMA = 6.0
Words = Sequence[str]
Gram = tuple[str, ...]


class Scored(NamedTuple):
    """An image's id, the sentence generated for it and the sentences that people said of it."""

    item: str
    found: str
    references: tuple[str, ...]


class SentenceScorer:
    """Gathers sentences image by image; states of several scorers are scored together.

    >>> scorer = SentenceScorer()
    >>> scorer.add("a.jpg", Sentences(("a cat on a mat",)), "a cat on a mat")
    >>> scorer.add("b.jpg", Sentences(("two dogs run in the snow",)), "two dogs run in the snow")
    >>> scorer.scores()
    {'cider': 10.0, 'bleu4': 1.0, 'n': 2}
    """

    def __init__(self) -> None:
        self._scored: dict[str, Scored] = {}

    def add(self, item: str, truth: Sentences, found: str) -> None:
        """Take an image: its references, and the sentence that a model gives.

        Raises:
            UsageError: the item was taken before.
        """
        if item in self._scored:
            raise UsageError(f"{item!r} was scored before; give each image once")
        self._scored[item] = Scored(item, found, truth.texts)

    def state(self) -> list[Scored]:
        """All that was taken, as plain values."""
        return list(self._scored.values())

    @classmethod
    def of(cls, states: Sequence[Sequence[Scored]]) -> SentenceScorer:
        """A scorer that was given what those of the states were, in any order.

        Raises:
            UsageError: an item is in two of them.
        """
        scorer = cls()
        for item, found, references in (one for state in states for one in state):
            scorer.add(item, Sentences(references), found)
        return scorer

    def scores(self) -> dict[str, float]:
        """``cider`` in [0, 10], ``bleu4`` in [0, 1], and ``n`` images; without an image both are 0."""
        scored = sorted(self._scored.values())  # sums do not depend on who gathered what
        found = [words_of(one.found) for one in scored]
        references = [[words_of(text) for text in one.references] for one in scored]
        mean = float(cider(found, references).mean()) if scored else 0.0
        return {"cider": mean, "bleu4": bleu(found, references), "n": len(scored)}


def cider(found: Sequence[Words], references: Sequence[Sequence[Words]]) -> FloatArray:
    """(N,) CIDEr-D of each image, in [0, 10].

    Args:
        found: N sentences, as words. references: for each image at least one.
    """
    holding: Counter[Gram] = Counter()  # images that have an n-gram in one of their references
    for those in references:
        holding.update({gram for words in those for order in ORDERS for gram in _grams(words, order)})
    images = math.log(max(1, len(references)))

    def vector(words: Words, order: int) -> dict[Gram, float]:
        grams = _grams(words, order)
        return {gram: count * (images - math.log(max(1, holding[gram]))) for gram, count in grams.items()}

    def consensus(words: Words, those: Sequence[Words], order: int) -> float:
        mine = vector(words, order)
        likeness = [
            _shared(mine, vector(other, order)) * math.exp(-((len(words) - len(other)) ** 2) / (2 * SIGMA**2))
            for other in those
        ]
        return math.fsum(likeness) / len(those)

    sums = [
        math.fsum(consensus(words, those, order) for order in ORDERS)
        for words, those in zip(found, references, strict=True)
    ]
    return np.array(sums, dtype=np.float64) * (10 / len(ORDERS))


def _shared(mine: dict[Gram, float], other: dict[Gram, float]) -> float:
    """The cosine of two vectors, the first cut to the second; 0 where one of them is 0."""
    norms = math.hypot(*mine.values()) * math.hypot(*other.values())
    shared = math.fsum(min(value, other[gram]) * other[gram] for gram, value in mine.items() if gram in other)
    return shared / norms if norms else 0.0


def bleu(found: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """BLEU-4 of the whole set, in [0, 1]; 0 where no four words in a row are right.

    Args:
        found: N sentences, as words. references: for each image at least one.
    """
    length = closest = 0
    right, every = [0] * len(ORDERS), [0] * len(ORDERS)
    for words, those in zip(found, references, strict=True):
        length += len(words)
        closest += min((abs(len(other) - len(words)), len(other)) for other in those)[1]
        for place, order in enumerate(ORDERS):
            most = reduce(or_, (_grams(other, order) for other in those))  # the highest count of each
            right[place] += (_grams(words, order) & most).total()
            every[place] += max(0, len(words) - order + 1)
    if not all(right):
        return 0.0
    mean = math.fsum(math.log(hit / count) for hit, count in zip(right, every, strict=True)) / len(ORDERS)
    return math.exp(min(0.0, 1 - closest / length) + mean)


def _grams(words: Words, order: int) -> Counter[Gram]:
    """How often each run of so many words occurs."""
    runs: Iterable[Gram] = zip(*(words[start:] for start in range(order)), strict=False)
    return Counter(runs)
