"""ProbCover (Yehuda, Dekel, Hacohen & Weinshall, "Active Learning Through a Covering Lens", NeurIPS 2022).

Greedily picks the candidate whose ball of a radius delta holds the most items that no ball holds yet. The radius is
that at which a ball holds 1 % of the items on average, or is given.
That 1 % was chosen on Caltech-101 and long-tailed CIFAR-10, two of the pools of benchmarks/accuracy.
Deviations: the paper's radius, the largest at which 95 % of the balls hold one cluster alone, is taken only where the
number of classes is given (``_radius.py`` says why). The delta-ball graph is never stored. Each candidate's count of
uncovered items is kept instead; the items that a pick newly covers are taken out of it, each of them once, which gives
the same picks. In a pool of more than ``jury`` items a random jury of that size stands for all. Once everything is
covered, the farthest candidates follow; no item is ever picked twice.
Cost: at most 4 N J D operations with J = min(N, jury) whatever the budget, O((N + J) D) memory.
Ordered (the radius does not depend on the budget).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.features.distances import Float32, pieces
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._greedy import and_farthest, jury_of
from activetune.selection.selectors._radius import SHARE, clustered_radius, typical_radius


@dataclass(frozen=True)
class ProbCover(Selector):
    """Greedy maximum of the items within a radius of a pick. Score: the share of items newly covered.

    Attributes:
        radius: delta, the Euclidean distance of unit rows, in (0, 2); 0 chooses it.
        share: of the items that a ball of the chosen radius holds on average, in (0, 1].
        classes: choose by the paper's rule instead, as many clusters stand for classes; 0 is off.
        jury: most items that coverage is counted on, 0 for all.
    """

    randomised: ClassVar[bool] = False
    ordered: ClassVar[bool] = True

    radius: float = 0.0
    share: float = SHARE
    classes: int = 0
    jury: int = 20_000

    def __post_init__(self) -> None:
        if not 0 <= self.radius < 2 or not 0 < self.share <= 1 or self.classes < 0 or self.jury < 0:
            raise UsageError("probcover: radius must be in [0, 2), share in (0, 1], classes and jury at least 0")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; ``figures`` holds the radius."""
        jury = jury_of(evidence.population, self.jury, rng)
        radius = self.radius or self._choose(evidence.features_ND[jury], rng)
        positions, shares = _widest_balls(evidence, jury, radius, budget)
        reasons = [f"newly covers {share:.2%} of the items" for share in shares]
        return and_farthest(evidence, budget, positions, shares, reasons, {"probcover_radius": radius})

    def _choose(self, features_JD: Float32, rng: np.random.Generator) -> float:
        if self.classes:
            return clustered_radius(features_JD, self.classes, rng)
        return typical_radius(features_JD, rng, self.share)


def _widest_balls(evidence: Evidence, jury: IntArray, radius: float, budget: int) -> tuple[IntArray, np.ndarray]:
    """Candidates by the share of uncovered jurors in their balls; fewer than the budget once all are covered."""
    rows_CD = torch.from_numpy(evidence.features_ND[evidence.candidates]).to(evidence.device)
    jury_JD = torch.from_numpy(evidence.features_ND[jury]).to(evidence.device)
    # Similarity at the rim. The chosen radius is the distance of some pair, which lies outside; the slack keeps
    # rounding from deciding that anew in each product, and duplicates inside.
    least = min(1 - radius**2 / 2 + 1e-6, 1 - 5e-7)

    def count_within(items_JD: torch.Tensor) -> np.ndarray:
        found = np.empty(len(rows_CD), dtype=np.int64)
        for part in pieces(len(rows_CD), len(items_JD)):
            found[part] = _count(rows_CD[part] @ items_JD.T >= least, 1)
        return found

    def count_pairs() -> np.ndarray:
        """``count_within`` of all candidates: each product gives two counts."""
        found = np.zeros(len(rows_CD), dtype=np.int64)
        for part in pieces(len(rows_CD), len(rows_CD)):
            near = rows_CD[part] @ rows_CD[part.start :].T >= least
            found[part] += _count(near, 1)
            found[part.stop :] += _count(near[:, part.stop - part.start :], 0)
        return found

    centres = torch.from_numpy(evidence.features_ND[evidence.labelled]).to(evidence.device)
    open_ = torch.ones(len(jury), dtype=torch.bool, device=evidence.device)
    for part in pieces(len(centres), len(jury)):
        open_ &= ~(centres[part] @ jury_JD.T >= least).any(0)
    same = bool(open_.all()) and np.array_equal(jury, evidence.candidates)
    counts = count_pairs() if same else count_within(jury_JD[open_])
    picks: list[int] = []
    shares: list[float] = []
    while len(picks) < budget:
        best = int(counts.argmax())
        if counts[best] <= 0:
            break
        picks.append(int(evidence.candidates[best]))
        shares.append(counts[best] / len(jury))
        newly = open_ & (jury_JD @ rows_CD[best] >= least)
        open_ &= ~newly
        counts -= count_within(jury_JD[newly])
        counts[best] = -1
    return np.asarray(picks, dtype=np.int64), np.asarray(shares)


def _count(near: torch.Tensor, dim: int) -> np.ndarray:
    """How many are true along a dimension; bytes are counted several times faster than truth values."""
    found: np.ndarray = near.view(torch.uint8).sum(dim, dtype=torch.int32).cpu().numpy()
    return found
