"""How often something is tried again that a network or a busy disk answered with an error."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

Found = TypeVar("Found")
_CHANCE = random.SystemRandom()  # of no seed: processes that were forked must not wait for the same moments


class Readable(Protocol):
    """What has bytes by number."""

    def read(self, index: int) -> bytes:
        """Those of one item."""
        ...


@dataclass(frozen=True)
class Patience:
    """How often reading is tried again after an error of the system, such as a network share that is gone for a moment.

    Attributes:
        waits: seconds before the second, third, … attempt; 26 s in all by default.
        sleep: the function that waits so many seconds; tests give one that does not.
        jitter: the share of each wait that is drawn by chance, so that many readers do not come back all at once.
    """

    waits: Sequence[float] = (0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 10.0)
    sleep: Callable[[float], object] = time.sleep
    jitter: float = 0.0

    def insist(self, attempt: Callable[[], Found]) -> Found:
        """What ``attempt`` gives, tried again while it raises an OSError; the last one is raised."""
        for wait in self.waits:
            try:
                return attempt()
            except OSError:
                self.sleep(wait * (1 - self.jitter * _CHANCE.random()))
        return attempt()

    def read(self, source: Readable, index: int) -> bytes:
        """Read an item, again and again while the system answers with an error; the last one is raised."""
        return self.insist(lambda: source.read(index))

    @property
    def told(self) -> str:
        """``it was tried 9 times within 26 s``."""
        return f"it was tried {len(self.waits) + 1} times within {sum(self.waits):.0f} s"


NO_PATIENCE = Patience(waits=())
