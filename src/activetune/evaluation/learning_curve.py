"""How much better a linear probe gets with more labels: its learning curve from the labels there are, and its going on.

Probes learn from parts of the labels, of several sizes, and each answers the fifth of the labels that was kept from
it. Their share of errors is followed by the law ``error(n) = a + b n^-c`` with ``a, b >= 0`` (Cortes et al., "Learning
curves: asymptotic values and rate of convergence", NeurIPS 1993), which is then read at numbers of labels that nobody
has given yet. Few labels can't tell where a curve ends, so the law is followed twice, with an end ``a`` of its own and
with ``a = 0``, and the gain that is told is the mean of both.

Labels that a selector has chosen are harder than the pool, so the curve tells which *share* of the errors goes, and an
audit, where there is one, how many there are.

The interval is a percentile bootstrap (Efron, 1979): in each draw the answered items are drawn anew, the repetitions of
each size are drawn anew, one of the two laws is followed, and the audit's share of errors is drawn from its posterior
(Jeffreys). To that come the chance of a single batch, which is the spread of probes that learned from as many other
labels, and how far off the law itself is: the next labels are no draw from those so far, and a curve may end sooner
than it seems. That error is the larger the more the law promises: ``OFF`` times the gain. It was chosen on two pools,
and experiments/stopping tells how often the interval holds on others.
Shape legend: L labelled items, D feature size, S sizes, R repetitions, B draws, E ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.progress import progress
from activetune.networks.regression import fit_best, fit_linear

LEAST = 40  # labels, below which a curve is mostly luck
SHARES = (0.2, 0.3, 0.45, 0.67, 1.0)  # of the labels of a fit, by which the curve's sizes are made
FOLDS = 5
DRAWS = 500
OFF = 0.6  # standard deviation of what comes, in gains that are told: the law's own error
SLOWEST, FASTEST, RATES = 0.1, 1.5, 29  # exponents c that are tried; 1/2 is the rate of many learners
LEVEL = 0.95


@dataclass(frozen=True)
class Answered:
    """Which items were answered rightly by probes that learned from parts of the labels.

    Attributes:
        sizes_S: labels that were learned from. right_SRL: 1 right, 0 wrong, NaN not asked, of each repetition.
    """

    sizes_S: IntArray
    right_SRL: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Gain:
    """What more labels are expected to bring, as shares: 0.02 is two points.

    Attributes:
        labels: how many there are. more: how many are to come. now, then: accuracy with the first and with all.
        gain: ``then - now``; low, high: its bounds at 95 %.
        points: the curve that was measured, as (labels, accuracy).
    """

    labels: int
    more: int
    now: float
    then: float
    gain: float
    low: float
    high: float
    points: tuple[tuple[int, float], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**vars(self), "points": [list(point) for point in self.points], "level": LEVEL}

    def told(self) -> str:
        """``about 2.1 points (0.4 to 3.8) with 100 more labels``."""
        between = f"{100 * self.low:.1f} to {100 * self.high:.1f}"
        return f"about {100 * self.gain:.1f} points ({between}) with {self.more:,} more labels"


def answer_by_size(
    features_LD: FloatArray, indices_L: IntArray, rng: np.random.Generator, *, repetitions: int = 2, quiet: bool = True
) -> Answered | None:
    """Let probes of several sizes answer what they did not learn from.

    Folds are drawn without regard to classes, and an item of a class that no learned item has is answered wrongly: how
    often a class is met that was not met before is part of what more labels bring.

    Args:
        indices_L: class of each labelled item. repetitions: divisions into folds, each with ``FOLDS`` of them.

    Returns:
        None where there are fewer than ``LEAST`` labels, or one class alone.
    """
    if len(indices_L) < LEAST or len(np.unique(indices_L)) < 2:
        return None
    strength = fit_best(features_LD, np.unique(indices_L, return_inverse=True)[1], rng=rng).strength
    divided = [part for _ in range(repetitions) for part in np.array_split(rng.permutation(len(indices_L)), FOLDS)]
    learned = len(indices_L) - len(divided[0])
    sizes_S = np.unique(np.rint(np.asarray(SHARES) * learned).astype(np.int64))
    right_SRL = np.full((len(sizes_S), len(divided), len(indices_L)), np.nan, dtype=np.float32)
    with progress(right_SRL[..., 0].size, "learning curve", unit="probes", quiet=quiet) as meter:
        for row, asked in enumerate(divided):
            order = rng.permutation(np.setdiff1d(np.arange(len(indices_L)), asked))
            for number, size in enumerate(sizes_S):
                answers = _answers(features_LD, indices_L, order[:size], asked, strength)
                right_SRL[number, row, asked] = answers == indices_L[asked]
                meter.advance()
    return Answered(sizes_S, right_SRL)


def _answers(
    features_LD: FloatArray, indices_L: IntArray, rows: IntArray, asked: IntArray, strength: float
) -> IntArray:
    """The classes that a probe of some rows tells of others."""
    classes = np.unique(indices_L[rows])
    if len(classes) == 1:
        return np.full(len(asked), classes[0])
    head = fit_linear(features_LD[rows], np.searchsorted(classes, indices_L[rows]), strength)
    found: IntArray = classes[head.logits(features_LD[asked]).argmax(axis=1)]
    return found


def expect_gain(
    answered: Answered, labels: int, more: int, rng: np.random.Generator, *, audit: tuple[int, int] | None = None
) -> Gain:
    """Follow the curve to ``labels`` and to ``labels + more``, see the module.

    Args:
        labels: how many there are in all; each fold's probes learned from fewer.
        audit: how many random items the model answers rightly, of how many; None: the curve's own level counts.
    """
    ends_E = np.asarray([labels, labels + more])
    errors_S = 1 - _means(answered.right_SRL)
    told_E = np.mean([follow(answered.sizes_S, errors_S[None], ends_E, ending=one)[0] for one in (True, False)], axis=0)
    drawn_BE = np.concatenate([_draws(answered, ends_E, rng, ending=one) for one in (True, False)])
    level, level_B = float(told_E[0]), drawn_BE[:, 0]
    if audit is not None:
        right, n = audit
        level, level_B = 1 - right / n, rng.beta(n - right + 0.5, right + 0.5, DRAWS)
    gain = level * _share_gone(told_E)
    beside_B = rng.normal(0, np.hypot(batch_chance(answered, labels), OFF * gain), DRAWS)
    gains_B = level_B * _share_gone(drawn_BE.T) + beside_B
    low, high = np.quantile(gains_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    points = tuple((int(size), float(1 - error)) for size, error in zip(answered.sizes_S, errors_S, strict=True))
    now = 1 - level
    return Gain(
        labels, more, now, now + float(gain), float(gain), min(low, float(gain)), max(high, float(gain)), points
    )


def _draws(answered: Answered, ends_E: IntArray, rng: np.random.Generator, *, ending: bool) -> FloatArray:
    """(B, E) errors of half of the draws, by one of the two laws."""
    drawn_BS = np.stack([1 - _means(_drawn(answered.right_SRL, rng)) for _ in range(DRAWS // 2)])
    return follow(answered.sizes_S, drawn_BS, ends_E, ending=ending)


def _share_gone(errors_E: FloatArray) -> Any:
    """The share of the first end's errors that is gone at the second."""
    return (errors_E[0] - errors_E[1]) / np.maximum(errors_E[0], 1e-12)


