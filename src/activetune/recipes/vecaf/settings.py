"""The settings of VeCAF's loops, and what follows from them alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings, off_default, parse_settings
from activetune.base.errors import UsageError
from activetune.base.settings import Settings
from activetune.selection.budget import Groups, parse_budget, water_fill
from activetune.selection.selectors import Selector, make_selector


@dataclass(frozen=True)
class LoopSettings(Settings):
    """How the loops go, beside how the network is trained in them.

    Attributes:
        batches: of all loops together; stretches between two measurements differ by one batch at most.
        loops: L. budget: items per loop, ``5%`` or a number. measurements: validations per loop.
        loop_growth: how many times the batches and the items of the loop before it a loop has; 1 makes all alike.
            ``budget`` is the loops' mean then.
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
        score_part: which part that is. ``random``: another one in each loop, which selects among it. ``uncertain``: the
            items whose loss was highest when it was last known; the others keep theirs, and a loop selects among all.
        scoring: where the losses of the loops after the first come from. ``full``: a pass of the network as it is over
            images. The others look at no image. ``noted``: the losses of training itself, of each item in the last
            step that had it; an item that was not trained on yet keeps its first loss. ``head``: the network's
            classifier as it is, on the features of the first loop. ``proxy``: a linear probe on these features, fitted
            on the items that were trained on so far.
        score_size: side of the images of a pass that scores alone, as a share of the usual one (``scoring=full``).
        loss_balance: how evenly the classes weigh in the losses that select: 0 every item alike, 1 every class by the
            mean loss of its items, however many they are.

    Wherever a loop has losses of items that it does not look at (``uncertain``, ``noted``, ``head``, ``proxy``), it
    selects among the items that the first loop scored, by the features that they had there.
    """

    batches: int = 300
    loops: int = 3
    budget: int | float | str = "5%"
    measurements: int = 3
    loop_growth: float = 1.0
    select_with: str = "ods"
    select_settings: tuple[str, ...] = ()
    select_within: Literal["pool", "classes"] = "pool"
    objective: str | Callable[[Tensor, Tensor], Tensor] = "cross_entropy"
    warm_up: Literal["pool", "selected", "none"] = "pool"
    score_first: float = 1.0
    score_share: float = 1.0
    score_loops: Literal["every", "first"] = "every"
    score_part: Literal["random", "uncertain"] = "random"
    scoring: Literal["full", "head", "proxy", "noted"] = "full"
    score_size: float = 1.0
    loss_balance: float = 0.0

    def __post_init__(self) -> None:
        check_settings(
            "vecaf",
            ("loops", self.loops, 1, 1000),
            ("measurements", self.measurements, 1, 1000),
            ("batches", self.batches, 1, np.inf),
            ("score_first", self.score_first, 0.001, 1),
            ("score_share", self.score_share, 0.001, 1),
            ("score_size", self.score_size, 0.1, 1),
            ("loop_growth", self.loop_growth, 0.1, 10),
            ("loss_balance", self.loss_balance, 0, 1),
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
        if min(self.steps) < 1:
            raise UsageError(
                f"vecaf: with loop_growth={self.loop_growth:g} the smallest of {self.loops} loops has fewer batches "
                f"than its {self.measurements} measurements; give more batches, or a loop_growth nearer to 1"
            )
        if self.select_with == "all" and self.select_within == "classes":
            raise UsageError(
                "vecaf: select_within=classes spreads a selection over the classes, and select_with=all selects "
                "nothing; give a selector, or balance=1 to train on all items with each class as often as any other"
            )
        check_scoring(self, self.selector())

    @property
    def steps(self) -> list[int]:
        """Batches of each stretch between two measurements, loop by loop; together they are ``batches``."""
        shares = np.repeat(self._shares_of_loops / self.measurements, self.measurements)
        ends = np.floor(self.batches * np.cumsum(shares) + 0.5 + 1e-9).astype(np.int64)
        return [int(count) for count in np.diff(ends, prepend=0)]

    @property
    def _shares_of_loops(self) -> FloatArray:
        """The part (L,) that each loop has of all batches and items."""
        weights_L = self.loop_growth ** np.arange(self.loops)
        return np.asarray(weights_L / weights_L.sum())

    def sizes(self, total: int) -> list[int]:
        """Items of each loop, up to ``total``; see :meth:`items`."""
        mean = self.items(total)
        if mean == total:
            return [total] * self.loops
        return [min(total, max(1, round(mean * self.loops * share))) for share in self._shares_of_loops]

    def items(self, total: int) -> int:
        """K of a loop, up to ``total``, the items that are not held out; the mean of loops that grow.

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
                f"vecaf: budget can't be {self.budget!r}; give a share such as 5%, or up to {total:,} items per loop"
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

    @property
    def keeps_first(self) -> bool:
        """Whether all loops select among the items that the first one scored."""
        return self.scoring != "full" or self.score_loops == "first" or self.score_part == "uncertain"

    def looked_at(self, candidates: IntArray, indices: IntArray, loop: int, seed: int) -> IntArray:
        """The items that a loop scores, in order: all, or a random part that suffices to select from.

        Args:
            candidates: positions to choose from. indices: the classes of all items, by position.
        """
        share = self.score_share if loop else self.score_first
        sizes = self.sizes(len(candidates))
        count = max(max(sizes) if self.keeps_first and not loop else sizes[loop], round(share * len(candidates)))
        rng = np.random.default_rng([seed, 6, loop])
        if self.select_within == "pool" or count == len(candidates):
            return np.sort(rng.choice(candidates, count, replace=False))
        groups = self.groups(indices, seed, start=sum(sizes[:loop]))
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


