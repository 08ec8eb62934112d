"""torchvision's heads on the frozen backbone and the picks of a simulation: what both experiments on them share.

The rows stand in results.csv in a folder beside the simulation's, as those of ``activetune simulate`` do, and by kind
in results/peers.json beside the script.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from machine import machine
from torch import Tensor, nn

from activetune import open_pool
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.networks.backbones import Backbone, load_backbone
from activetune.selection.artefact import load_selection
from activetune.tasks import make_task


@dataclass(frozen=True)
class Peers:
    """What an experiment trains beside the simulation.

    Attributes:
        task: of the answers, which lie in ``labels`` beside the images. data: the folder with both sides.
        simulation: the folder whose picks by ``random`` are trained on. kinds: of peers. scores: that are kept.
        train: kind, backbone, pool, labels, picks and seed to a trained network. scoring: backbone, pool and labels to
            what scores such a network. kept: the results file.
    """

    task: str
    data: str
    labels: str
    simulation: str
    budget: str
    backbone: str
    kinds: Sequence[str]
    scores: Sequence[str]
    train: Callable[[str, Backbone, Pool, Labels[Any], list[str], int], nn.Module]
    scoring: Callable[[Backbone, Pool, Labels[Any]], Callable[[nn.Module], Mapping[str, float]]]
    kept: Path


def main(peers: Peers, description: str) -> None:
    """Train and score each kind on each seed's picks, as the command line says."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--out", type=Path, default=Path("build") / peers.task, help="of pools.py and run.py")
    parser.add_argument("--budget", default=peers.budget)
    parser.add_argument("--picks", default=peers.simulation, help="folder of any simulation of the pool, in --out")
    options = parser.parse_args()
    backbone = load_backbone(peers.backbone, options.weights / "vit_tiny_patch16_224.safetensors").eval()
    (pool, labels), test = (_side(options.out / peers.data / part, peers) for part in ("train", "test"))
    scored = peers.scoring(backbone, *test)
    folder = options.out / f"here-{peers.data}-torchvision"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[tuple[Any, ...]] = [("method", "recipe", "budget", "seed", *peers.scores, "train_seconds")]
    for seed, picks in enumerate(random_picks(options.out / options.picks, options.budget)):
        for kind in peers.kinds:
            started = time.perf_counter()
            network = peers.train(kind, backbone, pool, labels, picks, seed)
            seconds = round(time.perf_counter() - started)
            found = scored(network)
            rows.append((kind, "head", options.budget, seed, *(found[name] for name in peers.scores), seconds))
            print(*rows[-1], flush=True)
            with (folder / "results.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(rows)
    keep(peers, rows)


def keep(peers: Peers, rows: Sequence[Sequence[Any]]) -> None:
    """Write the results file: a list over the seeds for each score of a kind.

    Args:
        rows: those of results.csv, its header first.
    """
    header, *cells = rows
    found: dict[str, dict[str, Any]] = {}
    for cell in cells:
        row = dict(zip(header, cell, strict=True))
        of_kind = found.setdefault(row["method"], {"method": row["method"], "budget": row["budget"]})
        for name in (*peers.scores, "train_seconds"):
            of_kind.setdefault(name, []).append(float(row[name]))
    peers.kept.write_text(json.dumps({**machine(), "rows": list(found.values())}, indent=1) + "\n", encoding="utf-8")


def _side(folder: Path, peers: Peers) -> tuple[Pool, Labels[Any]]:
    pool = open_pool(folder / "images")
    return pool, make_task(peers.task).labels_of(folder / peers.labels, pool)


def random_picks(folder: Path, budget: str) -> list[list[str]]:
    """What ``random`` picked in a simulation's folder at a budget, seed by seed."""
    found = {}
    for path in (folder / "selections").glob("random-*"):
        selection = load_selection(path)
        if selection.manifest["budget"] == budget:
            found[selection.manifest["seed"]] = list(selection.ids)
    if not found:
        raise SystemExit(f"{folder} has no picks of {budget} by random; run run.py first")
    return [found[seed] for seed in sorted(found)]


def as_maps(backbone: Backbone, images: Tensor) -> Tensor:
    """The backbone's maps (B, D, H, W) of images (B, 3, H, W)."""
    return backbone.grid.as_map(backbone.all_tokens(images)).permute(0, 3, 1, 2)
