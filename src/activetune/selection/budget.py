"""Budgets: what ``500``, ``5%``, ``2/class`` and ``coverage:0.95`` mean, and how one is shared out among groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError

BUDGET_FORMS = (
    "a number (500), a share (5% or 0.05), a number per class (2/class) or a share to cover (coverage:0.95, or with "
    "its radius coverage:0.95@0.6)"
)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")  # any other comma stands where a point must, as in 0,05


def parse_budget(budget: int | float | str) -> tuple[str, float]:
    """``500`` -> ("count", 500); ``"5%"`` and ``0.05`` -> ("share", 0.05); ``"2/class"`` -> ("per_class", 2).

    ``"coverage:0.95@0.6"`` -> ("coverage", 0.95); :meth:`Coverage.parse` reads the radius too.

    Raises:
        UsageError: none of these forms, or not positive.
    """
    if (coverage := Coverage.parse(budget)) is not None:
        return "coverage", coverage.share
    text = str(budget).strip()
    try:
        if text.endswith("/class"):
            kind, value = "per_class", float(text.removesuffix("/class"))
        elif text.endswith("%"):
            kind, value = "share", float(text[:-1]) / 100
        else:
            value = float(text.replace(",", "") if _THOUSANDS.fullmatch(text) else text)
            kind = "share" if 0 < value < 1 else "count"
    except ValueError:
        raise _not_understood(text) from None
    whole = kind == "share" or value.is_integer()
    if not np.isfinite(value) or value <= 0 or not whole or (kind == "share" and value > 1):
        raise UsageError(f"the budget {text!r} is not possible; it can be {BUDGET_FORMS}, above zero")
    return kind, value


def _not_understood(text: str) -> UsageError:
    hint = "; write a point where decimals begin" if "," in text else ""
    return UsageError(f"the budget {text!r} is not understood; it can be {BUDGET_FORMS}{hint}")


@dataclass(frozen=True)
class Coverage:
    """As many picks as it takes until a share of the items lies within a radius of a picked or labelled one.

    Attributes:
        share: in (0, 1]. radius: Euclidean distance of unit rows, 0 to 2; None: to be chosen from the features.
    """

    share: float
    radius: float | None = None

    @classmethod
    def parse(cls, budget: int | float | str) -> Coverage | None:
        """``"coverage:0.95"``, ``"coverage:95%"``, ``"coverage:0.95@0.6"``; None for a budget of another form.

        Raises:
            UsageError: not numbers, a share outside (0, 1], a radius outside [0, 2].
        """
        text = str(budget).strip()
        if not text.startswith("coverage"):
            return None
        share_text, at, radius_text = text.removeprefix("coverage").removeprefix(":").partition("@")
        try:
            percent = share_text.endswith("%")
            share = float(share_text.removesuffix("%")) / (100 if percent else 1)
            radius = float(radius_text) if at else None
        except ValueError:
            raise _not_understood(text) from None
        if not 0 < share <= 1:
            raise UsageError(f"the budget {text!r} is not possible: a share to cover lies above 0 and up to 1 (100%)")
        if radius is not None and not 0 <= radius <= 2:
            raise UsageError(
                f"the budget {text!r} is not possible: its radius is a Euclidean distance of features of unit length, "
                "0 to 2; leave out @… to have one chosen"
            )
        return cls(share, radius)


# Groups -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Groups:
    """Items by the value of a column: sorted names, and for each of N items its group's number (-1: it has none)."""

    names: Sequence[str]
    numbers_N: IntArray

    @classmethod
    def of(cls, values: Sequence[str | None], population: IntArray) -> Groups:
        """The groups of N values that occur in the population; None and "" are no values."""
        names = sorted({value for row in population if (value := values[row])})
        number = {name: index for index, name in enumerate(names)}
        found = (number.get(value, -1) if value else -1 for value in values)
        return cls(names, np.fromiter(found, dtype=np.int64, count=len(values)))

    def counts(self, positions: IntArray) -> IntArray:
        """(G,) how many of the positions are in each group."""
        numbers = self.numbers_N[positions]
        return np.bincount(numbers[numbers >= 0], minlength=len(self.names))


def water_fill(count: int, room_G: IntArray, held_G: IntArray | None = None) -> IntArray:
    """Share ``count`` out so that what the groups hold ends as equal as their room allows.

    Like water over a floor of steps: it stands level wherever there is room. What does not divide goes one each to
    the first groups that stand at the level.

    Args:
        room_G: how many more each group can take. held_G: how many each has (none).

    Returns:
        (G,) how many each gets; they sum to ``count``, or to all the room there is.
    """
    held_G = np.zeros_like(room_G) if held_G is None else held_G

    def lifted(level: int) -> IntArray:
        return np.clip(level - held_G, 0, room_G)

    count = min(count, int(room_G.sum()))
    low, high = 0, int((held_G + room_G).max(initial=0))
    while low < high:  # the highest level that the count reaches everywhere
        level = (low + high + 1) // 2
        low, high = (level, high) if lifted(level).sum() <= count else (low, level - 1)
    given_G = lifted(low)
    able = np.flatnonzero((given_G < room_G) & (held_G + given_G <= low))
    given_G[able[: count - int(given_G.sum())]] += 1
    return given_G
