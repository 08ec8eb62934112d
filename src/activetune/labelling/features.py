"""The features of a selection's items, wherever they can be found, and the order in which like images lie together.

Shape legend: N items of the selection, D feature size, K clusters.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from activetune.base.artefact import MANIFEST
from activetune.base.errors import ActivetuneError, UsageError, some
from activetune.base.files import cache_folder, read_json
from activetune.base.fingerprint import digest
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.features.distances import Float32, unit_rows
from activetune.selection.artefact import Selection

LOOKED_AT = 1_000  # folders beside a selection, and in the cache
PER_CLUSTER, MOST_CLUSTERS = 12, 200
SAMPLE = 8_192  # items that clusters are found on; the others join the nearest
ITERATIONS = 12


@dataclass(frozen=True)
class Features:
    """Rows of unit length (N, D), of the selection's items in their order, and where they were found."""

    rows_ND: Float32
    place: Path


def features_of(selection: Selection, folder: Path, given: str | os.PathLike[str] | None = None) -> Features | None:
    """The features that a selection was made from.

    Looked at: ``given``; folders beside the selection's; the user's cache. Only embeddings with the fingerprint that
    the selection's manifest names are taken, unless they are given.

    Returns:
        None where none are found.

    Raises:
        UsageError: ``given`` are no embeddings, or lack a pick.
    """
    if given is not None:
        found = load_embeddings(given)
        missing = [item for item in selection.to_label if item not in found.position]
        if missing:
            raise UsageError(f"{given} lacks {len(missing):,} of {len(selection):,} picks: {some(missing)}")
        return Features(_rows(found, selection), Path(given))
    wanted = selection.manifest.get("embeddings")
    for place in _places(folder):
        if wanted is not None and _fingerprint(place) == wanted:
            try:
                return Features(_rows(load_embeddings(place), selection), place)
            except (ActivetuneError, OSError, KeyError):
                continue  # damaged, or just being replaced
    return None


def _places(folder: Path) -> Iterator[Path]:
    for parent in (folder.absolute().parent, folder.absolute(), cache_folder("embeddings")):
        try:
            yield from sorted(entry for entry in parent.iterdir() if (entry / MANIFEST).is_file())[:LOOKED_AT]
        except OSError:
            continue


def _fingerprint(place: Path) -> str | None:
    """As ``Embeddings.fingerprint``, from the manifest alone."""
    try:
        manifest = read_json(place / MANIFEST)
    except (ActivetuneError, OSError):
        return None
    features, items = manifest.get("features"), manifest.get("items")
    known = manifest.get("kind") == "embeddings" and isinstance(features, str) and isinstance(items, str)
    return digest(str(features), str(items)) if known else None


def _rows(found: Embeddings, selection: Selection) -> Float32:
    positions = np.asarray([found.position[item] for item in selection.to_label])
    rows = np.asarray(found.features_ND[np.sort(positions)])[np.argsort(np.argsort(positions))]
    return unit_rows(rows if rows.ndim == 2 else rows.mean(axis=1, dtype=np.float32))


def alike(rows_ND: Float32, *, seed: int = 0) -> list[int]:
    """All rows, ordered so that like ones lie together: cluster by cluster, each followed by the one most like it.

    Within a cluster the rows go from those most like the cluster before to those least like it. The first cluster is
    the one of row 0.
    """
    count = min(MOST_CLUSTERS, len(rows_ND) // PER_CLUSTER)
    if count < 2:
        return _walk(rows_ND) if len(rows_ND) else []
    from activetune.features.clusters import cluster  # loads torch, for which nobody should wait at the start

    rng = np.random.default_rng(seed)
    sample = np.sort(rng.choice(len(rows_ND), min(SAMPLE, len(rows_ND)), replace=False))
    centroids_KD, _, _ = cluster(rows_ND[sample], count, rng, iterations=ITERATIONS)
    owner_N = (rows_ND @ centroids_KD.T).argmax(axis=1)
    used = np.unique(owner_N)
    start = int(np.searchsorted(used, owner_N[0]))
    order: list[int] = []
    before = centroids_KD[used[start]]
    for place in _walk(centroids_KD[used], start):
        members = np.flatnonzero(owner_N == used[place])
        order += members[np.argsort(-(rows_ND[members] @ before), kind="stable")].tolist()
        before = centroids_KD[used[place]]
    return order


def _walk(rows_ND: Float32, start: int = 0) -> list[int]:
    """All rows, each followed by the one most like it among those left."""
    left = np.ones(len(rows_ND), dtype=bool)
    order = [start]
    left[start] = False
    while left.any():
        similar_N = np.where(left, rows_ND @ rows_ND[order[-1]], -np.inf)
        order.append(int(similar_N.argmax()))
        left[order[-1]] = False
    return order
