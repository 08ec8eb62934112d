"""``manifest.json``, the last file of every artefact.

A folder without one is not an artefact: whatever was killed while writing leaves none behind. From the moment that a
folder is made ready until its manifest is written, a file ``.begun`` says that what lies there is an unfinished run's:
the next run may replace it unasked, whenever the first one was killed. The file holds the key of that run, where the
run has one: what lies there can still be an older run's, which the new one was about to remove.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from activetune.base.command import typed_command
from activetune.base.errors import ActivetuneError, UsageError, some
from activetune.base.files import BEGUN, LOCK, read_json, remove, replacing, write_json
from activetune.base.files import MANIFEST as MANIFEST
from activetune.base.fingerprint import digest_file

REPORT, REPORT_FILES = "report.html", "report_files"  # the page of a folder, and what it shows and does not hold
FORMATS = {"model": 2}  # of the kinds whose format is not the first any more
MADE_BY = {"embeddings": "embed", "selection": "select", "model": "finetune"}  # the commands that people give by hand


def prepare_folder(path: Path, kind: str, files: Sequence[str], *, overwrite: bool = False, key: str = "") -> Path:
    """Make an output folder ready: it must be new or empty, or hold what was cut off, or ``overwrite`` given.

    ``files`` are the names that the artefact of this kind owns (folders too); overwriting removes these, a report of
    them, and nothing else: the manifest first, then the last of them, which should be the one that says what the others
    are. ``key`` tells the run from others, see :func:`begun_by`.

    Raises:
        UsageError: the folder holds something and ``overwrite`` is off, or an artefact of another kind; or the path
            is a file.
    """
    present = refuse_occupied(path, kind, overwrite=overwrite)
    path.mkdir(parents=True, exist_ok=True)
    begin(path, key)
    for name in (MANIFEST, REPORT, REPORT_FILES, *reversed(files)) if present else ():
        remove(path / name)
    return path


def refuse_occupied(path: Path, kind: str, *, overwrite: bool = False, option: str = "--out") -> list[str]:
    """Refuse a folder that :func:`prepare_folder` would not take, before any work is done for it.

    Args:
        option: of the command that named it.

    Returns:
        What lies in it; see :func:`contents`.

    Raises:
        UsageError: it holds something and ``overwrite`` is off, or an artefact of another kind, or the path is a file.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file; {option} must name a folder")
    refuse_another_kind(path, kind, option=option)
    present = contents(path) if path.is_dir() else []
    if present and not overwrite and not cut_off(path):
        raise UsageError(
            f"the output folder {path} is not empty (it holds {some(present)}); nothing was written: "
            f"choose another {option}, or give --overwrite"
        )
    return present


def refuse_another_kind(path: Path, kind: str, *, option: str = "--out") -> None:
    """Refuse a folder that holds a finished artefact of another kind: all kinds have a manifest of the same name.

    Raises:
        UsageError: it does. A damaged manifest says of no kind that it is there.
    """
    try:
        found = read_json(path / MANIFEST).get("kind") if (path / MANIFEST).is_file() else None
    except ActivetuneError:
        return
    if isinstance(found, str) and found != kind:
        raise UsageError(
            f"{path} holds {found!r}, and {kind!r} would be written there; nothing was written, as an artefact of "
            f"another kind is never replaced: choose another {option}"
        )


def begin(folder: Path, key: str = "") -> None:
    """Note that a run's work in the folder has begun."""
    with replacing(folder / BEGUN) as partial:
        partial.write_text(key, encoding="utf-8")


def begun_by(folder: Path) -> str | None:
    """The key of the run that was cut off in a folder; None: nothing was, or what is there is finished."""
    return (folder / BEGUN).read_text(encoding="utf-8") if cut_off(folder) else None


def cut_off(folder: Path) -> bool:
    """Whether a folder holds what a run was killed over, and nothing that is finished."""
    return (folder / BEGUN).is_file() and not (folder / MANIFEST).is_file()


def contents(folder: Path) -> list[str]:
    """What lies in an output folder, apart from what a run itself needs there; nothing where it does not exist."""
    return sorted({entry.name for entry in folder.iterdir()} - {LOCK, BEGUN}) if folder.exists() else []


