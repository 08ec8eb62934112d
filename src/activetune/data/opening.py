"""Opening a pool: a folder, a manifest, a Hugging Face Parquet file or a zip of images, listed without loading any.

Labels: a folder's (or zip's) images are labelled with the name of the folder they lie in, unless that is the same
for all of them or they lie in the root. Reading image bytes and turning them into pixels is ``images.py``'s.
"""

from __future__ import annotations

import bisect
import json
import lzma
import os
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import RejectedImage, UsageError, repeated, some
from activetune.base.fingerprint import digest_stream
from activetune.base.tables import read_table
from activetune.data.pool import Pool

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
ROW_GROUP_CACHE_BYTES = 256 * 2**20


def open_pool(path: str | os.PathLike[str]) -> Pool:
    """List a pool; no image is loaded.

    Args:
        path: a folder of images (searched recursively), a ``.csv`` or ``.parquet`` manifest with a column ``path``
            (and ``label``, ``id``), a ``.parquet`` file in Hugging Face image schema, or a ``.zip`` of images.

    Raises:
        UsageError: nothing there, not one of these, no image in it, repeated ids.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise UsageError(f"the pool {path} does not exist")
    if path.is_dir():
        pool = _open_folder(path)
    else:
        opener = _OPENERS.get(path.suffix.lower())
        if opener is None:
            raise UsageError(
                f"{path} is not a pool: expected a folder of images, or a file ending in {', '.join(sorted(_OPENERS))}"
            )
        try:
            pool = opener(path)
        except (OSError, pa.ArrowException, zipfile.BadZipFile) as error:
            raise UsageError(f"the pool {path} can't be read ({error})") from None
    if not len(pool):
        raise UsageError(f"the pool {path} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
    if len(pool.position) < len(pool):
        raise UsageError(f"the ids of {path} are not distinct; repeated: {some(repeated(pool.ids))}")
    return pool


# Folder -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileSource:
    """Image files below ``root``; ``paths`` are relative to it (or absolute, when a manifest says so)."""

    root: Path
    paths: Sequence[str]

    def read(self, index: int) -> bytes:
        """The file's bytes."""
        try:
            return (self.root / self.paths[index]).read_bytes()
        except OSError as error:
            raise RejectedImage(f"unreadable: {error.strerror or error}") from None

    def stamp(self) -> str:
        """Names, sizes and modification times."""
        root = str(self.root)
        return digest_stream(part for path in self.paths for part in (path, _stamp(os.path.join(root, path))))


def _stamp(path: str | Path) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _open_folder(root: Path) -> Pool:
    paths = sorted(_walk(str(root), ""))
    return Pool(str(root), paths, _folder_labels(paths), FileSource(root, paths))


def _walk(folder: str, prefix: str) -> Iterator[str]:
    """Relative paths (with ``/``) of the images below a folder; hidden entries are left out, links are followed
    to files only, so that a link back up can't make the walk endless.
    """
    below: list[str] = []
    try:
        entries = os.scandir(folder)
    except OSError as error:
        raise UsageError(f"the folder {folder} can't be listed ({error.strerror})") from None
    with entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if not name.isascii() and not _is_utf8(name):
                raise UsageError(f"{folder} holds a file name that is not UTF-8 ({name!r}); rename it")
            if entry.is_dir(follow_symlinks=False):
                below.append(name)
            elif _is_image(name):
                yield prefix + name
    for name in below:
        yield from _walk(os.path.join(folder, name), f"{prefix}{name}/")


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _folder_labels(paths: Sequence[str]) -> list[str | None] | None:
    """The name of the folder each image lies in; no labels at all where that tells nothing apart."""
    folders = [path.rpartition("/")[0] for path in paths]
    if len(set(folders)) < 2:
        return None
    return [folder.rpartition("/")[2] or None for folder in folders]


# Zip --------------------------------------------------------------------------------------------------------------