OF_LOSSES = ("objective", "loss_balance")
OF_SCORING = ("score_first", "score_share", "score_loops", "score_part", "scoring", "score_size")
OF_LATER_LOOPS = ("loop_growth", "score_share", "score_loops", "score_part", "scoring")


def without_effect(options: LoopSettings, *, described: bool) -> Iterator[tuple[Sequence[str], str]]:
    """Settings that are given and change nothing in these loops, and why.

    Args:
        described: whether items get captions, which are mapped to their features.
    """
    selector = options.selector()
    reads = selector.needs | selector.uses if selector is not None else frozenset()
    if selector is None:
        yield off_default(options, ("select_settings",)), "select_with=all selects nothing"
    if "losses_N" not in reads:
        yield off_default(options, OF_LOSSES), f"select_with={options.select_with} reads no losses"
    if not reads and not described:
        yield off_default(options, OF_SCORING), f"select_with={options.select_with} scores nothing"
    elif options.loops == 1:
        yield off_default(options, OF_LATER_LOOPS), "there is one loop"


def check_scoring(options: LoopSettings, selector: Selector | None) -> None:
    """Refuse settings of the scoring that contradict each other.

    A selector that looks at nothing leaves all of them without effect, so that one recipe serves several selectors.

    Raises:
        UsageError: one of them would change nothing, or the selector reads what is not known.
    """
    for name, usual in (("score_share", 1.0), ("score_loops", "every"), ("score_part", "random"), ("score_size", 1.0)):
        given = getattr(options, name)
        if options.scoring != "full" and given != usual:
            raise UsageError(
                f"vecaf: {name}={given} is about passes over images after the first loop, and scoring="
                f"{options.scoring} makes none; leave {name} out, or give scoring=full"
            )
    uncertain = options.score_part == "uncertain"
    if uncertain and (options.score_share == 1 or options.score_loops == "first"):
        raise UsageError(
            "vecaf: score_part=uncertain says which part of the items is scored again; give a score_share below 1, and "
            "score_loops=every"
        )
    if selector is None:
        return
    if "probs_NC" in selector.needs and (uncertain or options.scoring == "noted"):
        given = "score_part=uncertain" if uncertain else "scoring=noted"
        raise UsageError(
            f"vecaf: {options.select_with} reads probabilities, and {given} keeps the losses of items alone; choose a "
            "selector that reads losses, such as ods, or scoring=head or proxy"
        )
    reads = selector.needs | selector.uses
    if options.loss_balance and reads and "losses_N" not in reads:
        raise UsageError(
            f"vecaf: loss_balance is about the losses that select, and {options.select_with} reads none; choose ods or "
            "top_loss, or leave it out (balance and select_within even out the classes for any selector)"
        )
    if options.loss_balance and (options.select_within == "classes" or str(options.objective).startswith("one_vs_all")):
        other = "select_within=classes" if options.select_within == "classes" else "objective=one_vs_all"
        raise UsageError(f"vecaf: {other} has evened out the classes already; leave loss_balance out")
