"""A pool's images through a backbone: batch by batch, resumable after any kill, sealed when each is accounted for.

Images that can't be decoded take no row and are listed in ``rejected.csv``. How the work is shared out and survives:
``sharing.py``; how a shard's features grow: ``writer.py``.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from activetune.base.cluster import Cluster
from activetune.base.errors import ActivetuneError
from activetune.base.memory import Portions
from activetune.base.ranks import from_first
from activetune.base.runtime import Runtime
from activetune.base.shards import Plan, Shards
from activetune.base.tables import write_csv
from activetune.base.unfinished import WORK
from activetune.data.identity import Contents, item_digest
from activetune.data.loading import Loaded
from activetune.data.pool import Pool, check_complete
from activetune.features.artefact import Embeddings, origin, save_items, seal_embeddings
from activetune.features.options import Computation, EmbedOptions
from activetune.features.sharing import SAVE_EVERY_SECONDS, Work, all_sealed, rates, tell_rates, worked_through
from activetune.features.writer import FEATURES, FeatureWriter, join
from activetune.networks.backbones import Backbone, weights_in_precision


def compute(
    pool: Pool,
    backbone: Backbone,
    options: EmbedOptions,
    contents: Contents,
    folder: Path,
    plan: Plan,
    pending: Sequence[int],
    *,
    cluster: Cluster | None = None,
    save_every: float = SAVE_EVERY_SECONDS,
    quiet: bool = False,
) -> Embeddings | None:
    """Compute the features of a pool into a folder in which the work has begun; call it in all processes that share it.

    Args:
        contents: of the pool; the first process takes note of the images' digests.
        plan: how the work that has begun is cut. pending: the shards that are not finished.
        cluster: of Ray, that computes; None: this process or its launch.
        save_every: seconds after which finished batches are written to disk.

    Returns:
        The embeddings, in the first process.

    Raises:
        UsageError: a shard that was begun is of other images.
        ReadingFault: an image can't be read at present; what is finished is kept.
        ActivetuneError: no image can be used; features beyond the range of float16.
    """
    started = time.perf_counter()
    work = _Embedding(
        pool,
        Shards(folder / WORK, plan),
        options.workers,
        options.device,
        options.precision,
        contents.told(),
        save_every,
        backbone,
        options,
    )
    found = worked_through(work, pending, cluster, quiet=quiet)
    seconds = time.perf_counter() - started
    tell_rates(found, seconds, quiet)
    made: list[Embeddings] = []
    from_first(lambda: made.append(_seal(work, contents, folder, rates(found, seconds))))
    return made[0] if made else None


@dataclass(frozen=True)
class _Embedding(Work):
    """The features of every image."""

    backbone: Backbone
    options: EmbedOptions

    label: ClassVar[str] = "embedding"

    @property
    def network(self) -> torch.nn.Module:
        """See :class:`Work`."""
        return self.backbone

    @property
    def prepare(self) -> Callable[[Image.Image], torch.Tensor]:
        """See :class:`Work`."""
        return self.options.prepare or self.backbone.prepare

    @property
    def about(self) -> int:
        """See :class:`Work`."""
        return self.backbone.settings.enough if self.options.prepare is None else self.options.prepare.enough

    def context(self, runtime: Runtime) -> contextlib.AbstractContextManager[object]:
        """See :class:`Work`."""
        stack = contextlib.ExitStack()
        stack.enter_context(torch.inference_mode())
        stack.enter_context(runtime.autocast())
        stack.enter_context(weights_in_precision(self.backbone, runtime))
        return stack

    def open(self, shard: int, runtime: Runtime, portions: Portions) -> _Features:
        """See :class:`Work`."""
        return _Features(self, shard, portions)


class _Features:
    """The features of one shard; see :class:`activetune.features.sharing.Growing`."""

    def __init__(self, work: _Embedding, shard: int, portions: Portions):
        plan, folder = work.shards.plan, work.shards.place(shard)
        folder.mkdir(exist_ok=True)
        self._work, self._shard, self._portions = work, shard, portions
        self._writer = FeatureWriter(folder, plan.key, batch_size=plan.batch_size, dtype=work.options.dtype)
        begun = plan.bounds(shard)[: self._writer.progress.images]
        self._digests = [item_digest(work.pool, position) for position in begun]
        self._writer.check(b"".join(self._digests))

    @property
    def batches(self) -> int:
        return self._writer.progress.batches

    def add(self, batch: Loaded) -> int:
        work, features = self._work, None
        if len(batch.images):
            features = _forward(work.backbone, batch.images, work.options, self._portions)
        rejected = [(work.pool.ids[position], reason) for position, reason in batch.rejected]
        self._writer.append(features, rejected, batch.digests)
        self._digests += batch.digests
        return len(batch.images)

    def save(self) -> None:
        self._writer.save()

    def seal(self) -> None:
        done, shards = self._writer.progress, self._work.shards
        check_complete(len(shards.plan.bounds(self._shard)), done.rows, len(done.rejected), str(shards.folder.parent))
        result = self._writer.finish()
        told = {"rows": done.rows, "rejected": done.rejected, "digests": b"".join(self._digests).hex()}
        shards.seal(self._shard, result, told)

    def close(self) -> None:
        self._writer.close()


class BeyondFloat16(ActivetuneError):
    """Features are finite, and too large for the type that they are kept in."""


def _forward(backbone: Backbone, images: torch.Tensor, options: EmbedOptions, portions: Portions) -> np.ndarray:
    def read(part: slice) -> torch.Tensor:
        return _read(backbone, images[part].to(portions.device, non_blocking=True), options).float().cpu()

    features = torch.cat([rows for _, rows in portions.of(len(images), read)]).numpy()
    with np.errstate(over="ignore"):  # told below, in a sentence
        stored = features.astype(options.dtype)
    if not np.isfinite(stored).all():
        if np.isfinite(features).all():
            raise BeyondFloat16("features exceed the range of float16; give --dtype float32")
        raise ActivetuneError("the backbone gives NaN or infinite features; try --precision fp32, or check --weights")
    return stored


def _read(backbone: Backbone, images: torch.Tensor, options: EmbedOptions) -> torch.Tensor:
    if options.tokens == "all":
        return backbone.all_tokens(images)
    found: torch.Tensor = backbone.tokens(images) if options.tokens else backbone(images)
    return found


def _seal(work: _Embedding, contents: Contents, folder: Path, figures: dict[str, Any]) -> Embeddings:
    """Join the shards, write items and rejects beside them and, last, the manifest.

    Raises:
        ActivetuneError: no image can be used.
    """
    pool, shards = work.pool, work.shards
    seals = all_sealed(shards, contents)
    refused = [(str(item), str(reason)) for seal in seals for item, reason in seal["rejected"]]
    rows = sum(int(seal["rows"]) for seal in seals)
    check_complete(len(pool), rows, len(refused), str(folder))
    if not rows:
        item, reason = refused[0]
        raise ActivetuneError(
            f"none of the {len(pool):,} images of {pool.name} can be used; the first: {item}: {reason}"
        )
    join([shards.result(seal) for seal in seals if seal["rows"]], folder / FEATURES)
    contents.save()
    rejected = {item for item, _ in refused}
    kept = [index for index, item in enumerate(pool.ids) if item not in rejected]
    labels = None if pool.labels is None else [pool.labels[index] for index in kept]
    write_csv(folder / "rejected.csv", ("id", "reason"), refused)
    save_items(folder / "items.parquet", [pool.ids[index] for index in kept], labels)
    computation = Computation.of(work.backbone, work.options)
    manifest = {
        "key": computation.key(contents.fingerprint),
        "run": computation.run_key(pool.ids),
        **origin(pool),
        **work.backbone.asked_for,
        "pool_fingerprint": contents.fingerprint,
        **computation.content,
        "images": len(pool),
        "rejected": len(rejected),
        "cache": "miss",
        "figures": figures,
    }
    embeddings = seal_embeddings(folder, manifest)
    shards.clear()
    return embeddings
