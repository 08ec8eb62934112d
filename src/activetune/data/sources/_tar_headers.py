"""The headers of a tar: read from the file each time on this machine, once and then remembered elsewhere.

A tar has no list of its members, so that listing one reads all of it but for members larger than a block. Elsewhere
that takes as long as copying it; what was found is kept in the user's cache, a Parquet file per tar and state of it,
together with the texts beside the images. Whatever is wrong with that memory costs time, not the result.
"""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import first_line
from activetune.base.files import cache_folder, replacing
from activetune.base.fingerprint import digest
from activetune.data.formats import suffix_of
from activetune.data.remote.location import Location, RemotePath
from activetune.data.remote.ranged import opened

PLAIN, FOLDER, LINK, SPECIAL = "file", "folder", "link", "special"
TEXTS = (".cls", ".txt", ".json")
MAX_SIDECAR = 2**20  # bytes of what is known of an item
BLOCK = 2**20  # bytes of a tar elsewhere that are asked for at once
TAKEN = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
FORM = "activetune.tar-headers.1"
SCHEMA = pa.schema(
    [("name", pa.string()), ("start", pa.int64()), ("size", pa.int64()), ("kind", pa.string()), ("text", pa.binary())]
)


class Header(NamedTuple):
    """A member: its name, where its bytes begin, how many there are, and what it is."""

    name: str
    start: int
    size: int
    kind: str


@dataclass(frozen=True)
class TarHeaders:
    """The headers of a tar, to be gone through.

    Attributes:
        path, end: the tar and its size. known: those of one elsewhere. damage: what ended their list too early.
        texts: of one elsewhere, by their place.
    """

    path: Location
    end: int
    known: Sequence[Header] = ()
    damage: str = ""
    texts: Mapping[int, bytes] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Header]:
        """The headers.

        Raises:
            tarfile.TarError: it is no tar, or damaged behind those that were given.
        """
        if isinstance(self.path, Path):
            with tarfile.open(self.path, "r:") as archive:
                for info in archive:
                    _forget(archive)
                    yield _header(info)
            return
        yield from self.known
        if self.damage:
            raise tarfile.TarError(self.damage)


def headers_of(path: Location) -> TarHeaders:
    """The headers of a tar; of one elsewhere they are read, or remembered.

    Raises:
        OSError, ReadingFault: it can't be read.
    """
    if isinstance(path, Path):
        return TarHeaders(path, path.stat().st_size)
    place = path.place()
    if place is None:
        return _read(path)
    file = cache_folder("tars") / f"{digest(FORM, place.name, place.state)}.parquet"
    found = _recalled(path, file) if file.is_file() else None
    if found is None:
        found = _read(path)
        with contextlib.suppress(OSError):
            _remember(found, file)
    return found


def _forget(archive: tarfile.TarFile) -> None:
    """Otherwise a tar keeps the headers of all its members, some hundred bytes each."""
    archive.members = []  # type: ignore[attr-defined]


def _header(info: tarfile.TarInfo) -> Header:
    if info.type in TAKEN and not info.issparse():
        kind = PLAIN
    else:
        kind = FOLDER if info.isdir() else LINK if info.islnk() or info.issym() else SPECIAL
    return Header(info.name, info.offset_data, info.size, kind)


def _read(path: RemotePath) -> TarHeaders:
    known, texts, damage = list[Header](), dict[int, bytes](), ""
    try:
        with opened(path, BLOCK) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for info in archive:
                _forget(archive)
                header = _header(info)
                known.append(header)
                if header.kind == PLAIN and suffix_of(header.name) in TEXTS:
                    file.seek(header.start)
                    texts[header.start] = file.read(min(header.size, MAX_SIDECAR))
    except tarfile.TarError as error:
        damage = first_line(error)
    return TarHeaders(path, path.state.size, known, damage, texts)


def _remember(found: TarHeaders, file: Path) -> None:
    texts = [found.texts.get(header.start) if header.kind == PLAIN else None for header in found.known]
    names, starts, sizes, kinds = zip(*found.known, strict=True) if found.known else ((), (), (), ())
    table = pa.table([names, starts, sizes, kinds, texts], schema=SCHEMA.with_metadata({"damage": found.damage}))
    with replacing(file) as partial:
        pq.write_table(table, partial)


def _recalled(path: RemotePath, file: Path) -> TarHeaders | None:
    """What a file of the memory holds; None where it is damaged."""
    try:
        table = pq.read_table(file, partitioning=None)
        if table.schema.names != SCHEMA.names:
            return None
        damage = (table.schema.metadata or {})[b"damage"].decode()
        names, starts, sizes, kinds, texts = (table.column(name).to_pylist() for name in SCHEMA.names)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError):
        return None
    known = [Header(*row) for row in zip(names, starts, sizes, kinds, strict=True)]
    beside = {start: text for start, text in zip(starts, texts, strict=True) if text is not None}
    return TarHeaders(path, path.state.size, known, damage, beside)
