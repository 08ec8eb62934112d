"""The scores of a task as the content of ``scores.json``, with the lines that are shown of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from activetune.base.printing import one_line
from activetune.evaluation.metrics import told_value

WORST = 3


@dataclass(frozen=True)
class DictScores:
    """Scores on held-out items.

    >>> scores = DictScores({"primary": "miou", "miou": 0.41, "n": 20, "per_class": {}}, {"miou": "mean IoU"})
    >>> scores.value, scores.n
    (0.41, 20)

    Attributes:
        content: that of ``scores.json``: ``primary``, that score, ``n``, and by class the score ``per_class`` first.
        shown: the names of scores as they are told.
    """

    content: Mapping[str, Any]
    shown: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> Any:
        return self.content[name]

    @property
    def primary(self) -> str:
        """The name of the score that models are compared by."""
        return str(self.content["primary"])

    @property
    def value(self) -> float:
        """The score that models are compared by."""
        return float(self.content[self.primary])

    @property
    def n(self) -> int:
        """Items."""
        return int(self.content["n"])

    def as_dict(self) -> dict[str, Any]:
        """The content of ``scores.json``."""
        return dict(self.content)

    def table(self) -> str:
        """The scores as aligned text, shares in percent, and the classes with the lowest."""
        width = max(len(name) for name in (*self.shown.values(), "items"))
        lines = [f"{told:<{width}} {told_value(name, self.content[name]):>9}" for name, told in self.shown.items()]
        lines.append(f"{'items':<{width}} {self.n:>9,}")
        rows = self.content.get("per_class", {})
        weakest = sorted((next(iter(row.values())), name) for name, row in rows.items())[:WORST]
        told = ", ".join(f"{one_line(name)} ({100 * value:.1f} %)" for value, name in weakest)
        return "\n".join([*lines, *([f"lowest: {told}"] if told else [])])
