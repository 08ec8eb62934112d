"""Pool x backbone -> embeddings: batched, resumable after any kill, cached by content.

Images that can't be decoded take no row and are listed in ``rejected.csv``. How features survive a kill:
``feature_writer.py``; where finished ones are remembered: ``cache.py``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from activetune.base.artefact import MANIFEST, prepare_folder, read_manifest
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import read_json
from activetune.base.fingerprint import digest_json
from activetune.base.locks import holds_output
from activetune.base.progress import note, progress
from activetune.base.run import NO_CHANCE, Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.base.tables import write_csv
from activetune.data.loading import Loaded, image_loader
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.features import cache
from activetune.features.artefact import EMBEDDING_FILES, Embeddings, load_embeddings, save_items, seal_embeddings
from activetune.features.writer import FEATURES, PARTIAL, PROGRESS, FeatureWriter, Progress
from activetune.networks.backbones import Backbone, load_backbone

SAVE_EVERY_SECONDS = 2.0
PIPELINE = 1  # raised when the same inputs give other features


@dataclass(frozen=True)
class EmbedOptions:
    """How features are computed.

    Attributes:
        tokens: patch tokens (N, T, D) instead of pooled features (N, D).
        dtype: ``float16`` or ``float32`` on disk.
        batch_size: images a forward pass.
        workers: decoding processes; -1 chooses, 0 decodes in this one.
        device, precision: see :func:`activetune.base.runtime.resolve_runtime`.
    """

    tokens: bool = False
    dtype: str = "float16"
    batch_size: int = 32
    workers: int = -1
    device: str = "auto"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32"):
            raise UsageError(f"dtype {self.dtype!r} is not possible; allowed: float16, float32")
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {self.batch_size}")

    def within(self, run: Run) -> EmbedOptions:
        """These options with the run's workers, device and precision where they have none of their own."""
        names = ("workers", "device", "precision")
        own = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(EmbedOptions, name)}
        return replace(self, **{**{name: getattr(run, name) for name in names}, **own})


@holds_output(folder=True)
def embed(
    pool: Pool | str | os.PathLike[str],
    *,
    backbone: str | Backbone = "bundled",
    weights: str | Path | None = None,
    out: str | os.PathLike[str] | None = None,
    options: EmbedOptions | None = None,
    use_cache: bool = True,
    **run_options: Unpack[RunOptions],
) -> Embeddings:
    """Compute the features of every image of a pool.

    Args:
        pool: a pool, or what :func:`activetune.open_pool` opens.
        backbone: a name (see :func:`activetune.networks.backbones.load_backbone`) or a loaded backbone.
        weights: a local weights file for a named backbone.
        out: the artefact's folder; None keeps it in the cache only (in memory with ``use_cache=False``).
        options: what is computed; its ``workers``, ``device`` and ``precision`` go before those of the run.
        use_cache: reuse the features of the same pool, weights and transform where they are known.
        run_options: see :class:`activetune.RunOptions`; nothing is drawn here, so no ``seed``.

    Returns:
        Embeddings of the images that can be decoded, in the pool's order.

    Raises:
        UsageError: ``out`` holds something else, or an unfinished run and ``resume`` is off.
        ActivetuneError: no image could be decoded; features beyond the range of float16.
    """
    run = Run.of("embed", run_options, seed=NO_CHANCE)
    overwrite, resume, quiet = run.overwrite, run.resume, run.quiet
    pool = pool if isinstance(pool, Pool) else open_pool(pool)
    options = (options or EmbedOptions()).within(run)
    network = backbone if isinstance(backbone, Backbone) else load_backbone(backbone, weights)
    recipe = _recipe(pool, network, options)
    key = digest_json(recipe)
    cached = _cached(key, pool) if use_cache and not options.tokens else None

    if out is None:
        if cached is not None:
            return cached
        with tempfile.TemporaryDirectory(prefix="activetune-") as temporary:
            made = _compute(pool, network, options, recipe, Path(temporary), use_cache=use_cache, quiet=quiet)
            return Embeddings(made.ids, np.array(made.features_ND), made.labels, made.manifest)

    folder = Path(out)
    if use_cache and not overwrite and (folder / MANIFEST).is_file() and _key_of(folder) == key:
        note(f"cache hit: {folder} holds the features of this pool, backbone and transform already", quiet)
        embeddings = _refresh(folder, pool)
    else:
        _claim(folder, overwrite=overwrite, resume=resume)
        if cached is None:
            return _compute(pool, network, options, recipe, folder, use_cache=use_cache, quiet=quiet)
        note("cache hit: the features of this pool, backbone and transform are known", quiet)
        embeddings = _copy_cached(cached, cache.folder_of(key), folder, pool)
    _tell_rejected(embeddings, len(pool), quiet)
    return embeddings


