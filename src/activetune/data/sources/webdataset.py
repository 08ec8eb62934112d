"""``.tar`` files of images in WebDataset's form, read in place: one, a folder of shards, or a pattern of them.

Members that differ in their suffix alone belong together: ``0001.jpg`` is an item, ``0001.cls`` its class,
``0001.json`` and ``0001.txt`` what else is known of it (a key of the JSON object each, and the column ``caption``).
Where no member tells a class, folders do, as in a folder of images. Headers are read when the pool is opened, so that
every image is read by itself afterwards, in any order; a compressed tar could only be read from its beginning.
Shape legend: N items, S shards.
"""

from __future__ import annotations

import json
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.errors import RejectedImage, UsageError, first_line
from activetune.data.answers import class_names
from activetune.data.formats import IMAGE_SUFFIXES, suffix_of
from activetune.data.identity import Place
from activetune.data.images import MAX_BYTES
from activetune.data.pool import ImageSource
from activetune.data.remote.location import Location, RemotePath
from activetune.data.sources import _listing as reasons
from activetune.data.sources._files import folder_labels, place_in
from activetune.data.sources._listing import LeftOut, Listing, OpenOptions
from activetune.data.sources._metadata import LABEL_COLUMNS
from activetune.data.sources._shards import below, each, shards_at
from activetune.data.sources._tar_headers import FOLDER, LINK, MAX_SIDECAR, PLAIN, Header, TarHeaders, headers_of
from activetune.data.sources._walk import unwanted_name

ABOUT = ".tar of images in WebDataset's form (0001.jpg, 0001.cls), a folder or a pattern of such shards"
SUFFIXES = (".tar",)
FOLDERS = True
ELSEWHERE = True
CLASS, TEXT, JSON = ".cls", ".txt", ".json"
CAPTION = "caption"  # the column of the texts


@dataclass(frozen=True)
class Member:
    """Where a file lies: the shard's number, the first of its bytes, and how many there are."""

    shard: int
    start: int
    size: int


class _Files:
    """The shards' open files, one of each per process; reading at a place moves no offset that others share."""

    def __init__(self, paths: Sequence[Location]):
        self.paths = paths
        self._open: dict[int, int] = {}

    def read(self, member: Member, count: int) -> bytes:
        """A member's first bytes, at most ``count``.

        Raises:
            OSError: the shard can't be read now. ReadingFault: it lies elsewhere, and has gone.
        """
        count, path = min(count, member.size), self.paths[member.shard]
        if isinstance(path, RemotePath):
            return path.read_part(member.start, member.start + count)
        try:
            return os.pread(self._file(member.shard), count, member.start)
        except OSError:
            self.close()  # so that the next attempt opens the file again
            raise

    def close(self) -> None:
        """Close all."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _file(self, shard: int) -> int:
        if shard not in self._open:
            self._open[shard] = os.open(str(self.paths[shard]), os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        return self._open[shard]

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths, "_open": {}}

    def __del__(self) -> None:
        self.close()


@dataclass
class TarSource:
    """Images inside tar files, read in place; nothing is ever extracted.

    Attributes:
        paths: of the S shards. shards_N, starts_N, sizes_N: see :class:`Member`, by item.
    """

    paths: Sequence[Location]
    shards_N: IntArray
    starts_N: IntArray
    sizes_N: IntArray
    parallel: bool = True
    _files: _Files = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._files = _Files(self.paths)

    def read(self, index: int) -> bytes:
        """The member's bytes, up to a size."""
        member = self._member(index)
        if member.size > MAX_BYTES:
            raise RejectedImage(f"oversized: {member.size:,} bytes, {MAX_BYTES:,} are allowed")
        found = self._files.read(member, member.size)
        if len(found) < member.size:
            raise RejectedImage("unreadable in the tar: its end is missing")
        return found

    def start(self, index: int, count: int) -> bytes:
        """The member's first bytes."""
        return self._files.read(self._member(index), count)

    def place(self, index: int) -> Place | None:
        """The member of its shard."""
        member = self._member(index)
        return place_in(self.paths[member.shard], str(member.start))

    @property
    def distant(self) -> bool:
        """Whether the shards lie elsewhere."""
        return isinstance(self.paths[0], RemotePath)

    def _member(self, index: int) -> Member:
        return Member(int(self.shards_N[index]), int(self.starts_N[index]), int(self.sizes_N[index]))


