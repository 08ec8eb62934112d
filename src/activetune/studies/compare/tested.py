"""What a probe learns from and what it is tested on: two pools, or one that is divided; the same for both backbones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from activetune.base.errors import UsageError
from activetune.data.identity import Contents
from activetune.data.labels import Labels, in_order, keep, pool_labels
from activetune.data.loading import rejected_items
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.tasks import Task
from activetune.training.job import digests_of

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
    share, given = share_of(test, or_pool=test_labels is not None), _with_answers(task, pool, labels)
    opened, known = _usable(given)
    if share is not None:
        kept, held = divided(known.ids, share, seed)
        other, truth = opened, in_order(known, held)
    else:
        kept, (other, truth) = list(known.ids), _usable(_with_answers(task, test, test_labels or ""))
    drawn = _drawn(kept, seed, most)
    return Answered(opened.subset(drawn), in_order(known, drawn)), Answered(other.subset(truth.ids), truth)


def answered_digests(task: Task, pool: str, labels: str, test: str, test_labels: str | None = None) -> list[str]:
    """Digests of all images and answers that :func:`answered_sides` chooses from; none is decoded.

    Raises:
        UsageError: labels that do not fit their pool, a test set that is no share of it and no pool.
    """
    share = share_of(test, or_pool=test_labels is not None)
    places = [(pool, labels), *([] if share is not None else [(test, test_labels or "")])]
    given = [_with_answers(task, *place) for place in places]
    _refuse_the_same(*(one.pool.subset(one.labels.ids) for one in given))
    return [value for one in given for value in digests_of(*one).values()]


def labelled_sides(pool: str, test: str, *, seed: int, most: int = 0) -> tuple[tuple[Pool, Names], tuple[Pool, Names]]:
    """Images that have a class, and their classes, to learn from and to be tested on.

    Args:
        test: another pool, or a share: ``30%``. most: images of each side at most; 0 is all.

    Raises:
        UsageError: a pool without classes, a share that leaves nothing on a side, no image that can be decoded.
    """
    one, other = (_side(side) for side in _with_drawn_classes(pool, test, seed, most))
    return one, other


def labelled_digests(pool: str, test: str, *, seed: int, most: int = 0) -> list[str]:
    """Digests of the images and classes that :func:`labelled_sides` draws; none is decoded, and no others are read.

    Raises:
        UsageError: as there.
    """
    sides = _with_drawn_classes(pool, test, seed, most)
    _refuse_the_same(*(opened for opened, _ in sides), divided=share_of(test, or_pool=True) is not None)
    return [value for opened, names in sides for value in digests_of(opened, Labels.of(names)).values()]


def share_of(test: str, *, or_pool: bool) -> float | None:
    """``30%`` as a share; None for a pool.

    >>> share_of("30%", or_pool=False)
    0.3

    Args:
        or_pool: a probe takes another pool too.

    Raises:
        UsageError: a share that leaves nothing on a side, or what can be neither.
    """
    allowed = f'give a share of the images, for instance test = "30%"{", or another pool" if or_pool else ""}'
    number = _number(test.strip().removesuffix("%"))
    percent = number is not None and test.strip().endswith("%")
    if not percent:
        if not or_pool or not test.strip() or (number is not None and not Path(test).exists()):
            raise UsageError(f"test can't be {test!r}; {allowed}")
        return None
    share = (number or 0.0) / 100
    if not 0 < share < 1:
        raise UsageError(
            f"test can't be {test!r}, which leaves nothing on one side (it must be between 0% and 100%); {allowed}"
        )
    return share


def _refuse_the_same(known: Pool, test: Pool | None = None, *, divided: bool = False) -> None:
    """Refuse a test set most of whose images are learned from.

    Args:
        divided: whether it is a share of the pool, which then holds copies.

    Raises:
        UsageError: it is one.
    """
    if test is None:
        return
    contents = Contents(known), Contents(test)
    for one in contents:
        one.read()
    learned, asked = {one.tobytes() for one in contents[0].digests_N}, [one.tobytes() for one in contents[1].digests_N]
    shared = sum(one in learned for one in asked)
    if 2 * shared > len(asked):
        way_out = (
            "leave its copies out, which 'activetune check' names, or give another pool"
            if divided
            else 'give another pool, or hold a part of this one out: test = "30%"'
        )
        raise UsageError(
            f"{shared:,} of the {len(asked):,} test images in {test.name} are learned from as well, so nothing is "
            f"tested; {way_out}"
        )


def _number(text: str) -> float | None:
    """What a text says as a number, be it one that nothing has (``nan``); None where it says none."""
    try:
        return float(text)
    except ValueError:
        return None


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


def _with_answers(task: Task, path: str, given: str) -> Answered:
    """A pool, and the answers to some of its images."""
    pool = open_pool(path, quiet=True)
    with _of_a_suite("labels = …"):
        return Answered(pool, task.labels_of(given or None, pool, quiet=True))


def _usable(given: Answered) -> Answered:
    """The same pool, and the answers to those of its images that can be decoded."""
    pool, labels = given
    return Answered(pool, keep(labels, _decodable(pool.subset(labels.ids)).ids))


def _with_classes(path: str) -> tuple[Pool, dict[str, str]]:
    """A pool, and the class of each image that has one, in the pool's order."""
    pool = open_pool(path, quiet=True)
    with _of_a_suite("a column label (id,label), or a sub-folder for each class"):
        labels = pool_labels(pool)
    return pool, dict(zip(labels.ids, labels.names, strict=True))


@contextmanager
def _of_a_suite(remedy: str) -> Iterator[None]:
    """What readers of labels advise, in the words of a suite, which has no options of a command line."""
    try:
        yield
    except UsageError as error:
        raise UsageError(str(error).replace("with --labels", f"with {remedy}")) from None


def _with_drawn_classes(pool: str, test: str, seed: int, most: int) -> list[tuple[Pool, dict[str, str]]]:
    """The images of both sides, with the class of each."""
    share, (opened, names) = share_of(test, or_pool=True), _with_classes(pool)
    if share is None:
        other, truth = _with_classes(test)
        sides = [(opened, names, list(names)), (other, truth, list(truth))]
    else:
        sides = [(opened, names, ids) for ids in divided(list(names), share, seed)]
    drawn = [(place, known, _drawn(ids, seed, most)) for place, known, ids in sides]
    return [(place.subset(ids), {item: known[item] for item in ids}) for place, known, ids in drawn]


def _side(given: tuple[Pool, dict[str, str]]) -> tuple[Pool, Names]:
    """Those images that can be decoded, with their classes."""
    pool, names = given
    usable = _decodable(pool)
    return usable, np.asarray([names[item] for item in usable.ids])


def _drawn(ids: Sequence[str], seed: int, most: int) -> list[str]:
    """At most so many of the ids, in their order."""
    if not most or len(ids) <= most:
        return list(ids)
    rows = np.sort(np.random.default_rng([seed, 19]).permutation(len(ids))[:most])
    return [ids[row] for row in rows.tolist()]
