"""The words that a captioning head knows, and sentences as their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from activetune.base.errors import UsageError
from activetune.data.words import words_of

PAD, BEGIN, END, UNKNOWN = range(4)  # nothing, the ends of a sentence, and a word that is not in the list
LONGEST = 40  # words of a sentence that is learned or generated
WORDS = 10_000


@dataclass(frozen=True)
class Vocabulary:
    """Distinct words, whose numbers follow the four of ``PAD``, ``BEGIN``, ``END`` and ``UNKNOWN``.

    >>> vocabulary = Vocabulary.of(["A cat sits.", "a dog sits"])
    >>> vocabulary.words
    ('a', 'sits', 'cat', 'dog')
    >>> vocabulary.text(vocabulary.numbers("a dog barks"))
    'a dog'
    """

    words: tuple[str, ...]

    @classmethod
    def of(cls, texts: Iterable[str], *, min_count: int = 1, limit: int = WORDS) -> Vocabulary:
        """The words of some sentences, the most frequent first, equal ones in alphabetical order.

        Args:
            min_count: how often a word must occur. limit: how many words there are at most.

        Raises:
            UsageError: no word is left.
        """
        counts = Counter(word for text in texts for word in words_of(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        words = tuple(word for word in ranked if counts[word] >= min_count)[:limit]
        if not words:
            often = "" if min_count == 1 else f" {min_count:,} times"
            raise UsageError(f"no word stands in the sentences{often}; give more of them")
        return cls(words)

    def __len__(self) -> int:
        return UNKNOWN + 1 + len(self.words)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, start=UNKNOWN + 1)}

    def numbers(self, text: str, longest: int = LONGEST) -> list[int]:
        """A sentence from ``BEGIN`` to ``END``; of its words the first ``longest``."""
        return [BEGIN, *(self._numbers.get(word, UNKNOWN) for word in words_of(text)[:longest]), END]

    def tokens(self, texts: Sequence[str], longest: int = LONGEST) -> Tensor:
        """(B, T) numbers of B sentences, filled up with ``PAD``."""
        rows = [torch.tensor(self.numbers(text, longest)) for text in texts]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    def text(self, numbers: Iterable[int]) -> str:
        """The words before the first ``END``, with a space between them; other numbers without a word are left out."""
        words = []
        for number in numbers:
            if number == END:
                break
            if number > UNKNOWN:
                words.append(self.words[number - UNKNOWN - 1])
        return " ".join(words)
