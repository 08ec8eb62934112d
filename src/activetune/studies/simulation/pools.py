"""The two sides of a simulation: a pool that is picked from, and a test set; opened or split, checked, embedded."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.artefact import MANIFEST
from activetune.base.errors import UsageError, some
from activetune.base.fingerprint import digest, digest_stream
from activetune.base.progress import note
from activetune.base.tables import write_csv
from activetune.data.answers import class_names
from activetune.data.identity import Contents
from activetune.data.label_notes import describe_foreign, describe_spelling
from activetune.data.labels import pool_labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.features.artefact import Embeddings, save_embeddings
from activetune.features.embedding import EmbedOptions, embed, take
from activetune.networks.backbones import Backbone
from activetune.selection.budget import parse_budget

POOL, TEST, SPLIT = "embeddings/pool", "embeddings/test", "split.csv"
SPLIT_SEED = 20_240_229  # of --test 30%: the same items are held out whatever the seed


@dataclass(frozen=True)
class Parts:
    """Pool and test set, all items labelled; ``images`` is the pool that the pool's items are read (and cached) by."""

    pool: Pool
    test: Pool
    images: Pool

    def made_from(self, *, use_cache: bool) -> dict[str, str]:
        """Digests of both, with their labels; images that are not known yet are read."""
        return {
            name: digest(Contents(part, remember=use_cache).fingerprint, digest_stream(map(str, part.labels or ())))
            for name, part in (("pool", self.pool), ("test set", self.test))
        }

    def figures(self) -> dict[str, Any]:
        """How much there is of what."""
        counts = Counter(self.pool.labels or ())
        return {
            "pool_name": self.pool.name,
            "test_name": "a share of the pool" if self.held_out else self.test.name,
            "classes": len(counts),
            "largest_class": max(counts.values()),
            "smallest_class": min(counts.values()),
        }

    @property
    def held_out(self) -> bool:
        """Whether the test set is a share of the pool."""
        return self.images is not self.pool


def open_parts(pool: Pool | str | os.PathLike[str], test: Pool | str | os.PathLike[str], quiet: bool) -> Parts:
    """Open pool and test set, or split the one.

    Raises:
        UsageError: labels that are not known, no class in common, the same pool twice, an impossible share.
    """
    whole = _labelled(pool, quiet)
    share = None if isinstance(test, Pool) else _share_of(str(test))
    if share is None:
        parts = Parts(whole, _labelled(test, quiet), whole)
        if list(parts.test.ids) == list(whole.ids) and _same_images(parts.test, whole):
            raise UsageError("the test set is the pool itself; hold a share of it out instead, for instance --test 30%")
    else:
        held = np.zeros(len(whole), dtype=bool)
        held[np.random.default_rng(SPLIT_SEED).permutation(len(whole))[: round(share * len(whole))]] = True
        if held.all() or not held.any():
            raise UsageError(f"--test {test} leaves nothing of {len(whole):,} items on one side; give another share")
        kept, tested = ([whole.ids[row] for row in np.flatnonzero(side).tolist()] for side in (~held, held))
        parts = Parts(whole.subset(kept), whole.subset(tested), whole)
    classes, tests = ({name for name in side.labels or () if name is not None} for side in (parts.pool, parts.test))
    if len(classes) < 2:
        raise UsageError(f"all labels of the pool {whole.name} are {some(classes)}; at least two classes are needed")
    if not classes & tests:
        raise UsageError(
            f"the pool ({some(classes)}) and the test set ({some(tests)}) have no class in common"
            + describe_foreign(tests, classes)
        )
    for told in describe_spelling(pool_labels(parts.pool)):
        note(told, quiet)
    if tests - classes:
        foreign, advice = sorted(tests - classes), describe_foreign(tests - classes, classes)
        note(f"the pool has no item of {some(foreign)}; test items of these classes count as wrong{advice}", quiet)
    return parts


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


def embed_parts(
    parts: Parts, network: Backbone, options: EmbedOptions, folder: Path, *, use_cache: bool, quiet: bool
) -> None:
    """Features of both parts, each in a folder of its own, which every process maps into its memory."""
    wanted = {POOL: parts.pool, TEST: parts.test}
    missing = {name: pool for name, pool in wanted.items() if not (folder / name / MANIFEST).is_file()}

    def features(pool: Pool, out: Path) -> Embeddings:
        return embed(pool, backbone=network, out=out, options=options, use_cache=use_cache, resume=True, quiet=quiet)

    if not parts.held_out:
        for name, pool in missing.items():
            features(pool, folder / name)
        return
    sides = {item: name for name, pool in wanted.items() for item in pool.ids}
    write_csv(folder / SPLIT, ("id", "part"), [(item, sides[item].split("/")[-1]) for item in parts.images.ids])
    place = folder / "embeddings" / "whole"
    if not missing:
        shutil.rmtree(place, ignore_errors=True)  # a run that was killed may have left some of it
        return
    whole = features(parts.images, place)
    for name, pool in missing.items():
        save_embeddings(take(whole, [item for item in pool.ids if item in whole.position]), folder / name)
    shutil.rmtree(place)
