"""What two levels of ``select`` lose against one: distance to the picks, and accuracy of a classifier of them.

python benchmarks/levels.py NAME=EMB ... [--budget 200] [--seeds 3] [--out benchmarks/levels.json]

EMB is a folder of ``activetune embed`` with labels. A fifth of its items, drawn by the seed, is held out to score on.
Prints the table of docs/scaling.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import machine

import activetune
from activetune.base.runtime import limited_threads
from activetune.features.distances import unit_rows

WAYS: dict[str, dict[str, Any]] = {
    "random": {"method": "random"},
    "activeft, one level": {"method": "activeft"},
    "activeft, 4 partitions": {"method": "activeft", "levels": 2, "partitions": 4},
    "activeft, 16 partitions": {"method": "activeft", "levels": 2, "partitions": 16},
    "activeft, 16 partitions, refined": {"method": "activeft", "levels": 2, "partitions": 16, "refine": True},
    "k_center, one level": {"method": "k_center"},
    "k_center, 16 partitions": {"method": "k_center", "levels": 2, "partitions": 16},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pools", nargs="+", metavar="NAME=EMB")
    parser.add_argument("--budget", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("levels.json"))
    options = parser.parse_args()
    rows = []
    for given in options.pools:
        name, _, folder = given.partition("=")
        embeddings = activetune.load_embeddings(folder)
        for seed in range(options.seeds):
            rows += [{"pool": name, **row} for row in measured(embeddings, options.budget, seed)]
            options.out.write_text(json.dumps({**machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    print(table(rows))


def measured(embeddings: activetune.Embeddings, budget: int, seed: int) -> list[dict[str, Any]]:
    """A row per way of selecting, of one draw of the held-out items."""
    order = np.random.default_rng(seed).permutation(len(embeddings))
    held_out, chosen = np.split(order, [len(order) // 5])
    pool, names = np.sort(chosen), np.asarray(embeddings.labels)
    features_ND = unit_rows(embeddings.features_ND)
    ids = [embeddings.ids[row] for row in pool]
    part = replace(embeddings, ids=ids, features_ND=embeddings.features_ND[pool], labels=None, manifest={})
    rows = []
    for way, how in WAYS.items():
        selection = activetune.select(part, budget=budget, seed=seed, threads=1, quiet=True, **how)
        picks = [embeddings.position[item] for item in selection.ids]
        with limited_threads(1):
            fitted = LogisticRegression(C=10, max_iter=200).fit(features_ND[picks], names[picks])
            top1 = float(fitted.score(features_ND[held_out], names[held_out]))
        figures = selection.manifest["figures"]
        row = {"way": way, "n": len(pool), "k": budget, "seed": seed, "top1": top1}
        rows.append({**row, **{name: figures[name] for name in ("emd", "radius", "seconds")}})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A line per pool and way: means over the seeds."""
    lines = ["| pool | N | K | way | EMD | radius | top-1, % | seeds |", "|---" * 8 + "|"]
    for pool in dict.fromkeys(row["pool"] for row in rows):
        for way in WAYS:
            found = [row for row in rows if (row["pool"], row["way"]) == (pool, way)]
            mean = {name: statistics.mean(row[name] for row in found) for name in ("emd", "radius", "top1")}
            lines.append(
                f"| {pool} | {found[0]['n']:,} | {found[0]['k']} | {way} | {mean['emd']:.4f} | {mean['radius']:.3f} | "
                f"{100 * mean['top1']:.1f} | {len(found)} |"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
