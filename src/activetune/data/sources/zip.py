"""A ``.zip`` of images, read in place; labels come from its folders, or its metadata table, as a folder's do.

Member names are written with ``/`` whatever the zip has between folders. Those that are not marked as UTF-8 are taken
as UTF-8 where they can be, and as the old DOS encoding (code page 437) otherwise.
"""

from __future__ import annotations

import bz2
import copy
import lzma
import os
import posixpath
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from activetune.base.errors import RejectedImage, UsageError
from activetune.base.tables import read_table
from activetune.data.formats import IMAGE_SUFFIXES, START, looks_like_image, suffix_of
from activetune.data.identity import Place
from activetune.data.images import MAX_BYTES
from activetune.data.remote.location import Location
from activetune.data.remote.ranged import opened
from activetune.data.sources import _listing as reasons
from activetune.data.sources._files import folder_labels, place_in
from activetune.data.sources._further import TableColumns
from activetune.data.sources._listing import LeftOut, Listing, OpenOptions
from activetune.data.sources._metadata import is_metadata, metadata_labels
from activetune.data.sources._walk import unwanted_name

ABOUT = ".zip of images, as a folder of images"
SUFFIXES = (".zip",)
FOLDERS = False
ELSEWHERE = True
UTF_8 = 0x800  # flag of a member whose name is UTF-8
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, ValueError)
STEP, LZMA_STEP = 2**16, 2**12  # bytes that are asked for at a time; LZMA unpacks all that these were made of
ABSENT = -1


@dataclass
class ZipSource:
    """Images inside a zip file, read in place; nothing is ever extracted.

    Attributes:
        members: each item's place in the zip's own list; :data:`ABSENT` where it is not there.
    """

    path: Location
    members: Sequence[int]
    parallel: bool = False
    _open: tuple[int, zipfile.ZipFile] | None = field(default=None, repr=False, compare=False)

    def read(self, index: int) -> bytes:
        """The member's bytes, unpacked in memory up to a size."""
        if self.members[index] == ABSENT:
            raise RejectedImage("unreadable: no such file in the zip")
        try:
            archive = self._archive()
            return unpacked(archive, archive.infolist()[self.members[index]])
        except OSError:
            self._open = None  # so that the next attempt opens the file again
            raise
        except DAMAGED as error:
            raise RejectedImage(f"unreadable in the zip: {error}") from None

    def start(self, index: int, count: int) -> bytes:
        """The member's first bytes; none where they can't be read, or would be unpacked with all that follow."""
        archive = self._archive()
        info = archive.infolist()[self.members[index]]
        if self.members[index] == ABSENT or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            return b""
        try:
            with archive.open(info) as member:
                return member.read(count)
        except DAMAGED:
            return b""

    def place(self, index: int) -> Place | None:
        """The member of the zip."""
        return place_in(self.path, str(self.members[index]))

    def _archive(self) -> zipfile.ZipFile:
        """One open file a process: file offsets must not be shared with a forked worker."""
        if self._open is None or self._open[0] != os.getpid():
            self._open = (os.getpid(), zipfile.ZipFile(opened(self.path)))
        return self._open[1]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


def unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A member's bytes.

    Raises:
        RejectedImage: it unpacks to more than is allowed, whatever it declares.
        Exception: one of :data:`DAMAGED`.
    """
    if info.file_size > MAX_BYTES:
        raise RejectedImage(f"oversized: {info.file_size:,} bytes, {MAX_BYTES:,} are allowed")
    if info.compress_type == zipfile.ZIP_BZIP2:
        return _unpacked_bzip2(archive, info)
    step = LZMA_STEP if info.compress_type == zipfile.ZIP_LZMA else STEP
    with archive.open(
        info
    ) as member:  # in steps, since at once zipfile unpacks all before it cuts off what is too much
        return b"".join(iter(lambda: member.read(step), b""))


def _unpacked_bzip2(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """The same of a member whose kilobytes may unpack to gigabytes at once: by bz2, which can be told to stop."""
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    packed.CRC = None  # type: ignore[assignment]  # that of the unpacked bytes, checked below
    with archive.open(packed) as member:
        content = bz2.BZ2Decompressor().decompress(member.read(MAX_BYTES), info.file_size + 1)
    if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
        raise zipfile.BadZipFile(f"Bad CRC-32 for file {info.filename!r}")
    return content


def find(path: Location, options: OpenOptions) -> Listing:
    """The images in a zip; ids are their paths inside it."""
    left_out, images, tables, notes = LeftOut(), dict[str, int](), dict[str, Any](), []
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        for number, info in enumerate(archive.infolist()):
            name = member_name(info)
            reason = unwanted(name, info)
            if reason is not None:
                left_out.add(reason)
            elif _is_image(archive, info, name):
                images[name] = number  # of several of one name the last one counts, as in any zip
            elif is_metadata(name):
                tables[name] = info
            elif not info.is_dir() and not name.endswith("/"):
                left_out.add_file(suffix_of(name))
        ids = sorted(images)
        for name, info in tables.items() if ids else ():
            try:
                tables[name] = _table(archive, info, name)
            except (UsageError, RejectedImage) as error:
                tables[name] = {}
                notes.append(f"not used: {error}")
    labels, strangers, several = metadata_labels(tables, ids, notes.append)
    left_out.add(reasons.NAMES_NOTHING, strangers)
    labels = folder_labels(ids) if labels is None and not several else labels
    further = _further(path, ids, [name for name, columns in tables.items() if columns])
    source = ZipSource(path, [images[item] for item in ids])
    return Listing(ids, labels, source, left_out, notes, further, several=several)


def _further(path: Location, ids: Sequence[str], tables: Sequence[str]) -> TableColumns | None:
    return TableColumns(ids, tables, partial(_table_of, path), partial(_members, path)) if tables else None


def member_name(info: zipfile.ZipInfo) -> str:
    """A member's path with ``/``, in the encoding that it seems to have."""
    name = info.orig_filename.partition("\0")[0]
    if not info.flag_bits & UTF_8 and not name.isascii():
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = info.filename
    name = name.replace("\\", "/")
    return name if name.endswith("/") else posixpath.normpath(name)


def unwanted(name: str, info: zipfile.ZipInfo) -> str | None:
    """Why a member is left out, None where it is not."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    return unwanted_name(name) or (reasons.SPECIAL if kind not in (0, stat.S_IFREG, stat.S_IFDIR) else None)


def _is_image(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> bool:
    suffix = suffix_of(name)
    if suffix or name.endswith("/") or not info.file_size or info.compress_type == zipfile.ZIP_BZIP2:
        return suffix in IMAGE_SUFFIXES
    try:
        with archive.open(info) as member:
            return looks_like_image(member.read(START))
    except (OSError, *DAMAGED):
        return False


def _table(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str) -> Mapping[str, Sequence[Any]]:
    """The columns of a metadata table in the zip."""
    with tempfile.TemporaryDirectory(prefix="activetune-") as folder:
        path = Path(folder) / posixpath.basename(name)
        path.write_bytes(unpacked(archive, info))
        return read_table(path)


def _table_of(path: Location, name: str) -> Mapping[str, Sequence[Any]]:
    """The same of a zip that is not open."""
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        infos = {member_name(info): info for info in archive.infolist()}
        return _table(archive, infos[name], name)


def _members(path: Location, names: Sequence[str | None]) -> ZipSource:
    """Members by name; one that is not there is an item without an image."""
    with opened(path) as file, zipfile.ZipFile(file) as archive:
        places = {member_name(info): number for number, info in enumerate(archive.infolist())}
    return ZipSource(path, [places.get(name or "", ABSENT) for name in names])
