"""How soon each selection is as accurate as training on everything is at its end, from the curves in results/.

python experiments/vecaf/efficiency.py caltech101

Prints a table, and draws the curves of the table's first run. Validation accuracy, mean over the seeds. An item's
forward pass is a third of its training step, so 96 scored items count as a batch of 32.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from activetune.evaluation.statistics import mean_and_spread, spreads

HERE = Path(__file__).parent
RESULTS = HERE / "results"
SCORED = 96  # items that are a batch
EVERYTHING = "all"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=["caltech101", "cifar10"])
    table = parser.parse_args().table
    rows = [row for path in sorted(RESULTS.glob(f"here_{table}-*.json")) for row in _rows(path)]
    ends = {row["recipe"]: mean_curve(row["curves"])[-1, 2] for row in rows if row["method"] == EVERYTHING}
    print("| selection | recipe | a loop | top-1 | batches | with scoring |", "|---|---|---|---|---|---|", sep="\n")
    for row in rows:
        cells = [row["method"], row["recipe"], row["budget"], mean_and_spread(row["top1"], factor=100)]
        end = ends.get(row["recipe"], next(iter(ends.values()), np.inf))  # with captions: the same without
        print("|", " | ".join([*cells, *reached(mean_curve(row["curves"]), end)]), "|")
    draw(_rows(next(iter(sorted(RESULTS.glob(f"here_{table}-*.json"))))), HERE / f"{table}.png")


def _rows(path: Path) -> list[dict[str, Any]]:
    """A run's rows; everything is the same whatever would have selected, and comes once."""
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        method = EVERYTHING if row["budget"] == "100%" else row["method"]
        found.setdefault((method, row["recipe"], row["budget"]), {**row, "method": method})
    return list(found.values())


def mean_curve(curves: Sequence[Sequence[Sequence[float]]]) -> np.ndarray:
    """(points, 3): batches, items scored until then, accuracy."""
    return np.asarray(curves).mean(axis=0)


def reached(curve: np.ndarray, end: float) -> tuple[str, str]:
    """Batches until ``end``, without and with scoring."""
    after = np.flatnonzero(curve[:, 2] >= end)
    if not len(after):
        return "never", "never"
    batches, scored, _ = curve[after[0]]
    return f"{batches:.0f}", f"{batches + scored / SCORED:.0f}"


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Accuracy by batches, a line a selection with one standard deviation over the seeds around it."""
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    for row in rows:
        everything = row["method"] == EVERYTHING
        curves = np.asarray(row["curves"])
        batches, accuracy = curves[0, :, 0], 100 * curves[:, :, 2]
        mean, spread = accuracy.mean(axis=0), spreads(accuracy)
        (line,) = axis.plot(batches, mean, "k--" if everything else "o-", label=row["method"])
        axis.fill_between(batches, mean - spread, mean + spread, color=line.get_color(), alpha=0.15, linewidth=0)
        if everything:
            axis.axhline(mean[-1], color="black", linewidth=0.7, linestyle=":")
    axis.set(xlabel="batches", ylabel="validation top-1, %")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
