"""The images of a selection as files: to look at, to label with any tool, to train on without the pool.

``DIR/images/`` has a file per pick, ``DIR/audit/`` one per item of the audit, where there is one: apart, so that
whoever trains on the folder of the picks does not learn from it. ``DIR/images.csv`` (``path,id,rank``, and ``label``
where the pool knows it; no rank for the audit) is a pool of both under their own ids: ``activetune finetune
DIR/images.csv --labels SEL/labels.csv``, which leaves the audit out. Image files are copied byte by byte; frames of a
video become PNG.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from activetune.base.artefact import holds, prepare_folder, read_manifest, write_manifest
from activetune.base.errors import ActivetuneError, RejectedImage, UsageError, some
from activetune.base.files import file_name, write_bytes
from activetune.base.fingerprint import digest_stream
from activetune.base.locks import holds_output
from activetune.base.progress import progress
from activetune.base.tables import write_csv
from activetune.base.urls import is_address
from activetune.data.frame_rate import split_rate
from activetune.data.ids import IMAGE_TABLE
from activetune.data.image_files import image_file
from activetune.data.images import decode_image
from activetune.data.opening import open_pool, refuse_in_pool
from activetune.data.pool import Pool
from activetune.features.artefact import Embeddings
from activetune.selection.artefact import Selection, load_selection

IMAGES, AUDIT, LIST = "images", "audit", IMAGE_TABLE


@holds_output(folder=True)
def save_images(
    selection: Selection | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    quiet: bool = False,
) -> list[Path]:
    """Write the images of a selection's picks, and of its audit, into a folder, with a list of them that is a pool.

    Args:
        selection: a selection, or a folder of ``select``.
        out: a folder that must be empty unless ``overwrite``: ``out/images/``, ``out/audit/`` and ``out/images.csv``.
        pool: where the images are; None: the pool that the embeddings name.
        overwrite: replace what an earlier call wrote there. resume: keep it where it is of the same picks.
        quiet: no progress.

    Returns:
        The image files, those of the picks by rank, then those of the audit.

    Raises:
        UsageError: a pool that is not there or lacks an item, or a folder that holds something else.
        ActivetuneError: an item that can't be decoded any more.

    >>> activetune.save_images("sel", out="to_label")
    [PosixPath('to_label/images/sky_1-b9e2d2c3.png'), PosixPath('to_label/images/leaf_1-8d8f8c4f.png')]
    """
    folder = Path(out)
    selection = selection if isinstance(selection, Selection) else load_selection(selection)
    names = {
        "picks": digest_stream(selection.ids),
        "audit": digest_stream(selection.audit) if selection.audit else None,
        "pool_fingerprint": selection.manifest.get("pool_fingerprint"),
    }
    these = holds(folder, IMAGES, names)  # a folder of another kind is left alone, whatever was asked
    if these and resume and not overwrite:
        return [folder / name for name in read_manifest(folder, IMAGES)["files"]]
    opened = pool_of(selection) if pool is None else pool if isinstance(pool, Pool) else open_pool(pool, quiet=True)
    missing = [item for item in selection.to_label if item not in opened.position]
    if missing:
        raise UsageError(
            f"{len(missing):,} of {len(selection.to_label):,} items are not in {opened.name}: {some(missing)}; "
            "give the pool that they were picked from"
        )
    refuse_in_pool(folder, opened, "--images")
    prepare_folder(folder, IMAGES, (IMAGES, AUDIT, LIST), overwrite=overwrite)
    files = _write(selection, opened, folder, quiet)
    made_by = {"made_by": selection.manifest["made_by"]} if "made_by" in selection.manifest else {}
    write_manifest(folder, IMAGES, {**names, **made_by, "pool": opened.name, "n": len(files), "files": files})
    return [folder / name for name in files]


def pool_of(artefact: Selection | Embeddings) -> Pool:
    """The pool that embeddings were made from, or those of a selection: under its name from here, or where it was then.

    Raises:
        UsageError: the embeddings name none, or it is not there.
    """
    name, path = (artefact.manifest.get(key) for key in ("pool", "pool_path"))
    if not name:
        raise UsageError("the features were made elsewhere, so the pool is not known")
    there = name if is_address(name) else next((p for p in (path, name) if p and split_rate(p)[0].exists()), None)
    if there is None:
        raise UsageError(f"the pool {name} is not there")
    pool = open_pool(there, quiet=True)
    if all(item in pool.position for item in artefact.ids):
        return pool
    return open_pool(there, follow_links=True, quiet=True)  # as it was when it was embedded


@dataclass(frozen=True)
class NoImages:
    """The source of a pool of which only the ids are at hand."""

    parallel: bool = False

    def read(self, index: int) -> bytes:
        """There is nothing to read."""
        raise RejectedImage("unreadable: the features were made elsewhere, and the images are not known")

    def place(self, index: int) -> None:
        """It lies nowhere."""


def items_of(embeddings: Embeddings) -> Pool:
    """The pool that embeddings were made from or, where it can't be reached, their ids as a pool without images."""
    try:
        return pool_of(embeddings)
    except UsageError:
        name = str(embeddings.manifest.get("pool") or "of these embeddings")
        return Pool(name, embeddings.ids, embeddings.labels, NoImages())


def _write(selection: Selection, pool: Pool, folder: Path, quiet: bool) -> list[str]:
    """Write the files and, last, their list; returns the files' paths below the folder."""
    ids, files = selection.to_label, list[str]()
    with progress(len(ids), "writing images", quiet=quiet) as meter:
        for number, item in enumerate(ids):
            content, suffix = _file_of(pool, item)
            place = IMAGES if number < len(selection) else AUDIT
            name = f"{place}/{file_name(item.removesuffix(suffix))}{suffix}"
            write_bytes(folder / name, content)
            files.append(name)
            meter.advance(1)
    ranks = [*map(str, range(1, len(selection) + 1)), *("" for _ in selection.audit)]
    columns, rows = ["path", "id", "rank"], list(zip(files, ids, ranks, strict=True))
    if pool.labels is None:
        write_csv(folder / LIST, columns, rows)
    else:
        labels = [pool.labels[pool.position[item]] or "" for item in ids]
        write_csv(folder / LIST, [*columns, "label"], [(*row, label) for row, label in zip(rows, labels, strict=True)])
    return files


def _file_of(pool: Pool, item: str) -> tuple[bytes, str]:
    """An item as the bytes of an image file, and the suffix of its kind.

    Raises:
        ActivetuneError: it can't be decoded any more.
    """
    try:
        encoded, suffix = image_file(pool, pool.position[item])
        decode_image(encoded)
    except RejectedImage as error:
        raise ActivetuneError(
            f"{item} of {pool.name} can't be decoded ({error}), although it could when it was embedded; embed again"
        ) from None
    return encoded, suffix
