"""A run of trackio: ``TRACKIO_DIR=OUT/tracking/trackio trackio show``.

Its storage is called, not its ``init``, which starts a server, and sends the run away where the environment says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.training.trackers._tracker import PROJECT, Tracker


@dataclass
class Trackio(Tracker):
    """Metrics in trackio's SQLite file; the settings are its config."""

    package: ClassVar[str] = "trackio"

    def begin(self) -> None:
        """See :class:`Tracker`; trackio keeps a config with the first metrics alone."""
        self._config: dict[str, Any] | None = {name: str(value) for name, value in self.settings.items()}

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """See :class:`Tracker`."""
        if not values:
            return
        with self._storage() as storage:
            storage.bulk_log(PROJECT, self.name, [dict(values)], steps=[step], config=self._config)
        self._config = None

    def end(self, scores: Mapping[str, float], *, finished: bool) -> None:
        """See :class:`Tracker`."""
        self.log(0, scores)

    @contextlib.contextmanager
    def _storage(self) -> Iterator[Any]:
        """Trackio's storage, in the run's folder: trackio reads the place from its environment once, at import."""
        from trackio import sqlite_storage

        before = sqlite_storage.TRACKIO_DIR
        sqlite_storage.TRACKIO_DIR = self.folder
        try:
            yield sqlite_storage.SQLiteStorage
        finally:
            sqlite_storage.TRACKIO_DIR = before
