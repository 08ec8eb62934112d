"""ActiveFT (Xie et al., "Active Finetuning", CVPR 2023): Algorithm 1.

K centroids on the unit sphere start at random pool items and minimise equation 11 (see ``_engine.PaperLoss``) with
Adam; each then takes its most similar pool item.
Deviations: where several centroids share that item, pairs are joined by similarity, so that K distinct ids come out
whatever the centroids' order (the paper does not say what to do; its argmax would return fewer items). Labelled items
take part as fixed centroids, which the paper does not have.
Cost: ``iterations`` times 2 N (K + L) D + 6 (K + L)^2 D operations; O(N + (K + L) D + chunk) memory. Not ordered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from activetune.distances import distinct_nearest
from activetune.errors import UsageError
from activetune.selectors._base import Selector
from activetune.selectors._engine import PaperLoss, ReleasedLoss, minimise
from activetune.types import Evidence, Picks


@dataclass(frozen=True)
class ActiveFT(Selector):
    """Centroids of the pool's distribution. Score: the number of items that the pick's centroid stands for.

    Attributes:
        loss: ``paper`` (equation 11) or ``released`` (what the authors' code computes).
        temperature: tau, > 0.
        balance: lambda, the weight of the repulsion, >= 0.
        lr: Adam's step size, > 0.
        iterations: Adam steps, >= 1.
        gradient: ``ambient``, of the dot products as Algorithm 1 writes them, or ``tangent``, along the sphere, which
            reaches a lower loss (not always better picks: docs/select.md). The released loss is always tangent.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {"loss": "paper", "temperature": 0.07, "balance": 1.0, "lr": 1e-3, "iterations": 300},
        "released": {"loss": "released", "temperature": 0.07, "balance": 1.0, "lr": 1e-3, "iterations": 300},
    }

    loss: Literal["paper", "released"] = "paper"
    temperature: float = 0.07
    balance: float = 1.0
    lr: float = 1e-3
    iterations: int = 300
    gradient: Literal["ambient", "tangent"] = "ambient"

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("temperature", self.temperature, self.temperature > 0),
            ("balance", self.balance, self.balance >= 0),
            ("lr", self.lr, self.lr > 0),
            ("iterations", self.iterations, self.iterations >= 1),
        ):
            if not allowed:
                raise UsageError(f"activeft: {name} can't be {value}; see 'activetune list selectors'")

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; ``figures`` holds the loss at the start and at the end."""
        features_ND = evidence.features_ND
        start = rng.choice(evidence.candidates, budget, replace=False)
        pool_ND = features_ND
        if len(evidence.excluded):
            pool_ND = features_ND[np.sort(np.concatenate([evidence.candidates, evidence.labelled]))]
        loss = (PaperLoss if self.loss == "paper" else ReleasedLoss)(self.temperature, self.balance)
        solution = minimise(
            pool_ND,
            features_ND[start],
            features_ND[evidence.labelled],
            loss=loss,
            lr=self.lr,
            iterations=self.iterations,
            tangent=self.gradient == "tangent",
            device=evidence.device,
        )
        positions, similarity = distinct_nearest(solution.centroids_KD, features_ND, evidence.candidates)
        sizes = np.bincount(solution.assignment, minlength=budget)[:budget]
        order = np.lexsort((positions, -sizes))
        reasons = [
            f"nearest to a centroid that stands for {sizes[index]:,} items, similarity {similarity[index]:.3f}"
            for index in order
        ]
        figures = {"loss": solution.losses[-1], "loss_start": solution.losses[0], "loss_best": min(solution.losses)}
        return Picks(positions[order], sizes[order].astype(np.float64), reasons, figures)
