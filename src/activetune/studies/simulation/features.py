"""The features of both sides of a simulation: each image is embedded once, and every process maps them into memory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from activetune.base.artefact import MANIFEST
from activetune.base.tables import write_csv
from activetune.data.pool import Pool
from activetune.evaluation.model import Prepare
from activetune.features.artefact import Embeddings, load_embeddings, save_embeddings
from activetune.features.embedding import EmbedOptions, embed, take
from activetune.networks.backbones import Backbone
from activetune.studies.simulation.budgets import Stock
from activetune.studies.simulation.parts import ONE, PER_SEED, Parts

POOL, TEST, WHOLE, TOKENS, TEST_TOKENS = (
    f"embeddings/{name}" for name in ("pool", "test", "whole", "tokens", "test_tokens")
)
BYTES = 4  # of a number of the test tokens: in float32 a model scores as it does on the images
SPLIT = "split.csv"


def embed_parts(
    parts: Parts,
    seeds: Sequence[int],
    network: Backbone,
    options: EmbedOptions,
    folder: Path,
    *,
    tokens: bool,
    test_tokens: bool,
    use_cache: bool,
    quiet: bool,
) -> None:
    """Features of all images, each computed once, in folders that every process maps into its memory.

    Args:
        tokens: whether patch tokens of the pool are needed too. test_tokens: whether all tokens of the test set are.
    """

    def features(pool: Pool, name: str, options: EmbedOptions = options) -> Embeddings:
        out = folder / name
        silent = quiet or (out / MANIFEST).is_file()  # finished: looked at, as a kill may have left its notes there
        return embed(pool, backbone=network, out=out, options=options, use_cache=use_cache, resume=True, quiet=silent)

    if parts.test is None:
        _write_split(parts, seeds, folder / SPLIT)
    wanted = {WHOLE: parts.whole} if parts.per_seed else dict(zip((POOL, TEST), parts.sides(0), strict=True))
    pool, test = (parts.whole, parts.whole) if parts.per_seed else parts.sides(0)
    if tokens:
        features(pool, TOKENS, replace(options, tokens=True))
    if test_tokens and _has_room_for_tokens(test, network, folder):
        prepare = Prepare(parts.task, network.settings)
        features(test, TEST_TOKENS, replace(options, tokens="all", dtype="float32", prepare=prepare))
    if parts.per_seed or parts.test is not None:
        for name, pool in wanted.items():
            features(pool, name)
        return
    missing = {name: pool for name, pool in wanted.items() if not (folder / name / MANIFEST).is_file()}
    if missing:
        whole = features(parts.whole, WHOLE)
        for name, pool in missing.items():
            save_embeddings(_part_of(whole, pool), folder / name)
    shutil.rmtree(folder / WHOLE, ignore_errors=not missing)  # a run that was killed may have left some of it


def _has_room_for_tokens(pool: Pool, backbone: Backbone, folder: Path) -> bool:
    """Whether all tokens of a pool take less than half of what is free on the disk."""
    return len(pool) * backbone.grid.tokens * backbone.token_size * BYTES < shutil.disk_usage(folder).free / 2


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
        self._parts, self._folder = parts, folder
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

    def tokens(self, seed: int) -> Embeddings:
        """Patch tokens of the pool that a seed picks from, of the items that :meth:`sides` has."""
        whole = load_embeddings(self._folder / TOKENS)
        ids = self.sides(seed)[0].ids
        return whole if list(ids) == list(whole.ids) else take(whole, ids)

    def test_tokens(self, seed: int) -> Embeddings | None:
        """All tokens of a seed's test set; None where they were not kept."""
        whole = self._all_test_tokens
        return _part_of(whole, self._parts.sides(seed)[1]) if whole is not None and self._parts.per_seed else whole

    @cached_property
    def _all_test_tokens(self) -> Embeddings | None:
        folder = self._folder / TEST_TOKENS
        return load_embeddings(folder) if (folder / MANIFEST).is_file() else None

    def stock(self, seed: int) -> Stock:
        """What there is to pick from among the usable items of a seed's pool."""
        if not self._parts.per_seed:
            return self._parts.stock(self._stored[POOL].ids)
        known = self._stored[WHOLE].position
        return self._parts.stock([item for item in self._parts.sides(seed)[0].ids if item in known])

    def figures(self, seeds: Sequence[int]) -> dict[str, Any]:
        """How much there is of what; numbers of items are means over the seeds where each has its own."""
        seeds = seeds if self._parts.per_seed else seeds[:1]
        stocks = [self.stock(seed) for seed in seeds]
        total = sum(map(len, self._stored.values()))
        counts = [stock.counts for stock in stocks]
        items = round(sum(stock.total for stock in stocks) / len(stocks))
        test = self._parts.test
        return {
            "pool_name": self._parts.whole.name,
            "test_name": "a share of the pool" if test is None else test.name,
            "splits": PER_SEED if self._parts.per_seed else ONE,
            "pool_items": items,
            "test_items": total - items,
            "classes": max(map(len, counts)),
            "largest_class": max(max(count.values(), default=0) for count in counts),
            "smallest_class": min(min(count.values(), default=0) for count in counts),
        }
