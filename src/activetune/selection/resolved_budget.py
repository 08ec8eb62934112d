"""A budget resolved to numbers for given embeddings, and its picks by a selector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError, some
from activetune.features.artefact import Embeddings
from activetune.selection.budget import Coverage, Groups, parse_budget, water_fill
from activetune.selection.constraints import PREDICTED, Limits, Metadata, describe_unavailable, read_column
from activetune.selection.covering import pick_covering
from activetune.selection.picking import pick, pick_balanced, pick_shares
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import Selector, selectors
from activetune.selection.selectors._radius import typical_radius


@dataclass(frozen=True)
class ResolvedBudget:
    """A budget resolved against what may be picked.

    Attributes:
        asked: how many picks; None: as many as ``coverage`` takes.
        coverage: the share to cover, and its radius.
        groups: the items by class or column. each: picks of every group; None: equal shares of ``asked``.
        column: the column that is balanced; ``predicted`` has its groups only once there is a model.
        classes: sorted names of the known answers.
        min_distance: no two picks, and no pick and labelled item, are nearer than this.
    """

    asked: int | None
    coverage: Coverage | None = None
    groups: Groups | None = None
    each: int | None = None
    column: str | None = None
    classes: Sequence[str] = ()
    min_distance: float = 0.0


@dataclass(frozen=True)
class BudgetResult:
    """The picks for a budget, with entries of the manifest, figures and notes on how it worked out."""

    picks: Picks
    entries: Mapping[str, Any]
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def resolve_budget(
    embeddings: Embeddings,
    limits: Limits,
    budget: int | float | str,
    *,
    min_distance: float | None = None,
    balance: str | None = None,
    metadata: Metadata | None = None,
) -> ResolvedBudget:
    """Resolve a budget to numbers of picks, of all items or of each group.

    Raises:
        UsageError: more than there is, classes that are not known, a distance outside [0, 2], a column that is not
            there, or options that exclude each other.
    """
    kind, value = parse_budget(budget)
    distance = _min_distance(min_distance)
    if balance is not None:
        return _balanced(embeddings, limits, budget, balance, metadata, distance)
    if metadata is not None:
        raise UsageError("the metadata are read to balance a column of theirs; name it with --balance COLUMN")
    if kind == "per_class":
        return _per_class(embeddings, limits, int(value), distance)
    if kind == "coverage":
        return ResolvedBudget(None, Coverage.parse(budget), min_distance=distance)
    return ResolvedBudget(_count(limits, kind, value), min_distance=distance)


def needs_order(method: str, budget: int | float | str) -> UsageError:
    """The error for a share to cover with a method whose picks are not ordered; it names those that are."""
    ordered = ", ".join(sorted(name for name, cls in selectors().items() if cls.ordered))
    return UsageError(
        f"the budget {str(budget)!r} needs a method whose every prefix is a selection, so that the fewest picks can be "
        f"kept, and {method} is not one; choose one of: {ordered}; or give a number"
    )


def carry_out(budget: ResolvedBudget, selector: Selector, evidence: Evidence, seed: int) -> BudgetResult:
    """Pick as many items as the budget asks for; a shortfall is an entry of the result and no error."""
    rng = np.random.default_rng(seed)
    if budget.coverage is not None:
        return _cover(budget, budget.coverage, selector, evidence, seed)
    assert budget.asked is not None
    if budget.column is not None:
        result = _balance(budget, budget.asked, selector, evidence, rng)
    elif budget.groups is not None:
        counts_G = np.full(len(budget.groups.names), budget.each)
        picks = pick_shares(selector, evidence, budget.groups, counts_G, rng, min_distance=budget.min_distance)
        result = BudgetResult(picks, {})
    else:
        result = BudgetResult(pick(selector, evidence, budget.asked, rng, min_distance=budget.min_distance), {})
    entries: dict[str, Any] = {"asked": budget.asked, "k": len(result.picks.positions), **result.entries}
    if entries["k"] < budget.asked:
        entries["shortfall"] = _too_few(budget, budget.asked, result.picks)
    return BudgetResult(result.picks, entries, result.figures, result.notes)


# Resolving --------------------------------------------------------------------------------------------------------


def _min_distance(given: float | None) -> float:
    if given is None:
        return 0.0
    if not 0 <= given <= 2:
        raise UsageError(
            f"--min-distance can't be {given:g}: it is a Euclidean distance of features of unit length, 0 to 2 "
            "(0.5: an angle of 29 degrees)"
        )
    return float(given)


def _count(limits: Limits, kind: str, value: float) -> int:
    """The number of picks that a number or a share means."""
    count = max(1, round(value * len(limits.population))) if kind == "share" else int(value)
    left = len(limits.candidates)
    if count > left:
        others = describe_unavailable(limits)
        raise UsageError(
            f"the budget {count:,} is over the pool: {left:,} items can be picked{f' ({others})' if others else ''}"
        )
    return count


def _per_class(embeddings: Embeddings, limits: Limits, each: int, min_distance: float) -> ResolvedBudget:
    groups = Groups.of(embeddings.labels or [None] * limits.total, limits.population)
    if not groups.names:
        raise UsageError(
            "a budget per class needs known labels, and these embeddings have none; give a number or a share"
        )
    for name, count in zip(groups.names, groups.counts(limits.candidates), strict=True):
        if count < each:
            raise UsageError(
                f"the budget {each}/class is over what class {name!r} has: {count:,} items that can be picked; "
                "give a smaller budget"
            )
    return ResolvedBudget(each * len(groups.names), groups=groups, each=each, min_distance=min_distance)


def _balanced(
    embeddings: Embeddings,
    limits: Limits,
    budget: int | float | str,
    column: str,
    metadata: Metadata | None,
    min_distance: float,
) -> ResolvedBudget:
    kind, value = parse_budget(budget)
    if kind not in ("count", "share"):
        raise UsageError(f"--balance shares out a number or a share of the items, not {str(budget)!r}; give 500 or 5%")
    count = _count(limits, kind, value)
    if column == PREDICTED:
        if len(limits.classes) < 2:
            has = f"all known ones are {limits.classes[0]!r}" if limits.classes else "none is known"
            raise UsageError(
                f"--balance {PREDICTED} learns from labels of at least two classes, and {has}: give --labelled a file "
                "with the columns id and label"
            )
        return ResolvedBudget(count, column=column, classes=limits.classes, min_distance=min_distance)
    groups = Groups.of(read_column(embeddings, column, metadata), limits.population)
    left = int(groups.counts(limits.candidates).sum())
    if count > left:
        raise UsageError(
            f"the budget {count:,} is over what can be balanced: {left:,} of the {len(limits.candidates):,} items that "
            f"can be picked have a value of {column!r}"
        )
    return ResolvedBudget(count, groups=groups, column=column, min_distance=min_distance)


# Carrying out -----------------------------------------------------------------------------------------------------


def _cover(budget: ResolvedBudget, goal: Coverage, selector: Selector, evidence: Evidence, seed: int) -> BudgetResult:
    radius = goal.radius
    if radius is None:
        whole = len(evidence.population) == len(evidence.features_ND)
        features_ND = evidence.features_ND if whole else evidence.features_ND[evidence.population]
        radius = typical_radius(features_ND, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng(seed)
    picks, reached = pick_covering(selector, evidence, goal.share, radius, rng, min_distance=budget.min_distance)
    entries: dict[str, Any] = {"asked": None, "k": len(picks.positions)}
    notes = {}
    if not len(picks.positions) and reached >= goal.share:
        notes["coverage"] = f"nothing is left to pick: the labelled items cover {_percent(reached)} within {radius:.3g}"
    elif reached < goal.share:
        apart = f" that keeps the distance {budget.min_distance:g}" if budget.min_distance else ""
        entries["shortfall"] = (
            f"{_percent(reached)} of the items are covered within {radius:.3g}, not {_percent(goal.share)}: no "
            f"candidate{apart} is near enough to the others; a larger radius after @ covers more"
        )
    return BudgetResult(picks, entries, {"coverage": reached, "coverage_radius": radius}, notes)


def _balance(
    budget: ResolvedBudget, asked: int, selector: Selector, evidence: Evidence, rng: np.random.Generator
) -> BudgetResult:
    groups = budget.groups
    if groups is None:
        assert evidence.probs_NC is not None
        names = [budget.classes[number] for number in evidence.probs_NC.argmax(axis=1)]
        groups = Groups.of(names, evidence.population)
    picks = pick_balanced(selector, evidence, groups, asked, rng, min_distance=budget.min_distance)
    available_G = groups.counts(evidence.candidates)
    share_G = water_fill(asked, np.full(len(groups.names), asked))
    rows = zip(groups.names, share_G, groups.counts(picks.positions), available_G, strict=True)
    report = {name: {"asked": int(share), "k": int(k), "available": int(left)} for name, share, k, left in rows}
    return BudgetResult(
        picks, {"balance": report}, notes=_balance_notes(budget, report, evidence.candidates, available_G)
    )


def _balance_notes(
    budget: ResolvedBudget, report: Mapping[str, Mapping[str, int]], candidates: IntArray, available_G: IntArray
) -> dict[str, str]:
    """Sentences on groups that got less than their share, and on items without a group."""
    notes = {}
    short = [f"{name}: {row['k']:,} of {row['asked']:,}" for name, row in report.items() if row["k"] < row["asked"]]
    if short:
        notes["balance"] = (
            f"{len(short):,} of {len(report):,} values of {budget.column!r} fell short of an equal share, which went "
            f"to the others where they had candidates left: {some(short)}"
        )
    valueless = len(candidates) - int(available_G.sum())
    if valueless:
        notes["balance_without_value"] = (
            f"{valueless:,} of {len(candidates):,} items that can be picked have no value of {budget.column!r} and "
            "were left aside"
        )
    return notes


def _too_few(budget: ResolvedBudget, asked: int, picks: Picks) -> str:
    """The sentence on picks that the least distance left no candidate for."""
    where = ""
    if budget.each is not None and budget.groups is not None:
        got_G = budget.groups.counts(picks.positions)
        where = f" of {some(budget.groups.names[int(group)] for group in np.flatnonzero(got_G < budget.each))}"
    return (
        f"{len(picks.positions):,} of {asked:,} are picked: every other candidate{where} is nearer than "
        f"{budget.min_distance:g} to a pick or to a labelled item; a smaller --min-distance gives more"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
