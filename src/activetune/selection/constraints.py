"""Constraints of a selection: which items are labelled, left out or open to be picked, and which column is balanced.

Everything is given by item id, in Python values or files, and becomes positions in the embeddings here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.errors import UsageError, nearest
from activetune.base.names import as_known
from activetune.base.tables import need_columns, read_table
from activetune.data.answers import as_numbers, class_name
from activetune.data.ids import Ids, ids_of, read_excluded, read_ids, refuse_unknown
from activetune.data.labels import Labels, answers_of
from activetune.data.presence import Presence
from activetune.features.artefact import Embeddings
from activetune.features.distances import Float32

Answers = Ids | Mapping[str, Any] | Labels
Metadata = Mapping[str, Sequence[Any]] | str | os.PathLike[str]
Losses = Mapping[str, float] | str | os.PathLike[str]
LABEL = "label"  # the column of the classes that are known
WHAT = "these embeddings"  # what ids must be of
PREDICTED = "predicted"  # the name under which --balance takes the current model's classes


@dataclass(frozen=True)
class Limits:
    """Positions of N items by what a selection may do with them; no position is in two of the first three.

    Attributes:
        labelled: (L,) ascending. answers_L: class index of each, -1 where it is still to come; None: none is known.
        excluded: may not be picked and cover nothing. closed: may not be picked, shall be covered all the same.
        aside: those of the closed that are the audit.
        classes: sorted names that ``answers_L`` counts. total: N.
        predicted: the classes that a model which is selected by knows; None: it is learned from the answers.
        presence: the classes that items show, where an item may show several: budgets count these, not its label.
    """

    labelled: IntArray
    excluded: IntArray
    closed: IntArray
    answers_L: IntArray | None
    classes: Sequence[str]
    total: int
    presence: Presence | None = None
    predicted: Sequence[str] | None = None
    aside: IntArray = field(default_factory=lambda: NO_INDICES)

    @cached_property
    def candidates(self) -> IntArray:
        """Positions that may be picked, ascending."""
        return _others(self.total, self.labelled, self.excluded, self.closed)

    @cached_property
    def class_counts(self) -> dict[str, int]:
        """How many labelled items each class has."""
        if self.answers_L is None:
            return {}
        counts = np.bincount(self.answers_L[self.answers_L >= 0], minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))

    @cached_property
    def population(self) -> IntArray:
        """All positions but the excluded, ascending."""
        return _others(self.total, self.excluded)


def read_limits(
    embeddings: Embeddings,
    labelled: Answers | None,
    exclude: Ids | None,
    candidates: Ids | None,
    presence: Presence | None = None,
    predicted: Sequence[str] | None = None,
    *,
    quiet: bool = False,
) -> Limits:
    """Who is labelled, excluded and closed; an item that is both labelled and excluded counts as excluded.

    Args:
        quiet: no note on how a file of labels was read.

    Raises:
        UsageError: unknown ids, contradicting answers, or nothing left that may be picked.
    """
    excluded = _positions(embeddings, read_excluded(exclude, embeddings.position, what=WHAT))
    answers = _answers(embeddings, labelled, quiet)
    known = _positions(embeddings, read_ids(list(answers), embeddings.position, what=WHAT, where="labelled ids"))
    known = np.setdiff1d(known, excluded, assume_unique=True)
    closed = NO_INDICES
    if candidates is not None:
        open_ = _positions(embeddings, read_ids(candidates, embeddings.position, what=WHAT, where="candidate ids"))
        closed = _others(len(embeddings), open_, known, excluded)
    names = [answers[embeddings.ids[row]] for row in known]
    classes = sorted({name for name in names if name})
    index = {name: number for number, name in enumerate(classes)}
    answers_L = np.asarray([index[name] if name else -1 for name in names], dtype=np.int64) if classes else None
    limits = Limits(known, excluded, closed, answers_L, classes, len(embeddings), presence, predicted)
    if not len(limits.candidates) and (exclude is not None or candidates is not None):
        raise UsageError(
            f"none of the {limits.total:,} items is left to pick: {describe_unavailable(limits)}; "
            "exclude fewer (--exclude), or name other candidates (--candidates)"
        )
    return limits


def with_labels(embeddings: Embeddings, labels: Labels | None) -> tuple[Embeddings, Presence | None]:
    """The embeddings with the labels given, where these are class names; and the classes shown, where they are more.

    Raises:
        UsageError: answers that name no class, or none to any of these items.
    """
    if labels is None:
        return embeddings, None
    known = {item: row for row, item in enumerate(labels.ids)}
    if not any(item in known for item in embeddings.ids):
        raise UsageError(
            f"none of the {len(labels):,} labels is of an item of these embeddings; "
            "ids are as in items.parquet: give such"
        )
    if len(labels) and isinstance(labels.answers[0], str):
        names = [labels.answers[known[item]] if item in known else None for item in embeddings.ids]
        return replace(embeddings, labels=names), None
    return embeddings, Presence.of(labels, embeddings.ids)


def describe_unavailable(limits: Limits) -> str:
    """``3 more are labelled already, 2 are excluded`` and so on; empty where every item may be picked."""
    told = (
        (limits.labelled, "more are labelled already"),
        (limits.excluded, "are excluded"),
        (np.setdiff1d(limits.closed, limits.aside), "are not among the candidates"),
        (limits.aside, "are set aside for the audit"),
    )
    return ", ".join(f"{len(rows):,} {text}" for rows, text in told if len(rows))


def read_column(embeddings: Embeddings, column: str, metadata: Metadata | None) -> Sequence[str | None]:
    """N values of a column as text, None where there is none.

    It is looked for in the metadata first, then among the embeddings' own (``label``).

    Raises:
        UsageError: no such column (the nearest name is given), or metadata that do not fit the embeddings.
    """
    columns = {} if metadata is None else _metadata(metadata)
    if column in columns and column != "id":
        return _aligned(embeddings, columns["id"], columns[column], column)
    if column == LABEL and embeddings.labels is not None:
        return embeddings.labels
    known = sorted({*columns, PREDICTED} - {"id"} | ({"label"} if embeddings.labels is not None else set()))
    more = "" if metadata is not None else "; other columns come with --metadata FILE"
    raise UsageError(
        f"there is no column {column!r} to balance; did you mean {nearest(column, known, 1)[0]!r}? "
        f"There are: {', '.join(known)}{more}"
    )


def has_column(metadata: Metadata | None, column: str) -> bool:
    """Whether the metadata, if there are any, have a column."""
    return metadata is not None and column in _metadata(metadata)


def _metadata(metadata: Metadata) -> Mapping[str, Sequence[Any]]:
    columns = metadata if isinstance(metadata, Mapping) else read_table(metadata)
    need_columns(columns, ["id"], "the metadata table" if isinstance(metadata, Mapping) else metadata)
    return columns


def _aligned(embeddings: Embeddings, ids: Sequence[Any], values: Sequence[Any], column: str) -> list[str | None]:
    """Values in the order of the embeddings; rows on other items are left aside."""
    found: list[str | None] = [None] * len(embeddings)
    met = 0
    for item, value in zip(ids, as_numbers(values).cells, strict=True):
        row = embeddings.position.get(str(item))
        if row is None:
            continue
        met += 1
        text = class_name(value)
        if found[row] not in (None, text):
            raise UsageError(f"the metadata give {item!r} two values of {column!r}: {found[row]!r} and {text!r}")
        found[row] = text
    if not met:
        raise UsageError(
            f"none of the {len(ids):,} ids in the metadata are in these embeddings; give ids as in items.parquet"
        )
    return found


def _answers(embeddings: Embeddings, labelled: Answers | None, quiet: bool) -> Mapping[str, str | None]:
    """Class name of each labelled item, None where it is still to come."""
    if labelled is None:
        return {}
    if isinstance(labelled, Labels):
        return dict(zip(labelled.ids, labelled.names, strict=True))
    if isinstance(labelled, Mapping):
        return answers_of({"id": list(labelled), "label": list(labelled.values())}, "the labelled items")
    if not isinstance(labelled, str | os.PathLike):
        return dict.fromkeys(labelled)
    columns = read_table(labelled)
    need_columns(columns, ["id"], labelled, embeddings.position)
    columns = {**columns, "id": as_known(ids_of(columns["id"]), embeddings.position)}
    answers = answers_of(columns, labelled, quiet=quiet)
    refuse_unknown(list(answers), embeddings.position, labelled, WHAT)
    return answers


def read_losses(embeddings: Embeddings, given: Losses) -> Float32:
    """The loss (N,) of every item, from ``{id: loss}`` or a CSV/Parquet file with the columns ``id`` and ``loss``.

    Raises:
        UsageError: an item without a loss, an unknown id, or a loss that is no finite number of at least 0.
    """
    if isinstance(given, str | os.PathLike):
        columns, where = read_table(given), str(given)
        need_columns(columns, ["id", "loss"], where, embeddings.position)
        given = dict(zip(as_known(ids_of(columns["id"]), embeddings.position), columns["loss"], strict=True))
    else:
        where = "the losses"
    missing = [item for item in embeddings.ids if item not in given]
    if missing or len(given) > len(embeddings):
        raise UsageError(
            f"{where}: {len(missing):,} of {len(embeddings):,} items have no loss"
            + (f", the first: {missing[0]!r}" if missing else "")
            + f"; {max(0, len(given) - len(embeddings) + len(missing)):,} ids are not in these embeddings"
        )
    try:
        losses_N = np.asarray([float(given[item]) for item in embeddings.ids])
    except (TypeError, ValueError) as error:
        raise UsageError(f"{where}: a loss is no number ({error}); correct it") from None
    wrong = np.flatnonzero(~((losses_N >= 0) & (losses_N <= np.finfo(np.float32).max)))
    if len(wrong):
        raise UsageError(
            f"{where}: {len(wrong):,} of {len(losses_N):,} losses are negative or not finite, the first: "
            f"{embeddings.ids[wrong[0]]!r} has {losses_N[wrong[0]]:g}; give numbers of at least 0"
        )
    return losses_N.astype(np.float32)


def _positions(embeddings: Embeddings, ids: Sequence[str]) -> IntArray:
    """Ascending positions of distinct ids."""
    return np.asarray(sorted(embeddings.position[item] for item in ids), dtype=np.int64)


def _others(total: int, *groups: IntArray) -> IntArray:
    """Positions below ``total`` that are in none of the groups."""
    free = np.ones(total, dtype=bool)
    for positions in groups:
        free[positions] = False
    return np.flatnonzero(free)
