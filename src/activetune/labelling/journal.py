"""The journal of a labelling: every answer and every change of a class, in the order in which they came.

One SQLite file, ``labels.sqlite``, that is only ever added to. With the write-ahead log and ``synchronous=FULL`` what
was committed is on disk, whenever the process or the machine is stopped after it. An event carries the client that sent
it and that client's own sequence number; both together are unique, so that a request that is sent twice counts once.
One process writes: it holds the lock of the selection's folder.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activetune.base.databases import DAMAGED
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import parse_json

JOURNAL = "labels.sqlite"
FORMAT = 3
TABLES = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    client TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    content TEXT NOT NULL,
    at REAL NOT NULL,
    UNIQUE (client, sequence)
);
"""


class Contradiction(UsageError):
    """A client gave a sequence number to two different events."""


@dataclass(frozen=True)
class Entry:
    """What a client sends: its name, its own number of this event (from 1, no number twice), and the event."""

    client: str
    sequence: int
    content: dict[str, Any]

    @property
    def text(self) -> str:
        """The event as it is kept: the same text for the same event."""
        return json.dumps(self.content, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Event:
    """An entry in the journal.

    Attributes:
        number: its place there, from 1. at: seconds since 1970 when it was written.
    """

    number: int
    client: str
    content: dict[str, Any]
    at: float


def _event(number: object, client: object, content: object, at: object) -> Event:
    """A row as an event; SQLite keeps any value in any column.

    Raises:
        ValueError: it is none.
    """
    if isinstance(number, int) and isinstance(client, str) and isinstance(at, int | float):
        found = parse_json(content) if isinstance(content, str | bytes) else None
        if isinstance(found, dict):
            return Event(number, client, found, float(at))
    raise ValueError(f"row {number!r} is no answer")


class Journal:
    """The journal in a file; used by one thread at a time."""

    def __init__(self, path: Path):
        """Open or begin it.

        Raises:
            UsageError: the file is damaged, or of a newer version. ActivetuneError: it can't be written.
        """
        self.path = path
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            version = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if version > FORMAT:
                raise UsageError(f"{path} was made by a newer activetune; update to go on with it")
            if (told := self._connection.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(told.splitlines()[-1])
            self._connection.executescript(TABLES)
            self._connection.execute(f"PRAGMA user_version = {FORMAT}")
        except sqlite3.OperationalError as error:
            raise ActivetuneError(f"{path} can't be written ({error}); make its folder writable") from None
        except DAMAGED as error:
            raise UsageError(
                f"{path} is damaged ({error}); move it away: labels.csv beside it holds the answers, and is taken up"
            ) from None

    def add(self, entries: Sequence[Entry]) -> list[Event]:
        """Write entries in one transaction; those that are there already are left out.

        Returns:
            The new events. They, and those left out, are on disk when this returns.

        Raises:
            Contradiction: an entry whose number its client has given to another event; nothing is written.
            ActivetuneError: they can't be written, for instance as the disk is full; nothing is.
        """
        try:
            with self._transaction():
                return [event for entry in entries if (event := self._insert(entry)) is not None]
        except DAMAGED as error:
            raise ActivetuneError(
                f"the answers can't be written to {self.path} ({error}); nothing that was saved is lost: "
                "free some space, or make the folder writable, and send them again"
            ) from None

    def _insert(self, entry: Entry) -> Event | None:
        before = self.content_of(entry.client, entry.sequence)
        if before is not None:
            if before != entry.text:
                raise Contradiction(
                    f"the client {entry.client!r} has given the sequence number {entry.sequence} to another answer; "
                    "count on from the last one, and send the same answer again only as it was"
                )
            return None
        at = time.time()
        values = (entry.client, entry.sequence, entry.text, at)
        cursor = self._connection.execute(
            "INSERT INTO events (client, sequence, content, at) VALUES (?, ?, ?, ?)", values
        )
        assert cursor.lastrowid is not None
        return Event(cursor.lastrowid, entry.client, entry.content, at)

    def content_of(self, client: str, sequence: int) -> str | None:
        """The event that a client has given a number to; None: none yet."""
        found = self._connection.execute(
            "SELECT content FROM events WHERE client = ? AND sequence = ?", (client, sequence)
        ).fetchone()
        return None if found is None else str(found[0])

    def last_sequences(self) -> dict[str, int]:
        """The highest sequence number that each client has given.

        Raises:
            UsageError: the file is damaged.
        """
        with self._told():
            found = self._connection.execute("SELECT client, max(sequence) FROM events GROUP BY client")
            return {str(client): int(sequence) for client, sequence in found}

    def events(self) -> Iterator[Event]:
        """All of them, in their order.

        Raises:
            UsageError: the file is damaged.
        """
        with self._told():
            rows = self._connection.execute("SELECT number, client, content, at FROM events ORDER BY number")
            for number, client, content, at in rows:
                yield _event(number, client, content, at)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Tell in a sentence that what is read is damaged."""
        try:
            yield
        except (*DAMAGED, ValueError) as error:
            raise UsageError(
                f"{self.path} is damaged ({error}); move it away: labels.csv beside it holds the answers"
            ) from None

    def close(self) -> None:
        """Fold the write-ahead log into the file, and let go of it."""
        with contextlib.suppress(sqlite3.DatabaseError):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")