def follow(sizes_S: IntArray, errors_BS: FloatArray, ends_E: IntArray, *, ending: bool = True) -> FloatArray:
    """The law through B curves, by least squares, read at E numbers of labels.

    For each exponent the other numbers have a closed form; the best of a grid of exponents is taken.

    >>> sizes = np.asarray([20, 40, 80, 160])
    >>> follow(sizes, 0.1 + 2 * sizes[None] ** -0.5, np.asarray([400])).round(3)
    array([[0.2]])

    Args:
        ending: whether the curve has an end ``a`` above zero where that fits better; otherwise ``a = 0``.

    Returns:
        (B, E) errors in [0, 1].
    """
    best_B = np.full(len(errors_BS), np.inf)
    found_BE = np.zeros((len(errors_BS), len(ends_E)))
    for rate in np.linspace(SLOWEST, FASTEST, RATES):
        term_S = sizes_S.astype(np.float64) ** -rate
        slope_B, base_B = np.maximum(errors_BS @ term_S / (term_S @ term_S), 0), np.zeros(len(errors_BS))
        if ending:
            deviation_S = term_S - term_S.mean()
            free_B = np.maximum(errors_BS @ deviation_S / (deviation_S @ deviation_S), 0)
            end_B = errors_BS.mean(axis=1) - free_B * term_S.mean()
            slope_B, base_B = np.where(end_B < 0, slope_B, free_B), np.maximum(end_B, 0)
        lost_B = ((base_B[:, None] + slope_B[:, None] * term_S - errors_BS) ** 2).sum(axis=1)
        at_BE = base_B[:, None] + slope_B[:, None] * ends_E.astype(np.float64) ** -rate
        better_B = lost_B < best_B - 1e-15
        best_B, found_BE = np.where(better_B, lost_B, best_B), np.where(better_B[:, None], at_BE, found_BE)
    return np.clip(found_BE, 0, 1)


def batch_chance(answered: Answered, labels: int) -> float:
    """The standard deviation of accuracy over which labels were learned from, at as many as there are now.

    It is what the repetitions of the largest size differ by, beyond the chance of the items that each was asked.
    """
    right_RL = answered.right_SRL[-1]
    share, asked = float(np.nanmean(right_RL)), float(np.isfinite(right_RL).sum(axis=1).mean())
    beyond = float(np.nanmean(right_RL, axis=1).var(ddof=1)) - share * (1 - share) / asked
    return float(np.sqrt(max(beyond, 0.0) * answered.sizes_S[-1] / labels))


def _means(right_SRL: npt.NDArray[np.float32]) -> FloatArray:
    """(S,) the share that is right at each size."""
    found: FloatArray = np.nanmean(right_SRL.reshape(len(right_SRL), -1), axis=1, dtype=np.float64)
    return found


def _drawn(right_SRL: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """The answers to items that are drawn anew, by repetitions that are drawn anew for each size."""
    sizes, repetitions, items = right_SRL.shape
    rows_SR = rng.integers(repetitions, size=(sizes, repetitions))
    drawn: npt.NDArray[np.float32] = right_SRL[np.arange(sizes)[:, None], rows_SR][
        :, :, rng.integers(items, size=items)
    ]
    return drawn
