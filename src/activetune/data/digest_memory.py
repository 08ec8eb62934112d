"""The digests of files that have been read before, in the user's cache: one SQLite file, ``digests.sqlite``.

A row is the name of a file (hashed to 16 bytes), the state that it was in (its device, inode, size and times, hashed),
and the digest of its bytes. When the file is read in another state, its row is replaced. Whatever is wrong with the
memory costs time, not the result. Several processes may use it at once; no connection outlives a call.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from activetune.base.databases import DAMAGED
from activetune.base.files import cache_folder

WAIT_SECONDS = 10.0  # for another process that is writing
TABLE = "CREATE TABLE IF NOT EXISTS digests (name BLOB PRIMARY KEY, state BLOB, digest BLOB) WITHOUT ROWID"

Rows = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class DigestMemory:
    """Digests by name and state, in the file ``path``. Shape legend: N items, of which 16 bytes each are known."""

    path: Path

    def recall(self, names_N: Rows, states_N: Rows) -> tuple[Rows, npt.NDArray[np.bool_]]:
        """The digests (N, 16) of the files that are in the same state as then, and which these are (N,)."""
        digests_N, known_N = np.zeros_like(names_N), np.zeros(len(names_N), dtype=bool)

        def look_up(connection: sqlite3.Connection) -> None:
            for row, (name, state) in enumerate(zip(names_N, states_N, strict=True)):
                found = connection.execute("SELECT state, digest FROM digests WHERE name = ?", (name.tobytes(),))
                before = found.fetchone()
                if before is not None and before[0] == state.tobytes() and len(before[1]) == names_N.shape[1]:
                    digests_N[row] = np.frombuffer(before[1], dtype=np.uint8)
                    known_N[row] = True

        if self.path.is_file():
            self._use(look_up)
        return digests_N, known_N

    def keep(self, names_N: Rows, states_N: Rows, digests_N: Rows) -> None:
        """Remember digests; all of them in one transaction."""
        rows = ((a.tobytes(), b.tobytes(), c.tobytes()) for a, b, c in zip(names_N, states_N, digests_N, strict=True))

        def write(connection: sqlite3.Connection) -> None:
            with connection:
                connection.execute(TABLE)
                connection.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", rows)

        self._use(write)

    def _use(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Open the file and work with it, as far as that goes; a file that is no memory makes room for a new one."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.closing(sqlite3.connect(self.path, timeout=WAIT_SECONDS)) as connection:
                work(connection)
        except (OSError, sqlite3.OperationalError):  # can't be written, locked for long, no space, no table yet
            return
        except DAMAGED:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def default_memory() -> DigestMemory:
    """The memory in the user's cache."""
    return DigestMemory(cache_folder("digests.sqlite"))
