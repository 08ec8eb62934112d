"""Features that were computed before: in the output folder itself, or in the user's cache."""

from __future__ import annotations

import shutil
from pathlib import Path

from activetune.base.artefact import MANIFEST, write_manifest
from activetune.base.errors import ActivetuneError
from activetune.base.progress import note
from activetune.base.shards import Plan, Shards
from activetune.base.unfinished import WORK, clear
from activetune.data.pool import Pool
from activetune.features import cache
from activetune.features.artefact import Embeddings, load_embeddings, origin, save_items, seal_embeddings
from activetune.features.writer import FEATURES
from activetune.networks.backbones import Backbone


def load_cached(entry: Path, pool: Pool, quiet: bool) -> Embeddings | None:
    """A cache entry under the pool's present name and labels; None where there is none, or a damaged one: that goes."""
    if not (entry / MANIFEST).is_file():
        return None
    try:
        found = load_embeddings(entry)
        _check_items(found, entry, pool)
    except (ActivetuneError, OSError) as error:
        note(f"the cached features are damaged ({error}); computing them again", quiet)
        cache.drop(entry)
        return None
    return _renewed(found, pool)


def refresh(folder: Path, pool: Pool) -> Embeddings:
    """Embeddings that a folder holds already, with the pool's present name, place and labels."""
    found = load_embeddings(folder)
    _check_items(found, folder, pool)
    renewed = _renewed(found, pool)
    if renewed.labels != found.labels:
        save_items(folder / "items.parquet", renewed.ids, renewed.labels)
    if renewed.manifest != found.manifest:
        write_manifest(folder, "embeddings", renewed.manifest)
    clear(folder)
    return renewed


def copy_cached(found: Embeddings, entry: Path, folder: Path, pool: Pool, backbone: Backbone, plan: Plan) -> Embeddings:
    """Fill an output folder from a cache entry.

    Args:
        plan: of the unfinished run that the folder is for as long as this takes, so that it can be gone on with.
    """
    clear(folder)
    shards = Shards.begin(folder / WORK, plan)
    for name in (FEATURES, "rejected.csv"):
        shutil.copyfile(entry / name, folder / name)
    save_items(folder / "items.parquet", found.ids, found.labels)
    sealed = seal_embeddings(folder, {**found.manifest, **backbone.asked_for, "cache": "hit"})
    shards.clear()
    return sealed


def _check_items(found: Embeddings, folder: Path, pool: Pool) -> None:
    """Check that each item of the pool has a row or is rejected, and that there are no others.

    Raises:
        ActivetuneError: it is not so.
    """
    rejected = int(found.manifest.get("rejected", 0))
    if not len(found) or len(found) + rejected != len(pool) or not all(item in pool.position for item in found.ids):
        raise ActivetuneError(
            f"{folder} holds {len(found):,} images and {rejected:,} rejected ones, which are not the {len(pool):,} of "
            f"{pool.name}; embed again with --overwrite"
        )


def _renewed(embeddings: Embeddings, pool: Pool) -> Embeddings:
    """The pool's present name, place and labels: features may have been computed under other ones."""
    labels = None if pool.labels is None else [pool.labels[pool.position[item]] for item in embeddings.ids]
    return Embeddings(embeddings.ids, embeddings.features_ND, labels, {**embeddings.manifest, **origin(pool)})
