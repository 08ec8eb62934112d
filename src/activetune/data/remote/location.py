"""Where a pool lies: a path on this machine, or an address elsewhere that answers the same questions."""

from __future__ import annotations

import datetime
import posixpath
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from activetune.base.errors import ReadingFault
from activetune.base.urls import is_address, protocol_of, without_secrets
from activetune.data.identity import Place
from activetune.data.patience import Patience
from activetune.data.remote.faults import Gone, told_apart
from activetune.data.remote.stores import filesystem_of, read_whole

FILE, FOLDER = "file", "directory"  # fsspec's words
PATIENCE = Patience(jitter=0.5)
WEB = ("http", "https")
_TAGS = ("ETag", "etag", "md5Hash", "content_md5", "blob_id", "generation")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "modified")

Found = TypeVar("Found")


@dataclass(frozen=True)
class State:
    """What a store tells of an object without giving its bytes.

    Attributes:
        size: in bytes; -1 where it is not told.
        tag: differs whenever the content does (an ETag, a digest, or else size and time); empty where none is told.
        changed_ns: when it was changed, in nanoseconds since 1970, where only that tells a change; otherwise 0.
    """

    size: int = -1
    tag: str = ""
    changed_ns: int = 0

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> State:
        """What stands in an answer of fsspec's ``info``, ``ls`` or ``find``."""
        size = told.get("size")
        size = size if isinstance(size, int) else -1
        tag = next((str(told[name]) for name in _TAGS if told.get(name)), "")
        if tag and not tag.startswith("W/"):  # a weak one says no more than that the content means the same
            return cls(size, f"{tag}:{size}")
        changed = next((told[name] for name in _TIMES if told.get(name)), None)
        seconds = changed.timestamp() if isinstance(changed, datetime.datetime) else changed
        if isinstance(seconds, int | float) and size >= 0:
            return cls(size, f"{seconds!r}:{size}", int(seconds * 10**9))
        return cls(size)


@dataclass(frozen=True)
class RemotePath:
    """An address, with the questions of :class:`pathlib.Path` that pools ask; what is shown of it holds no secret.

    Attributes:
        address: as it was given, with user, password and signature.
        kind: whether a file or a folder is there; empty where nobody has looked yet.
        state: of a file, as it was listed.
    """

    address: str = field(repr=False)
    kind: str = field(default="", compare=False)
    state: State = field(default_factory=State, compare=False)

    def __str__(self) -> str:
        return without_secrets(self.address)

    def __repr__(self) -> str:
        return f"RemotePath({str(self)!r})"

    def __truediv__(self, name: str) -> RemotePath:
        base = without_query(self.address) if self.is_web else self.address
        return RemotePath(f"{base.rstrip('/')}/{name}")

    @property
    def is_web(self) -> bool:
        """Whether it is read over HTTP, where names are quoted and folders are pages."""
        return protocol_of(self.address) in WEB

    @property
    def name(self) -> str:
        """The last part of its path."""
        path = without_query(self.address) if self.is_web else self.address
        return unquoted(self, path.partition("://")[2].rstrip("/").rpartition("/")[2])

    @property
    def suffix(self) -> str:
        """As pathlib's."""
        return posixpath.splitext(self.name)[1]

    @property
    def parent(self) -> RemotePath:
        """The folder that it lies in."""
        path = without_query(self.address) if self.is_web else self.address
        protocol, _, rest = path.partition("://")
        return RemotePath(f"{protocol}://{rest.rstrip('/').rpartition('/')[0]}", FOLDER)

    def looked_at(self, files: tuple[str, ...] = ()) -> RemotePath | None:
        """The same, knowing what is there; None where nothing is.

        Args:
            files: suffixes of files. Over HTTP nothing else tells a file from a folder.

        Raises:
            ReadingFault: it can't be told at present, or access is refused.
        """
        if self.is_web and not (self.suffix.lower() in files and not self.address.endswith("/")):
            return replace(self, kind=FOLDER)
        try:
            told = self.ask(lambda filesystem, path: filesystem.info(path))
        except Gone:
            return None
        return replace(self, kind=FOLDER if told.get("type") == FOLDER else FILE, state=State.of(told))

    def is_dir(self) -> bool:
        """Whether a folder is there, as far as somebody has looked."""
        return self.kind == FOLDER

    def exists(self) -> bool:
        """Whether anything is there."""
        return bool(self.kind) or self.looked_at() is not None

    def read_part(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` to before ``stop``, in one attempt.

        Raises:
            OSError: it may pass; also where fewer came. Gone: nothing is there. ReadingFault: it will not pass.
        """
        if stop <= start:
            return b""
        filesystem, path = filesystem_of(self.address)
        with told_apart(self.address):
            found = bytes(filesystem.cat_file(path, start=start, end=stop))
        if len(found) > stop - start:  # a server that knows no parts gives the whole
            found = found[start:stop]
        if len(found) < stop - start and (self.state.size < 0 or stop <= self.state.size):
            raise ConnectionError(f"{len(found):,} of {stop - start:,} bytes came")
        return found

    def ask(self, question: Callable[[Any, str], Found], patience: Patience | None = None) -> Found:
        """What the filesystem answers, asked again while it is out of reach.

        Raises:
            Gone: nothing is there. ReadingFault: it stays out of reach, or access is refused.
        """

        def attempt() -> Found:
            filesystem, path = filesystem_of(self.address)
            with told_apart(self.address):
                return question(filesystem, path)

        return insist(self, attempt, patience)

    def read_bytes(self) -> bytes:
        """All bytes, with patience."""
        return self.ask(read_whole)

    def place(self, part: str = "") -> Place | None:
        """The object, or a part of it, in the state in which it was listed; None where that was not told."""
        if not self.state.tag:
            return None
        shown = str(self)
        return Place(f"{shown}\0{part}" if part else shown, self.state.size, self.state.tag, self.state.changed_ns)


Location = Path | RemotePath


def insist(location: RemotePath, attempt: Callable[[], Found], patience: Patience | None = None) -> Found:
    """What ``attempt`` gives, tried with patience.

    Raises:
        ReadingFault: it stays out of reach, or what ``attempt`` raised that does not pass.
    """
    patience = patience or PATIENCE
    try:
        return patience.insist(attempt)
    except OSError as error:
        raise ReadingFault(
            f"{location} can't be read ({error.strerror or error}); {patience.told}. Check the network and the store, "
            "and run the command again: what is finished is kept"
        ) from None


def patience_with(location: Location) -> Patience:
    """How often reading from a place is tried again."""
    return PATIENCE if isinstance(location, RemotePath) else Patience()


def located(name: str | Any) -> Location:
    """The place that a pool's name means.

    >>> str(located("s3://photos/cats"))
    's3://photos/cats'
    """
    if isinstance(name, RemotePath):
        return name
    if is_address(name):
        return RemotePath(name)
    if isinstance(name, str) and name[:7].lower() == "file://":
        return Path(urllib.parse.unquote(urllib.parse.urlsplit(name).path))
    return Path(name).expanduser()


def without_query(address: str) -> str:
    """An address over HTTP without what follows its path."""
    return address.partition("?")[0].partition("#")[0]


def unquoted(location: RemotePath, name: str) -> str:
    """A name as people read it: over HTTP ``%20`` stands for a blank."""
    return urllib.parse.unquote(name) if location.is_web else name


def quoted(location: RemotePath, name: str) -> str:
    """A name as it stands in an address."""
    return urllib.parse.quote(name) if location.is_web else name
