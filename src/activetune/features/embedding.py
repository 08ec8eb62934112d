"""Pool x backbone -> embeddings: found where they are known, computed where they are not.

How they are computed: ``computing.py``; where they may be known from: ``reuse.py`` and ``cache.py``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Unpack

import numpy as np

from activetune.base.artefact import MANIFEST, holds, prepare_folder
from activetune.base.cluster import Cluster, Engine
from activetune.base.errors import UsageError
from activetune.base.files import read_json
from activetune.base.progress import note
from activetune.base.ranks import agreed, from_first, gathered, in_turn, shared_run, together
from activetune.base.run import NO_CHANCE, Run, RunOptions
from activetune.base.shards import PLAN, Plan, Shards
from activetune.base.unfinished import WORK
from activetune.data.identity import FORM, Contents
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.features import cache
from activetune.features.artefact import EMBEDDING_FILES, REJECTED, Embeddings, load_embeddings
from activetune.features.computing import compute
from activetune.features.options import Computation, EmbedOptions
from activetune.features.reuse import copy_cached, load_cached, refresh
from activetune.features.sharing import shared_precision, unfinished
from activetune.features.writer import changed
from activetune.networks.backbones import Backbone, load_backbone

__all__ = ["EmbedOptions", "embed", "features_of", "take"]


def embed(
    pool: Pool | str | os.PathLike[str],
    *,
    backbone: str | Backbone = "bundled",
    weights: str | Path | None = None,
    out: str | os.PathLike[str] | None = None,
    options: EmbedOptions | None = None,
    use_cache: bool = True,
    shard_size: int | None = None,
    engine: str | None = None,
    address: str | None = None,
    processes: int | None = None,
    **run_options: Unpack[RunOptions],
) -> Embeddings:
    """Compute the features of every image of a pool.

    The processes of a launch by ``torchrun`` share the work when each of them makes the call; so do those of Ray.

    Args:
        pool: a pool, or what :func:`activetune.open_pool` opens.
        backbone: a name (see :func:`activetune.networks.backbones.load_backbone`) or a loaded backbone.
        weights: a local weights file for a named backbone.
        out: the artefact's folder; None keeps it in the cache only (in memory with ``use_cache=False``).
        options: what is computed; its ``workers``, ``device`` and ``precision`` go before those of the run.
        use_cache: reuse the features of the same pool, weights and transform where they are known.
        shard_size: images of a shard, the unit of work, in whole batches; None: 1024, or as the run began.
        engine, address, processes: of Ray, see :class:`activetune.base.cluster.Engine`.
        run_options: see :class:`activetune.RunOptions`; nothing is drawn here, so no ``seed``.

    Returns:
        Embeddings of the images that can be decoded, in the pool's order.

    Raises:
        UsageError: ``out`` holds something else, or an unfinished run and ``resume`` is off.
        ActivetuneError: no image could be decoded; features beyond the range of float16.
    """
    run = Run.of("embed", run_options, seed=NO_CHANCE)
    chosen = Engine(engine, address, processes)
    with shared_run(run, out, folder=True) as (run, held):
        given = pool if isinstance(pool, Pool) else together(lambda: open_pool(pool, quiet=run.quiet))
        network = backbone if isinstance(backbone, Backbone) else in_turn(lambda: load_backbone(backbone, weights))
        asked = (options or EmbedOptions()).within(run)
        cluster = held.enter_context(chosen.cluster(asked.device))
        asked = replace(asked, precision=shared_precision(asked.device, asked.precision, cluster))
        wanted = _Wanted(given, network, asked, use_cache=use_cache, quiet=run.quiet)
        agreed(wanted.run_key, "the processes see different images, backbones or options; give all of them the same")
        plan = Plan.of(wanted.run_key, len(given), asked.batch_size, shard_size)
        if out is not None:
            embeddings = wanted.made(Path(out), plan, run, cluster)
        elif (cached := from_first(wanted.cached)) is not None:
            return cached
        else:
            folder = from_first(lambda: held.enter_context(tempfile.TemporaryDirectory(prefix="activetune-")))
            made = wanted.computed(Path(folder), plan, cluster)
            embeddings = Embeddings(made.ids, np.array(made.features_ND), made.labels, made.manifest)
            gathered(None)  # the folder stays until all have read it
    _tell_skipped(len(given) - len(embeddings), len(given), out, run.quiet)
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
    whole = _Wanted(pool, backbone, options, use_cache=use_cache, quiet=quiet).cached()
    if whole is None:
        return embed(pool.subset(ids), backbone=backbone, options=options, use_cache=use_cache, quiet=quiet)
    return take(whole, [item for item in ids if item in whole.position])


def take(embeddings: Embeddings, ids: Sequence[str]) -> Embeddings:
    """The embeddings of the given ids, in their order."""
    rows = [embeddings.position[item] for item in ids]
    labels = None if embeddings.labels is None else [embeddings.labels[row] for row in rows]
    of_the_whole = ("features", "items", "n", "shape", "key", "run", "images", "rejected", "rejected_list")
    manifest = {name: value for name, value in embeddings.manifest.items() if name not in of_the_whole}
    return Embeddings(list(ids), np.asarray(embeddings.features_ND[rows]), labels, manifest)


class _Wanted:
    """The features that are asked for. Images are read to recognise them only where that promises a hit."""

    def __init__(self, pool: Pool, backbone: Backbone, options: EmbedOptions, *, use_cache: bool, quiet: bool):
        self.pool, self.backbone, self.options = pool, backbone, options
        self.use_cache, self.quiet = use_cache, quiet
        self.computation = Computation.of(backbone, options)
        self.run_key = self.computation.run_key(pool.ids)
        self.contents = Contents(pool, remember=use_cache)
        self.outline = self.computation.outline(self.contents.outline)

    def key(self) -> str:
        """Their key; images that are not known yet are read."""
        self.contents.read(quiet=self.quiet)
        return self.computation.key(self.contents.fingerprint)

    def entry(self) -> Path:
        """Their place in the cache."""
        return cache.folder_of(self.outline, self.key())

    def lie_in(self, folder: Path) -> bool:
        """Whether a folder holds these very features."""
        return holds(folder, "embeddings", {"run": self.run_key}) and holds(folder, "embeddings", {"key": self.key()})

    def cached(self) -> Embeddings | None:
        """These features out of the cache, where they are kept and undamaged."""
        if not self.use_cache or self.options.tokens or not cache.holds(self.outline):
            return None
        return load_cached(self.entry(), self.pool, self.quiet)

    def made(self, folder: Path, plan: Plan, run: Run, cluster: Cluster | None) -> Embeddings:
        """The features in a folder, kept, copied or computed; call it in all processes that share the run."""
        if from_first(lambda: self._found(folder, plan, run)):
            return together(lambda: load_embeddings(folder))
        return self.computed(folder, plan, cluster)

    def computed(self, folder: Path, plan: Plan, cluster: Cluster | None) -> Embeddings:
        """Compute them into a folder that is ready, and remember them; call it in all processes that share the run."""
        begun, pending = from_first(lambda: self._pending(folder, plan))
        given = (self.pool, self.backbone, self.options, self.contents, folder, begun, pending)
        made = compute(*given, cluster=cluster, quiet=self.quiet)
        if made is not None and self.use_cache and not self.options.tokens:
            cache.add(self.entry(), folder, EMBEDDING_FILES)
        return together(lambda: made or load_embeddings(folder))

    def _found(self, folder: Path, plan: Plan, run: Run) -> bool:
        """Whether the folder holds the features, or the cache has filled it; otherwise it is ready to work in."""
        if (self.use_cache or run.resume) and not run.overwrite and self.lie_in(folder):
            note(f"{folder} holds the features of this pool, backbone and transform already", self.quiet)
            refresh(folder, self.pool)
            return True
        _claim(folder, overwrite=run.overwrite, resume=run.resume)
        if (cached := self.cached()) is None:
            return False
        note("cache hit: the features of this pool, backbone and transform are known", self.quiet)
        copy_cached(cached, self.entry(), folder, self.pool, self.backbone, plan)
        return True

    def _pending(self, folder: Path, plan: Plan) -> tuple[Plan, list[int]]:
        """How the work is cut, and the shards that are still to be made; the folder is begun where it is not.

        Raises:
            UsageError: the run that was begun there is another one.
        """
        place = folder / WORK
        if not (place / PLAN).is_file():
            Shards.begin(place, plan)
        shards = Shards.begun(place)
        if (shards.plan.key, shards.plan.items) != (plan.key, plan.items):
            raise UsageError(
                f"{folder} holds an unfinished embedding of another pool, backbone or transform; "
                "give the same ones to go on with --resume, or --overwrite to start again"
            )
        return shards.plan, unfinished(shards, self.contents, changed(f"embedding in {folder}"), quiet=self.quiet)


def _tell_skipped(skipped: int, images: int, out: str | os.PathLike[str] | None, quiet: bool) -> None:
    """Tell of images that can't be decoded; their list is kept where the features are."""
    listed = "activetune check tells why" if out is None else f"{Path(out) / REJECTED} lists the reasons"
    note(f"{skipped:,} of {images:,} images were skipped, as they can't be decoded; {listed}", quiet or not skipped)


def _claim(folder: Path, *, overwrite: bool, resume: bool) -> None:
    """Make the output folder ready, or find in it the unfinished run to go on with.

    Raises:
        UsageError: it holds something else, or an unfinished run that nobody asked to go on with.
    """
    if (folder / WORK / PLAN).is_file() and not overwrite and not (folder / MANIFEST).is_file():
        if not resume:
            raise UsageError(
                f"{folder} holds an unfinished embedding; go on with --resume or start again with --overwrite"
            )
        return
    before = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    if before.get("kind") == "embeddings" and not overwrite:
        if not str(before.get("pool_fingerprint")).startswith(FORM):
            raise UsageError(
                f"{folder} holds embeddings by an earlier version, which told pools apart by names, sizes and times; "
                "they can be selected from, but not be compared with this pool: choose another --out, or give "
                "--overwrite"
            )
        raise UsageError(
            f"{folder} holds embeddings of another pool, backbone or transform (or --no-cache was given); "
            "nothing was written: choose another --out, or give --overwrite"
        )
    prepare_folder(folder, "embeddings", (*EMBEDDING_FILES, WORK), overwrite=overwrite)
