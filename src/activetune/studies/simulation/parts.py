"""The two sides of a simulation: a pool that is picked from, and a test set; opened or split, and checked.

A share of the pool that is held out is drawn from the number of its items, and, where each seed has a split of its own,
from the seed: never from how many seeds there are.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.errors import UsageError, some
from activetune.base.fingerprint import digest, digest_json, digest_stream
from activetune.base.progress import note
from activetune.base.urls import without_secrets
from activetune.data.identity import Contents
from activetune.data.kinds import fingerprint_of
from activetune.data.label_notes import describe_foreign, describe_spelling
from activetune.data.labels import Labels, in_order
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.data.presence import Presence
from activetune.networks.network import CLASSIFICATION
from activetune.selection.budget import parse_budget
from activetune.studies.simulation.budgets import Stock
from activetune.tasks import Task, make_task

ONE, PER_SEED = "one", "per-seed"
Answers = Labels | Mapping[str, Any] | str | os.PathLike[str] | None
SPLIT_SEED = 20_240_229  # of --test 30%; with one split the same items are held out whatever the seed


@dataclass(frozen=True)
class Parts:
    """What a simulation is made from, all items labelled.

    Attributes:
        whole: the items of the pool that have an answer. answers: these, to ``task``.
        test: another pool for scoring, with ``test_answers``; None: ``share`` of ``whole`` is held out.
        per_seed: whether each seed holds out its own items; otherwise all seeds hold out the same.
    """

    whole: Pool
    answers: Labels
    test: Pool | None = None
    test_answers: Labels | None = None
    share: float = 0.0
    per_seed: bool = False
    task: Task = field(default_factory=make_task)

    def sides(self, seed: int) -> tuple[Pool, Pool]:
        """The pool that a seed picks from and the test set that it is scored on; other seeds change neither."""
        if self.test is not None:
            return self.whole, self.test
        rng = np.random.default_rng([SPLIT_SEED, seed] if self.per_seed else SPLIT_SEED)
        held = np.zeros(len(self.whole), dtype=bool)
        held[rng.permutation(len(self.whole))[: round(self.share * len(self.whole))]] = True
        kept, tested = ([self.whole.ids[row] for row in np.flatnonzero(side).tolist()] for side in (~held, held))
        return self.whole.subset(kept), self.whole.subset(tested)

    def truth(self, test: Pool) -> Labels:
        """The answers to the items of a test set, or of a part of it."""
        return in_order(self.answers if self.test_answers is None else self.test_answers, test.ids)

    def stock(self, ids: Sequence[str]) -> Stock:
        """What some items of the pool have to pick from."""
        if self.task.name == CLASSIFICATION:
            return Stock.of(in_order(self.answers, ids).names)
        if not self.answers.classes:
            return Stock(len(ids), {}, one_each=False)
        shown = self.answers.derived("presence", lambda: Presence.of(self.answers, self.answers.ids))  # reads all masks
        rows = np.asarray([self.whole.position[item] for item in ids], dtype=np.int64)
        counts = dict(zip(shown.names, shown.counts(rows).tolist(), strict=True))
        return Stock(len(ids), {name: count for name, count in counts.items() if count}, one_each=False)

    def made_from(self, *, use_cache: bool) -> dict[str, str]:
        """Digests of both sides, with their labels; images that are not known yet are read."""
        if self.per_seed:
            whole = _identity(self.whole, self.answers, use_cache)
            return {"pool": whole, "test set": f"{self.share} of it", "splits": PER_SEED, **self._task}
        pool, test = self.sides(0)
        answers = in_order(self.answers, pool.ids), self.truth(test)
        found = (_identity(*side, use_cache) for side in zip((pool, test), answers, strict=True))
        return {**dict(zip(("pool", "test set"), found, strict=True)), **self._task}

    @property
    def _task(self) -> dict[str, str]:
        return {} if self.task.name == CLASSIFICATION else {"task": self.task.name}

    def key(self, made_from: Mapping[str, str], seed: int) -> str:
        """Digest of what all cells of a seed are made from; its own split is part of that."""
        own = {"split": digest_stream(self.sides(seed)[1].ids)} if self.per_seed else {}
        return digest_json({**made_from, **own})

    def listed(self, seed: int) -> Stock:
        """The stock of the pool that a seed picks from, with items that may turn out not to be usable."""
        return self.stock(self.sides(seed)[0].ids)


@dataclass(frozen=True)
class Question:
    """What is asked about the images, and where the answers are: labels, a file of them, or None for a pool's own."""

    task: Task
    labels: Answers = None
    test_labels: Answers = None


