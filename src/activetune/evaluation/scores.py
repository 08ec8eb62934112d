"""What a classifier is worth on held-out items: the content of ``scores.json``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.printing import one_line
from activetune.evaluation.metrics import (
    TOP,
    ClassCounts,
    Counts,
    accuracy,
    among_highest,
    calibration_error,
)
from activetune.evaluation.statistics import wilson_interval

PRIMARY = "top1"
DENSE = 100  # classes up to which a confusion matrix is written whole; above, its cells that are not zero


@dataclass(frozen=True)
class Confusion:
    """How often items of one class were predicted as another.

    Attributes:
        classes: Y names: the model's outputs in their order, then classes that only the answers have.
        cells: (true class, predicted class, items), ascending, without zeros: never more than there are items.
    """

    classes: Sequence[str]
    cells: Sequence[tuple[int, int, int]]

    @classmethod
    def of(cls, truth_N: IntArray, predicted_N: IntArray, classes: Sequence[str]) -> Confusion:
        """Count the pairs."""
        pairs, counts = np.unique(truth_N * len(classes) + predicted_N, return_counts=True)
        rows, columns = np.divmod(pairs, len(classes))
        return cls(list(classes), list(zip(rows.tolist(), columns.tolist(), counts.tolist(), strict=True)))

    def matrix(self) -> Counts:
        """(Y, Y) counts: a row per true class, a column per predicted one."""
        rows, columns, counts = np.asarray(self.cells, dtype=np.int64).reshape(-1, 3).T
        size = len(self.classes)
        matrix_YY = np.zeros((size, size), dtype=np.int64)
        matrix_YY[rows, columns] = counts
        return matrix_YY

    def counts(self) -> ClassCounts:
        """By class."""
        rows, columns, counts = np.asarray(self.cells, dtype=np.int64).reshape(-1, 3).T
        sums = (
            np.bincount(places, weights=weights, minlength=len(self.classes)).astype(np.int64)
            for places, weights in ((rows, counts * (rows == columns)), (rows, counts), (columns, counts))
        )
        return ClassCounts(*sums)

    def as_dict(self) -> dict[str, Any]:
        """``classes`` and ``matrix``; with more than ``DENSE`` classes ``cells`` in place of the matrix."""
        if len(self.classes) <= DENSE:
            return {"classes": list(self.classes), "matrix": self.matrix().tolist()}
        return {"classes": list(self.classes), "cells": [list(cell) for cell in self.cells]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Confusion:
        """The inverse of :meth:`as_dict`."""
        if "cells" in content:
            return cls(content["classes"], [(row, column, count) for row, column, count in content["cells"]])
        matrix = np.asarray(content["matrix"], dtype=np.int64)
        rows, columns = np.nonzero(matrix)
        cells = zip(rows.tolist(), columns.tolist(), matrix[rows, columns].tolist(), strict=True)
        return cls(content["classes"], list(cells))


@dataclass(frozen=True)
class Scores:
    """A classifier's scores on held-out items; all but the counts are shares in [0, 1].

    Attributes:
        top1: accuracy over all items. n: how many there are.
        per_class: ``top1`` and ``n`` of every class that occurs among the answers.
        balanced_accuracy: mean over these classes. macro_f1: mean F1 over classes that were answered or predicted.
        top5: share of items whose class is among the five most probable; where a model has at most five classes, the
            share of items whose class it knows.
        ece: expected calibration error over 15 bins. confusion: which class was taken for which.
        primary: the name of the score that models are compared by.
    """

    top1: float
    n: int
    per_class: Mapping[str, Mapping[str, float]]
    balanced_accuracy: float
    macro_f1: float
    top5: float
    ece: float
    confusion: Confusion = field(repr=False)
    primary: str = PRIMARY

    def __getitem__(self, name: str) -> Any:
        """A score by its name, as other tasks' scores are read."""
        return self.as_dict()[name]

    @property
    def value(self) -> float:
        """The score that models are compared by."""
        return float(getattr(self, self.primary))

    def as_dict(self) -> dict[str, Any]:
        """The content of ``scores.json``."""
        shares = {name: getattr(self, name) for name in ("balanced_accuracy", "macro_f1", "top5", "ece")}
        return {
            "primary": self.primary,
            "top1": self.top1,
            "n": self.n,
            **shares,
            "per_class": {name: dict(row) for name, row in self.per_class.items()},
            "confusion": self.confusion.as_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Scores:
        """The inverse of :meth:`as_dict`; further entries are left alone.

        Raises:
            KeyError: the content was written before a score was added.
        """
        names = ("top1", "n", "per_class", "balanced_accuracy", "macro_f1", "top5", "ece", "primary")
        return cls(**{name: content[name] for name in names}, confusion=Confusion.from_dict(content["confusion"]))

    def against_rest(self) -> dict[str, float]:
        """Balanced accuracy of each class that occurs among the answers, against all others."""
        found_Y = self.confusion.counts().against_rest_Y
        return {name: float(found_Y[row]) for row, name in enumerate(self.confusion.classes) if name in self.per_class}

    def table(self, worst: int = 3) -> str:
        """The scores in percent as aligned text, and the classes with the lowest accuracy.

        Top-5 is told of more than five classes; the interval is that of items drawn at random.
        """
        low, high = wilson_interval(round(self.top1 * self.n), self.n)
        several = [("top-5", f"{100 * self.top5:.2f} %")] if len(self.confusion.classes) > TOP else []
        rows = [
            ("top-1", f"{100 * self.top1:.2f} %"),
            ("balanced accuracy", f"{100 * self.balanced_accuracy:.2f} %"),
            ("macro F1", f"{100 * self.macro_f1:.2f} %"),
            *several,
            ("calibration error", f"{100 * self.ece:.2f} %"),
            ("items", f"{self.n:,}"),
        ]
        lines = [f"{name:<18} {value:>9}" for name, value in rows]
        lines[0] += f"  ({100 * low:.1f} to {100 * high:.1f} %, Wilson's 95 % interval)"
        weakest = worst_classes(self.per_class, worst)
        return "\n".join([*lines, *([f"lowest: {weakest}"] if weakest else [])])


def worst_classes(per_class: Mapping[str, Mapping[str, float]], count: int = 3) -> str:
    """``cup (40.0 % of 5), …``: the classes that are least often right, those of more items first among equals."""
    below = [(row["top1"], -row["n"], name) for name, row in per_class.items() if row["top1"] < 1]
    return ", ".join(f"{one_line(name)} ({100 * top1:.1f} % of {-n:,.0f})" for top1, n, name in sorted(below)[:count])


def per_class_accuracy(truth_N: IntArray, predicted_N: IntArray, classes: Sequence[str]) -> dict[str, dict[str, float]]:
    """``top1`` and ``n`` of every class that occurs in the answers, by name."""
    counts = ClassCounts.of(truth_N, predicted_N, len(classes))
    recall_Y = counts.recall_Y
    rows = ((classes[row], {"top1": float(recall_Y[row]), "n": int(counts.true_Y[row])}) for row in np.unique(truth_N))
    return dict(sorted(rows))


class ScoreKeeper:
    """Collects a classifier's answers batch by batch; four numbers per item are kept, never N x C.

    Args:
        classes: C names of the model's outputs. truths: names of all answers that will come.
    """

    def __init__(self, classes: Sequence[str], truths: Sequence[str]):
        known = set(classes)
        self.outputs = len(classes)
        self.classes = [*classes, *sorted(set(truths) - known)]
        self._index = {name: number for number, name in enumerate(self.classes)}
        self._batches: list[tuple[np.ndarray, ...]] = []

    def add(self, probs_BC: FloatArray, truths: Sequence[str]) -> None:
        """Count a batch: probabilities, and the name of each item's true class."""
        if not len(truths):
            return
        truth_B = np.asarray([self._index[name] for name in truths], dtype=np.int64)
        best_B = probs_BC.argmax(axis=1)
        sure_B = probs_BC[np.arange(len(best_B)), best_B].astype(np.float64)
        self._batches.append((truth_B, best_B, sure_B, among_highest(probs_BC, truth_B, TOP)))

    def __len__(self) -> int:
        return sum(len(batch[0]) for batch in self._batches)

    def scores(self) -> Scores:
        """Of at least one item."""
        truth_N, best_N, sure_N, near_N = (np.concatenate(column) for column in zip(*self._batches, strict=True))
        counts = ClassCounts.of(truth_N, best_N, len(self.classes))
        return Scores(
            top1=accuracy(best_N, truth_N),
            n=len(truth_N),
            per_class=per_class_accuracy(truth_N, best_N, self.classes),
            balanced_accuracy=counts.balanced_accuracy,
            macro_f1=counts.macro_f1,
            top5=float(near_N.mean()),
            ece=calibration_error(sure_N, best_N == truth_N),
            confusion=Confusion.of(truth_N, best_N, self.classes),
        )
