"""Saving and loading artefacts: Parquet, NumPy and CSV files, and a manifest written last.

A folder without ``manifest.json`` is not an artefact: whatever was killed while writing leaves none behind. Every
file appears under its name at once, complete (written beside, then renamed).
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from activetune.errors import ActivetuneError, UsageError, some
from activetune.fingerprint import digest, digest_array, digest_stream
from activetune.types import Embeddings, Selection

MANIFEST = "manifest.json"
FORMAT = 1


# Folders and files ------------------------------------------------------------------------------------------------


def prepare_folder(path: Path, files: Sequence[str], *, overwrite: bool = False) -> Path:
    """Make an output folder ready: it must be new or empty, or ``overwrite`` given.

    ``files`` are the names that the artefact owns; overwriting removes these (the manifest first) and nothing else.

    Raises:
        UsageError: the folder holds something and ``overwrite`` is off, or the path is a file.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; --out must name a folder")
    present = sorted(entry.name for entry in path.iterdir()) if path.exists() else []
    if present and not overwrite:
        raise UsageError(
            f"the output folder {path} is not empty (it holds {some(present)}); nothing was written: "
            "choose another --out, or give --overwrite"
        )
    path.mkdir(parents=True, exist_ok=True)
    for name in (MANIFEST, *files):
        (path / name).unlink(missing_ok=True)
    return path


def prepare_file(path: Path, *, overwrite: bool = False) -> Path:
    """Make ready for one output file: it must not exist yet, or ``overwrite`` given."""
    if path.is_dir():
        raise UsageError(f"{path} is a folder; --out must name a file")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already; nothing was written: choose another --out, or give --overwrite")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; on success it takes ``path``'s place in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~_umask())  # some writers make their files for one reader alone
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def file_name(*parts: object) -> str:
    """A file's name that can be read; where a sign had to be replaced, a digest keeps it distinct."""
    text = "-".join(map(str, parts))
    safe = re.sub(r"[^\w.%=-]+", "_", text, flags=re.ASCII)[:120]
    return safe if safe == text else f"{safe}-{digest(text)[:8]}"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a damaged file is an error with its name."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ActivetuneError(f"{path} is damaged ({error}); make the artefact again") from None
    if not isinstance(content, dict):
        raise ActivetuneError(f"{path} does not hold a JSON object; make the artefact again")
    return content


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file (UTF-8, header line) in one step."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_manifest(folder: Path, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``manifest.json``, the last file of an artefact, and return it."""
    from activetune import __version__

    stamped = {
        "kind": kind,
        "format": FORMAT,
        "activetune": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **content,
    }
    write_json(folder / MANIFEST, stamped)
    return stamped


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """Read a folder's manifest and check that it is an artefact of this kind.

    Raises:
        UsageError: no such folder, no manifest (unfinished or foreign), or another kind.
    """
    if not folder.exists():
        raise UsageError(f"{folder} does not exist; expected {_article(kind)} folder made by activetune")
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{folder} is not {_article(kind)} artefact: it has no {MANIFEST} (unfinished, or made by something else)"
        )
    manifest = read_json(folder / MANIFEST)
    if manifest.get("kind") != kind:
        raise UsageError(f"{folder} holds {manifest.get('kind', 'something else')!r}, where {kind!r} is expected")
    if manifest.get("format", 0) > FORMAT:
        raise UsageError(f"{folder} was made by a newer activetune ({manifest.get('activetune')}); update to read it")
    return manifest


# Tables: CSV or Parquet -------------------------------------------------------------------------------------------


