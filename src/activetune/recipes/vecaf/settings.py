"""The settings of VeCAF's loops, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from activetune.base.arrays import IntArray
from activetune.base.config import check_settings, parse_settings
from activetune.base.errors import UsageError
from activetune.base.settings import Settings
from activetune.selection.budget import Groups, parse_budget, water_fill
from activetune.selection.selectors import Selector, make_selector


@dataclass(frozen=True)
class LoopSettings(Settings):
    """How the loops go, beside how the network is trained in them.

    Attributes:
        batches: of all loops together, rounded down to a multiple of ``loops * measurements``.
        loops: L. budget: items per loop, ``5%`` or a number. measurements: validations per loop.
        select_with: a selector, or ``all``. select_settings: its settings, ``name=value,…``.
        select_within: ``pool``, or ``classes``: the budget is spread evenly over the classes, and the selector picks
            its share of each class among the items of that class alone. A class with fewer items gives all of them,
            and the others more.
        objective: whose losses select: ``cross_entropy``, ``one_vs_all:CLASS``, or (in Python) a function from logits
            (B, C) and classes (B,) to losses (B,).
        warm_up: where the first classifier comes from: a probe on the ``pool``, on the first items ``selected``, or
            ``none``: zero.
        score_first: part of the pool that is scored in the first loop, where no probe on the pool reads all of it.
        score_share: that of the loops after it. score_loops: ``every`` or ``first``.
    """

    batches: int = 300
    loops: int = 3
    budget: int | float | str = "5%"
    measurements: int = 3
    select_with: str = "ods"
    select_settings: tuple[str, ...] = ()
    select_within: Literal["pool", "classes"] = "pool"
    objective: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy"
    warm_up: Literal["pool", "selected", "none"] = "pool"
    score_first: float = 1.0
    score_share: float = 1.0
    score_loops: Literal["every", "first"] = "every"

    def __post_init__(self) -> None:
        check_settings(
            "vecaf",
            ("loops", self.loops, 1, 1000),
            ("measurements", self.measurements, 1, 1000),
            ("batches", self.batches, 1, np.inf),
            ("score_first", self.score_first, 0.001, 1),
            ("score_share", self.score_share, 0.001, 1),
        )
        if self.score_first < 1 and self.warm_up == "pool":
            raise UsageError(
                f"vecaf: score_first can't be {self.score_first:g} where the first classifier is a probe on the pool, "
                "which reads all of it; give warm_up=selected or warm_up=none too"
            )
        if self.batches < self.loops * self.measurements:
            raise UsageError(
                f"vecaf: {self.batches} batches can't be shared out among {self.loops} loops with {self.measurements} "
                f"measurements each; give at least {self.loops * self.measurements}, or fewer loops"
            )
        if self.select_with == "all" and self.select_within == "classes":
            raise UsageError(
                "vecaf: select_within=classes spreads a selection over the classes, and select_with=all selects "
                "nothing; give a selector, or balance=1 to train on all items with each class as often as any other"
            )
        self.selector()

    def items(self, total: int) -> int:
        """K of a loop, up to ``total``, the items that are not held out.

        Raises:
            UsageError: a budget beyond them.
        """
        if self.select_with == "all":
            return total
        kind, value = parse_budget(self.budget)
        if kind == "share":
            return max(1, round(value * total))
        if kind != "count" or value > total:
            raise UsageError(
                f"vecaf: budget can't be {self.budget!r}; give a share such as 5%, or up to {total:,} items a loop"
            )
        return int(value)

    def selects_from(self, total: int) -> bool:
        """Whether a loop trains on fewer items than all of them."""
        return self.items(total) < total

    def scores(self, total: int, *, described: bool) -> bool:
        """Whether a loop looks at the items that it selects from; drawing at random does not.

        Args:
            described: whether the selected items get captions, which are mapped to their features.
        """
        selector = self.selector()
        looks = selector is not None and bool(selector.needs | selector.uses)
        return self.selects_from(total) and (looks or described)

    def looked_at(self, candidates: IntArray, indices: IntArray, loop: int, seed: int) -> IntArray:
        """The items that a loop scores, in order: all, or a random part that suffices to select from.

        Args:
            candidates: positions to choose from. indices: the classes of all items, by position.
        """
        share = self.score_share if loop else self.score_first
        count = max(self.items(len(candidates)), round(share * len(candidates)))
        rng = np.random.default_rng([seed, 6, loop])
        if self.select_within == "pool" or count == len(candidates):
            return np.sort(rng.choice(candidates, count, replace=False))
        groups = self.groups(indices, seed, start=loop * self.items(len(candidates)))
        members = [candidates[groups.numbers_N[candidates] == group] for group in range(len(groups.names))]
        counts_G = water_fill(count, groups.counts(candidates))
        drawn = [rng.choice(group, size, replace=False) for group, size in zip(members, counts_G, strict=True)]
        return np.sort(np.concatenate(drawn))

    def groups(self, indices: IntArray, seed: int, *, start: int) -> Groups:
        """The classes (L,) of items as the groups of a loop's selection.

        A budget that the classes don't divide gives the first groups one item more. So the order is a random one, and
        a loop begins with the class at which the loop before it ended: over the loops every class has its turn.

        Args:
            start: how many items earlier loops have selected.
        """
        classes = np.unique(indices)
        order = np.random.default_rng([seed, 10]).permutation(classes)
        order = np.roll(order, -(start % len(order)))
        return Groups([str(index) for index in order], np.argsort(order)[np.searchsorted(classes, indices)])

    def selector(self) -> Selector | None:
        """What selects; None for everything.

        Raises:
            UsageError: unknown selector or setting, or one that reads patch tokens.
        """
        if self.select_with == "all":
            return None
        selector = make_selector(self.select_with, None, parse_settings(self.select_settings))
        if "tokens_NTD" in selector.needs:
            raise UsageError(
                f"vecaf: {self.select_with} reads patch tokens, which a loop does not score; choose another"
            )
        return selector
