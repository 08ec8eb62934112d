"""What several processes, or several partitions of a pool, can select from, and what each of them gets.

Shape legend: N items, T tokens, D feature size.
"""

from __future__ import annotations

import itertools
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import UsageError
from activetune.base.ranks import rank_and_world
from activetune.features.distances import Float32, pieces, unit_rows
from activetune.selection.constraints import Limits
from activetune.selection.levels import Levels
from activetune.selection.resolved_budget import ResolvedBudget
from activetune.selection.selectors import Selector, selectors

# What is refused --------------------------------------------------------------------------------------------------


def refuse_settings(selector: Selector, method: str, levels: Levels | None) -> None:
    """Refuse a method that can't refine picks where it is asked to, or whose rows can't be shared where they must be.

    Two levels give each process partitions of its own, so that every method can be shared.

    Raises:
        UsageError: it is so.
    """
    world = rank_and_world()[1]
    if levels is not None and levels.refine and not selector.refines:
        able = ", ".join(sorted(name for name, cls in selectors().items() if cls.refines))
        raise UsageError(
            f"{method} can't refine the picks of all partitions; leave out --refine, or choose one of: {able}"
        )
    if levels is not None and levels.refine and (setting := selector.unrefined()):
        raise UsageError(f"--refine would undo what {setting} has done; leave out one of them")
    if world == 1 or levels is not None:
        return
    if not selector.shares_rows:
        able = ", ".join(sorted(name for name, cls in selectors().items() if cls.shares_rows))
        raise UsageError(
            f"{method} needs all features in one process, and {world} were started; choose one of: {able}; give "
            "--levels 2, or start it without torchrun or accelerate launch"
        )
    if setting := selector.unshared():
        raise UsageError(
            f"{method} can't share its rows with {setting}, and {world} processes were started; leave it out, give "
            "--levels 2, or start it without torchrun or accelerate launch"
        )


def refuse_apart(
    method: str, wanted: AbstractSet[str], budget: ResolvedBudget, *, guided: bool, partitioned: bool
) -> None:
    """Refuse what needs the whole pool in one place, where it is in several.

    Args:
        wanted: the fields of the evidence that have yet to be gathered. guided: whether a model is given.
        partitioned: whether the pool is partitioned, not only shared.

    Raises:
        UsageError: there is something.
    """
    where = "two levels" if partitioned else "several processes"
    way_out = "leave out --levels" if partitioned else "start it without torchrun or accelerate launch"
    if budget.asked is None or budget.each is not None:
        raise UsageError(
            f"{where} share out a number or a share of the items; give a budget like 500 or 5%, or {way_out}"
        )
    if budget.column is not None or budget.presence is not None:
        raise UsageError(f"--balance looks at the whole pool, which {where} do not hold; leave it out, or {way_out}")
    if budget.min_distance:
        raise UsageError(f"--min-distance compares all picks as they are made; leave it out for {where}, or {way_out}")
    if "losses_N" in wanted and not guided:
        raise UsageError(f"{method} over {where} reads losses that are known; give them with --losses, or {way_out}")
    if guided or wanted - {"features_ND"}:
        raise UsageError(
            f"{method} reads more than features here, which {where} do not gather; choose a method that reads features "
            f"alone, for instance activeft, or {way_out}"
        )


# What each gets ---------------------------------------------------------------------------------------------------


def rows_of(source: FloatArray) -> Float32:
    """(N, D) rows of unit length of features (N, D), or along the means of tokens (N, T, D).

    Raises:
        UsageError: NaN or infinite values.
    """
    features_ND = unit_rows(source) if source.ndim == 2 else _token_means(source)
    if not all(np.isfinite(features_ND[part]).all() for part in pieces(*features_ND.shape)):
        raise UsageError("the features hold NaN or infinite values; embed again")
    return features_ND


def _token_means(tokens_NTD: FloatArray) -> Float32:
    """(N, D) rows of unit length along the mean of an item's tokens."""
    count, tokens, size = tokens_NTD.shape
    features_ND = np.empty((count, size), dtype=np.float32)
    for part in pieces(count, tokens * size):
        features_ND[part] = unit_rows(tokens_NTD[part].mean(axis=1, dtype=np.float32))
    return features_ND


def deal(limits: Limits, losses_N: Float32 | None, world: int) -> list[tuple[Any, ...]]:
    """Labelled, excluded and closed positions and the losses of each process's rows, positions within these."""
    bounds = [limits.total * number // world for number in range(world + 1)]
    found: list[tuple[Any, ...]] = []
    for start, stop in itertools.pairwise(bounds):
        kinds = (_between(kind, start, stop) for kind in (limits.labelled, limits.excluded, limits.closed))
        found.append((*kinds, None if losses_N is None else losses_N[start:stop]))
    return found


def _between(positions: IntArray, start: int, stop: int) -> IntArray:
    return positions[(positions >= start) & (positions < stop)] - start
