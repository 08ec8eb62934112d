"""ActiveFT (Xie et al., "Active Finetuning", CVPR 2023), taken to its optimum.

K centroids on the unit sphere start at random pool items and minimise equation 11 (``_losses.PaperLoss``). They settle
among their items, each takes its most similar pool item, and picks are swapped for other items while that lowers the
mean of ``d^p``, d an item's distance to its nearest pick (``_swaps.py``); for p = 1 that is the Earth Mover's Distance
which section 3.4 of the paper shows the loss to stand for.
Deviations of the default from Algorithm 1, which ``--preset paper`` keeps: a descent instead of Adam, which ends at a
lower loss in a tenth of the evaluations, and the swaps. They are there because a lower loss alone does not give better
picks, a lower distance does (docs/select.md). In ``--preset typical`` a pick that stands for hundreds of items then
gives way to the most typical of them (``_typical.py``). Of both: where several centroids share an item, pairs are
joined by similarity, so that K distinct ids come out whatever the centroids' order (the paper does not say what to do;
its argmax would return fewer items). Labelled items take part as fixed centroids, which the paper does not have.
The swaps, their power (2, and 4 in ``--preset tail``) and the size of their jury were chosen by top-1 on Caltech-101
and CIFAR-10, even and long-tailed, and ``typical`` on CIFAR-10: on those pools the benchmarks flatter this default
(experiments/LOG.md).
Cost: some 30 evaluations of 32 N D + 4 M^2 D operations with M = K + L, a few exact assignments of 2 N M D, and a
pass of swaps of 2 J T D with at most J = 20,000 and T = max(8,192, 2 K), 2 N n D with n = min(N / K, 2,048) for typical
picks; O(N + (J + M) D) memory. Not ordered.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError
from activetune.features.distances import Float32, distinct_nearest
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors._engine import Solution, minimise
from activetune.selection.selectors._losses import CentroidLoss, ContrastiveLoss, PaperLoss, ReleasedLoss
from activetune.selection.selectors._swaps import picks_of_centroids, swapped, weight_of_each
from activetune.selection.selectors._typical import most_typical

LOSSES: Mapping[str, type[CentroidLoss]] = {
    "paper": PaperLoss,
    "released": ReleasedLoss,
    "contrastive": ContrastiveLoss,
}
AS_PUBLISHED = {"temperature": 0.07, "balance": 1.0, "optimiser": "adam", "lr": 1e-3, "iterations": 300, "swaps": 0}


@dataclass(frozen=True)
class ActiveFT(Selector):
    """Centroids of the pool's distribution. Score: the number of items that the pick is the nearest to.

    Attributes:
        loss: ``paper`` (equation 11), ``released`` (what the authors' code computes) or ``contrastive`` (the paper's
            ablation).
        temperature: tau, >= 0.002.
        balance: lambda, the weight of the repulsion, >= 0.
        optimiser: ``descent``, or ``adam`` as in Algorithm 1.
        lr: Adam's step size, > 0; the descent finds its own.
        iterations: Adam's steps, or the most evaluations of the descent, >= 1.
        update: whether items go to their nearest centroid anew in each evaluation (off: the paper's ablation).
        power: p of the mean ``d^p`` that the swaps lower, > 0; 1 is the Earth Mover's Distance.
        swaps: most passes of swaps, 0 for none (each centroid then takes its most similar item).
        typical: where a pick stands for so many items on average, or more, it gives way to the most typical one of
            those nearest to it; 0 for never.
    """

    shares_rows: ClassVar[bool] = True
    refines: ClassVar[bool] = True
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"loss": "paper", **AS_PUBLISHED},
        "released": {"loss": "released", **AS_PUBLISHED},
        "tail": {"power": 4.0},  # rare classes count more: items far from every pick weigh more
        "typical": {"typical": 300},  # few labels for a large pool of many kinds of images
    }

    loss: Literal["paper", "released", "contrastive"] = "paper"
    temperature: float = 0.07
    balance: float = 1.0
    optimiser: Literal["descent", "adam"] = "descent"
    lr: float = 1e-3
    iterations: int = 60
    update: bool = True
    power: float = 2.0
    swaps: int = 1
    typical: int = 0

    def __post_init__(self) -> None:
        check_settings(
            "activeft",
            ("temperature", self.temperature, 0.002, math.inf),
            ("balance", self.balance, 0, math.inf),
            ("lr", self.lr, 1e-12, math.inf),
            ("iterations", self.iterations, 1, math.inf),
            ("power", self.power, 1e-12, math.inf),
            ("swaps", self.swaps, 0, math.inf),
            ("typical", self.typical, 0, math.inf),
        )
        if self.loss != "paper" and self.optimiser == "descent":
            why = {
                "released": "stops gradients on one side",
                "contrastive": "can rise when items go to their nearest centroid",
            }[self.loss]
            raise UsageError(
                f"activeft: the {self.loss} loss {why}, so no descent can follow it; give optimiser=adam too"
                + (", or --preset released" if self.loss == "released" else "")
            )

    def unshared(self) -> str:
        """See :class:`Selector`."""
        return (
            "" if LOSSES[self.loss].shares_rows else f"loss={self.loss}, which compares each centroid with every item"
        )

    def unrefined(self) -> str:
        """See :class:`Selector`: the swaps go back to the middle of the groups."""
        return f"typical={self.typical}" if self.typical else ""

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; ``figures`` holds the exact loss at the start and at the end."""
        return self.weighed(evidence, budget, rng, None)

    def refined(
        self,
        evidence: Evidence,
        picks: IntArray,
        rng: np.random.Generator,
        rows: Callable[[IntArray], Float32],
    ) -> IntArray:
        """See :class:`Selector`."""
        return swapped(evidence, picks, rng, power=self.power, passes=max(1, self.swaps), rows=rows)

    def weighed(self, evidence: Evidence, budget: int, rng: np.random.Generator, weights_N: Float32 | None) -> Picks:
        """The picks where items weigh differently: positive numbers whose mean is 1, None for equal ones."""
        solution = self.solve(evidence, budget, rng, weights_N)
        if self.swaps:
            positions = picks_of_centroids(
                evidence,
                solution.centroids_KD,
                solution.assignment_N,
                rng,
                power=self.power,
                passes=self.swaps,
                weights_N=weights_N,
            )
        else:
            positions, _ = distinct_nearest(
                solution.centroids_KD, evidence.features_ND, evidence.candidates, holding=evidence.holding
            )
        notes = {}
        if self.typical and weights_N is None:
            each = self._items_per_pick(evidence, budget)
            told = f"a pick stands for {int(each):,} items on average"
            if each >= self.typical:
                positions = most_typical(evidence, positions, rng)
                notes["typical"] = f"{told}; each is the most typical of its group"
            else:
                notes["typical"] = f"{told}, fewer than typical={self.typical:,}; each stays in the middle of its group"
        sizes = weight_of_each(evidence, positions, weights_N)
        order = np.lexsort((positions, -sizes))
        reasons = [f"the nearest pick of {sizes[index]:,.0f} items" for index in order]
        figures = {
            "loss": solution.losses[-1],
            "loss_start": solution.losses[0],
            "loss_best": min(solution.losses),
            "evaluations": float(solution.evaluations),
        }
        return Picks(positions[order], sizes[order], reasons, figures, notes)

    def _items_per_pick(self, evidence: Evidence, budget: int) -> float:
        """The size of a group; labelled items have one each too."""
        count = evidence.holding.count
        return count(len(evidence.population)) / (budget + count(len(evidence.labelled)))

    def solve(self, evidence: Evidence, budget: int, rng: np.random.Generator, weights_N: Float32 | None) -> Solution:
        """The centroids that the loss ends at, from a start drawn anew."""
        features_ND, candidates, population = evidence.features_ND, evidence.candidates, evidence.population
        weights = None if weights_N is None else weights_N[candidates]
        start = evidence.holding.drawn(candidates, budget, rng, weights)
        whole = len(population) == len(features_ND)
        return minimise(
            features_ND if whole else features_ND[population],
            evidence.holding.rows(features_ND, start),
            evidence.labelled_rows_LD,
            loss=LOSSES[self.loss](self.temperature, self.balance),
            optimiser=self.optimiser,
            lr=self.lr,
            iterations=self.iterations,
            update=self.update,
            weights_N=None if weights_N is None else weights_N[population],
            device=evidence.device,
            holding=evidence.holding,
        )
