"""Output folders and files: each file appears under its name at once, complete."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.errors import FULL, ActivetuneError, UsageError
from activetune.base.fingerprint import digest

MANIFEST = "manifest.json"  # the last file of an artefact
LOCK, BEGUN = ".lock", ".begun"  # what a run keeps in its output folder while it runs
_MORE = 2**16  # bytes that a disk takes which is not full
_PARTIAL = re.compile(r"\.(.+)\.(\d+)\.partial")


def cache_folder(what: str) -> Path:
    """A folder of the user's cache: ``$ACTIVETUNE_CACHE`` (default ``~/.cache/activetune``), and in it ``what``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ACTIVETUNE_CACHE") or Path(base) / "activetune") / what


def prepare_file(
    path: Path, *, own: Callable[[Path], bool], suffixes: Sequence[str] = (), overwrite: bool = False
) -> Path:
    """Make ready for one output file: it must not exist yet, or be of its own kind and ``overwrite`` given.

    Args:
        own: whether a file that is there is of the kind that will be written; another one is never replaced.
        suffixes: what its name must end in, as that tells the format; empty: anything.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"{path} would be written as {' or '.join(suffixes)}; give --out a name that ends so")
    if path.is_dir():
        raise UsageError(f"{path} is a folder; --out must name a file")
    if path.exists() and not own(path):
        raise UsageError(f"{path} is a file that this command did not write; nothing was written: choose another --out")
    if path.exists() and not overwrite:
        raise UsageError(f"{path} exists already; nothing was written: choose another --out, or give --overwrite")
    path.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(path.parent, os.W_OK):
        raise ActivetuneError(f"{path.parent} is read-only; choose another --out")
    return path


def sweep_all(folder: Path) -> None:
    """Remove what killed processes were writing anywhere in a folder whose lock this run holds."""
    for leftover in folder.rglob(".*.partial"):
        leftover.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path`` to write to; on success it takes ``path``'s place in one step.

    Raises:
        OSError: the system's, also where a writer of another language put it into words of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(0o666 & ~_umask())  # some writers make their files for one reader alone
        os.replace(partial, path)
    except (RuntimeError, ValueError) as error:  # torch says "unexpected pos" where the disk is full
        if refused := _refused(partial):
            raise OSError(refused, os.strerror(refused), str(path)) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def _refused(partial: Path) -> int | None:
    """Why the system takes no more of a file: a full disk, a quota, a limit of its size; None: it takes more."""
    try:
        with partial.open("ab") as file:
            file.write(bytes(_MORE))
    except OSError as error:
        return error.errno if error.errno in FULL else None
    return None


class _KeptError(Exception):
    """Ends the writing of a file that is there already."""


def write_unless_there(path: Path, write: Callable[[Path], object], *, overwrite: bool) -> bool:
    """Write a file in one step; one that is there and holds the same is left as it is.

    Args:
        write: writes to the path that it is given. overwrite: write in any case.

    Returns:
        Whether it was written.

    Raises:
        UsageError: another one is there, and ``overwrite`` is off.
    """
    try:
        with replacing(path) as partial:
            write(partial)
            if path.exists() and not overwrite:
                if same_content(path, partial):
                    raise _KeptError
                raise UsageError(
                    f"{path} holds something else than this run makes; give --overwrite, or choose another --out"
                )
    except _KeptError:
        return False
    return True


def is_file(path: Path) -> bool:
    """Whether there is such a file; a text that is too long for a name, which may be a list of names, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def same_content(path: Path, other: Path) -> bool:
    """Whether two files hold the same bytes."""
    if path.stat().st_size != other.stat().st_size:
        return False
    with path.open("rb") as one, other.open("rb") as two:
        while piece := one.read(2**20):
            if piece != two.read(2**20):
                return False
    return True


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left in a folder, all of it or for one file; call it under the lock."""
    if name is None and (folder / MANIFEST).is_file():
        (folder / BEGUN).unlink(missing_ok=True)
    for entry in folder.iterdir():
        found = _PARTIAL.fullmatch(entry.name)
        if found is None or int(found[2]) == os.getpid():
            continue
        if name is None or (_belongs(found[1], name) and not _runs(int(found[2]))):
            entry.unlink(missing_ok=True)


def _belongs(name: str, output: str) -> bool:
    """Whether a file's name is an output file's, or that of a file beside it: ``p.rejected.csv``, ``.p.csv.json``."""
    return name.lstrip(".").startswith(f"{Path(output).stem}.")


def _runs(pid: int) -> bool:
    """Whether a process of this number runs; another one may be writing to ``p.parquet`` beside ``p.csv``."""
    import psutil

    return bool(psutil.pid_exists(pid))


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def file_name(*parts: object) -> str:
    """A file's name that can be read; where a sign had to be replaced, a digest keeps it distinct."""
    text = "-".join(map(str, parts))
    safe = re.sub(r"[^\w.%=-]+", "_", text, flags=re.ASCII)[:120]
    return safe if safe == text else f"{safe}-{digest(text)[:8]}"


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one step."""
    with replacing(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; a damaged file is an error with its name."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ActivetuneError(f"{path} is damaged ({error}); make the artefact again") from None
    if not isinstance(content, dict):
        raise ActivetuneError(f"{path} does not hold a JSON object; make the artefact again")
    return content


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says.

    Raises:
        ValueError: it is no JSON, or one that only an attack would hold (nested without end, numbers of any length).
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        place = f"byte {error.object[error.start]:#04x} at {error.start:,}"
        raise ValueError(f"it is not {error.encoding.upper()} text, {place}; save it as UTF-8") from None
    except ValueError:  # Python refuses whole numbers of more than 4,300 digits
        raise ValueError("a number with thousands of digits") from None


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    return str(value)
