"""Where each selection lies on a map of CIFAR-10, and how near to the boundaries between classes.

python experiments/vecaf/picks.py

Reads what ``run.py --table cifar10`` left in --out, computes no model, and writes picks.png and results/picks.json: of
the items that a loop selects, the share of their 10 nearest neighbours in the pool (cosine of the pretrained
backbone's features) that are of another class.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from activetune.evaluation.statistics import mean_and_spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

from activetune.features.artefact import load_embeddings
from activetune.features.distances import pieces, unit_rows
from activetune.report.maps import tsne_places

HERE = Path(__file__).parent
METHODS = {
    "random": "random",
    "activeft": "ActiveFT",
    "margin": "margin",
    "top_loss": "top-K loss",
    "ods:ensemble=5": "ODS (VeCAF)",
}
DRAWN = {name: METHODS[name] for name in ("activeft", "ods:ensemble=5")}
NEIGHBOURS = 10
BACKGROUND = 3_000  # items of the pool on the map beside the picks

Selections = Mapping[str, list[list[list[str]]]]  # by method: seeds, loops, ids


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/vecaf"))
    folder = parser.parse_args().out / "here-cifar10-selections"
    embeddings = load_embeddings(folder / "embeddings" / "pool")
    position = {item: row for row, item in enumerate(embeddings.ids)}
    classes = np.asarray([str(name) for name in embeddings.labels or ()])
    foreign_N = foreign_neighbours(unit_rows(embeddings.features_ND), classes)
    selections = _selections(folder)
    shares = {
        method: [[float(foreign_N[[position[item] for item in items]].mean()) for items in loops] for loops in seeds]
        for method, seeds in selections.items()
    }
    content = {**machine(), "pool": float(foreign_N.mean()), "shares": shares}
    (HERE / "results" / "picks.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(f"the pool: {100 * foreign_N.mean():.0f} %")
    for method, seeds in shares.items():
        cells = [mean_and_spread(loop, digits=0, factor=100) for loop in zip(*seeds, strict=True)]
        print(f"| {METHODS[method]} | {' | '.join(cells)} |")
    last = {method: [position[item] for item in selections[method][0][-1]] for method in DRAWN}
    _draw(embeddings.features_ND, classes, last)


def foreign_neighbours(features_ND: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(N,) the share of each item's nearest others that are of another class."""
    found = np.empty(len(features_ND))
    for part in pieces(len(features_ND), len(features_ND)):
        similarity = features_ND[part] @ features_ND.T
        similarity[np.arange(len(similarity)), np.arange(len(found))[part]] = -np.inf
        nearest = np.argpartition(-similarity, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        found[part] = (classes[nearest] != classes[part, None]).mean(axis=1)
    return found


def _selections(folder: Path) -> Selections:
    """What each loop of each seed selected, from the models that were kept."""
    found: dict[str, list[list[list[str]]]] = {}
    for method in METHODS:
        for path in sorted((folder / "models").glob(f"{method.replace(':', '_')}-*-5%-*/selections.csv")):
            loops: dict[str, list[str]] = {}
            with path.open(newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    loops.setdefault(row["loop"], []).append(row["id"])
            found.setdefault(method, []).append([loops[name] for name in sorted(loops)])
    return found


def _draw(features_ND: np.ndarray, classes: np.ndarray, picks: Mapping[str, list[int]]) -> None:
    drawn = np.random.default_rng(0).permutation(len(classes))[:BACKGROUND]
    rows = np.unique(np.concatenate([drawn, *picks.values()]))
    places = tsne_places(features_ND[rows])
    figure, axes = plt.subplots(1, len(picks), figsize=(13, 6.4), constrained_layout=True)
    for axis, (method, chosen) in zip(axes, picks.items(), strict=True):
        for number, name in enumerate(np.unique(classes)):
            some = classes[rows] == name
            axis.scatter(*places[some].T, s=5, color=f"C{number}", alpha=0.35, linewidths=0, label=name)
        axis.scatter(*places[np.isin(rows, chosen)].T, s=16, color="black", marker="x", linewidths=0.8)
        axis.set_title(f"{DRAWN[method]}: the {len(chosen)} items of the last loop")
        axis.set_axis_off()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=10, markerscale=3, frameon=False)
    figure.savefig(HERE / "picks.png", dpi=110)


if __name__ == "__main__":
    main()
