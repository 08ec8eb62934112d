"""How sure a figure is: the spread over seeds, and the interval of a share. One home for both."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from activetune.base.arrays import FloatArray

LUCK = 3  # numbers above zero that prove nothing: of a few numbers no standard error is known
SURE = 1.959963984540054  # standard deviations of a normal distribution that hold 95 %


def spread(values: Sequence[float] | FloatArray) -> float | None:
    """The sample standard deviation (n - 1 in the denominator) over seeds; None for fewer than two values.

    >>> spread([0.5])
    >>> round(spread([1.0, 2.0, 3.0]), 9)
    1.0
    """
    found = np.asarray(values, dtype=np.float64)
    return float(found.std(ddof=1)) if len(found) > 1 else None


def spreads(values_SP: FloatArray) -> FloatArray:
    """The spread over S seeds at each of P points, (P,); zeros for a single seed, where a band has no width."""
    found: FloatArray = values_SP.std(axis=0, ddof=1) if len(values_SP) > 1 else np.zeros(values_SP.shape[1:])
    return found


def mean_and_spread(
    values: Sequence[float] | FloatArray, digits: int = 1, factor: float = 1.0, sign: bool = False
) -> str:
    """``85.0 ± 0.3``: the mean and the sample standard deviation; the mean alone for a single value.

    Args:
        factor: of the values, 100 tells shares in percent. sign: write ``+`` too, for differences.
    """
    told = f"{factor * float(np.mean(values)):{'+' if sign else ''}.{digits}f}"
    found = spread(values)
    return told if found is None else f"{told} ± {factor * found:.{digits}f}"


def standard_error(values_V: FloatArray) -> float:
    """Of the mean of V numbers; infinite for a single one, which tells nothing of the others.

    >>> standard_error(np.array([1.0, 0.0, 0.0, 0.0]))
    0.25
    """
    count = len(values_V)
    return float(values_V.std(ddof=1)) / count**0.5 if count > 1 else float("inf")


def surely_positive(values_V: FloatArray) -> bool:
    """Whether the mean of V numbers is above zero by more than two standard errors (1.96), and more than three of them.

    >>> surely_positive(np.array([1.0] * 3 + [0.0] * 17)), surely_positive(np.array([1.0] * 4 + [0.0] * 16))
    (False, True)
    """
    return bool(np.sum(values_V > 0) > LUCK and values_V.mean() > SURE * standard_error(values_V))


def share_error(share: float, n: float) -> float:
    """The standard error ``sqrt(s (1 - s) / n)`` of a share of ``n`` items.

    Of the mean of any ``n`` numbers in [0, 1] it is the largest that there can be.

    >>> share_error(0.5, 25)
    0.1
    """
    found: float = (share * (1 - share) / n) ** 0.5
    return found


def wilson_interval(right: int, n: int) -> tuple[float, float]:
    """Bounds in [0, 1] of a share of which ``right`` of ``n`` items were seen, at 95 %.

    Wilson's score interval (1927): ``(p + z²/2n ± z sqrt(p (1 - p) / n + z²/4n²)) / (1 + z²/n)``. It stays inside
    [0, 1] and holds at few items and at shares near 0 or 1, where the normal approximation fails.

    >>> [round(bound, 3) for bound in wilson_interval(9, 10)]
    [0.596, 0.982]
    """
    share, part = right / n, SURE**2 / n
    middle = share + part / 2
    reach = SURE * math.sqrt(share * (1 - share) / n + part / (4 * n))
    low, high = (middle - reach) / (1 + part), (middle + reach) / (1 + part)
    # Of none and of all, a bound is 0 or 1 in exact arithmetic, and on either side of it in rounded one.
    return (max(low, 0.0) if right else 0.0), (min(high, 1.0) if right < n else 1.0)
