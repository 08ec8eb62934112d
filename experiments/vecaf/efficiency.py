"""Draws the curves of a table's first run: accuracy on the validation part by batches, from the values in results/.

python experiments/vecaf/efficiency.py caltech101

The tables of README.md say after how many batches a selection has what training on everything ends with.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from stored import read
from vecaf_tables import EVERYTHING, NAMES, RESULTS

from activetune.evaluation.statistics import spreads

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=["caltech101", "cifar10"])
    table = parser.parse_args().table
    curves: dict[str, np.ndarray] = {}
    for row in read(f"{RESULTS}/here_{table}-1.json")["rows"]:
        method = EVERYTHING if row["budget"] == "100%" else row["method"].partition(":")[0]
        curves.setdefault(method, np.asarray(row["curves"]))
    draw(curves, HERE / f"{table}.png")


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """A line per selection with one standard deviation over the seeds around it.

    Args:
        curves: (seeds, points, 3) by method: batches, items scored until then, accuracy.
    """
    figure, axis = plt.subplots(figsize=(7, 4.5), constrained_layout=True)
    for method, found in curves.items():
        everything = method == EVERYTHING
        batches, accuracy = found[0, :, 0], 100 * found[:, :, 2]
        mean, spread = accuracy.mean(axis=0), spreads(accuracy)
        (line,) = axis.plot(batches, mean, "k--" if everything else "o-", label=NAMES[method])
        axis.fill_between(batches, mean - spread, mean + spread, color=line.get_color(), alpha=0.15, linewidth=0)
        if everything:
            axis.axhline(mean[-1], color="black", linewidth=0.7, linestyle=":")
    axis.set(xlabel="batches", ylabel="validation top-1, %")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
