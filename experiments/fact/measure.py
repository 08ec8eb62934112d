"""FACT and what it is compared with on Caltech-101 and CIFAR-10, ViT-Tiny: see README.md beside this file.

python experiments/fact/measure.py --data DIR --weights vit_tiny_patch16_224.safetensors

Labels are ActiveFT's picks, but for one row: full finetuning on random ones. FACT is run once: its classifier after
phase 2 is recorded on the way, and each light head is fitted on the features of that backbone. A row is one JSON file
in --work, so a run can be cut off and begun again. Scores are on 2,000 items of the test set, drawn once; ``--side
rest`` takes 2,000 items of the pool that are not labelled in their place: settings are compared on these.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import load_file, save_file
from torch import nn

from activetune.evaluation.statistics import mean_and_spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

import activetune
from activetune.base.arrays import NO_INDICES
from activetune.base.runtime import resolve_runtime
from activetune.data.labels import Labels, in_order, pool_labels
from activetune.data.pool import Pool
from activetune.evaluation.scores import Scores
from activetune.features.embedding import take
from activetune.networks.frofa import parse_augmentation
from activetune.networks.network import Network
from activetune.recipes import fact
from activetune.tasks import Crops
from activetune.training.head_choice import Candidate, LightHeads
from activetune.training.head_phase import run_head as original
from activetune.training.head_training import HeadTraining, head_logits
from activetune.training.job import Job
from activetune.training.views import embed_views

HERE = Path(__file__).parent
BACKBONE = "timm/vit_tiny_patch16_224"
TASKS = {  # lowest budgets first: three seeds there, one above
    "caltech101-120": 3,
    "caltech101-300": 3,
    "cifar10-250": 3,
    "cifar10-500": 3,
    "caltech101-600": 1,
    "cifar10-1000": 1,
    "cifar10_lt-250": 3,
    "cifar10_lt-500": 3,
}
LONG_TAIL = (100, 60, 36, 22, 13, 8, 5, 3, 2, 1)  # of 250 labels, those of each class by name: imbalance 100
UNIFORM = "full, random labels"
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    UNIFORM: ("full", {}),
    "linear_probe": ("linear_probe", {}),
    "full": ("full", {}),
    "probe_then_full": ("probe_then_full", {}),
    "lora": ("lora", {}),
    "bitfit": ("bitfit", {}),
    "fact": ("fact", {}),
}
REMEDIES = {  # on the long tail
    "linear_probe": ("linear_probe", {}),
    "linear_probe, adjusted": ("linear_probe", {"logit_adjustment": 1}),
    "probe_then_full": ("probe_then_full", {}),
    "fact": ("fact", {}),
    "fact, adjusted": ("fact", {"logit_adjustment": 1}),
    "fact, balanced": ("fact", {"balance": 1}),
}
WITHOUT = "fact without phase 3"
HEADS = {
    "fact: linear": ("linear", ""),
    "fact: logistic": ("logistic", ""),
    "fact: map": ("map", ""),
    "fact: map, brightness": ("map", "c2frofa:brightness:0.2"),
    "fact: map, brightness and posterize": ("map", "c2frofa:brightness:0.2 + cfrofa:posterize:4"),
}
ROWS = [*RECIPES, *REMEDIES, WITHOUT, *HEADS]
SCORED = 2000


@dataclass(frozen=True)
class Given:
    """A pool, the items that may be picked, and those that score."""

    pool: Pool
    picked_from: list[str]
    test: Pool
    weights: Path

    @cached_property
    def embeddings(self) -> activetune.Embeddings:
        """What is picked by."""
        return activetune.embed(self.pool, backbone=BACKBONE, weights=self.weights)


def main() -> None:
    options = _options()
    for name in options.only or TASKS:
        data, budget = name.rsplit("-", 1)
        given = _caltech101(options) if data == "caltech101" else _cifar10(options)
        for seed in range(options.seeds or TASKS[name]):
            _measure(name, given, int(budget), seed, options)
        _collect(name, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with caltech101.zip and cifar10/")
    parser.add_argument("--weights", type=Path, required=True, help="vit_tiny_patch16_224.safetensors")
    parser.add_argument("--work", type=Path, default=Path("build/fact"))
    parser.add_argument("--only", nargs="+", choices=list(TASKS))
    parser.add_argument("--rows", nargs="+", choices=list(dict.fromkeys(ROWS)))
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--side", choices=["test", "rest"], default="test")
    return parser.parse_args()


def _caltech101(options: argparse.Namespace) -> Given:
    """Ids sorted, shuffled by ``default_rng(0)``: the first 70 % are the pool, the rest is the test set."""
    pool = activetune.open_pool(options.data / "caltech101.zip")
    order = np.random.default_rng(0).permutation(sorted(pool.ids)).tolist()
    cut = round(0.7 * len(order))
    return Given(pool, order[:cut], pool.subset(order[cut:]), options.weights)


def _cifar10(options: argparse.Namespace) -> Given:
    pool = activetune.open_pool(options.data / "cifar10" / "train.parquet")
    test = activetune.open_pool(options.data / "cifar10" / "test.parquet")
    return Given(pool, list(pool.ids), test, options.weights)


def _measure(name: str, given: Given, budget: int, seed: int, options: argparse.Namespace) -> None:
    chosen = _long_tail(given, budget, seed) if "_lt" in name else _picks(given, budget, seed)
    answers = _answers(given, chosen)
    test, scored = given.test, sorted(given.test.ids)
    if options.side == "rest":
        test, scored = given.pool, sorted(set(given.picked_from) - set(chosen))
    test = test.subset(np.random.default_rng(1).permutation(scored)[:SCORED].tolist())
    folder = options.work / f"{name}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    rows = REMEDIES if "_lt" in name else RECIPES
    wanted = options.rows or [*rows, *([] if "_lt" in name else [WITHOUT, *HEADS])]
    for row, (recipe, settings) in rows.items():
        if row in wanted and not _file(folder, row, options).is_file():
            taken = _answers(given, _picks(given, budget, seed, "random")) if row == UNIFORM else answers
            _write(folder, row, options, _trained(folder / row, recipe, settings, given, taken, test, seed, options))
    if any(row in wanted and not _file(folder, row, options).is_file() for row in (WITHOUT, *HEADS)):
        for row, found in _heads(folder, given, answers, test, seed):
            _write(folder, row, options, found)


def _picks(given: Given, budget: int, seed: int, method: str = "activeft") -> list[str]:
    embeddings = take(given.embeddings, given.picked_from)
    return list(activetune.select(embeddings, budget=budget, method=method, seed=seed).ids)


def _answers(given: Given, chosen: list[str]) -> dict[str, str]:
    found = in_order(pool_labels(given.pool), chosen)
    return dict(zip(found.ids, found.names, strict=True))


def _long_tail(given: Given, budget: int, seed: int) -> list[str]:
    """Random items of each class, in the shares that LONG_TAIL says."""
    times = budget // sum(LONG_TAIL)
    names = np.asarray([str(name) for name in given.pool.labels or ()])
    rng = np.random.default_rng([seed, 100])
    rows = [
        rng.choice(np.flatnonzero(names == name), times * count, replace=False)
        for name, count in zip(np.unique(names), LONG_TAIL, strict=True)
    ]
    return [given.pool.ids[row] for row in np.concatenate(rows)]


def _file(folder: Path, row: str, options: argparse.Namespace) -> Path:
    return folder / f"{row.replace(': ', '-').replace(', ', '-').replace(' ', '_')}.{options.side}.json"


def _write(folder: Path, row: str, options: argparse.Namespace, found: dict[str, Any]) -> None:
    told = " ".join(f"{name} {value:.4g}" for name, value in found.items() if isinstance(value, float))
    print(f"{folder.name} {row}: {told}", flush=True)
    _file(folder, row, options).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _trained(
    out: Path,
    recipe: str,
    settings: dict[str, Any],
    given: Given,
    answers: dict[str, str],
    test: Pool,
    seed: int,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """A recipe from labels to scores; its seconds leave scoring out."""
    with _recorded(out.parent / "phase2.safetensors"):
        model = activetune.finetune(
            given.pool,
            labels=answers,
            out=out,
            backbone=BACKBONE,
            weights=options.weights,
            recipe=recipe,
            settings=settings,
            seed=seed,
            resume=True,
            quiet=True,
        )
    figures = json.loads((out / "manifest.json").read_text())["figures"]
    scores = activetune.evaluate(model, test, quiet=True)
    assert isinstance(scores, Scores)
    parameters = figures.get("trainable_parameters", 0)
    for phase in figures.get("phases", {}).values():
        parameters = max(parameters, phase.get("trainable_parameters", 0))
    return {
        "top1": scores.top1,
        "balanced_accuracy": scores.balanced_accuracy,
        "seconds": figures["seconds"],
        "parameters": parameters,
        "figures": figures,
    }


@contextlib.contextmanager
def _recorded(path: Path) -> Iterator[None]:
    """Keeps the classifier that FACT has after phase 2, which its light head replaces."""

    def run_head(job: Job, *given: Any, **options: Any) -> Any:
        if options["put"]:
            save_file({name: value.cpu() for name, value in options["present"].state_dict().items()}, path)
        return original(job, *given, **options)

    fact.run_head = run_head  # type: ignore[attr-defined]
    try:
        yield
    finally:
        fact.run_head = original  # type: ignore[attr-defined]


def _heads(
    folder: Path, given: Given, answers: dict[str, str], test: Pool, seed: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The classifier of phase 2, and light heads on the features of its backbone."""
    model = activetune.load(folder / "fact")
    figures = json.loads((folder / "fact" / "manifest.json").read_text())["figures"]
    before = figures["seconds"] - figures["phases"]["head"]["seconds"]
    labels = Labels.of(answers, model.classes)
    work = folder / "heads"
    work.mkdir(exist_ok=True)
    started = time.perf_counter()
    views = embed_views(_job(given.pool.subset(list(answers)), labels, model, work, seed), 4, Crops(), tokens=True)
    embedding = time.perf_counter() - started
    truth = np.asarray([str(name) for name in test.labels or ()])
    unused = Labels.of(dict.fromkeys(test.ids, model.classes[0]), model.classes)  # scoring reads the truth alone
    seen = embed_views(_job(test, unused, model, work, seed), 1, Crops(), tokens=True)
    present = load_file(folder / "phase2.safetensors")
    kept = nn.Linear(present["weight"].shape[1], len(model.classes))
    kept.load_state_dict(present)
    heads = LightHeads(views, labels.indices, len(model.classes), HeadTraining(), present=kept, seed=seed)
    for row, (kind, steps) in {WITHOUT: ("keep", ""), **HEADS}.items():
        started = time.perf_counter()
        head = heads.fit(Candidate(kind, parse_augmentation(steps) if steps else ()), np.arange(len(labels)), 100.0)
        seconds = before + embedding + time.perf_counter() - started
        logits = head_logits(head, seen, np.arange(len(test)))
        right = np.asarray(model.classes)[logits.argmax(1)] == truth
        found = {
            "top1": float(right.mean()),
            "balanced_accuracy": float(np.mean([right[truth == name].mean() for name in np.unique(truth)])),
            "seconds": seconds,
            "parameters": sum(value.numel() for value in head.parameters()),
        }
        yield row, found
    for path in work.glob("views-*"):
        path.unlink()


def _job(pool: Pool, labels: Labels, model: activetune.Model, work: Path, seed: int) -> Job:
    runtime = resolve_runtime()
    return Job(pool, labels, NO_INDICES, pool, Network(model.backbone), runtime, seed, work, quiet=True)


def _collect(name: str, options: argparse.Namespace) -> None:
    """Print a job's rows as a table; those of the test set are kept as single values beside this file."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in dict.fromkeys(ROWS):
        paths = [_file(options.work / f"{name}-{seed}", row, options) for seed in range(options.seeds or TASKS[name])]
        rows[row] = [json.loads(path.read_text()) for path in paths if path.is_file()]
    for row, found in rows.items():
        if found:
            told = mean_and_spread([one["top1"] for one in found], factor=100)
            seconds = np.median([one["seconds"] for one in found])
            print(f"| {row} | {told} | {seconds:.0f} | {found[0]['parameters']:,} |")
    if options.side == "test":
        results = HERE / "results"
        results.mkdir(exist_ok=True)
        content = {**machine(), "rows": {row: found for row, found in rows.items() if found}}
        (results / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
