"""Pool x backbone -> embeddings: found where they are known, computed where they are not.

How they are computed: ``computing.py``; where they may be known from: ``reuse.py`` and ``cache.py``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack

import numpy as np

from activetune.base.artefact import MANIFEST, holds, prepare_folder
from activetune.base.errors import UsageError
from activetune.base.files import read_json
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import NO_CHANCE, Run, RunOptions
from activetune.data.identity import FORM, Contents
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.features import cache
from activetune.features.artefact import EMBEDDING_FILES, Embeddings
from activetune.features.computing import compute
from activetune.features.options import Computation, EmbedOptions
from activetune.features.reuse import copy_cached, load_cached, refresh
from activetune.features.writer import PARTIAL, PROGRESS, Progress
from activetune.networks.backbones import Backbone, load_backbone

__all__ = ["EmbedOptions", "embed", "features_of", "take"]


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
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=quiet)
    options = (options or EmbedOptions()).within(run)
    network = backbone if isinstance(backbone, Backbone) else load_backbone(backbone, weights)
    wanted = _Wanted(pool, network, options, use_cache=use_cache, quiet=quiet)
    if out is None:
        if (cached := wanted.cached()) is not None:
            return cached
        with tempfile.TemporaryDirectory(prefix="activetune-") as temporary:
            made = wanted.compute(Path(temporary))
            _tell_skipped(made, len(pool), quiet)
            return Embeddings(made.ids, np.array(made.features_ND), made.labels, made.manifest)

    folder = Path(out)
    if (use_cache or resume) and not overwrite and wanted.lie_in(folder):
        note(f"{folder} holds the features of this pool, backbone and transform already", quiet)
        embeddings = refresh(folder, pool)
    else:
        _claim(folder, overwrite=overwrite, resume=resume)
        if (cached := wanted.cached()) is None:
            embeddings = wanted.compute(folder)
        else:
            note("cache hit: the features of this pool, backbone and transform are known", quiet)
            begun = Progress(wanted.computation.run_key(pool.ids), options.batch_size)
            embeddings = copy_cached(cached, wanted.entry(), folder, pool, network, begun)
    _tell_skipped(embeddings, len(pool), quiet)
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
        same_run = holds(folder, "embeddings", {"run": self.computation.run_key(self.pool.ids)})
        return same_run and holds(folder, "embeddings", {"key": self.key()})

    def cached(self) -> Embeddings | None:
        """These features out of the cache, where they are kept and undamaged."""
        if not self.use_cache or self.options.tokens or not cache.holds(self.outline):
            return None
        return load_cached(self.entry(), self.pool, self.quiet)

    def compute(self, folder: Path) -> Embeddings:
        """Compute them into a folder, and remember them."""
        made = compute(self.pool, self.backbone, self.options, self.contents, folder, quiet=self.quiet)
        if self.use_cache and not self.options.tokens:
            cache.add(self.entry(), folder, EMBEDDING_FILES)
        return made


def _tell_skipped(embeddings: Embeddings, images: int, quiet: bool) -> None:
    skipped = images - len(embeddings)
    note(
        f"{skipped:,} of {images:,} images were skipped; rejected.csv lists them with the reason", quiet or not skipped
    )


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
    prepare_folder(folder, (*EMBEDDING_FILES, PARTIAL, PROGRESS), overwrite=overwrite)
