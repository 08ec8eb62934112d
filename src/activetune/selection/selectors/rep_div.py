"""RepDiv: items that stand for the pool, then items unlike these (Zhu et al., "MedCAL-Bench: A Comprehensive Benchmark
on Cold-Start Active Learning with Foundation Models for Medical Image Analysis", 2025, arXiv 2508.03441).

Two stages on cosine similarities ``s``, as the benchmark's published code has them. Of K picks the first ``share``
stand for the pool: greedily the candidate that adds most to ``sum_i max(0, max_(picks j) s(i, j))``, facility location.
Each of the others differs from the picks before it: the candidate of the largest ``max_(picks j) (1 - s(i, j))``, which
is far from *some* earlier pick. ``apart=all`` takes the usual reading of diverse in its place, the candidate farthest
from the *nearest* earlier pick. Both criteria, beside a third, are in Shen et al., "Deep Active Learning for Breast
Cancer Segmentation on Immunohistochemistry Images" (MICCAI 2020).
Source: the code that goes with the benchmark; what its text adds to it could not be compared. Deviations: gains are
evaluated lazily (``_greedy.py``), which gives the same picks up to rounding; at least one pick stands for the pool
where nothing is labelled (the code fails at K = 1); labelled items cover from the start and count as earlier picks;
where nothing is left to gain, the second stage begins early; in a pool of more than ``jury`` items a random jury of
that size stands for all in the sum. Deterministic otherwise: the seed draws only the jury.
Shape legend: N items, D feature size, K budget, J items that the sum runs over.
Cost: 2 N J D + about 128 K J D operations with J = min(N, jury) for the first stage, 2 N K D for the second; O(N + J D)
memory. Not ordered: how many picks stand for the pool depends on the budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import IntArray
from activetune.base.config import check_settings
from activetune.features.distances import Float32, first_best, pieces
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._greedy import farthest_first, greedy_coverage, jury_of


@dataclass(frozen=True)
class RepDiv(Selector):
    """Representative picks, then unlike ones. Score: share of similarity added, 0 to 1; of the others, 0.

    >>> import numpy as np
    >>> from activetune.selection.problem import Evidence
    >>> pool = Evidence(np.eye(2, dtype=np.float32)[[0, 0, 0, 1]])
    >>> RepDiv().select(pool, 2, np.random.default_rng(0)).positions.tolist()
    [0, 3]

    Attributes:
        share: of the budget that stands for the pool, in [0, 1]; rounded down.
        apart: ``any`` (far from some earlier pick, as published) or ``all`` (far from each of them).
        jury: most items that the sum runs over, 0 for all.
    """

    randomised: ClassVar[bool] = False

    share: float = 0.7
    apart: Literal["any", "all"] = "any"
    jury: int = 20_000

    def __post_init__(self) -> None:
        check_settings("rep_div", ("share", self.share, 0, 1), ("jury", self.jury, 0, np.inf))

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; ``figures`` has how many picks are ``representative``."""
        wanted = int(self.share * budget + 1e-9)  # 0.7 * 90 is 62.99999
        if not len(evidence.labelled):
            wanted = max(1, wanted)
        positions, gains = greedy_coverage(
            evidence.features_ND,
            candidates=evidence.candidates,
            centres=evidence.labelled,
            population=jury_of(evidence.population, self.jury, rng),
            kernel=lambda similarity: similarity,
            budget=wanted,
            device=evidence.device,
        )
        if not len(positions) and not len(evidence.labelled):  # zero vectors alone: any of them stands for all
            positions, gains = evidence.candidates[:1], np.zeros(1)
        reasons = [f"stands for the pool: adds {gain:.2%} of similarity" for gain in gains]
        left = np.setdiff1d(evidence.candidates, positions, assume_unique=True)
        missing = budget - len(positions)
        earlier = np.concatenate([evidence.labelled, positions])
        if missing and self.apart == "all":
            rest, distances = farthest_first(evidence.features_ND, left, earlier, missing)
            told = [f"unlike each earlier pick: distance {distance:.3f}" for distance in distances]
        else:
            rest, similarities = unlike_any(evidence.features_ND, left, earlier, missing)
            told = [f"unlike an earlier pick: similarity {similarity:.3f}" for similarity in similarities]
        figures = {"representative": float(len(positions))}
        scores = np.concatenate([gains, np.zeros(missing)])
        return Picks(np.concatenate([positions, rest]), scores, reasons + told, figures)


def unlike_any(
    features_ND: Float32, candidates: IntArray, earlier: IntArray, budget: int
) -> tuple[IntArray, npt.NDArray[np.float64]]:
    """Pick the candidate that is least similar to any one of the earlier picks, again and again.

    Returns:
        positions (K,) and that similarity when picked (K,). Equal ones go to the lower position.
    """
    least_N = np.full(len(features_ND), np.inf, dtype=np.float32)  # inf: may not be picked
    least_N[candidates] = 2  # above any similarity
    pending = earlier
    picks: list[int] = []
    similarities: list[float] = []
    while len(picks) < budget:
        for part in pieces(len(features_ND), max(len(pending), features_ND.shape[1])):
            farthest = (features_ND[part] @ features_ND[pending].T).min(axis=1)
            np.minimum(least_N[part], farthest, out=least_N[part], where=least_N[part] < np.inf)
        best = first_best(-least_N)
        picks.append(best)
        similarities.append(float(least_N[best]))
        least_N[best] = np.inf
        pending = np.asarray([best])
    return np.asarray(picks, dtype=np.int64), np.asarray(similarities, dtype=np.float64)