def features_of(
    pool: Pool,
    ids: Sequence[str],
    *,
    backbone: Backbone,
    options: EmbedOptions | None = None,
    use_cache: bool = True,
    quiet: bool = False,
) -> Embeddings:
    """Features of some items of a pool: out of the whole pool's cached ones, or computed for these alone."""
    options = options or EmbedOptions()
    whole = _cached(digest_json(_recipe(pool, backbone, options)), pool) if use_cache else None
    if whole is None:
        return embed(pool.subset(ids), backbone=backbone, options=options, use_cache=use_cache, quiet=quiet)
    return take(whole, [item for item in ids if item in whole.position])


def take(embeddings: Embeddings, ids: Sequence[str]) -> Embeddings:
    """The embeddings of the given ids, in their order."""
    rows = [embeddings.position[item] for item in ids]
    labels = None if embeddings.labels is None else [embeddings.labels[row] for row in rows]
    of_the_whole = ("features", "items", "n", "shape")
    manifest = {name: value for name, value in embeddings.manifest.items() if name not in of_the_whole}
    return Embeddings(list(ids), np.asarray(embeddings.features_ND[rows]), labels, manifest)


# What the features depend on --------------------------------------------------------------------------------------


def _recipe(pool: Pool, backbone: Backbone, options: EmbedOptions) -> dict[str, Any]:
    """Everything that changes the features; its digest is the cache key."""
    return {
        "pipeline": PIPELINE,
        "pool_fingerprint": pool.fingerprint,
        "architecture": backbone.architecture,
        "weights": backbone.fingerprint,
        "transform": backbone.settings.as_dict(),
        "tokens": options.tokens,
        "dtype": options.dtype,
        "precision": resolve_runtime(options.device, options.precision).precision,
    }


def _key_of(folder: Path) -> str | None:
    return read_manifest(folder, "embeddings").get("key")