def write_manifest(folder: Path, kind: str, content: Mapping[str, Any], *, files: Sequence[str] = ()) -> dict[str, Any]:
    """Write ``manifest.json``, the last file of an artefact, and return it.

    It says by which command the artefact was made, where one was typed.

    Args:
        files: those of the artefact, folders too, whose digests it holds, for :func:`check_files`; one that is not
            there is left out.
    """
    from activetune import __version__

    stamped = {
        "kind": kind,
        "format": FORMATS.get(kind, 1),
        "activetune": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **({} if (command := typed_command()) is None else {"command": command}),
        **content,
        **({"files": file_digests(folder, files)} if files else {}),
    }
    write_json(folder / MANIFEST, stamped)
    (folder / BEGUN).unlink(missing_ok=True)
    return stamped


def file_digests(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The digest of each file of these names that is there, and of those in folders of these names."""
    places = (folder / name for name in names)
    files = (file for place in places for file in (sorted(place.rglob("*")) if place.is_dir() else [place]))
    return {file.relative_to(folder).as_posix(): digest_file(file) for file in files if file.is_file()}


def check_files(folder: Path, manifest: Mapping[str, Any], *names: str) -> None:
    """Compare an artefact's files with the digests in its manifest; an earlier version wrote none of some.

    Args:
        names: the files alone that matter, folders too; none: all.

    Raises:
        UsageError: one is missing, or is not what was written.
    """
    known = manifest.get("files")
    for name, digest in known.items() if isinstance(known, Mapping) else ():
        if names and not any(name == wanted or name.startswith(f"{wanted}/") for wanted in names):
            continue
        path = folder / name
        if not path.is_file() or digest_file(path) != digest:
            raise UsageError(
                f"{path} {'was changed or damaged after it was made' if path.is_file() else 'is missing'} (its digest "
                "is not the manifest's); copy the whole folder again, or make it again with --overwrite"
            )


def read_manifest(folder: Path, kind: str) -> dict[str, Any]:
    """Read a folder's manifest and check that it is an artefact of this kind.

    Raises:
        UsageError: no such folder, no manifest (unfinished or foreign), or another kind.
    """
    if not folder.exists():
        raise UsageError(f"{folder} does not exist; {_wanted(kind)}")
    if folder.is_dir() and all(entry.name.endswith(LOCK) for entry in folder.iterdir()):  # the lock is this run's own
        raise UsageError(f"{folder} does not exist or is empty; {_wanted(kind)}")
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file; {_wanted(kind)}")
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{folder} is not {_article(kind)} artefact: it has no {MANIFEST} (unfinished, or made by something else); "
            f"{_wanted(kind)}, or finish this run with --resume"
        )
    manifest = read_json(folder / MANIFEST)
    if manifest.get("kind") != kind:
        raise UsageError(
            f"{folder} holds {manifest.get('kind', 'something else')!r}, where {kind!r} is expected; {_wanted(kind)}"
        )
    version = manifest.get("format", 0)
    if not isinstance(version, int):
        raise UsageError(f"{folder / MANIFEST} is damaged: its format is {version!r}; make the artefact again")
    if version > FORMATS.get(kind, 1):
        raise UsageError(
            f"{folder} was made by a newer activetune: its format is {version}, and this one reads up to "
            f"{FORMATS.get(kind, 1)}; update activetune to read it"
        )
    return manifest


def artefact_at(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """The folder and the manifest of the artefact that a path is, or lies in as one of its files; None otherwise."""
    folder = path if path.is_dir() else path.parent
    try:
        manifest = read_json(folder / MANIFEST)
    except (ActivetuneError, OSError):
        return None
    return (folder, manifest) if isinstance(manifest.get("kind"), str) and "activetune" in manifest else None


def holds(folder: Path, kind: str, wanted: Mapping[str, Any]) -> bool:
    """Whether a folder holds a finished artefact whose manifest says all of this.

    Raises:
        UsageError: it holds an artefact of another kind, or one by a newer version.
    """
    if not (folder / MANIFEST).is_file():
        return False
    manifest = read_manifest(folder, kind)
    return all(manifest.get(name) == value for name, value in wanted.items())


def _wanted(kind: str) -> str:
    """What to give, and the command that makes it."""
    maker = f", as 'activetune {MADE_BY[kind]}' makes it" if kind in MADE_BY else ""
    return f"give {_article(kind)} folder{maker}"


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind!r}"