@dataclass
class ZipSource:
    """Images inside a zip file, read in place; nothing is ever extracted."""

    path: Path
    names: Sequence[str]
    checksums: Sequence[int]
    _open: tuple[int, zipfile.ZipFile] | None = field(default=None, repr=False, compare=False)

    def read(self, index: int) -> bytes:
        """The member's bytes, unpacked in memory."""
        try:
            return self._archive().read(self.names[index])
        except (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError) as error:
            raise RejectedImage(f"unreadable in the zip: {error}") from None

    def stamp(self) -> str:
        """Names and the checksums that the zip keeps of its members."""
        return digest_stream(
            part for name, checksum in zip(self.names, self.checksums, strict=True) for part in (name, str(checksum))
        )

    def _archive(self) -> zipfile.ZipFile:
        """One open file a process: file offsets must not be shared with a forked worker."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), zipfile.ZipFile(self.path))
        return self._open[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def _open_zip(path: Path) -> Pool:
    with zipfile.ZipFile(path) as archive:
        members = {
            info.filename: info.CRC
            for info in archive.infolist()
            if _is_image(info.filename)
            and not any(part.startswith((".", "__MACOSX")) for part in info.filename.split("/"))
        }
    names = sorted(members)
    return Pool(str(path), names, _folder_labels(names), ZipSource(path, names, [members[name] for name in names]))


# Manifest ---------------------------------------------------------------------------------------------------------


def _open_csv(path: Path) -> Pool:
    columns = read_table(path)
    if "path" not in columns:
        raise UsageError(f"{path} has no column 'path'; its columns are: {', '.join(columns) or 'none'}")
    return _from_manifest(path, columns)


def _from_manifest(path: Path, columns: dict[str, list[Any]]) -> Pool:
    """A pool from the columns ``path``, ``label`` (optional) and ``id`` (optional, otherwise the path)."""
    paths = [str(value or "").strip() for value in columns["path"]]
    if "" in paths:
        raise UsageError(f"{path}: row {paths.index('') + 1:,} has an empty 'path'; give one or remove the row")
    ids = ["" if value is None else str(value) for value in columns["id"]] if "id" in columns else paths
    if "" in ids:
        raise UsageError(f"{path}: row {ids.index('') + 1:,} has an empty 'id'; give one or remove the row")
    labels = [_label(value) for value in columns["label"]] if "label" in columns else None
    return Pool(str(path), ids, labels, FileSource(path.parent, paths))


def _label(value: object) -> str | None:
    text = "" if value is None else str(value).strip()
    return text or None


# Parquet ----------------------------------------------------------------------------------------------------------


@dataclass
class ParquetSource:
    """Images in a Parquet column ``{bytes, path}``; row groups are read when needed, recent ones are kept."""

    path: Path
    column: str
    starts: Sequence[int]
    _open: tuple[int, pq.ParquetFile] | None = field(default=None, repr=False, compare=False)
    _groups: OrderedDict[int, pa.ChunkedArray] = field(default_factory=OrderedDict, repr=False, compare=False)

    def read(self, index: int) -> bytes:
        """The bytes in the row, or in the file that the row names."""
        group = bisect.bisect_right(self.starts, index) - 1
        try:
            cell = self._group(group)[index - self.starts[group]].as_py()
        except (OSError, pa.ArrowException) as error:
            raise RejectedImage(f"unreadable in the Parquet file: {error}") from None
        if cell and cell.get("bytes"):
            return bytes(cell["bytes"])
        if cell and cell.get("path"):
            return FileSource(self.path.parent, [cell["path"]]).read(0)
        raise RejectedImage("empty: the row holds neither bytes nor a path")

    def stamp(self) -> str:
        """The file's size and modification time."""
        return digest_stream([self.column, _stamp(self.path)])

    def _group(self, group: int) -> pa.ChunkedArray:
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), pq.ParquetFile(self.path, memory_map=True))
        if group not in self._groups:
            self._groups[group] = self._open[1].read_row_group(group, columns=[self.column]).column(0)
            while len(self._groups) > 1 and sum(g.nbytes for g in self._groups.values()) > ROW_GROUP_CACHE_BYTES:
                self._groups.popitem(last=False)
        self._groups.move_to_end(group)
        return self._groups[group]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None, "_groups": OrderedDict()}


def _open_parquet(path: Path) -> Pool:
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    images = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    if not images:
        if "path" in schema.names:
            wanted = [name for name in ("path", "label", "id") if name in schema.names]
            return _from_manifest(path, file.read(columns=wanted).to_pydict())
        raise UsageError(
            f"{path} has neither a Hugging Face image column (struct of bytes and path) nor a column 'path'; "
            f"its columns are: {', '.join(schema.names)}"
        )
    column = "image" if "image" in images else images[0]
    starts = [0]
    for group in range(file.num_row_groups):
        starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
    count = starts.pop()
    ids = _parquet_ids(file, column, count)
    return Pool(str(path), ids, _parquet_labels(file), ParquetSource(path, column, starts))


def _parquet_ids(file: pq.ParquetFile, column: str, count: int) -> list[str]:
    """The images' own paths where all are there and distinct, row numbers otherwise."""
    struct = file.schema_arrow.field(column).type
    if struct.get_field_index("path") >= 0:
        table = file.read(columns=[f"{column}.path"])
        names = [cell and cell["path"] for cell in table.column(0).to_pylist()]
        if all(names) and len(set(names)) == count:
            return names
    return [f"{row:08d}" for row in range(count)]


def _parquet_labels(file: pq.ParquetFile) -> list[str | None] | None:
    """Class names, through the ``ClassLabel`` feature that Hugging Face keeps in the schema's metadata."""
    schema = file.schema_arrow
    column = next((name for name in ("label", "labels", "fine_label") if name in schema.names), None)
    if column is None:
        return None
    values = file.read(columns=[column]).column(0).to_pylist()
    metadata = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
    names = metadata.get("info", {}).get("features", {}).get(column, {}).get("names")
    if names and pa.types.is_integer(schema.field(column).type):
        return [names[value] if value is not None and 0 <= value < len(names) else None for value in values]
    return [_label(value) for value in values]


_OPENERS: dict[str, Callable[[Path], Pool]] = {".csv": _open_csv, ".parquet": _open_parquet, ".zip": _open_zip}