@dataclass(frozen=True)
class Sidecars:
    """What the members beside the images know of them; read when it is asked for.

    Attributes:
        paths: of the S shards. texts, objects: by item the member with its text, or its JSON object; None without.
    """

    paths: Sequence[Location]
    texts: Sequence[Member | None]
    objects: Sequence[Member | None]

    def names(self) -> list[str]:
        """``caption`` where there are texts, and the keys of the first JSON object."""
        first = next((found for found in self._objects() if found is not None), {})
        texts = [CAPTION] if any(member is not None for member in self.texts) else []
        return list(dict.fromkeys([*texts, *first]))

    def values(self, name: str) -> list[Any]:
        """The cells by item; a JSON object's comes before the text."""
        found = [None if cells is None else cells.get(name) for cells in self._objects()]
        if name == CAPTION:
            texts = _contents(self.paths, self.texts)
            found = [text if cell is None else cell for cell, text in zip(found, texts, strict=True)]
        return found

    def class_names(self, name: str, field: str = "") -> list[str] | None:
        """None: a tar has no list of names that numbers are positions in."""
        return None

    def images(self, name: str) -> ImageSource | None:
        """None: members with images are items."""
        return None

    def given(self, name: str) -> list[bool]:
        """Which items have a cell."""
        return [cell is not None and cell != "" for cell in self.values(name)]

    def _objects(self) -> Iterator[dict[str, Any] | None]:
        for text in _contents(self.paths, self.objects, damaged=""):
            try:
                found = None if text is None else json.loads(text)
            except (ValueError, RecursionError):
                found = None
            yield found if isinstance(found, dict) else None


@dataclass
class _Found:
    """What the shards hold, in their order.

    Attributes:
        items: the images by shard and path; of several of one path the last counts, as in any tar.
        sidecars: by suffix, shard and path without the suffix.
    """

    items: dict[tuple[int, str], Member] = field(default_factory=dict)
    sidecars: dict[str, dict[tuple[int, str], Member]] = field(default_factory=lambda: {CLASS: {}, TEXT: {}, JSON: {}})
    left_out: LeftOut = field(default_factory=LeftOut)
    notes: list[str] = field(default_factory=list)


def find(path: Location, options: OpenOptions) -> Listing | None:
    """The images in the tar files at a path; None where a folder has no such file.

    Raises:
        UsageError: a file that is no tar.
    """
    paths = shards_at(path, SUFFIXES, options)
    if not paths:
        return None
    found = _Found()
    for number, headers in enumerate(each(paths, headers_of, "reading headers", quiet=options.quiet)):
        _list(headers, number, found)
    names, members = [name for _, name in found.items], list(found.items.values())
    places = [(member.shard, name) for name, member in zip(names, members, strict=True)]
    beside = {kind: _beside(places, found.sidecars[kind]) for kind in (CLASS, TEXT, JSON)}
    ids = _ids(list(found.items), paths, path if path.is_dir() else path.parent)
    columns = np.asarray([(one.shard, one.start, one.size) for one in members], dtype=np.int64).reshape(-1, 3)
    further = Sidecars(paths, beside[TEXT], beside[JSON])
    known = any(member is not None for member in (*beside[TEXT], *beside[JSON]))
    labels = _labels(paths, ids, names, beside[CLASS], further)
    source = TarSource(paths, *columns.T.copy())
    return Listing(ids, labels, source, found.left_out, found.notes, further if known else None)


def _list(headers: TarHeaders, number: int, found: _Found) -> None:
    """Note what a shard holds, by its headers."""
    path = headers.path
    try:
        for header in headers:
            _take(header, Member(number, header.start, header.size), headers.end, found)
    except tarfile.TarError as error:
        own = [name for shard, name in found.items if shard == number]
        if not own:
            raise UsageError(
                f"{path} can't be read as a tar ({first_line(error)}); a compressed one has to be unpacked first"
            ) from None
        found.notes.append(f"{path} is damaged behind {own[-1]} ({first_line(error)}); the images before it are taken")


