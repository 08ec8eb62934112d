"""``near_classes``: two class names that are one but for a slip of the pen."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from activetune.data.near_names import near_names
from activetune.studies.check.examined import Examined
from activetune.studies.check.finding import Check, Finding, Found


@dataclass(frozen=True)
class NearClasses(Check):
    """Class names that are the same but for case, blanks or one letter.

    A finding names one image of the class that has fewer.
    """

    title: ClassVar[str] = "Near-equal class names"
    order: ClassVar[int] = 70
    needs: ClassVar[str] = "labels"

    def find(self, pool: Examined, test: Examined | None) -> Found:
        """See :class:`Check`."""
        counts = Counter(pool.labels.values())
        example = {name: item for item, name in reversed(list(pool.labels.items()))}
        return Found(
            [
                Finding(
                    example[fewer],
                    f"its class {fewer!r} ({counts[fewer]:,} images) is nearly {more!r} ({counts[more]:,}); one class?",
                    counts[fewer],
                    other=example[more],
                )
                for more, fewer in near_names(counts)
            ]
        )
