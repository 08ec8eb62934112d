"""Features of a pool, in memory and as the folder ``EMB``.

Saved features are digested: files that do not belong together are refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.arrays import FloatArray
from activetune.base.artefact import MANIFEST, read_manifest, write_manifest
from activetune.base.errors import UsageError, first_line, repeated, some
from activetune.base.files import replacing
from activetune.base.fingerprint import digest, digest_array, digest_file, digest_stream
from activetune.base.numpy_files import load_archive, load_array, write_array
from activetune.base.parquet import open_parquet, read_cells
from activetune.data.answers import class_names
from activetune.data.formats import is_image_name
from activetune.data.frame_rate import split_rate
from activetune.data.pool import Pool, check_complete
from activetune.data.sources import suffixes


@dataclass(frozen=True)
class Embeddings:
    """Features of N items.

    Attributes:
        ids: N item ids.
        features_ND: (N, D) pooled features, or (N, T, D) patch tokens; float16 or float32, not normalised;
            a read-only memory map when loaded from disk.
        labels: N class names (None where unknown), or None.
        manifest: what they were made from (pool, backbone, weights, transform) and figures of the run.
    """

    ids: Sequence[str]
    features_ND: FloatArray
    labels: Sequence[str | None] | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Item id to position."""
        return {item: index for index, item in enumerate(self.ids)}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the ids and of the features' content."""
        features = self.manifest.get("features") or digest_array(np.asarray(self.features_ND))
        return digest(features, self.manifest.get("items") or digest_stream(self.ids))

    @classmethod
    def from_numpy(
        cls,
        features_ND: npt.ArrayLike,
        ids: Sequence[str] | None = None,
        labels: Sequence[object] | None = None,
    ) -> Embeddings:
        """Features made elsewhere: (N, D), finite; ids default to ``"0" … "N-1"``.

        Args:
            labels: N class names or whole numbers; what is missing (None, NaN, "") is not answered.

        Raises:
            UsageError: wrong shape, NaN or infinite values, repeated ids, lengths that differ, several labels per item.
        """
        try:
            features = np.asarray(features_ND)
        except ValueError as error:
            raise UsageError(f"features must be N x D, of one length each ({first_line(error)})") from None
        if features.dtype.kind not in "fiub":
            raise UsageError(f"features must be numbers, not {features.dtype}")
        if features.ndim not in (2, 3) or 0 in features.shape:
            raise UsageError(f"features must be N x D (or N x T x D tokens) and not empty, not {features.shape}")
        if features.dtype not in (np.float16, np.float32):
            features = features.astype(np.float32)
        finite = np.empty(len(features), dtype=bool)
        for start in range(0, len(features), 4096):  # in pieces: features may fill the memory as they are
            rows = features[start : start + 4096]
            finite[start : start + 4096] = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            raise UsageError(
                f"{int((~finite).sum()):,} of {len(features):,} feature rows hold NaN or infinite values, "
                f"the first at row {int(np.argmin(finite))}; remove or recompute them"
            )
        names = [str(index) for index in range(len(features))] if ids is None else [str(item) for item in ids]
        if len(names) != len(features) or (labels is not None and len(labels) != len(features)):
            raise UsageError(f"{len(features):,} feature rows, but {len(names):,} ids" + _label_count(labels))
        if len(set(names)) < len(names):
            raise UsageError(f"ids must be distinct; repeated: {some(repeated(names))}")
        return cls(names, features, None if labels is None else class_names(labels, "the labels", names))


def _label_count(labels: Sequence[object] | None) -> str:
    return "" if labels is None else f" and {len(labels):,} labels"


LOOKED_AT = 100  # entries of a folder, to tell a pool from embeddings
REJECTED = "rejected.csv"
AGAIN = "embed again with --overwrite"
EMBEDDING_FILES = ("features.npy", "items.parquet", REJECTED)
FOREIGN = ("features", "ids", "labels")  # arrays of an archive made elsewhere


def origin(pool: Pool) -> dict[str, str | None]:
    """The pool as it was named, and where that is, so that its images are found from another folder too."""
    path, _ = split_rate(pool.name)
    there = isinstance(path, Path) and path.exists()  # an address is the same from everywhere
    return {"pool": pool.name, "pool_path": str(Path(pool.name).absolute()) if there else None}


def save_items(path: Path, ids: Sequence[str], labels: Sequence[object] | None) -> None:
    """Write ``items.parquet``: id and label (null where unknown)."""
    names = [None] * len(ids) if labels is None else class_names(labels, "the labels", ids)
    table = pa.table({"id": pa.array(ids, pa.string()), "label": pa.array(names, pa.string())})
    with replacing(path) as partial:
        pq.write_table(table, partial, write_page_checksum=True)


