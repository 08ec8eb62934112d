"""The two sides of a simulation: a pool that is picked from, and a test set; opened or split, checked, embedded.

A share of the pool that is held out is drawn from the number of its items, and, where each seed has a split of its own,
from the seed: never from how many seeds there are.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.artefact import MANIFEST
from activetune.base.errors import UsageError, some
from activetune.base.fingerprint import digest, digest_json, digest_stream
from activetune.base.progress import note
from activetune.base.tables import write_csv
from activetune.data.answers import class_names
from activetune.data.identity import Contents
from activetune.data.label_notes import describe_foreign, describe_spelling
from activetune.data.labels import pool_labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.features.artefact import Embeddings, load_embeddings, save_embeddings
from activetune.features.embedding import EmbedOptions, embed, take
from activetune.networks.backbones import Backbone
from activetune.selection.budget import parse_budget

POOL, TEST, WHOLE, SPLIT = "embeddings/pool", "embeddings/test", "embeddings/whole", "split.csv"
ONE, PER_SEED = "one", "per-seed"
SPLIT_SEED = 20_240_229  # of --test 30%; with one split the same items are held out whatever the seed


@dataclass(frozen=True)
class Parts:
    """What a simulation is made from, all items labelled.

    Attributes:
        whole: the pool as it was given. test: another pool for scoring; None: ``share`` of ``whole`` is held out.
        per_seed: whether each seed holds out its own items; otherwise all seeds hold out the same.
    """

    whole: Pool
    test: Pool | None = None
    share: float = 0.0
    per_seed: bool = False

    def sides(self, seed: int) -> tuple[Pool, Pool]:
        """The pool that a seed picks from and the test set that it is scored on; other seeds change neither."""
        if self.test is not None:
            return self.whole, self.test
        rng = np.random.default_rng([SPLIT_SEED, seed] if self.per_seed else SPLIT_SEED)
        held = np.zeros(len(self.whole), dtype=bool)
        held[rng.permutation(len(self.whole))[: round(self.share * len(self.whole))]] = True
        kept, tested = ([self.whole.ids[row] for row in np.flatnonzero(side).tolist()] for side in (~held, held))
        return self.whole.subset(kept), self.whole.subset(tested)

    def made_from(self, *, use_cache: bool) -> dict[str, str]:
        """Digests of both sides, with their labels; images that are not known yet are read."""
        if self.per_seed:
            whole = _identity(self.whole, use_cache)
            return {"pool": whole, "test set": f"{self.share} of it", "splits": PER_SEED}
        pool, test = self.sides(0)
        return {"pool": _identity(pool, use_cache), "test set": _identity(test, use_cache)}

    def key(self, made_from: Mapping[str, str], seed: int) -> str:
        """Digest of what all cells of a seed are made from; its own split is part of that."""
        own = {"split": digest_stream(self.sides(seed)[1].ids)} if self.per_seed else {}
        return digest_json({**made_from, **own})

    def labels(self, seed: int) -> Sequence[str | None]:
        """The labels of the pool that a seed picks from, of items that may turn out not to be usable too."""
        return self.sides(seed)[0].labels or ()


def open_parts(
    pool: Pool | str | os.PathLike[str],
    test: Pool | str | os.PathLike[str],
    splits: str,
    seeds: Sequence[int],
    quiet: bool,
) -> Parts:
    """Open pool and test set, or split the one, and check both sides of every seed.

    Raises:
        UsageError: labels that are not known, no class in common, the same pool twice, an impossible share.
    """
    if splits not in (ONE, PER_SEED):
        raise UsageError(f"--splits can't be {splits!r}; give {ONE} (all seeds share a test set) or {PER_SEED}")
    whole = _labelled(pool, quiet)
    share = None if isinstance(test, Pool) else _share_of(str(test))
    if share is None:
        if splits == PER_SEED:
            raise UsageError(
                f"--splits {PER_SEED} holds out another share of the pool for each seed, and {_name_of(test)} is a "
                f"test set of its own; give a share (--test 30%), or leave --splits {PER_SEED} out"
            )
        other = _labelled(test, quiet)
        parts = Parts(whole, other)
        if list(other.ids) == list(whole.ids) and _same_images(other, whole):
            raise UsageError("the test set is the pool itself; hold a share of it out instead, for instance --test 30%")
    else:
        if not 0 < round(share * len(whole)) < len(whole):
            raise UsageError(f"--test {test} leaves nothing of {len(whole):,} items on one side; give another share")
        parts = Parts(whole, None, share, splits == PER_SEED)
    for told in describe_spelling(pool_labels(whole)):
        note(told, quiet)
    for seed in seeds if parts.per_seed else seeds[:1]:
        _check_classes(*parts.sides(seed), f" of seed {seed}" if parts.per_seed else "", quiet)
    return parts


def _check_classes(pool: Pool, test: Pool, whose: str, quiet: bool) -> None:
    classes, tests = ({name for name in side.labels or () if name is not None} for side in (pool, test))
    if len(classes) < 2:
        raise UsageError(
            f"all labels of the pool {pool.name}{whose} are {some(classes)}; at least two classes are needed"
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


def _identity(pool: Pool, use_cache: bool) -> str:
    return digest(Contents(pool, remember=use_cache).fingerprint, digest_stream(map(str, pool.labels or ())))


def _name_of(test: Pool | str | os.PathLike[str]) -> str:
    return test.name if isinstance(test, Pool) else str(test)


def _same_images(one: Pool, other: Pool) -> bool:
    return Contents(one, remember=False).fingerprint == Contents(other, remember=False).fingerprint


def _labelled(source: Pool | str | os.PathLike[str], quiet: bool) -> Pool:
    pool = source if isinstance(source, Pool) else open_pool(source, quiet=quiet)
    if pool.labels is not None:
        pool = replace(pool, labels=class_names(pool.labels, f"the pool {pool.name}", pool.ids))
    ids = [item for item, name in zip(pool.ids, pool.labels or (), strict=False) if name is not None]
    if not ids:
        raise UsageError(
            f"the pool {pool.name} has no labels, and a simulation needs them all: give a folder with a sub-folder a "
            "class, or a file with a column 'label'"
        )
    if len(ids) < len(pool):
        note(f"{len(pool) - len(ids):,} of {len(pool):,} items of {pool.name} have no label and are left out", quiet)
        return pool.subset(ids)
    return pool


def _share_of(test: str) -> float | None:
    """0.3 of ``"30%"`` and ``"0.3"``; None of anything else."""
    try:
        kind, value = parse_budget(test)
    except UsageError:
        if test.strip().endswith("%"):
            raise UsageError(f"--test {test} is not possible; give a share above 0% and below 100%") from None
        return None
    return value if kind == "share" and not Path(test).exists() else None


# Features ---------------------------------------------------------------------------------------------------------


def embed_parts(
    parts: Parts,
    seeds: Sequence[int],
    network: Backbone,
    options: EmbedOptions,
    folder: Path,
    *,
    use_cache: bool,
    quiet: bool,
) -> None:
    """Features of all images, each computed once, in folders that every process maps into its memory."""

    def features(pool: Pool, name: str) -> Embeddings:
        out = folder / name
        return embed(pool, backbone=network, out=out, options=options, use_cache=use_cache, resume=True, quiet=quiet)

    if parts.test is None:
        _write_split(parts, seeds, folder / SPLIT)
    wanted = {WHOLE: parts.whole} if parts.per_seed else dict(zip((POOL, TEST), parts.sides(0), strict=True))
    missing = {name: pool for name, pool in wanted.items() if not (folder / name / MANIFEST).is_file()}
    if parts.per_seed or parts.test is not None:
        for name, pool in missing.items():
            features(pool, name)
        return
    if missing:
        whole = features(parts.whole, WHOLE)
        for name, pool in missing.items():
            save_embeddings(_part_of(whole, pool), folder / name)
    shutil.rmtree(folder / WHOLE, ignore_errors=not missing)  # a run that was killed may have left some of it


def _write_split(parts: Parts, seeds: Sequence[int], path: Path) -> None:
    """Which side each item is on; one split, or one for each seed, which a third column names."""
    rows: list[tuple[object, ...]] = []
    for seed in seeds if parts.per_seed else seeds[:1]:
        held = set(parts.sides(seed)[1].ids)
        own = (seed,) if parts.per_seed else ()
        rows += [(item, "test" if item in held else "pool", *own) for item in parts.whole.ids]
    write_csv(path, ("id", "part", "seed") if parts.per_seed else ("id", "part"), rows)


def _part_of(whole: Embeddings, pool: Pool) -> Embeddings:
    return take(whole, [item for item in pool.ids if item in whole.position])  # others were rejected


class Features:
    """The features of both sides as one process reads them; of the seed that was asked for last where seeds differ."""

    def __init__(self, parts: Parts, folder: Path):
        self._parts = parts
        self._stored = {name: load_embeddings(folder / name) for name in ((WHOLE,) if parts.per_seed else (POOL, TEST))}
        self._seed: int | None = None
        self._sides: tuple[Embeddings, Embeddings] | None = None

    def sides(self, seed: int) -> tuple[Embeddings, Embeddings]:
        """Features of the pool that a seed picks from, and of its test set, with all labels."""
        if not self._parts.per_seed:
            return self._stored[POOL], self._stored[TEST]
        if self._sides is None or seed != self._seed:
            self._sides = None  # first, so that two seeds never lie in memory together
            pool, test = self._parts.sides(seed)
            self._seed, self._sides = seed, (_part_of(self._stored[WHOLE], pool), _part_of(self._stored[WHOLE], test))
        return self._sides

    def labels(self, seed: int) -> Sequence[str | None]:
        """The labels of the usable items of the pool that a seed picks from."""
        if not self._parts.per_seed:
            return self._stored[POOL].labels or ()
        whole = self._stored[WHOLE]
        names = whole.labels or ()
        return [names[whole.position[item]] for item in self._parts.sides(seed)[0].ids if item in whole.position]

    def figures(self, seeds: Sequence[int]) -> dict[str, Any]:
        """How much there is of what; numbers of items are means over the seeds where each has its own."""
        seeds = seeds if self._parts.per_seed else seeds[:1]
        pools = [self.labels(seed) for seed in seeds]
        total = sum(map(len, self._stored.values()))
        counts = [Counter(names) for names in pools]
        items = round(sum(map(len, pools)) / len(pools))
        test = self._parts.test
        return {
            "pool_name": self._parts.whole.name,
            "test_name": "a share of the pool" if test is None else test.name,
            "splits": PER_SEED if self._parts.per_seed else ONE,
            "pool_items": items,
            "test_items": total - items,
            "classes": max(map(len, counts)),
            "largest_class": max(max(count.values()) for count in counts),
            "smallest_class": min(min(count.values()) for count in counts),
        }
