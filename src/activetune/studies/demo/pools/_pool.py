"""What a set of images gives the demo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class DemoPool:
    """Images whose answers are known.

    Attributes:
        question: which of them should be labelled, as the page's title. about: what they are and where they come from.
        pictures: a file's content by item id; the folder in the id is the class.
        test: ids that are held out. The others are picked from.
        budgets: numbers of labels, each a multiple of the number of classes.
        pixels: whether the pixels themselves are tried as features too: small pictures, all of one size.
    """

    question: str
    about: str
    pictures: Mapping[str, bytes]
    test: frozenset[str]
    budgets: tuple[int, ...]
    pixels: bool = False

    @cached_property
    def answers(self) -> dict[str, str]:
        """The class of each item."""
        return {item: item.partition("/")[0] for item in self.pictures}

    @property
    def classes(self) -> list[str]:
        """Their names."""
        return sorted(set(self.answers.values()))