def save_embeddings(embeddings: Embeddings, folder: Path) -> Embeddings:
    """Write ``features.npy``, ``items.parquet`` and the manifest into a prepared folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_array(folder / "features.npy", embeddings.features_ND)
    save_items(folder / "items.parquet", embeddings.ids, embeddings.labels)
    return seal_embeddings(folder, embeddings.manifest)


def seal_embeddings(folder: Path, manifest: Mapping[str, Any]) -> Embeddings:
    """Complete a folder that holds features, items and rejects: digest them, write the manifest, load the result.

    Raises:
        ActivetuneError: rows and items differ in number, or with the rejected ones they are not all ``images``.
    """
    features = load_array(folder / "features.npy", AGAIN)
    ids, *_ = _read(folder / "items.parquet", _items)
    check_complete(len(ids), len(features), 0, str(folder))
    if "images" in manifest:
        check_complete(manifest["images"], len(features), manifest["rejected"], str(folder))
    content = {
        **manifest,
        "n": len(features),
        "shape": list(features.shape),
        "features": digest_array(features),
        "items": digest_stream(ids),
    }
    if (folder / REJECTED).is_file():
        content["rejected_list"] = digest_file(folder / REJECTED)
    write_manifest(folder, "embeddings", content)
    return load_embeddings(folder)


def load_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Load an ``EMB`` folder, or features made elsewhere (``.npy``; ``.npz`` with features, ids, labels).

    Raises:
        UsageError: not embeddings, or files that do not belong together.
    """
    path = Path(path)
    if path.suffix in (".npy", ".npz"):
        return _load_foreign(path)
    _refuse_pool(path)
    manifest = read_manifest(path, "embeddings")
    features = load_array(path / "features.npy", AGAIN)
    ids, names, items = _read(path / "items.parquet", _items)
    found = {"shape": list(features.shape), "features": digest_array(features)}
    same = {
        "features.npy": all(manifest.get(name) == value for name, value in found.items()),
        "items.parquet": items == manifest.get("items"),
        REJECTED: "rejected_list" not in manifest or _read(path / REJECTED, digest_file) == manifest["rejected_list"],
    }
    if foreign := [str(path / name) for name, is_same in same.items() if not is_same]:
        do = "does" if len(foreign) == 1 else "do"
        raise UsageError(f"{' and '.join(foreign)} {do} not belong to its manifest; {AGAIN}")
    labels = class_names(names, str(path / "items.parquet"), ids)
    return Embeddings(ids, features, labels if any(name is not None for name in labels) else None, manifest)


def _items(file: Path) -> tuple[list[str], list[Any], str]:
    """Ids, labels, and the digest of the ids."""
    with open_parquet(file, page_checksum_verification=True) as opened:
        columns = read_cells(opened, ("id", "label"), file)
    return columns["id"], columns["label"], digest_stream(columns["id"])


def _read(file: Path, read: Callable[[Path], Any]) -> Any:
    """What a file holds.

    Raises:
        UsageError: it is missing or damaged.
    """
    try:
        return read(file)
    except Exception as error:  # on a damaged file Arrow raises nearly anything
        raise UsageError(f"{file} is damaged ({first_line(error)}); {AGAIN}") from None


def map_features(embeddings: Embeddings | str | os.PathLike[str]) -> FloatArray:
    """The features alone, mapped into memory, of embeddings that another process has loaded and checked.

    Raises:
        UsageError: they are not there: another machine may not have the folder.
    """
    if isinstance(embeddings, Embeddings):
        return embeddings.features_ND
    path = Path(embeddings)
    if path.suffix == ".npz":
        return load_archive(path, FOREIGN)["features"]
    return load_array(path if path.suffix == ".npy" else path / "features.npy")


def _refuse_pool(path: Path) -> None:
    """Say what to do with images where their features are asked for."""
    if (path / MANIFEST).exists() or not path.exists():
        return
    if path.suffix.lower() in suffixes() if path.is_file() else _holds_image(path):
        raise UsageError(f"{path} holds images, not their features; embed first: activetune embed {path} --out EMB")


def _holds_image(folder: Path) -> bool:
    """Whether an image is among the first entries of a folder or of the folders in it."""
    entries = list(islice(folder.iterdir(), LOOKED_AT))
    below = (entry for inner in entries if inner.is_dir() for entry in islice(inner.iterdir(), LOOKED_AT))
    return any(is_image_name(entry.name) for entry in (*entries, *below))


def _load_foreign(path: Path) -> Embeddings:
    """Features from a NumPy file; pickled objects are refused."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist; give a folder of embed, or a .npy or .npz file")
    found = {"features": load_array(path)} if path.suffix == ".npy" else load_archive(path, FOREIGN)
    ids = None
    if "ids" in found:
        if found["ids"].ndim != 1:
            raise UsageError(f"{path}: ids must be a list of N, not an array of shape {found['ids'].shape}")
        ids = [
            item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item) for item in found["ids"].tolist()
        ]
    try:
        return Embeddings.from_numpy(found["features"], ids, found.get("labels"))  # type: ignore[arg-type]
    except UsageError as error:
        raise UsageError(f"{path} can't be read as features: {error}") from None