def read_table(path: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """A CSV or Parquet file as columns.

    Raises:
        UsageError: no such file, neither format, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"the file {path} does not exist")
    try:
        if path.suffix.lower() == ".parquet":
            return dict(pq.read_table(path).to_pydict())
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows = [row for row in reader if row]
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} can't be read as CSV or Parquet ({error})") from None
    uneven = next((number for number, row in enumerate(rows, start=2) if len(row) != len(header)), None)
    if uneven is not None:
        raise UsageError(f"{path}: line {uneven} has another number of fields than the header ({len(header)})")
    return {name: [row[index] for row in rows] for index, name in enumerate(header)}


# Embeddings -------------------------------------------------------------------------------------------------------

EMBEDDING_FILES = ("features.npy", "items.parquet", "rejected.csv")


def save_items(path: Path, ids: Sequence[str], labels: Sequence[str | None] | None) -> None:
    """Write ``items.parquet``: id and label (null where unknown)."""
    names = [None] * len(ids) if labels is None else list(labels)
    table = pa.table({"id": pa.array(ids, pa.string()), "label": pa.array(names, pa.string())})
    with replacing(path) as partial:
        pq.write_table(table, partial)


def save_embeddings(embeddings: Embeddings, folder: Path) -> Embeddings:
    """Write ``features.npy``, ``items.parquet`` and the manifest into a prepared folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / "features.npy") as partial, partial.open("wb") as file:
        np.save(file, embeddings.features_ND)
    save_items(folder / "items.parquet", embeddings.ids, embeddings.labels)
    return seal_embeddings(folder, embeddings.manifest)


def seal_embeddings(folder: Path, manifest: Mapping[str, Any]) -> Embeddings:
    """Complete a folder that holds features and items: digest them, write the manifest, load the result."""
    features = np.load(folder / "features.npy", mmap_mode="r", allow_pickle=False)
    ids = pq.read_table(folder / "items.parquet", columns=["id"]).column("id").to_pylist()
    content = {
        **manifest,
        "n": len(features),
        "shape": list(features.shape),
        "features": digest_array(features),
        "items": digest_stream(ids),
    }
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
    manifest = read_manifest(path, "embeddings")
    try:
        features = np.load(path / "features.npy", mmap_mode="r", allow_pickle=False)
        table = pq.read_table(path / "items.parquet", columns=["id", "label"])
    except (OSError, ValueError, KeyError, EOFError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged ({error}); embed again with --overwrite") from None
    ids = table.column("id").to_pylist()
    if (
        list(features.shape) != manifest.get("shape")
        or digest_stream(ids) != manifest.get("items")
        or digest_array(features) != manifest.get("features")
    ):
        raise UsageError(f"the files in {path} do not belong to its manifest; embed again with --overwrite")
    labels = table.column("label")
    return Embeddings(ids, features, None if labels.null_count == len(ids) else labels.to_pylist(), manifest)


def _load_foreign(path: Path) -> Embeddings:
    """Features from a NumPy file; pickled objects are refused."""
    if not path.is_file():
        raise UsageError(f"{path} does not exist")
    try:
        content = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return Embeddings.from_numpy(content)
        if "features" not in content:
            raise UsageError(f"{path} has no array 'features'; it holds {some(content.files)}")
        ids = [str(item) for item in content["ids"]] if "ids" in content else None
        labels = [str(item) for item in content["labels"]] if "labels" in content else None
        return Embeddings.from_numpy(content["features"], ids, labels)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} can't be read as features ({error}); expected an N x D number array") from None


# Selections -------------------------------------------------------------------------------------------------------

SELECTION_FILES = ("selection.csv",)


def save_selection(selection: Selection, folder: Path) -> Selection:
    """Write ``selection.csv`` (id, rank, score, reason) and the manifest into a prepared folder."""
    columns = zip(selection.ids, selection.scores, selection.reasons, strict=True)
    rows = ((item, rank, f"{score:.6g}", reason) for rank, (item, score, reason) in enumerate(columns, start=1))
    write_csv(folder / "selection.csv", ("id", "rank", "score", "reason"), rows)
    manifest = write_manifest(folder, "selection", {**selection.manifest, "picks": digest_stream(selection.ids)})
    return Selection(selection.ids, selection.scores, selection.reasons, manifest)


def load_selection(path: str | os.PathLike[str]) -> Selection:
    """Load a ``SEL`` folder.

    Raises:
        UsageError: not a selection, or a ``selection.csv`` that its manifest does not know.
    """
    path = Path(path)
    manifest = read_manifest(path, "selection")
    try:
        with (path / "selection.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        ids = [row["id"] for row in rows]
        scores = [float(row["score"]) for row in rows]
        reasons = [row["reason"] for row in rows]
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{path / 'selection.csv'} can't be read ({error}); select again") from None
    if digest_stream(ids) != manifest.get("picks"):
        raise UsageError(f"{path / 'selection.csv'} was changed after it was made; select again with --overwrite")
    return Selection(ids, scores, reasons, manifest)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind!r}"
