"""What the images of a pool are: a digest of each one's bytes, wherever they lie and whatever they are packed in.

A digest is the first 16 bytes of SHA-256. Those of files that have not changed since are remembered, so that a pool
need not be read to be recognised; see ``digest_memory.py``.
Shape legend: N items.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import IntArray
from activetune.base.errors import RejectedImage
from activetune.base.fingerprint import digest, digest_stream
from activetune.base.progress import progress
from activetune.data.digest_memory import DigestMemory, default_memory

DIGEST_BYTES = 16
FORM = "content:"  # begins the fingerprints of pools; those of earlier versions, of names, sizes and times, do not
SETTLED_NS = 2 * 10**9  # a file changed more recently may change again within the same tick of the file system's clock
PIECE = 64  # images that a thread reads at a time
READERS = 8  # threads: with files on a network most of the time is waiting

Digests = npt.NDArray[np.uint8]


class Place(NamedTuple):
    """Where an item's bytes lie, and in which state that file is; read from its entry, not from its bytes.

    Attributes:
        name: the resolved path, and what tells items of one file apart.
        size: of the file in bytes.
        state: changes whenever the file is written or replaced.
        changed_ns: when it was last changed, in nanoseconds since 1970.
    """

    name: str
    size: int
    state: str
    changed_ns: int


class Items(Protocol):
    """What is needed of a pool to tell what it is."""

    @property
    def ids(self) -> Sequence[str]:
        """N distinct item ids."""
        ...

    @property
    def parallel(self) -> bool:
        """Whether several threads may read at a time."""
        ...

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The encoded bytes of an item."""
        ...

    @property
    def tells(self) -> bool:
        """Whether ``digest`` tells what an item is, in place of the bytes that are read."""
        ...

    def digest(self, index: int) -> bytes:
        """The digest of an item, without its bytes."""
        ...

    def place(self, index: int) -> Place | None:
        """Where they lie; None where that can't be said at present."""
        ...


def content_digest(encoded: bytes) -> bytes:
    """The digest of an image's bytes."""
    return hashlib.sha256(encoded).digest()[:DIGEST_BYTES]


def reason_digest(reason: str) -> bytes:
    """Stands for the digest of an image without bytes: a file that was missing, a damaged member of a zip."""
    return content_digest(f"no bytes: {reason}".encode())


def item_digest(items: Items, position: int) -> bytes:
    """The digest of an item, which is read.

    Raises:
        ReadingFault: it can't be read at present.
    """
    try:
        return items.digest(position) if items.tells else content_digest(items.read(position))
    except RejectedImage as error:
        return reason_digest(str(error))


class Contents:
    """The digests of a pool's items, as far as they are known: remembered, or noted by whoever reads the images.

    Args:
        items: the pool; sizes and times of its files are looked at now, their bytes are not read.
        remember: use the memory in the user's cache, and fill it. memory: one to use in its place.

    Attributes:
        digests_N: (N, 16) uint8, zeros where a digest is not known. known_N: (N,) whether it is.
    """

    def __init__(self, items: Items, *, remember: bool = True, memory: DigestMemory | None = None):
        self._items = items
        self._memory = memory or (default_memory() if remember else None)
        self.digests_N = np.zeros((len(items), DIGEST_BYTES), dtype=np.uint8)
        self.known_N = np.zeros(len(items), dtype=bool)
        self._sizes_N = np.full(len(items), -1, dtype=np.int64)
        self._names_N = np.zeros((len(items), DIGEST_BYTES), dtype=np.uint8)
        self._states_N = np.zeros((len(items), DIGEST_BYTES), dtype=np.uint8)
        self._settled_N = np.zeros(len(items), dtype=bool)
        self._look(time.time_ns())
        self._kept_N = np.zeros(len(items), dtype=bool)
        if self._memory is not None:
            self._recall(self._memory)

    def __len__(self) -> int:
        return len(self.known_N)

    @property
    def complete(self) -> bool:
        """Whether all digests are known."""
        return bool(self.known_N.all())

    @property
    def outline(self) -> str:
        """Digest of the ids and the files' sizes: pools that differ in it are not the same."""
        return digest(digest_stream(self._items.ids), hashlib.sha256(self._sizes_N.tobytes()).hexdigest())

    @property
    def fingerprint(self) -> str:
        """Digest of the ids and of all images' bytes; those that are not known are read now."""
        self.read()
        return FORM + digest(digest_stream(self._items.ids), self.digest_of(0, len(self)))

    def digest_of(self, start: int, stop: int) -> str:
        """Digest of the bytes of the items from ``start`` to before ``stop``, whose digests must be known."""
        return hashlib.sha256(self.digests_N[start:stop].tobytes()).hexdigest()

    def note(self, positions: Sequence[int] | IntArray, digests: Sequence[bytes]) -> None:
        """The digests of some items, of the bytes that were just read."""
        if len(digests):
            rows = np.asarray(positions, dtype=np.int64)
            self.digests_N[rows] = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
            self.known_N[rows] = True
            self._kept_N[rows] = False

    def read(self, among: int | Sequence[int] | None = None, *, quiet: bool = True) -> None:
        """Read the items whose digest is not known, and remember their digests.

        Args:
            among: those before this position, or these; None: all.

        Raises:
            ReadingFault: a file can't be read at present.
        """
        if among is None or isinstance(among, int):
            missing = np.flatnonzero(~self.known_N[:among])
        else:
            missing = np.asarray(among, dtype=np.int64)
            missing = missing[~self.known_N[missing]]
        if not len(missing):
            return
        parts = np.array_split(missing, -(-len(missing) // PIECE))
        executor = ThreadPoolExecutor(READERS if self._items.parallel else 1)
        try:
            with progress(len(missing), "reading", quiet=quiet) as meter:
                for part, found in zip(parts, executor.map(self._digests_of, parts), strict=True):
                    self.note(part, found)
                    meter.advance(len(part))
        finally:
            executor.shutdown(cancel_futures=True)
            self.save()

    def told(self) -> Digests | None:
        """(N, 16) all digests, found now, where the items tell them without their bytes; None where they do not."""
        if not self._items.tells:
            return None
        self.read()
        return self.digests_N

    def save(self) -> None:
        """Remember what was noted, of files that had been left alone for a while."""
        rows = np.flatnonzero(self.known_N & self._settled_N & ~self._kept_N)
        if self._memory is not None and len(rows):
            self._memory.keep(self._names_N[rows], self._states_N[rows], self.digests_N[rows])
            self._kept_N[rows] = True

    def _look(self, now_ns: int) -> None:
        for position in range(len(self)):
            place = self._items.place(position)
            if place is None:
                continue
            self._sizes_N[position] = place.size
            self._names_N[position] = _bytes_of(place.name)
            self._states_N[position] = _bytes_of(place.state)
            self._settled_N[position] = place.changed_ns < now_ns - SETTLED_NS

    def _recall(self, memory: DigestMemory) -> None:
        rows = np.flatnonzero(self._settled_N)
        found, known = memory.recall(self._names_N[rows], self._states_N[rows])
        self.digests_N[rows[known]] = found[known]
        self.known_N[rows[known]] = self._kept_N[rows[known]] = True

    def _digests_of(self, positions: IntArray) -> list[bytes]:
        return [item_digest(self._items, position) for position in positions.tolist()]


def _bytes_of(text: str) -> Digests:
    encoded = text.encode("utf-8", "surrogateescape")
    return np.frombuffer(hashlib.blake2b(encoded, digest_size=DIGEST_BYTES).digest(), dtype=np.uint8)
