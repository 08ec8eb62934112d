"""The audit: random items that are labelled beside the picks, and by which a model can be scored without a test set.

Picks are chosen, so what a model answers to them says little of the whole pool. The audit is drawn at random from what
may be picked. It is never picked, and no model may learn from it: ``finetune`` leaves it out where it finds
``audit.csv`` beside the labels, and ``evaluate --only SEL/audit.csv`` scores on it alone.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from activetune.base.errors import UsageError
from activetune.base.tables import read_own_table, write_csv
from activetune.data.ids import ids_of
from activetune.selection.constraints import Limits

AUDIT = "audit.csv"
_STREAM = 1_871  # of random numbers: the audit does not change with what the method draws


def set_aside(limits: Limits, count: int, seed: int) -> Limits:
    """Draw the audit from what may be picked, and close it to picking; it belongs to the population all the same.

    Returns:
        The limits with the audit closed.

    Raises:
        UsageError: a number below zero, or one that leaves nothing to pick.
    """
    if count == 0:
        return limits
    free = limits.candidates
    if count < 0 or count >= len(free):
        raise UsageError(
            f"the audit can't have {count:,} items: {len(free):,} may be picked; give 0 for none, or fewer than these"
        )
    drawn = np.sort(np.random.default_rng([seed, _STREAM]).choice(free, count, replace=False))
    return replace(limits, closed=np.sort(np.concatenate([limits.closed, drawn])), aside=drawn)


def write_audit(ids: Sequence[str], folder: Path, *, name: str = AUDIT) -> None:
    """Write ``audit.csv`` (id), or a file of another name, where there is an audit."""
    if ids:
        write_csv(folder / name, ("id",), ((item,) for item in ids))


def read_audit(folder: Path, *, name: str = AUDIT, again: str = "select again with --overwrite") -> list[str]:
    """The ids of a selection's audit, or a project's; none where it has none.

    Args:
        name: of the file. again: what to do about a damaged one.

    Raises:
        UsageError: a damaged file.
    """
    path = folder / name
    return ids_of(read_own_table(path, ("id",), again)["id"]) if path.is_file() else []


def audit_beside(labels: object) -> frozenset[str]:
    """The audit of the selection or project whose label file is given; empty of anything else.

    Raises:
        UsageError: a file of that name without ids: its items would be learned from.
    """
    if not isinstance(labels, str | os.PathLike):
        return frozenset()
    again = "bring it back (it tells which items no model may learn from), or give it another name if it is no audit"
    return frozenset(read_audit(Path(labels).parent, again=again))
