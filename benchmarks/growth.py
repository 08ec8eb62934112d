"""The tables and the figure of `selection.json`; computes nothing.

python benchmarks/growth.py [--rows benchmarks/selection.json] [--out benchmarks/selection_growth.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
AXES = {"growth-items": ("N", "items of the pool (K 500)"), "growth-budgets": ("K", "budget (N 50,000)")}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, default=HERE / "selection.json")
    parser.add_argument("--out", type=Path, default=HERE / "selection_growth.png")
    options = parser.parse_args()
    rows = read_rows(options.rows)
    print(cases(rows), *(growth(rows, part) for part in AXES), targets(rows), sep="\n\n")
    draw(rows, options.out)


def read_rows(path: Path = HERE / "selection.json") -> list[Row]:
    """What ``selection.py`` measured."""
    found: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    return found


def cases(rows: list[Row]) -> str:
    """A line a row: ours, what it reached, and the others with their ratio."""
    lines = [
        "| row | N | K | seconds | own memory, MB | reached | others: seconds (times ours), reached |",
        "|---" * 7 + "|",
    ]
    for row in (row for row in rows if "targets" in row):
        others = [
            f"{name} {other['seconds']:,.0f} ({other['ratio']:.1f}x)"
            + (f", {_reached(other)}" if "loss" in other else "")
            for name, other in row["others"].items()
        ]
        cells = [row["name"], f"{row['N']:,}", f"{row['K']:,}", f"{row['seconds']:,.1f}"]
        cells += [f"{row['peak_anonymous_mb']:,}", _reached(row), "; ".join(others) or "-"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def targets(rows: list[Row]) -> str:
    """What was to be reached, and whether it was."""
    lines = []
    for row in rows:
        for name, target in row.get("targets", {}).items():
            bound = f"{'≤' if 'at_most' in target else '≥'} {target.get('at_most', target.get('at_least')):,.4g}"
            told = {True: "met", False: "MISSED", None: "not measured"}[target["met"]]
            lines.append(f"{row['name']}: {name} {bound}: {told}")
    return "\n".join(lines)


def _reached(row: Row) -> str:
    return "-" if row["loss"] is None else f"{row['loss']:.3f}"


def growth(rows: list[Row], part: str) -> str:
    """A line a method: seconds at each size, and the fitted exponent."""
    axis, _ = AXES[part]
    rows = [row for row in rows if row["name"].startswith(part)]
    sizes = sorted({row[axis] for row in rows})
    lines = [f"| {axis} | {' | '.join(f'{size:,}' for size in sizes)} | exponent |", "|---" * (len(sizes) + 2) + "|"]
    for method in dict.fromkeys(row["method"] for row in rows):
        own = {row[axis]: row for row in rows if row["method"] == method}
        cells = [f"{own[size]['select_seconds']:.1f}" if size in own and _ran(own[size]) else "-" for size in sizes]
        lines.append(f"| {method} | {' | '.join(cells)} | {exponent(list(own.values()), axis):.2f} |")
    return "\n".join(lines)


def _ran(row: Row) -> bool:
    return "select_seconds" in row


def exponent(rows: list[Row], axis: str) -> float:
    """The slope of a line through the points on logarithmic axes."""
    points = [(row[axis], row["select_seconds"]) for row in rows if _ran(row)]
    if len(points) < 2:
        return float("nan")
    sizes, seconds = np.log(np.asarray(points, dtype=float)).T
    return float(np.polyfit(sizes, seconds, 1)[0])


def draw(rows: list[Row], path: Path) -> None:
    """Seconds of selecting (without start-up and writing) along N and along K, on logarithmic axes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for panel, (part, (axis, label)) in zip(panels, AXES.items(), strict=True):
        own = [row for row in rows if row["name"].startswith(part)]
        for method in dict.fromkeys(row["method"] for row in own):
            points = sorted((row for row in own if row["method"] == method and _ran(row)), key=lambda row: row[axis])
            legend = f"{method}, exponent {exponent(points, axis):.2f}"
            panel.plot(
                [row[axis] for row in points], [row["select_seconds"] for row in points], marker="o", label=legend
            )
        panel.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds")
        panel.grid(which="both", alpha=0.3)
        if panel.has_data():
            panel.legend(fontsize=8)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
