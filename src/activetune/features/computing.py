"""A pool's images through a backbone: batch by batch, resumable after any kill, sealed when each is accounted for.

Images that can't be decoded take no row and are listed in ``rejected.csv``. How features survive a kill: ``writer.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from activetune.base.errors import ActivetuneError
from activetune.base.memory import Portions
from activetune.base.progress import note, progress
from activetune.base.runtime import resolve_runtime
from activetune.base.tables import write_csv
from activetune.data.identity import Contents
from activetune.data.loading import image_loader
from activetune.data.pool import Pool, check_complete
from activetune.features.artefact import Embeddings, origin, save_items, seal_embeddings
from activetune.features.clock import Clock
from activetune.features.options import Computation, EmbedOptions
from activetune.features.writer import PROGRESS, FeatureWriter, Progress
from activetune.networks.backbones import Backbone

SAVE_EVERY_SECONDS = 2.0


def compute(
    pool: Pool,
    backbone: Backbone,
    options: EmbedOptions,
    contents: Contents,
    folder: Path,
    *,
    save_every: float = SAVE_EVERY_SECONDS,
    quiet: bool = False,
) -> Embeddings:
    """Compute the features of a pool into a folder, from where an unfinished run in it stopped.

    Args:
        contents: of the pool; takes note of the images' digests.
        save_every: seconds after which finished batches are written to disk.

    Raises:
        UsageError: the folder's unfinished run is of other images or another backbone.
        ReadingFault: an image can't be read at present; what is finished is kept.
        ActivetuneError: no image can be used; features beyond the range of float16.
    """
    runtime = resolve_runtime(options.device, options.precision)
    backbone = backbone.to(runtime.device).eval()
    computation = Computation.of(backbone, options)
    clock = Clock(on_processor=runtime.device.type == "cpu", save_every=save_every)
    run = computation.run_key(pool.ids)
    with FeatureWriter(folder, run, batch_size=options.batch_size, dtype=options.dtype) as writer:
        begun = writer.progress
        if begun.images:
            note(f"going on after {begun.images:,} of {len(pool):,} images", quiet)
            contents.read(begun.images, quiet=quiet)
        writer.check(contents.digests_N[: begun.images].tobytes())
        with torch.inference_mode(), runtime.autocast():
            _append_rest(writer, pool, backbone, options, contents, runtime.device, clock, quiet)
        done = writer.progress
        check_complete(len(pool), done.rows, len(done.rejected), str(folder))
        if not done.rows:
            item, reason = done.rejected[0]
            raise ActivetuneError(
                f"none of the {len(pool):,} images of {pool.name} can be used; the first: {item}: {reason}"
            )
        writer.finish()
    contents.save()
    return _seal(pool, backbone, computation, contents.fingerprint, done, clock.figures(quiet), folder)


def _append_rest(
    writer: FeatureWriter,
    pool: Pool,
    backbone: Backbone,
    options: EmbedOptions,
    contents: Contents,
    device: torch.device,
    clock: Clock,
    quiet: bool,
) -> None:
    """Compute the features of the images that the writer has not dealt with yet."""
    begun = writer.progress
    loader = image_loader(
        pool,
        options.prepare or backbone.prepare,
        batch_size=begun.batch_size,
        about=backbone.settings.enough if options.prepare is None else options.prepare.enough,
        workers=options.workers,
        first_batch=begun.batches,
        contents=contents,
    )
    portions = Portions(device, quiet)
    with progress(len(pool), "embedding", done=begun.images, quiet=quiet) as meter:
        for batch in clock.waiting(loader):
            features = None
            if len(batch.images):
                features = _forward(backbone, batch.images, options, portions)
                clock.computed(len(features))
            rejected = [(pool.ids[position], reason) for position, reason in batch.rejected]
            writer.append(features, rejected, batch.digests)
            meter.advance(len(batch.images) + len(batch.rejected))
            if clock.time_to_save():
                writer.save()


def _forward(backbone: Backbone, images: torch.Tensor, options: EmbedOptions, portions: Portions) -> np.ndarray:
    def read(part: slice) -> torch.Tensor:
        return _read(backbone, images[part].to(portions.device, non_blocking=True), options).float().cpu()

    features = torch.cat([rows for _, rows in portions.of(len(images), read)]).numpy()
    with np.errstate(over="ignore"):  # told below, in a sentence
        stored = features.astype(options.dtype)
    if not np.isfinite(stored).all():
        if np.isfinite(features).all():
            raise ActivetuneError("features exceed the range of float16; give --dtype float32")
        raise ActivetuneError("the backbone gives NaN or infinite features; try --precision fp32, or check --weights")
    return stored


def _read(backbone: Backbone, images: torch.Tensor, options: EmbedOptions) -> torch.Tensor:
    if options.tokens == "all":
        return backbone.all_tokens(images)
    found: torch.Tensor = backbone.tokens(images) if options.tokens else backbone(images)
    return found


def _seal(
    pool: Pool,
    backbone: Backbone,
    computation: Computation,
    pool_fingerprint: str,
    done: Progress,
    figures: dict[str, Any],
    folder: Path,
) -> Embeddings:
    """Write items, rejects and, last, the manifest beside the finished features."""
    rejected = {item for item, _ in done.rejected}
    kept = [index for index, item in enumerate(pool.ids) if item not in rejected]
    labels = None if pool.labels is None else [pool.labels[index] for index in kept]
    write_csv(folder / "rejected.csv", ("id", "reason"), done.rejected)
    save_items(folder / "items.parquet", [pool.ids[index] for index in kept], labels)
    manifest = {
        "key": computation.key(pool_fingerprint),
        "run": computation.run_key(pool.ids),
        **origin(pool),
        **backbone.asked_for,
        "pool_fingerprint": pool_fingerprint,
        **computation.content,
        "images": len(pool),
        "rejected": len(rejected),
        "cache": "miss",
        "figures": figures,
    }
    embeddings = seal_embeddings(folder, manifest)
    (folder / PROGRESS).unlink()
    return embeddings