def _claim(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Make the output folder ready, or find in it the unfinished run to go on with.

    Raises:
        UsageError: it holds something else, or an unfinished run that nobody asked to go on with.
    """
    if (folder / PROGRESS).is_file() and not overwrite:
        if not resume:
            raise UsageError(
                f"{folder} holds an unfinished embedding; go on with --resume or start again with --overwrite"
            )
        return
    finished = (folder / MANIFEST).is_file() and read_json(folder / MANIFEST).get("kind") == "embeddings"
    if finished and not overwrite:
        raise UsageError(
            f"{folder} holds embeddings of another pool, backbone or transform (or --no-cache was given); "
            "nothing was written: choose another --out, or give --overwrite"
        )
    prepare_folder(folder, (*EMBEDDING_FILES, PARTIAL, PROGRESS), overwrite=overwrite)


# Known features ---------------------------------------------------------------------------------------------------


def _cached(key: str, pool: Pool) -> Embeddings | None:
    """The cached embeddings of this key under the pool's present labels; a damaged entry is dropped."""
    if not (cache.folder_of(key) / MANIFEST).is_file():
        return None
    try:
        return _relabel(load_embeddings(cache.folder_of(key)), pool)
    except ActivetuneError:
        cache.drop(key)
        return None


def _relabel(embeddings: Embeddings, pool: Pool) -> Embeddings:
    """The pool's present labels: features may have been computed under other ones."""
    labels = None if pool.labels is None else [pool.labels[pool.position[item]] for item in embeddings.ids]
    return Embeddings(embeddings.ids, embeddings.features_ND, labels, embeddings.manifest)


def _refresh(folder: Path, pool: Pool) -> Embeddings:
    """Embeddings that are there already, with the pool's present labels."""
    found = load_embeddings(folder)
    relabelled = _relabel(found, pool)
    if relabelled.labels != found.labels:
        save_items(folder / "items.parquet", relabelled.ids, relabelled.labels)
    (folder / PROGRESS).unlink(missing_ok=True)
    return relabelled


def _copy_cached(found: Embeddings, source: Path, folder: Path, pool: Pool) -> Embeddings:
    for name in (FEATURES, "rejected.csv"):
        shutil.copyfile(source / name, folder / name)
    save_items(folder / "items.parquet", found.ids, found.labels)
    for name in (PARTIAL, PROGRESS):
        (folder / name).unlink(missing_ok=True)
    return seal_embeddings(folder, {**found.manifest, **_origin(pool), "cache": "hit"})


def _origin(pool: Pool) -> dict[str, str | None]:
    """The pool as it was named, and where that is, so that its images are found from another folder too."""
    return {"pool": pool.name, "pool_path": str(Path(pool.name).absolute()) if Path(pool.name).exists() else None}


# Computing --------------------------------------------------------------------------------------------------------


def _compute(
    pool: Pool,
    backbone: Backbone,
    options: EmbedOptions,
    recipe: dict[str, Any],
    folder: Path,
    *,
    use_cache: bool,
    quiet: bool,
) -> Embeddings:
    runtime = resolve_runtime(options.device, options.precision)
    backbone = backbone.to(runtime.device).eval()
    clock = _Clock()
    with FeatureWriter(folder, digest_json(recipe), batch_size=options.batch_size, dtype=options.dtype) as writer:
        begun = writer.progress
        if begun.images:
            note(f"going on after {begun.images:,} of {len(pool):,} images", quiet)
        loader = image_loader(
            pool, backbone.prepare, batch_size=begun.batch_size, workers=options.workers, first_batch=begun.batches
        )
        with (
            progress(len(pool), "embedding", done=begun.images, quiet=quiet) as meter,
            torch.inference_mode(),
            runtime.autocast(),
        ):
            for batch in clock.waiting(loader, on_processor=runtime.device.type == "cpu"):
                features = None
                if len(batch.images):
                    features = _forward(backbone, batch.images, options, runtime.device)
                    clock.computed(len(features))
                writer.append(features, [(pool.ids[position], reason) for position, reason in batch.rejected])
                meter.advance(len(batch.images) + len(batch.rejected))
                if clock.time_to_save():
                    writer.save()
        done = writer.progress
        if not done.rows:
            item, reason = done.rejected[0]
            raise ActivetuneError(
                f"none of the {len(pool):,} images of {pool.name} can be used; the first: {item}: {reason}"
            )
        writer.finish()
    return _seal(pool, backbone, recipe, done, clock.figures(quiet), folder, use_cache=use_cache, quiet=quiet)


def _forward(backbone: Backbone, images: torch.Tensor, options: EmbedOptions, device: torch.device) -> np.ndarray:
    batch = images.to(device, non_blocking=True)
    features = (backbone.tokens(batch) if options.tokens else backbone(batch)).float().cpu().numpy()
    with np.errstate(over="ignore"):  # told below, in a sentence
        stored = features.astype(options.dtype)
    if not np.isfinite(stored).all():
        if np.isfinite(features).all():
            raise ActivetuneError("features exceed the range of float16; give --dtype float32")
        raise ActivetuneError("the backbone gives NaN or infinite features; try --precision fp32, or check --weights")
    return stored


def _seal(
    pool: Pool,
    backbone: Backbone,
    recipe: dict[str, Any],
    done: Progress,
    figures: dict[str, Any],
    folder: Path,
    *,
    use_cache: bool,
    quiet: bool,
) -> Embeddings:
    """Write items, rejects and, last, the manifest beside the finished features; remember them in the cache."""
    rejected = {item for item, _ in done.rejected}
    kept = [index for index, item in enumerate(pool.ids) if item not in rejected]
    labels = None if pool.labels is None else [pool.labels[index] for index in kept]
    write_csv(folder / "rejected.csv", ("id", "reason"), done.rejected)
    save_items(folder / "items.parquet", [pool.ids[index] for index in kept], labels)
    manifest = {
        "key": done.key,
        **_origin(pool),
        "backbone": backbone.name,
        **recipe,
        "rejected": len(rejected),
        "cache": "miss",
        "figures": figures,
    }
    embeddings = seal_embeddings(folder, manifest)
    (folder / PROGRESS).unlink()
    if use_cache and not recipe["tokens"]:
        cache.add(done.key, folder, EMBEDDING_FILES)
    _tell_rejected(embeddings, len(pool), quiet)
    return embeddings


def _tell_rejected(embeddings: Embeddings, images: int, quiet: bool) -> None:
    skipped = images - len(embeddings)
    if skipped:
        note(f"{skipped:,} of {images:,} images were skipped; rejected.csv lists them with the reason", quiet)


class _Clock:
    """Splits the run into decoding and computing, and says which of the two binds."""

    def __init__(self) -> None:
        self.started = self.mark = self.saved = time.perf_counter()
        self.wait = self.compute = self.decoding = 0.0
        self.images = 0
        self.on_processor = False

    def waiting(self, loader: Iterator[Loaded], *, on_processor: bool) -> Iterator[Loaded]:
        """Pass batches on, timing how long each was waited for (but for the first one: that is the workers' start)."""
        self.on_processor = on_processor
        first = True
        for batch in loader:
            now = time.perf_counter()
            self.wait += 0 if first else now - self.mark
            first = False
            self.decoding += batch.cpu_seconds
            self.mark = now
            yield batch
            self.mark = time.perf_counter()

    def computed(self, images: int) -> None:
        """Count a forward pass that began when its batch arrived."""
        self.compute += time.perf_counter() - self.mark
        self.images += images

    def time_to_save(self) -> bool:
        """Whether two seconds have passed since the last time."""
        now = time.perf_counter()
        if now - self.saved < SAVE_EVERY_SECONDS:
            return False
        self.saved = now
        return True

    def figures(self, quiet: bool) -> dict[str, Any]:
        """Rates for the manifest, and one sentence for the user.

        Decoding binds where it costs over a tenth of the run: as time spent waiting for images, or, where model and
        decoding share one processor, as its part of all the cores' time.
        """
        seconds = max(time.perf_counter() - self.started, 1e-9)
        waiting = self.wait / max(self.wait + self.compute, 1e-9)
        share = self.decoding / (seconds * torch.get_num_threads()) if self.on_processor else 0.0
        bound = "decoding" if max(waiting, share) > 0.1 else "model"
        rate, alone = self.images / seconds, self.images / max(self.compute, 1e-9)
        shared = f", {share:.0%} of the processor decodes" if self.on_processor else ""
        note(
            f"{self.images:,} images in {seconds:.1f} s: {rate:,.0f} images/s, in the model {alone:,.0f} images/s; "
            f"{'decoding' if bound == 'decoding' else 'the model'} binds (waiting for images {waiting:.0%} of the time"
            f"{shared})",
            quiet,
        )
        return {
            "seconds": round(seconds, 3),
            "images_per_second": round(rate, 1),
            "model_images_per_second": round(alone, 1),
            "waiting_share": round(waiting, 4),
            "decoding_share": round(share, 4),
            "bound": bound,
        }
