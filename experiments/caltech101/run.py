"""Selectors and recipes on Caltech-101: one command, see README.md beside this file.

Split: ids sorted, shuffled by numpy's default_rng(0), the first 70 % are the pool, the rest is the test set. Features:
ViT-Tiny. Selectors are compared by logistic regression with C = 100 on features of unit length; nothing is chosen by
looking at the test set.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from activetune.evaluation.metrics import accuracy
from activetune.evaluation.statistics import mean_and_spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

import activetune
from activetune.data.labels import in_order, pool_labels
from activetune.features.distances import unit_rows
from activetune.features.embedding import take
from activetune.networks.regression import fit_linear

HERE = Path(__file__).parent
BACKBONE = "timm/vit_tiny_patch16_224"
BUDGETS = (120, 300, 600)
SELECTORS: dict[str, tuple[str, str | None]] = {
    "random": ("random", None),
    "k_center": ("k_center", None),
    "k_means": ("k_means", None),
    "typiclust": ("typiclust", None),
    "max_herding": ("max_herding", None),
    "activeft, paper loss": ("activeft", "paper"),
    "activeft, released loss": ("activeft", "released"),
    "activeft": ("activeft", None),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="caltech101.zip, or the unzipped folder")
    parser.add_argument("--weights", type=Path, required=True, help="vit_tiny_patch16_224.safetensors")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("build/caltech101"), help="models go here")
    parser.add_argument("--squash", action="store_true", help="resize to 224 x 224 instead of the publisher's crop")
    parser.add_argument("--only", choices=["selectors", "recipes"], help="one part of it")
    options = parser.parse_args()

    pool = activetune.open_pool(options.images)
    backbone = activetune.load_backbone(BACKBONE, options.weights)
    if options.squash:
        squash = replace(backbone.settings, crop_mode="squash", crop_pct=1.0)
        backbone = activetune.Backbone(backbone.network, backbone.name, backbone.architecture, squash)
    embeddings = activetune.embed(pool, backbone=backbone)
    order = np.random.default_rng(0).permutation(sorted(embeddings.ids)).tolist()
    cut = round(0.7 * len(order))
    for name, rows in (
        ("selectors", lambda: compare_selectors(embeddings, order[:cut], order[cut:], options.seeds)),
        ("recipes", lambda: compare_recipes(pool, embeddings, order[:cut], order[cut:], options)),
    ):
        if options.only in (None, name):
            content = {**machine(), "rows": list(rows())}
            suffix = "-squash" if options.squash else ""
            (HERE / f"{name}{suffix}.json").write_text(json.dumps(content, indent=1) + "\n")


def compare_selectors(
    embeddings: activetune.Embeddings, pool_ids: list[str], test_ids: list[str], seeds: int
) -> Iterator[dict[str, Any]]:
    """Top-1 of a logistic regression on each selector's picks."""
    candidates = take(embeddings, pool_ids)
    test = take(embeddings, test_ids)
    test_ND, truth = unit_rows(test.features_ND), test.labels
    for name, (method, preset) in SELECTORS.items():
        for budget in BUDGETS:
            found = []
            for seed in range(seeds):
                chosen = activetune.select(candidates, budget=budget, method=method, preset=preset, seed=seed)
                picked = take(embeddings, chosen.ids)
                names = [str(name) for name in picked.labels or ()]
                classes = sorted(set(names))
                answers = np.asarray([classes.index(name) for name in names])
                head = fit_linear(unit_rows(picked.features_ND), answers, 100.0)
                guess = np.asarray(classes)[head.logits(test_ND).argmax(axis=1)]
                found.append((accuracy(guess, np.asarray(truth)), chosen.manifest["figures"]))
            row: dict[str, Any] = {
                "selector": name,
                "budget": budget,
                "top1": [round(100 * top1, 2) for top1, _ in found],
                "emd": [round(figures["emd"], 4) for _, figures in found],
                "classes_met": [figures["classes_met"] for _, figures in found],
                "loss": [round(figures["loss"], 3) for _, figures in found if "loss" in figures],
                "seconds": [figures["seconds"] for _, figures in found],
            }
            told = mean_and_spread(row["top1"])
            print(f"{name:<24} K {budget:<4} {told}  {np.mean(row['seconds']):.2f} s", flush=True)
            yield row


def compare_recipes(
    pool: activetune.Pool,
    embeddings: activetune.Embeddings,
    pool_ids: list[str],
    test_ids: list[str],
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """Top-1 of recipes on 300 k-means picks, the recipes' own defaults."""
    test = pool.subset(test_ids)
    for recipe in ("linear_probe", "probe_then_full"):
        found, seconds = [], []
        for seed in range(options.seeds):
            chosen = activetune.select(take(embeddings, pool_ids), budget=300, method="k_means", seed=seed)
            labels = in_order(pool_labels(pool), chosen.ids)
            folder = options.work / f"{recipe}-{seed}"
            shutil.rmtree(folder, ignore_errors=True)
            started = time.perf_counter()
            model = activetune.finetune(
                pool,
                labels=labels,
                out=folder,
                backbone=BACKBONE,
                weights=options.weights,
                recipe=recipe,
                seed=seed,
                quiet=True,
            )
            seconds.append(round(time.perf_counter() - started, 1))
            found.append(round(100 * activetune.evaluate(model, test, quiet=True).value, 2))
            print(f"{recipe:<16} seed {seed}: {found[-1]:.1f}, {seconds[-1]:.0f} s", flush=True)
        yield {"recipe": recipe, "budget": 300, "selector": "k_means", "top1": found, "seconds": seconds}


if __name__ == "__main__":
    main()
