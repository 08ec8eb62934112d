"""The choice of a selector by the labels that are known, as measured in benchmarks/accuracy.

- No answers yet: ``activeft``, the best of the methods that need features alone, or level with it, at every budget
  measured.
- A finetuned model, and no answers beside it: ``uncertainty_medoids`` by the model's doubt.
- Answers of at least two classes: ``activeft`` as long as there are fewer than SHOTS answers per class, as a model
  learned from fewer is a poor guide; ``uncertainty_medoids`` from there on.
- A budget that asks for prefixes (``coverage:0.95``) needs an ordered method: ``max_herding``.
The methods were chosen on the pools of that benchmark, so its rows on ``auto``'s choices are no test of them. So was
SHOTS, and in experiments/pool on the design sets: at two labels per class coverage is ahead of a model's doubt.
The manifest's notes say what was chosen, and why.
Cost: that of the method chosen. Not ordered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.arrays import IntArray
from activetune.features.distances import Float32
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors._base import Selector
from activetune.selection.selectors.activeft import ActiveFT
from activetune.selection.selectors.max_herding import MaxHerding
from activetune.selection.selectors.uncertainty_medoids import UncertaintyMedoids

SHOTS = 3


@dataclass(frozen=True)
class Auto(Selector):
    """Chooses a method by the number of labels per class. Score: the chosen method's."""

    uses: ClassVar[frozenset[str]] = frozenset({"answers_L", "probs_NC"})
    shares_rows: ClassVar[bool] = True  # without answers, when it is activeft
    refines: ClassVar[bool] = True

    def in_order(self) -> Selector:
        """MaxHerding, the best of the ordered methods."""
        return MaxHerding()

    def refined(
        self,
        evidence: Evidence,
        picks: IntArray,
        rng: np.random.Generator,
        rows: Callable[[IntArray], Float32],
    ) -> IntArray:
        """See :class:`Selector`; by ``activeft``."""
        return ActiveFT().refined(evidence, picks, rng, rows)

    def select(self, evidence: Evidence, budget: int, rng: np.random.Generator) -> Picks:
        """See :class:`Selector`; ``notes`` say which method was chosen and why."""
        selector, why = choose(evidence)
        picks = selector.select(evidence, budget, rng)
        return Picks(picks.positions, picks.scores, picks.reasons, picks.figures, {**picks.notes, "auto": why})


def choose(evidence: Evidence) -> tuple[Selector, str]:
    """The method for this evidence, and one sentence on why."""
    if evidence.answers_L is None and evidence.probs_NC is not None:
        return UncertaintyMedoids(), "uncertainty_medoids: a finetuned model is given, whose doubts are worth following"
    if evidence.answers_L is None or evidence.probs_NC is None:
        return ActiveFT(), "activeft: no model can be learned from labels yet, so the features alone decide"
    known = evidence.answers_L[evidence.answers_L >= 0]
    shots = len(known) / max(1, len(np.unique(known)))
    if shots < SHOTS:
        return ActiveFT(), (
            f"activeft: {shots:.1f} labels per class on average; below {SHOTS} a model's doubts are a poorer guide "
            "than coverage"
        )
    return UncertaintyMedoids(), (
        f"uncertainty_medoids: {shots:.1f} labels per class on average are enough for a model whose doubts are worth "
        "following"
    )
