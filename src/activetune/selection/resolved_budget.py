"""A budget resolved to numbers for given embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.data.presence import Presence
from activetune.features.artefact import Embeddings
from activetune.selection.budget import Coverage, Groups, parse_budget
from activetune.selection.constraints import (
    LABEL,
    PREDICTED,
    Limits,
    Metadata,
    describe_unavailable,
    has_column,
    read_column,
)
from activetune.selection.selectors import selectors


@dataclass(frozen=True)
class ResolvedBudget:
    """A budget resolved against what may be picked.

    Attributes:
        asked: how many picks; None: as many as ``coverage`` takes.
        coverage: the share to cover, and its radius.
        groups: the items by class or column. each: picks of every group; None: equal shares of ``asked``.
        presence: the classes that items show, where they may show several; in place of groups.
        column: the column that is balanced; ``predicted`` has its groups only once there is a model.
        classes: sorted names of the known answers.
        min_distance: no two picks, and no pick and labelled item, are nearer than this.
    """

    asked: int | None
    coverage: Coverage | None = None
    groups: Groups | None = None
    presence: Presence | None = None
    each: int | None = None
    column: str | None = None
    classes: Sequence[str] = ()
    min_distance: float = 0.0


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
        if limits.presence is not None and balance == LABEL and not has_column(metadata, balance):
            return _balanced_by_classes(limits, budget, limits.presence, distance)
        return _balanced(embeddings, limits, budget, balance, metadata, distance)
    if metadata is not None:
        raise UsageError("the metadata are read to balance a column of theirs; name it with --balance COLUMN")
    if kind == "per_class" and limits.presence is not None:
        return _shown_per_class(limits, int(value), limits.presence, distance)
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
            "a budget per class needs known labels, and these embeddings have none; give them with --labels (and "
            "--task where they are no classes of whole images), or a number or a share"
        )
    _refuse_small_classes(each, groups.names, groups.counts(limits.candidates))
    return ResolvedBudget(each * len(groups.names), groups=groups, each=each, min_distance=min_distance)


def _shown_per_class(limits: Limits, each: int, presence: Presence, min_distance: float) -> ResolvedBudget:
    presence = _shown_by_some(presence, limits)
    _refuse_small_classes(each, presence.names, presence.counts(limits.candidates))
    return ResolvedBudget(None, presence=presence, each=each, min_distance=min_distance)


def _shown_by_some(presence: Presence, limits: Limits) -> Presence:
    """The classes that some item shows."""
    found = presence.among(limits.population)
    if not found.names:
        raise UsageError("none of the items is known to show a class; give the answers to them with --labels")
    return found


def _refuse_small_classes(each: int, names: Sequence[str], counts: IntArray) -> None:
    for name, count in zip(names, counts, strict=True):
        if count < each:
            raise UsageError(
                f"the budget {each}/class is over what class {name!r} has: {count:,} items that can be picked; "
                "give a smaller budget"
            )


def _balanced_by_classes(
    limits: Limits, budget: int | float | str, presence: Presence, min_distance: float
) -> ResolvedBudget:
    count = _count(limits, *_number_or_share(budget))
    presence = _shown_by_some(presence, limits)
    left = int(presence.shown_NC[limits.candidates].any(axis=1).sum())
    if count > left:
        raise UsageError(
            f"the budget {count:,} is over what can be balanced: {left:,} of the {len(limits.candidates):,} items that "
            "can be picked are known to show a class"
        )
    return ResolvedBudget(count, presence=presence, column=LABEL, min_distance=min_distance)


def _number_or_share(budget: int | float | str) -> tuple[str, float]:
    kind, value = parse_budget(budget)
    if kind not in ("count", "share"):
        raise UsageError(f"--balance shares out a number or a share of the items, not {str(budget)!r}; give 500 or 5%")
    return kind, value


def _balanced(
    embeddings: Embeddings,
    limits: Limits,
    budget: int | float | str,
    column: str,
    metadata: Metadata | None,
    min_distance: float,
) -> ResolvedBudget:
    count = _count(limits, *_number_or_share(budget))
    if column == PREDICTED:
        if limits.predicted is None and len(limits.classes) < 2:
            has = f"all known ones are {limits.classes[0]!r}" if limits.classes else "none is known"
            raise UsageError(
                f"--balance {PREDICTED} learns from labels of at least two classes, and {has}: give --labelled a file "
                "with the columns id and label, or --model a finetuned one"
            )
        return ResolvedBudget(
            count, column=column, classes=limits.predicted or limits.classes, min_distance=min_distance
        )
    groups = Groups.of(read_column(embeddings, column, metadata), limits.population)
    left = int(groups.counts(limits.candidates).sum())
    if count > left:
        raise UsageError(
            f"the budget {count:,} is over what can be balanced: {left:,} of the {len(limits.candidates):,} items that "
            f"can be picked have a value of {column!r}"
        )
    return ResolvedBudget(count, groups=groups, column=column, min_distance=min_distance)
