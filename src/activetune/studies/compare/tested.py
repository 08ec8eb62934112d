"""What a probe learns from and what it is tested on: two pools, or one that is divided; the same for both backbones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from activetune.base.errors import UsageError
from activetune.data.labels import Labels, in_order, keep, pool_labels
from activetune.data.loading import rejected_items
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.tasks import Task

Names = npt.NDArray[np.str_]


class Answered(NamedTuple):
    """Images, and the answers to each, in the pool's order."""

    pool: Pool
    labels: Labels


def answered_sides(
    task: Task, pool: str, labels: str, test: str, *, seed: int, test_labels: str | None = None, most: int = 0
) -> tuple[Answered, Answered]:
    """Images that have an answer and can be decoded, to learn from and to be tested on; no others are decoded.

    Args:
        labels: empty takes the pool's own. test: another pool, or a share: ``30%``.
        test_labels: of another pool, likewise; None takes a share alone. most: images to learn from; 0 is all.

    Raises:
        UsageError: labels that do not fit their pool, a share that leaves nothing on a side, no image.
    """
    share, (opened, known) = share_of(test), _with_answers(task, pool, labels)
    if share is not None:
        kept, held = divided(known.ids, share, seed)
        other, truth = opened, in_order(known, held)
    elif test_labels is None:
        raise UsageError(f"test can't be {test!r}; give a share of the images, for instance 30%")
    else:
        kept, (other, truth) = list(known.ids), _with_answers(task, test, test_labels)
    drawn = _drawn(kept, seed, most)
    return Answered(opened.subset(drawn), in_order(known, drawn)), Answered(other.subset(truth.ids), truth)


def labelled_sides(pool: str, test: str, *, seed: int, most: int = 0) -> tuple[tuple[Pool, Names], tuple[Pool, Names]]:
    """Images that have a class, and their classes, to learn from and to be tested on.

    Args:
        test: another pool, or a share: ``30%``. most: images of each side at most; 0 is all.
    """
    share, (opened, names) = share_of(test), _with_classes(pool)
    if share is None:
        other, truth = _with_classes(test)
        return _side(opened, names, list(names), seed, most), _side(other, truth, list(truth), seed, most)
    kept, held = divided(list(names), share, seed)
    return _side(opened, names, kept, seed, most), _side(opened, names, held, seed, most)


def share_of(test: str) -> float | None:
    """``30%`` as a share; None for a pool.

    Raises:
        UsageError: a share that leaves nothing on a side.
    """
    if not test.endswith("%"):
        return None
    try:
        share = float(test.removesuffix("%")) / 100
    except ValueError:
        return None
    if not 0 < share < 1:
        raise UsageError(f"a test set of {test} leaves nothing on one side; give a share between 0% and 100%")
    return share


def divided(ids: Sequence[str], share: float, seed: int) -> tuple[list[str], list[str]]:
    """Ids to learn from, and a share of them to be tested on, in their order."""
    rng = np.random.default_rng([seed, 17])
    held = np.zeros(len(ids), dtype=bool)
    held[rng.permutation(len(ids))[: max(1, round(share * len(ids)))]] = True
    if held.all():
        raise UsageError(f"{len(ids):,} images can't be divided; give more")
    return [item for item, out in zip(ids, held, strict=True) if not out], [
        item for item, out in zip(ids, held, strict=True) if out
    ]


def _decodable(pool: Pool) -> Pool:
    """The images of a pool that can be decoded.

    Raises:
        UsageError: there is none.
    """
    rejected = rejected_items(pool)
    if len(rejected) == len(pool):
        raise UsageError(f"no image of {pool.name} can be decoded")
    return pool.subset([item for item in pool.ids if item not in rejected]) if rejected else pool


def _with_answers(task: Task, path: str, given: str) -> tuple[Pool, Labels]:
    """A pool, and the answers to those of its images that can be decoded."""
    pool = open_pool(path, quiet=True)
    labels = task.labels_of(given or None, pool, quiet=True)
    return pool, keep(labels, _decodable(pool.subset(labels.ids)).ids)


def _with_classes(path: str) -> tuple[Pool, dict[str, str]]:
    """A pool, and the class of each image that has one, in the pool's order."""
    pool = open_pool(path, quiet=True)
    labels = pool_labels(pool)
    return pool, dict(zip(labels.ids, labels.names, strict=True))


def _side(pool: Pool, names: dict[str, str], ids: Sequence[str], seed: int, most: int) -> tuple[Pool, Names]:
    """Some of the images, those that can be decoded, with their classes; only these are read."""
    usable = _decodable(pool.subset(_drawn(ids, seed, most)))
    return usable, np.asarray([names[item] for item in usable.ids])


def _drawn(ids: Sequence[str], seed: int, most: int) -> list[str]:
    """At most so many of the ids, in their order."""
    if not most or len(ids) <= most:
        return list(ids)
    rows = np.sort(np.random.default_rng([seed, 19]).permutation(len(ids))[:most])
    return [ids[row] for row in rows.tolist()]
