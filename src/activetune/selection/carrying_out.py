"""The picks for a resolved budget by a selector, and how it worked out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import some
from activetune.data.presence import Presence
from activetune.selection.budget import Coverage, Groups, water_fill
from activetune.selection.covering import pick_covering
from activetune.selection.picking import pick, pick_balanced, pick_shares, pick_shown, pick_shown_evenly
from activetune.selection.problem import Evidence, Picks
from activetune.selection.resolved_budget import ResolvedBudget
from activetune.selection.selectors import Selector
from activetune.selection.selectors._radius import typical_radius


@dataclass(frozen=True)
class BudgetResult:
    """The picks for a budget, with entries of the manifest, figures and notes on how it worked out."""

    picks: Picks
    entries: Mapping[str, Any]
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


def carry_out(budget: ResolvedBudget, selector: Selector, evidence: Evidence, seed: int) -> BudgetResult:
    """Pick as many items as the budget asks for; a shortfall is an entry of the result and no error."""
    rng = np.random.default_rng(seed)
    if budget.coverage is not None:
        return _cover(budget, budget.coverage, selector, evidence, seed)
    if budget.presence is not None:
        return _show_classes(budget, budget.presence, selector, evidence, rng)
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


def _show_classes(
    budget: ResolvedBudget, presence: Presence, selector: Selector, evidence: Evidence, rng: np.random.Generator
) -> BudgetResult:
    """Picks until ``each`` of them show every class, or ``asked`` of them that show the classes evenly."""
    available_C = presence.counts(evidence.candidates)
    if budget.each is not None:
        wanted_C = np.full(len(presence.names), budget.each)
        picks = pick_shown(selector, evidence, presence, wanted_C, rng, min_distance=budget.min_distance)
    else:
        assert budget.asked is not None
        wanted_C = water_fill(budget.asked, available_C)
        picks = pick_shown_evenly(selector, evidence, presence, budget.asked, rng, min_distance=budget.min_distance)
    rows = zip(presence.names, wanted_C, presence.counts(picks.positions), available_C, strict=True)
    report = {name: {"asked": int(asked), "k": int(k), "available": int(left)} for name, asked, k, left in rows}
    entries: dict[str, Any] = {"asked": budget.asked, "k": len(picks.positions), "balance": report}
    short = [name for name, row in report.items() if row["k"] < row["asked"]] if budget.each is not None else []
    if short or (budget.asked or 0) > entries["k"]:
        what = f"{some(short)} are shown by fewer than {budget.each}" if short else f"{entries['k']:,} are picked"
        entries["shortfall"] = (
            f"{what}: every other candidate is nearer than {budget.min_distance:g} to a pick or to a labelled item; a "
            "smaller --min-distance gives more"
        )
    notes = {}
    silent = int((~presence.shown_NC[evidence.candidates].any(axis=1)).sum())
    if silent:
        notes["balance_without_value"] = (
            f"{silent:,} of {len(evidence.candidates):,} items that can be picked show no class that is known and were "
            "left aside"
        )
    return BudgetResult(picks, entries, notes=notes)


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
