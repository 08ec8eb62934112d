"""A sentence with figures on a page, and the stored values that its figures are.

The claims of the pages stand in ``claims_*.py``; ``pages.py`` compares them with what the pages say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Claim:
    """A piece of a page, and its figures."""

    text: str
    figures: Callable[[], Sequence[Any]]

    def told(self) -> str:
        """What the page must say."""
        return self.text.format(*self.figures())


# Figures -----------------------------------------------------------------------------------------------------------


def mean(values: Sequence[float]) -> float:
    """Of single values, in percent."""
    return 100 * float(np.mean(values))


def ordered(values: Sequence[float], digits: int = 1) -> tuple[str, str]:
    """The least and the largest, as they are told."""
    return f"{min(values):.{digits}f}", f"{max(values):.{digits}f}"


WORDS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def number(value: int) -> str:
    """A small number in words."""
    return WORDS[value] if value < len(WORDS) else f"{value:,}"


def checked(condition: bool, value: str, what: str) -> str:
    """A word that is right as long as a condition holds; otherwise what is not so any more."""
    return value if condition else f"[no longer so: {what}]"
