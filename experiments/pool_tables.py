"""The tables of the experiment with the pool, from its results files."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import numpy as np
from stored import ROOT, lines, read

from activetune.evaluation.statistics import mean_and_spread

FOLDER = "experiments/pool"
METHODS = {"random": "random", "k_means": "k-means", "activeft": "ActiveFT"}
RECIPES = ("linear_probe", "pool_probe")
SEEDS = 3
PEERS = {"label_spreading": "LabelSpreading", "self_training": "SelfTrainingClassifier"}


def runs() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each run of ``here.toml`` that was measured, with its rows."""
    content = tomllib.loads((ROOT / FOLDER / "here.toml").read_text(encoding="utf-8"))
    paths = [f"{FOLDER}/results/here-{number + 1}.json" for number in range(len(content["runs"]))]
    return [
        (run, read(path)["rows"]) for run, path in zip(content["runs"], paths, strict=True) if (ROOT / path).is_file()
    ]


def tables() -> list[str]:
    """Of the sets that settings were chosen on, of the others, of all beside peers, and of two backbones together."""
    return [frozen("design"), frozen("confirm"), beside_peers(), of_two_backbones()]


def by_cell(*roles: str) -> Iterator[tuple[str, list[str], dict[tuple[str, str, str], list[float]]]]:
    """Of each set with a frozen backbone: its name, its budgets, and top-1 by (recipe, budget, method)."""
    for run, cells in runs():
        name = run["name"].removesuffix(", frozen")
        if run["role"] in roles and name != run["name"]:
            found = {(cell["recipe"], cell["budget"], cell["method"]): cell["top1"] for cell in cells if cell["top1"]}
            yield name, sorted({cell["budget"] for cell in cells}, key=int), found


def frozen(role: str) -> str:
    """The probe, and how much the pool adds, by set, selector and budget."""
    rows = []
    for name, budgets, found in by_cell(role):
        rows.append([f"**{name}**", *(f"**{int(one):,}**" for one in budgets)])
        for method, told_as in METHODS.items():
            pairs = [[found.get((recipe, one, method), []) for recipe in RECIPES] for one in budgets]
            rows.append([told_as, *(_told(*pair) if all(pair) else "" for pair in pairs)])
    columns = max(map(len, rows), default=1)
    return lines(["", *["labels"] * (columns - 1)], [[*row, *[""] * (columns - len(row))] for row in rows])


def _told(alone: list[float], pool: list[float]) -> str:
    """``81.2 ± 0.5, +3.0 ± 0.2``: the probe, and the difference seed by seed."""
    differences = np.asarray(pool) - np.asarray(alone)
    return f"{mean_and_spread(alone, factor=100)}, {mean_and_spread(differences, factor=100, sign=True)}"


def of_peers() -> dict[tuple[str, str, str, str], list[float]]:
    """Top-1 of the peers by (set, peer, budget, method), where no seed is missing."""
    rows = read(f"{FOLDER}/results/peers.json")["rows"]
    return {
        (row["set"], row["peer"], row["budget"], row["method"]): row["top1"] for row in rows if None not in row["top1"]
    }


def beside_peers() -> str:
    """The probe with the pool, and the peers on the same features, splits and picks, by set, selector and budget."""
    theirs, rows = of_peers(), []
    for name, budgets, ours in by_cell("design", "confirm"):
        rows.append([f"**{name}**", *(f"**{int(one):,}**" for one in budgets)])
        for method in ("random", "activeft"):
            found = {"pool_probe": [ours.get(("pool_probe", one, method), []) for one in budgets]}
            found |= {peer: [theirs.get((name, peer, one, method), []) for one in budgets] for peer in PEERS}
            for kind, cells in found.items():
                told = PEERS.get(kind, "`pool_probe`")
                figures = (mean_and_spread(values, factor=100) if values else "" for values in cells)
                rows.append([f"{METHODS[method]}, {told}", *figures])
    columns = max(map(len, rows), default=1)
    return lines(["", *["labels"] * (columns - 1)], [[*row, *[""] * (columns - len(row))] for row in rows])


def of_two_backbones() -> str:
    """The probe with the pool by what reads the images: one backbone or two, as they are or whitened."""
    found: dict[str, dict[tuple[str, str], list[str]]] = {}
    budgets: dict[str, list[str]] = {}
    for row in read(f"{FOLDER}/results/ensembles.json")["rows"]:
        if row["recipe"] == "pool_probe":
            told = mean_and_spread(row["top1"], factor=100) if len(row["top1"]) == SEEDS else ""
            found.setdefault(row["set"], {}).setdefault((row["method"], row["features"]), []).append(told)
            budgets.setdefault(row["set"], []).append(f"**{row['budget']:,}**")
    rows = []
    for name, cells in found.items():
        rows.append([f"**{name}**", *dict.fromkeys(budgets[name])])
        for method in ("random", "activeft"):
            rows += [[f"{METHODS[method]}, {way}", *told] for (picked, way), told in cells.items() if picked == method]
    columns = max(map(len, rows))
    return lines(["", *["labels"] * (columns - 1)], [[*row, *[""] * (columns - len(row))] for row in rows])


def over_one_backbone(features: str, name: str) -> list[float]:
    """Points by which a way to read images is above ViT-Tiny as it is, of each selector and budget of a set."""
    rows = [
        row
        for row in read(f"{FOLDER}/results/ensembles.json")["rows"]
        if row["recipe"] == "pool_probe" and row["set"] == name and len(row["top1"]) == SEEDS
    ]
    top1 = {(row["features"], row["method"], row["budget"]): 100 * float(np.mean(row["top1"])) for row in rows}
    return [value - top1["ViT-Tiny", *key] for (way, *key), value in top1.items() if way == features]


def leads(peer: str) -> list[float]:
    """Points by which the probe with the pool is above a peer, of each set, selector and budget that both have."""
    theirs = of_peers()
    return [
        100 * float(np.mean(ours["pool_probe", budget, method]) - np.mean(theirs[name, peer, budget, method]))
        for name, budgets, ours in by_cell("design", "confirm")
        for budget in budgets
        for method in METHODS
        if ("pool_probe", budget, method) in ours and (name, peer, budget, method) in theirs
    ]


def gains(role: str, *, lowest: int | None = None) -> list[float]:
    """Points that the pool adds, a mean over the seeds, of each set, selector and budget.

    Args:
        lowest: how many of a set's budgets count, from the lowest on; None: all.
    """
    gained = []
    for _, budgets, found in by_cell(role):
        for method in METHODS:
            for budget in budgets[:lowest]:
                alone, pool = (found.get((recipe, budget, method), []) for recipe in RECIPES)
                if alone and pool:
                    gained.append(100 * float(np.mean(pool) - np.mean(alone)))
    return gained


def orders() -> tuple[int, int]:
    """Of how many sets and budgets the probe's best selector is the best with the pool too, up to a point; all."""
    kept, count = 0, 0
    for _, budgets, found in by_cell("design", "confirm"):
        means = {key: float(np.mean(values)) for key, values in found.items()}
        for budget in budgets:
            there = [method for method in METHODS if ("pool_probe", budget, method) in means]
            best = max(there, key=lambda method: means["linear_probe", budget, method])
            kept += means["pool_probe", budget, best] >= max(means["pool_probe", budget, one] for one in there) - 0.01
            count += 1
    return kept, count
