"""Opening a pool: whatever holds images, listed without loading any. The sources stand in ``sources/``."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from activetune.base.artefact import artefact_at
from activetune.base.errors import ActivetuneError, UsageError, first_line, repeated, some
from activetune.base.progress import note
from activetune.data.formats import COMMON, IMAGE_SUFFIXES
from activetune.data.frame_rate import FrameRate, split_rate
from activetune.data.pool import Pool
from activetune.data.remote.location import Location, RemotePath, patience_with
from activetune.data.sources import finders, suffixes, video
from activetune.data.sources._listing import Listing, OpenOptions
from activetune.data.sources._patterns import files_of_pattern, is_pattern

POOLS = ("images", "corruptions", "export")  # artefacts that hold images
MADE = {  # what else one may be, and what is done with it
    "embeddings": ("a folder of embeddings", "; to select from it: activetune select {folder} --budget 100 --out SEL"),
    "selection": (
        "a selection",
        "; to train on its picks: activetune finetune {pool} --labels {folder}/labels.csv, or --labels with your "
        "masks, boxes or captions",
    ),
    "model": ("a model", "; to let it answer: activetune predict {folder} {pool} --out ANSWERS.jsonl"),
    "simulation": ("a simulation", "; to look at it: activetune report {folder}"),
}


def open_pool(
    path: str | os.PathLike[str],
    *,
    follow_links: bool = False,
    frame_rate: float | str | None = None,
    quiet: bool = False,
) -> Pool:
    """List a pool; no image is loaded. What does not count is told in a sentence on stderr, by reason and number.

    Args:
        path: a folder of images (searched recursively), a ``.csv``, ``.tsv``, ``.parquet`` or ``.jsonl`` manifest with
            a column ``path`` (and ``label``, ``id``), a ``.parquet`` file in Hugging Face image schema, a folder of
            such shards or a pattern of them (``data/train-*.parquet``), a ``.zip`` of images, a ``.tar`` in
            WebDataset's form, a folder or a pattern of such shards (``train-{000000..000009}.tar``), or a video
            (``clip.mp4``) or folder of videos, whose frames are the items; ``clip.mp4@2fps`` says how many. All but
            videos may lie behind an address that fsspec knows: ``s3://``, ``gs://``, ``hf://``, ``https://``.
        follow_links: also into linked folders that lead out of the pool.
        frame_rate: frames per second of videos that are items, or ``"all"``; None: as the path says, otherwise 1.
        quiet: no sentence.

    Returns:
        The pool; its ``left_out`` holds the numbers.

    Raises:
        UsageError: nothing there, not one of these, no image in it, repeated ids.
        ReadingFault: it lies elsewhere, and can't be reached or refuses access. MissingExtra: fsspec is not installed.

    >>> import tempfile, pathlib
    >>> from PIL import Image
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat/1.png", "dog/2.png"):
    ...     (folder / name).parent.mkdir()
    ...     Image.new("RGB", (8, 8)).save(folder / name)
    >>> open_pool(folder).labels
    ['cat', 'dog']
    """
    if not os.fspath(path):
        raise UsageError("the pool has no name: an empty text is no path; the folder you are in is '.'")
    asked, rate = split_rate(path)
    rate = rate if frame_rate is None else FrameRate.of(frame_rate)
    there = _looked_at(asked)
    if there is None:
        raise UsageError(f"the pool {asked} does not exist; give a folder, table, zip or video that does")
    found = _found(there, OpenOptions(follow_links=follow_links, frame_rate=rate, quiet=quiet))
    if rate is not None and not found.rated:
        raise UsageError(f"{there} holds images, and only videos have a frame rate; leave out @{rate}")
    for text in found.notes:
        note(text, quiet)
    if str(found.left_out):
        note(f"left out of {there}: {found.left_out}", quiet)
    _check(there, found.ids)
    name, left_out = str(there) if rate is None else f"{there}@{rate}", found.left_out.counts()
    patience = patience_with(there)
    more: dict[str, Any] = {"left_out": left_out, "further": found.further, "several": found.several}
    return Pool(name, found.ids, found.labels, found.source, patience=patience, **more)


def _looked_at(path: Location) -> Location | None:
    """The path, of which is known whether it is a folder; None where nothing is there."""
    if isinstance(path, RemotePath):
        there = None if path.is_web and is_pattern(path) else path.looked_at(tuple(suffixes()))
        return there or (path if is_pattern(path) else None)
    try:
        return path if path.exists() or files_of_pattern(path) else None
    except (OSError, ValueError) as error:  # a name that is too long, a zero character
        raise UsageError(f"the pool {str(path)!r} can't be looked for ({error}); give another name") from None


def _found(path: Location, options: OpenOptions) -> Listing:
    """The listing of a pool; what was made from one and given in its place is told apart from a folder by mistake."""
    try:
        return _find(path, options)
    except UsageError as error:
        if isinstance(path, Path) and (told := _no_pool_but(path)):
            raise UsageError(told) from error
        raise


def _no_pool_but(path: Path) -> str:
    """What activetune made there instead of a pool, and what to do with it; empty where it made nothing."""
    folder, manifest = artefact_at(path) or (path, {})
    kind = manifest.get("kind")
    if kind is None or kind in POOLS:
        return ""
    what, use = MADE.get(kind, (f"a result ({kind})", ""))
    known = next((str(name) for name in (manifest.get("pool"), manifest.get("pool_path")) if _is_there(name)), "")
    given = {"folder": shlex.quote(str(folder)), "pool": shlex.quote(known or "POOL")}
    of = "" if path == folder else f"a file of {folder}, "
    pool = f" that it was made from, {known}" if known else ", the images themselves"
    return f"{path} is no pool but {of}{what} that activetune made; give the pool{pool}{use.format(**given)}"


def _is_there(name: object) -> bool:
    return isinstance(name, str) and bool(name) and Path(name).exists()


def _find(path: Location, options: OpenOptions) -> Listing:
    """The listing of the first source that finds an image."""
    asked = list(finders(path))
    if not asked:
        raise UsageError(_no_pool(path))
    nothing: Listing | None = None
    try:
        for find in asked:
            found = find(path, options)
            if found is not None and len(found.ids):
                return found
            nothing = nothing or found
            if found is not None and not path.is_dir():
                break  # it knows the file, which is empty; a folder may hold what another source knows
    except ActivetuneError:
        raise
    except Exception as error:  # what reads zip and Parquet files raises nearly anything on damaged ones
        raise UsageError(
            f"the pool {path} can't be read ({first_line(error)}); make the file again, or give its images as a folder"
        ) from error
    besides = f"; left out: {nothing.left_out}" if nothing and str(nothing.left_out) else ""
    raise UsageError(
        f"the pool {path} holds no image ({', '.join(COMMON)} and {len(IMAGE_SUFFIXES) - len(COMMON)} other kinds)"
        f"{besides}; give the folder that they lie in"
    )


def _no_pool(path: Location) -> str:
    if isinstance(path, RemotePath) and path.suffix.lower() in video.SUFFIXES:
        return f"{path} is a video, and videos are read from this machine alone; copy it here"
    return f"{path} is not a pool: expected a folder of images, or a file ending in {', '.join(suffixes())}"


def _check(path: Location, ids: Sequence[str]) -> None:
    """Raise where ids are repeated, or could not be written to a file."""
    if len(set(ids)) < len(ids):
        raise UsageError(f"the ids of {path} are not distinct; repeated: {some(repeated(ids))}; keep one row of each")
    for item in ids:
        if not item.isascii():
            try:
                item.encode("utf-8")
            except UnicodeEncodeError:
                raise UsageError(f"{path} holds the id {item!r}, which is no valid text; rename it") from None


def refuse_in_pool(out: Path, pool: Pool, option: str) -> None:
    """Refuse a place for pictures in a pool's own folder, where they would be images of the pool from then on.

    Args:
        option: that names the place.

    Raises:
        UsageError: it lies there.
    """
    folder = split_rate(pool.name)[0]
    if isinstance(folder, Path) and folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise UsageError(
            f"{out} lies in the pool {pool.name}, whose images its pictures would be from then on; "
            f"nothing was written: choose another {option}"
        )
