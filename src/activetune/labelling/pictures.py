"""Pictures for the page, made by the project's own reader: upright, 8 bits, RGB, whatever the file holds.

Thumbnails are made once, and kept in the user's cache in one SQLite file, ``thumbnails.sqlite``, under the digest of
where the image lies and the state that its file is in. Whatever is wrong with that file costs time, not the page.
"""

from __future__ import annotations

import contextlib
import io
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

from PIL import Image

from activetune.base.databases import DAMAGED
from activetune.base.errors import ActivetuneError, ReadingFault, RejectedImage
from activetune.base.files import cache_folder
from activetune.base.fingerprint import digest
from activetune.data.images import decode_image
from activetune.data.pool import NO_PATIENCE, Pool

SMALL = 256  # pixels of a thumbnail's long side
LARGE = 1_600  # of a picture that fills a screen
LARGEST = 6_000  # of one that is looked at through the magnifier
LOSSLESS = 128  # up to this long side a picture is sent as it is
QUALITY, SMALL_QUALITY = 90, 72
SIDES = {"small": SMALL, "large": LARGE, "full": LARGEST}
TABLE = "CREATE TABLE IF NOT EXISTS thumbnails (key TEXT PRIMARY KEY, picture BLOB) WITHOUT ROWID"
WAIT_SECONDS = 2.0


def _of_page(error: ActivetuneError) -> str:
    """Why there is no picture: the pool's own sentence advises a run that can be gone on with, which a page is not."""
    if isinstance(error, ReadingFault) and isinstance(error.__cause__, OSError):
        reason = error.__cause__.strerror or error.__cause__
        return f"its file can't be read at present ({reason}); put it back and look again, or skip the image"
    return str(error)


class Pictures:
    """The pictures of a pool's items, by id; several threads may ask at a time."""

    def __init__(self, pool: Pool, *, cache: Path | None = None):
        self.pool = replace(pool, patience=NO_PATIENCE)  # a person who waits may ask again
        self._cache = cache or cache_folder("thumbnails.sqlite")
        self._reading = contextlib.nullcontext() if pool.parallel else threading.Lock()

    def picture(self, item: str, size: str) -> tuple[bytes, str]:
        """The bytes of a picture, and its media type.

        Args:
            size: ``small``, ``large`` or ``full``.

        Raises:
            RejectedImage: the image is damaged, or has gone; the message is the reason.
        """
        if size != "small":
            return self._made(item, SIDES[size])
        key = self._key(item)
        kept = self._recall(key) if key else None
        if kept is None:
            kept = self._made(item, SMALL)[0]
            if key:
                self._keep(key, kept)
        return kept, "image/webp" if kept[8:12] == b"WEBP" else "image/png"

    def _made(self, item: str, side: int) -> tuple[bytes, str]:
        if item not in self.pool.position:
            raise RejectedImage("it is not in the pool any more")
        try:
            with self._reading:
                encoded = self.pool.read(self.pool.position[item])
        except ActivetuneError as error:
            raise RejectedImage(_of_page(error)) from None
        image = decode_image(encoded, about=0 if side == LARGEST else side)
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
        file = io.BytesIO()
        if max(image.size) <= LOSSLESS:
            image.save(file, "PNG", compress_level=1)
            return file.getvalue(), "image/png"
        if side == SMALL:
            image.save(file, "WEBP", quality=SMALL_QUALITY, method=1)
            return file.getvalue(), "image/webp"
        image.save(file, "JPEG", quality=QUALITY)
        return file.getvalue(), "image/jpeg"

    def _key(self, item: str) -> str | None:
        """What names the thumbnail of an image in its present state; None where that is not known."""
        if item not in self.pool.position:
            return None
        try:
            place = self.pool.place(self.pool.position[item])
        except OSError:
            return None
        return None if place is None else digest(str(SMALL), place.name, str(place.size), place.state)

    def _recall(self, key: str) -> bytes | None:
        if not self._cache.is_file():
            return None
        try:
            with contextlib.closing(sqlite3.connect(self._cache, timeout=WAIT_SECONDS)) as connection:
                found = connection.execute("SELECT picture FROM thumbnails WHERE key = ?", (key,)).fetchone()
        except sqlite3.OperationalError:  # no table yet, locked for long
            return None
        except DAMAGED:
            with contextlib.suppress(OSError):
                self._cache.unlink(missing_ok=True)
            return None
        return bytes(found[0]) if found else None

    def _keep(self, key: str, picture: bytes) -> None:
        try:
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self._cache, timeout=WAIT_SECONDS)) as connection, connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute(TABLE)
                connection.execute("INSERT OR REPLACE INTO thumbnails VALUES (?, ?)", (key, picture))
        except (OSError, *DAMAGED):
            return  # it is made again