def open_parts(
    pool: Pool | str | os.PathLike[str],
    test: Pool | str | os.PathLike[str],
    splits: str,
    seeds: Sequence[int],
    quiet: bool,
    question: Question | None = None,
) -> Parts:
    """Open pool and test set, or split the one, and check both sides of every seed.

    Args:
        question: None: the class of each image, which both bring themselves.

    Raises:
        UsageError: labels that are not known, no class in common, the same pool twice, an impossible share.
    """
    if splits not in (ONE, PER_SEED):
        raise UsageError(f"--splits can't be {splits!r}; give {ONE} (all seeds share a test set) or {PER_SEED}")
    question = question or Question(make_task())
    task = question.task
    whole, answers = _labelled(pool, question.labels, task, quiet)
    share = None if isinstance(test, Pool) else _share_of(str(test))
    if share is None:
        if splits == PER_SEED:
            raise UsageError(
                f"--splits {PER_SEED} holds out another share of the pool for each seed, and {_name_of(test)} is a "
                f"test set of its own; give a share (--test 30%), or leave --splits {PER_SEED} out"
            )
        try:
            other, truth = _labelled(test, question.test_labels, task, quiet)
        except UsageError as error:
            raise UsageError(str(error).replace("--labels", "--test-labels")) from None
        parts = Parts(whole, answers, other, truth, task=task)
        if list(other.ids) == list(whole.ids) and _same_images(other, whole):
            raise UsageError("the test set is the pool itself; hold a share of it out instead, for instance --test 30%")
    else:
        if not 0 < round(share * len(whole)) < len(whole):
            raise UsageError(f"--test {test} leaves nothing of {len(whole):,} items on one side; give another share")
        if question.test_labels is not None:
            raise UsageError(
                f"--test-labels answer another test set, and --test {test} holds out a share of the pool; leave "
                "them out"
            )
        parts = Parts(whole, answers, share=share, per_seed=splits == PER_SEED, task=task)
    for told in describe_spelling(answers) if task.name == CLASSIFICATION else ():
        note(told, quiet)
    for seed in seeds if parts.per_seed else seeds[:1]:
        _check_sides(parts, seed, f" of seed {seed}" if parts.per_seed else "", quiet)
    return parts


def _check_sides(parts: Parts, seed: int, whose: str, quiet: bool) -> None:
    """Refuse a pool that teaches nothing and a test set that tells nothing of it."""
    pool, test = parts.sides(seed)
    answers, truth = in_order(parts.answers, pool.ids), parts.truth(test)
    if parts.task.name == CLASSIFICATION:
        _check_classes(pool, test, whose, quiet)
    elif refusal := parts.task.refusal(answers):
        raise UsageError(f"the pool {pool.name}{whose}: {refusal}")
    elif answers.classes and not set(answers.classes) & set(truth.classes):
        raise UsageError(
            f"the pool ({some(answers.classes)}) and the test set ({some(truth.classes)}){whose} have no class in "
            "common"
        )


def _check_classes(pool: Pool, test: Pool, whose: str, quiet: bool) -> None:
    classes, tests = ({name for name in side.labels or () if name is not None} for side in (pool, test))
    if len(classes) < 2:
        raise UsageError(
            f"all labels of the pool {pool.name}{whose} are {some(classes)}; "
            "at least two classes are needed: add labels of another"
        )
    if not classes & tests:
        raise UsageError(
            f"the pool ({some(classes)}) and the test set ({some(tests)}){whose} have no class in common"
            + describe_foreign(tests, classes)
        )
    if tests - classes:
        foreign, advice = sorted(tests - classes), describe_foreign(tests - classes, classes)
        told = f"the pool{whose} has no item of {some(foreign)}; test items of these classes count as wrong{advice}"
        note(told, quiet)


def _identity(pool: Pool, answers: Labels, use_cache: bool) -> str:
    return digest(Contents(pool, remember=use_cache).fingerprint, digest_stream(map(fingerprint_of, answers.answers)))


def _name_of(test: Pool | str | os.PathLike[str]) -> str:
    return test.name if isinstance(test, Pool) else without_secrets(str(test))


def _same_images(one: Pool, other: Pool) -> bool:
    return Contents(one, remember=False).fingerprint == Contents(other, remember=False).fingerprint


def _labelled(source: Pool | str | os.PathLike[str], labels: Answers, task: Task, quiet: bool) -> tuple[Pool, Labels]:
    """The items of a pool that have an answer, and these, in the pool's order."""
    pool = source if isinstance(source, Pool) else open_pool(source, quiet=quiet)
    found = task.labels_of(labels, pool, quiet=quiet)
    known = set(found.ids)
    ids = [item for item in pool.ids if item in known]
    if len(ids) < len(pool):
        note(f"{len(pool) - len(ids):,} of {len(pool):,} items of {pool.name} have no label and are left out", quiet)
        pool = pool.subset(ids)
    answers = in_order(found, ids)
    return replace(pool, labels=list(answers.names) if task.name == CLASSIFICATION else None), answers


def _share_of(test: str) -> float | None:
    """0.3 of ``"30%"`` and ``"0.3"``; None of anything else."""
    try:
        kind, value = parse_budget(test)
    except UsageError:
        if test.strip().endswith("%"):
            raise UsageError(f"--test {test} is not possible; give a share above 0% and below 100%") from None
        return None
    return value if kind == "share" and not Path(test).exists() else None
