"""The answers that a model is trained on: those to a pool's items, less what is excluded, set aside or unreadable."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError, some
from activetune.base.printing import counted
from activetune.base.progress import note
from activetune.base.tables import write_csv
from activetune.data.label_notes import describe_predicted
from activetune.data.labels import Labels, keep
from activetune.data.loading import rejected_items
from activetune.data.pool import Pool
from activetune.data.presence import lost_classes
from activetune.selection.audit import AUDIT, audit_beside
from activetune.tasks import Task

Given = Labels | Mapping[str, Any] | str | os.PathLike[str] | None  # answers, or where they lie; None: the pool's own


def answers_to(
    task: Task,
    given: Given,
    pool: Pool,
    classes: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> Labels:
    """The answers to train on, see :meth:`Task.labels_of`.

    Raises:
        UsageError: also where nothing can be learned from them.
    """
    labels = task.labels_of(given, pool, classes, quiet=quiet)
    for told in describe_predicted(given):
        note(told, quiet)
    if refusal := task.refusal(labels):
        raise UsageError(refusal)
    return labels


def without_audit(labels: Labels, given: Given, task: Task, *, quiet: bool) -> Labels:
    """The answers without those to the audit of the selection that they belong to.

    Raises:
        UsageError: the audit alone is answered, or nothing can be learned from the others.
    """
    aside = audit_beside(given)
    kept = [item for item in labels.ids if item not in aside]
    if len(kept) == len(labels):
        return labels
    if not kept:
        raise UsageError(f"{given} answers the audit alone, which no model may learn from; label the picks too")
    left, left_out = keep(labels, kept), len(labels) - len(kept)
    if refusal := task.refusal(left):
        raise UsageError(f"without the audit ({counted(left_out, 'answer')}), which no model may learn from: {refusal}")
    note(f"{left_out:,} answers to the audit are left out: score on them with evaluate --only {AUDIT}", quiet)
    return left


def without_items(
    labels: Labels, excluded: Collection[str], task: Task, classes: Sequence[str] | None, *, quiet: bool
) -> Labels:
    """The answers to the other items; classes that only the excluded ones show go with them, unless they are given.

    Raises:
        UsageError: nothing is left to learn from.
    """
    left = keep(labels, [item for item in labels.ids if item not in excluded])
    if refusal := task.refusal(left) if len(left) else "no label is left":
        raise UsageError(f"without the excluded items: {refusal}; exclude fewer (--exclude), or label others")
    told = f"excluded: {counted(len(excluded), 'item')}, {len(labels) - len(left):,} of them labelled"
    if gone := lost_classes(labels, left) if classes is None else []:
        left = replace(left, classes=[name for name in left.classes if name not in gone])
        told += f"; with them {counted(len(gone), 'class', 'classes')} ({some(gone)}), unless --classes gives all"
    note(told, quiet)
    return left


def usable(pool: Pool, labels: Labels, task: Task, listing: Path, workers: int, quiet: bool) -> tuple[Labels, int]:
    """The labels whose image can be decoded, and how many others there are; these are listed in a CSV file.

    Raises:
        UsageError: no image can be decoded, or none of a class, or nothing can be learned from the others; the listing
            goes with the run that is refused.
    """
    rejected = rejected_items(pool.subset(labels.ids), workers=workers)
    write_csv(listing, ("id", "reason"), list(rejected.items()))
    if not rejected:
        return labels, 0
    kept = keep(labels, [item for item in labels.ids if item not in rejected])
    first = "the first: " + ": ".join(next(iter(rejected.items())))
    if not len(kept):
        raise UsageError(f"none of the {len(labels):,} labelled images can be decoded ({first}); label others")
    if lost := task.lost(labels, kept):
        raise UsageError(
            f"no labelled image of {some(lost)} can be decoded ({len(rejected):,} images can't be; {first}); label "
            "others of that class"
        )
    if refusal := task.refusal(kept):
        raise UsageError(f"without the {len(rejected):,} images that can't be decoded ({first}): {refusal}")
    note(f"{len(rejected):,} of {len(labels):,} labelled images were skipped; {listing} lists the reasons", quiet)
    return kept, len(rejected)
