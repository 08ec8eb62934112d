"""``rare_class``: classes of too few images to be split into training and validation."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from activetune.base.config import check_settings
from activetune.studies.check.examined import Examined
from activetune.studies.check.finding import Check, Finding, Found


@dataclass(frozen=True)
class RareClass(Check):
    """Classes with one image.

    Settings:
        below: images of a class that are enough.
    """

    below: int = 2

    title: ClassVar[str] = "Classes with hardly an image"
    order: ClassVar[int] = 71
    needs: ClassVar[str] = "labels"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("rare_class", ("below", self.below, 1, np.inf))

    def find(self, pool: Examined, test: Examined | None) -> Found:
        """See :class:`Check`."""
        members: dict[str, list[str]] = defaultdict(list)
        for item, name in pool.labels.items():
            members[name].append(item)
        rare = sorted((len(items), name, items) for name, items in members.items() if len(items) < self.below)
        told = "its class {!r} has {} of the labelled images; rare is below {}"
        return Found(
            [
                Finding(item, told.format(name, count, self.below), count, self.below)
                for count, name, items in rare
                for item in items
            ]
        )
