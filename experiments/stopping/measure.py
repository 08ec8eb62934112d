"""How far off is "you will gain about x points with 100 more labels", and how often does its interval hold?

python experiments/pool/pools.py --data DIR               # the CIFAR-10 subsets, in build/pool
python experiments/stopping/measure.py --data DIR --weights DIR --pools build/pool

Per pool 4,000 images are picked from and 2,000 others tell the accuracy, both drawn at random, features by ViT-Tiny. In
rounds of 100 labels a selector picks, a linear probe learns, and what `activetune next` would say of the next round is
held against what the next round brings. It is said twice: from the labels alone, and with 50 random audit items. The
values of a pool are in ``results/``; those that are there already stay.
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

import activetune
from activetune.base.torchvision_ import import_torchvision
from activetune.evaluation.learning_curve import answer_by_size, expect_gain
from activetune.features.embedding import take
from activetune.networks.regression import fit_best

import_torchvision()

HERE = Path(__file__).parent
POOLS = {  # by name: the role, and where it lies; "design": the interval's width was chosen there
    "CIFAR-10": ("design", "pools", "cifar10.parquet"),
    "Caltech-101": ("design", "data", "caltech101.zip"),
    "Tiny-ImageNet, 100 classes": ("confirm", "data", "tiny_imagenet_100.parquet"),
    "CIFAR-10, long tail": ("confirm", "pools", "cifar10_lt.parquet"),
}
METHODS = ("random", "auto")
STEP, ROUNDS, AUDIT = 100, 6, 50
PICKED_FROM, TOLD_BY = 4_000, 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("data", "weights", "pools"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    for name, (role, place, file) in POOLS.items():
        path = HERE / "results" / f"{file.partition('.')[0]}.json"
        if path.exists():
            continue
        weights = options.weights / "vit_tiny_patch16_224.safetensors"
        pool = getattr(options, place) / file
        features = activetune.embed(pool, backbone="timm/vit_tiny_patch16_224", weights=weights)
        rows = [
            row for seed in range(options.seeds) for method in METHODS for row in chain(features, name, method, seed)
        ]
        path.parent.mkdir(exist_ok=True)
        content = {"pool": name, "role": role, "rows": rows, **machine()}
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def chain(features: activetune.Embeddings, name: str, method: str, seed: int) -> list[dict[str, Any]]:
    """Rounds of one selector: after each what is said of the next, and then what it has brought."""
    order = np.random.default_rng([seed, zlib.crc32(name.encode())]).permutation(len(features))
    sides = order[:PICKED_FROM], order[PICKED_FROM : PICKED_FROM + TOLD_BY]
    pool, test = (take(features, [features.ids[row] for row in rows]) for rows in sides)
    truth = dict(zip(pool.ids, map(str, pool.labels or ()), strict=True))
    known: dict[str, str] = {}
    aside: list[str] = []
    rows: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        free = [item for item in pool.ids if item not in aside]
        picks = activetune.select(
            activetune.Embeddings(pool.ids, pool.features_ND), budget=STEP, method=method, labelled=known or None,
            candidates=free, audit=0 if aside else AUDIT, seed=seed, quiet=True, workers=1,
        )  # fmt: skip
        aside = aside or list(picks.audit)
        known |= {item: truth[item] for item in picks.ids}
        accuracy, right = score(pool, known, test, aside, truth)
        if rows:
            rows[-1]["real"] = accuracy - rows[-1]["accuracy"]
        rows.append(
            {"method": method, "seed": seed, "labels": len(known), "accuracy": accuracy, "audit": right / AUDIT}
        )
        if len(known) < STEP * ROUNDS:
            rows[-1] |= said(pool, known, right, seed)
            print(name, method, rows[-1]["labels"], flush=True)
    return rows[:-1]


def score(
    pool: activetune.Embeddings,
    known: dict[str, str],
    test: activetune.Embeddings,
    aside: list[str],
    truth: dict[str, str],
) -> tuple[float, int]:
    """The accuracy of a probe on the other images, and how many of the audit it answers rightly."""
    names, indices = np.unique(list(known.values()), return_inverse=True)
    head = fit_best(features_of(pool, list(known)), indices, rng=np.random.default_rng(0)).head
    told = names[head.logits(np.asarray(test.features_ND, dtype=np.float32)).argmax(axis=1)]
    audited = names[head.logits(features_of(pool, aside)).argmax(axis=1)]
    right = sum(one == truth[item] for one, item in zip(audited, aside, strict=True))
    return float((told == np.asarray(test.labels)).mean()), right


def said(pool: activetune.Embeddings, known: dict[str, str], right: int, seed: int) -> dict[str, Any]:
    """What `activetune next` says of the next round: without an audit, and with one."""
    indices = np.unique(list(known.values()), return_inverse=True)[1]
    answered = answer_by_size(features_of(pool, list(known)), indices, np.random.default_rng([seed, len(known)]))
    found = {}
    for name, audit in (("alone", None), ("audited", (right, AUDIT))):
        if answered is not None:
            gain = expect_gain(answered, len(known), STEP, np.random.default_rng(seed), audit=audit)
            found[name] = {"gain": gain.gain, "low": gain.low, "high": gain.high, "now": gain.now}
    return found


def features_of(pool: activetune.Embeddings, ids: list[str]) -> np.ndarray:
    return np.asarray(pool.features_ND[[pool.position[item] for item in ids]], dtype=np.float32)


if __name__ == "__main__":
    main()
