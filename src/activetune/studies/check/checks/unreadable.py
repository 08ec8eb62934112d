"""``unreadable``: files that are no image, damaged or empty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from activetune.studies.check.examined import Examined
from activetune.studies.check.finding import Check, Finding, Found


@dataclass(frozen=True)
class Unreadable(Check):
    """Images that can't be decoded; every command leaves them out by itself."""

    title: ClassVar[str] = "Unreadable images"
    order: ClassVar[int] = 10

    def find(self, pool: Examined, test: Examined | None) -> Found:
        """See :class:`Check`."""
        return Found([Finding(item, reason) for item, reason in pool.rejected])