def _take(header: Header, member: Member, end: int, found: _Found) -> None:
    """Note a member, or why it is left out."""
    name = posixpath.normpath(header.name.replace("\\", "/"))
    suffix = suffix_of(name)
    if header.kind == FOLDER:
        return
    if reason := unwanted_name(name):
        found.left_out.add(reason)
    elif header.kind != PLAIN:
        found.left_out.add(reasons.LINK if header.kind == LINK else reasons.SPECIAL)
    elif member.start + member.size > end:
        found.left_out.add(reasons.CUT_OFF)
    elif suffix in IMAGE_SUFFIXES:
        found.items[member.shard, name] = member
    elif suffix in found.sidecars:
        found.sidecars[suffix][member.shard, _stem(name)] = member
    else:
        found.left_out.add_file(suffix)


def _beside(places: Sequence[tuple[int, str]], sidecars: Mapping[tuple[int, str], Member]) -> list[Member | None]:
    """The sidecar of each image: of the name without its suffix; else of the same key, where one alone has it."""
    keyed: dict[tuple[int, str], Member | None] = {}
    for (shard, stem), member in sidecars.items():
        key = shard, _key(stem)
        keyed[key] = None if key in keyed else member
    return [sidecars.get((shard, _stem(name))) or keyed.get((shard, _key(name))) for shard, name in places]


def _stem(name: str) -> str:
    """A path without the suffix."""
    return posixpath.splitext(name)[0]


def _key(name: str) -> str:
    """What the members of an item share: the path up to the first point in the file's own name."""
    folder, _, file = name.rpartition("/")
    return f"{folder}/{file.partition('.')[0]}"


def _ids(items: Sequence[tuple[int, str]], paths: Sequence[Location], root: Location) -> list[str]:
    """The members' paths, behind their shard's where a path stands in several shards."""
    if len({name for _, name in items}) == len(items):
        return [name for _, name in items]
    stems = [below(path, root).removesuffix(".tar") for path in paths]
    return [f"{stems[shard]}/{name}" for shard, name in items]


def _labels(
    paths: Sequence[Location],
    ids: Sequence[str],
    names: Sequence[str],
    classes: Sequence[Member | None],
    further: Sidecars,
) -> list[str | None] | None:
    """What the ``.cls`` members say, or the key ``label`` of the JSON objects, or else the folders."""
    if any(member is not None for member in classes):
        return class_names(_contents(paths, classes), f"the {CLASS} members", ids)
    known = further.names() if any(member is not None for member in further.objects) else []
    column = next((name for name in LABEL_COLUMNS if name in known), None)
    if column is not None:
        values = further.values(column)
        if not any(isinstance(value, list | dict) for value in values):
            return class_names(values, f"{column} of the {JSON} members", ids)
    return folder_labels(names)


def _contents(
    paths: Sequence[Location], members: Sequence[Member | None], *, damaged: str | None = None
) -> Iterator[str | None]:
    """The texts of members, None where there is none.

    Args:
        damaged: given for a text that is not UTF-8; None: it is refused, as two names may differ in such letters alone.

    Raises:
        UsageError: a shard can't be read now, or a text is not UTF-8.
    """
    files, known = _Files(paths), dict[int, Mapping[int, bytes]]()
    try:
        for member in members:
            content = None if member is None else _bytes(files, known, member)
            try:
                yield None if content is None else content.decode("utf-8-sig").strip()
            except UnicodeDecodeError as error:
                if damaged is None:
                    raise UsageError(
                        f"{paths[0].parent}: {content!r:.60} in a tar is not UTF-8 ({first_line(error)}); write it as "
                        "UTF-8"
                    ) from None
                yield damaged
    except OSError as error:
        raise UsageError(
            f"{paths[0].parent} can't be read ({error.strerror or error}); copy the shards again"
        ) from None
    finally:
        files.close()


def _bytes(files: _Files, known: dict[int, Mapping[int, bytes]], member: Member) -> bytes:
    """A member's text, encoded.

    Args:
        known: the texts of shards elsewhere, which were read with the headers.
    """
    path = files.paths[member.shard]
    if isinstance(path, RemotePath) and member.shard not in known:
        known[member.shard] = headers_of(path).texts
    found = known[member.shard].get(member.start) if member.shard in known else None
    return files.read(member, MAX_SIDECAR) if found is None else found
