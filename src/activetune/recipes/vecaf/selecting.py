"""Running a selector in a VeCAF loop: on the whole pool or class by class, with or without a look at the items.

Shape legend: S scored items, N rows of the evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.errors import UsageError
from activetune.recipes.vecaf.settings import LoopSettings
from activetune.selection.evidence import gather
from activetune.selection.picking import pick_balanced
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import Selector, make_selector
from activetune.training.job import Job

SCORED = {"features_ND", "losses_N", "probs_NC"}  # evidence that the scoring of a loop gives


@dataclass(frozen=True)
class LoopSelector:
    """Selects the budget of a loop.

    Attributes:
        candidates: positions of the items that are not held out. sizes: K of each loop.
    """

    job: Job
    options: LoopSettings
    candidates: IntArray
    sizes: Sequence[int]

    def unseen(self, loop: int) -> Picks:
        """All candidates, or items that are drawn without a look at any."""
        count, selector = len(self.candidates), self.options.selector()
        if selector is None or self.sizes[loop] == count:
            return Picks(self.candidates, np.zeros(count), ["everything is trained on"] * count)
        unseen = Evidence(np.empty((count, 0), dtype=np.float32))
        chosen = self._within(selector, unseen, self.candidates, loop)
        return replace(chosen, positions=self.candidates[chosen.positions])

    def scored(self, evidence: Evidence, positions: IntArray, before: IntArray, loop: int) -> Picks:
        """Picks among scored items; their positions are rows of the evidence.

        A selector that learns from answers gets those of the items of earlier loops; the first loop draws at random, or
        as the selector does by features alone.

        Args:
            positions: (S,) the items that the evidence's rows are. before: rows that an earlier loop selected.

        Raises:
            UsageError: fewer items are left than the budget.
        """
        selector = self.options.selector()
        assert selector is not None
        missing = (selector.needs | (selector.uses if selector.in_rounds else frozenset())) - SCORED
        if missing and len(before):
            answers = self.job.labels.indices[positions[before]]
            evidence = replace(evidence, labelled=before, answers_L=answers)
            evidence = gather(evidence, missing, method=self.options.select_with, seed=self._seed(loop))
        elif missing and not selector.in_rounds:
            selector = make_selector("random")
        if len(evidence.candidates) < self.sizes[loop]:
            raise UsageError(
                f"loop {loop + 1} has {len(evidence.candidates):,} items left to select {self.sizes[loop]:,} from; "
                "give fewer loops or a smaller budget"
            )
        return self._within(selector, evidence, positions, loop)

    def _within(self, selector: Selector, evidence: Evidence, positions: IntArray, loop: int) -> Picks:
        """A loop's budget of picks, from all of the evidence or evenly from the classes in it."""
        rng, budget = np.random.default_rng(self._seed(loop)), self.sizes[loop]
        if self.options.select_within == "pool":
            return selector.select(evidence, budget, rng)
        groups = self.options.groups(self.job.labels.indices, self.job.seed, start=sum(self.sizes[:loop]))
        here = replace(groups, numbers_N=groups.numbers_N[positions])
        return pick_balanced(selector, evidence, here, budget, rng)

    def _seed(self, loop: int) -> int:
        return int(np.random.SeedSequence([self.job.seed, 7, loop]).generate_state(1)[0])


def rows_among(positions: IntArray, selections: Sequence[IntArray]) -> IntArray:
    """The rows of items (S,) that are in one of the selections."""
    return np.flatnonzero(np.isin(positions, np.concatenate([NO_INDICES, *selections])))
