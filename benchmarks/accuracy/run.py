"""Top-1 of every selector, and of other packages', on the same pools with the same recipe.

python benchmarks/accuracy/run.py --data DIR --weights FILE --out benchmarks/accuracy/results [--only caltech101-vit]

DIR holds ``caltech101.zip``, ``cifar10/train.parquet`` and ``cifar10/test.parquet``; FILE is ViT-Tiny's weights. Cells
are those of ``activetune simulate``; a peer's picks become a cell of the same kind, trained and scored by the same
function. Methods that need labels start from random picks at the lowest budget and go up in rounds.
Finished cells lie in ``--work``, so a run can be killed and begun again; ``--minutes`` ends it after a while. Seeds are
the outer loop: what there is at any time is a comparison. OUT/NAME.csv is what ``summary.py`` reads.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.extend([str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "experiments")])
from machine import machine
from peers import PART, PEERS, TooSlow, select_with
from tasks import ALONE, ROUNDS, TASKS, Task

import activetune
from activetune.base.artefact import MANIFEST
from activetune.base.files import read_json, write_json
from activetune.base.fingerprint import digest, digest_stream
from activetune.base.tables import write_csv
from activetune.data.labels import pool_labels
from activetune.features.artefact import save_embeddings
from activetune.features.distances import coverage, nearest_centroid, unit_rows
from activetune.features.embedding import take
from activetune.networks.backbones import Backbone
from activetune.selection.artefact import Selection, load_selection, save_selection
from activetune.selection.selectors._losses import Assigned, PaperLoss
from activetune.studies.simulation.budgets import Stock, read_budgets
from activetune.studies.simulation.cells import Bench
from activetune.studies.simulation.features import POOL, TEST
from activetune.studies.simulation.kept import CELLS, SELECTIONS, Row, kept_cell
from activetune.studies.simulation.parts import ONE, Parts
from activetune.studies.simulation.plan import (
    Chain,
    Entry,
    Plan,
    Split,
    read_methods,
    read_recipes,
    read_start,
)
from activetune.studies.simulation.setup import Setup
from activetune.studies.simulation.tables import results_header
from activetune.tasks import make_task

COLUMNS = (*results_header(make_task()), "paper_loss")
Skipped = dict[str, Any]


def main() -> None:
    options = _options()
    end = time.monotonic() + 60 * options.minutes if options.minutes else np.inf
    for name in options.only or TASKS:
        table = options.out / f"{name}.csv"
        rows, task = _rows_of_others(table, options.methods), TASKS[name]
        if rows:  # on the splits of the rows that they come beside
            task = replace(task, drawn=read_json(table.with_suffix(".json"))["drawn"])
        sizes: list[int] = []
        for seeds in task.runs(options.seeds):
            run = Run.prepare(name, task, seeds, rows, sizes, options)
            run.forget(options.again, options.refit)
            finished = run.go(end)
            if not finished:
                print(f"{name}: {len(rows):,} cells, time is over", flush=True)
                return
        print(f"{name}: {len(rows):,} cells, finished", flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--weights", type=Path, required=True, help="vit_tiny_patch16_224.safetensors")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--work", type=Path, default=Path("build/accuracy"), help="finished cells are kept here")
    parser.add_argument("--only", nargs="+", choices=TASKS, help="these alone, in this order")
    parser.add_argument("--methods", nargs="+", help="these alone (peers too); the rows of others stay")
    parser.add_argument("--again", nargs="+", default=[], metavar="METHOD", help="forget what is finished of these")
    parser.add_argument("--refit", action="store_true", help="keep all selections, train and score again")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, help="begin nothing new after so long")
    parser.add_argument("--limit", type=float, default=1800, help="most seconds of a peer's selection")
    return parser.parse_args()


@dataclass
class Run:
    """One task on one pool: its chains, what is finished (of other pools of this task too), and where it goes."""

    name: str
    folder: Path
    table: Path
    chains: list[Chain]
    bench: Bench
    about: dict[str, Any]
    limit: float
    rows: list[Row]
    skipped: list[Skipped]

    @classmethod
    def prepare(
        cls, name: str, task: Task, seeds: list[int], rows: list[Row], sizes: list[int], options: argparse.Namespace
    ) -> Run:
        """Embed (or take from the cache), plan, and read what is finished.

        Finished cells are added to ``rows``, the numbers of items of the pool's classes to ``sizes``.
        """
        folder, weights = options.work / name, options.weights if task.backbone != "bundled" else None
        if task.drawn:
            folder = folder / f"pool-{seeds[0]}"
        backbone = activetune.load_backbone(task.backbone, weights)
        setup = _setup(task, backbone, options.data, weights, folder, seeds[0])
        bench = Bench(setup)
        bench.turn_to(seeds[0])
        plan = _plan(task, bench, seeds, options.methods)
        table = options.out / f"{name}.csv"
        run = cls(name, folder, table, _chains(plan, options.methods), bench, {}, options.limit, rows, [])
        sizes += np.unique(list(bench.answers.names), return_counts=True)[1].tolist()
        classes = {"largest_class": max(sizes), "smallest_class": min(sizes)}
        described = {**machine(), **_described(plan, bench), **classes}
        run.about = {**described, "backbone": task.backbone, "drawn": task.drawn}
        path = table.with_suffix(".json")
        earlier = read_json(path) if path.is_file() else {"skipped": []}
        run.skipped = earlier.pop("skipped")
        if options.methods and earlier:  # the table stands on what it stood on, but for these methods
            later = {method: machine() for method in options.methods}
            own = {"rounds": run.about["rounds"], "settings": {**run.about["settings"], **earlier["settings"]}}
            run.about = {**earlier, **own, "later": {**earlier.get("later", {}), **later}}
        return run

    def forget(self, methods: Sequence[str], refit: bool) -> None:
        """Drop selections and cells of these methods; all cells, if all of them are to be fitted again."""
        self.skipped = [row for row in self.skipped if row["method"] not in methods]
        for chain in self.chains:
            again = chain.method.text in methods
            for round_ in chain.rounds:
                if again:
                    shutil.rmtree(self.folder / SELECTIONS / round_.name, ignore_errors=True)
                for cell in round_.cells if refit or again else ():
                    (self.folder / CELLS / f"{cell.name}.json").unlink(missing_ok=True)

    def go(self, end: float) -> bool:
        """Do what is missing until the clock says ``end``; whether all of it is done."""
        for chain in self.chains:
            missing = any(kept_cell(self.folder, cell) is None for round_ in chain.rounds for cell in round_.cells)
            if missing and time.monotonic() > end:
                self.write()
                return False
            if missing and not self._given_up(chain):
                started = time.perf_counter()
                self._do(chain)
                told = f"{self.name} seed {chain.seed} {chain.method.text} {chain.rounds[-1].budget.text}"
                print(f"{told}: {time.perf_counter() - started:.1f} s", flush=True)
            self.rows += self._finished(chain)
            if missing:
                self.write()
        self.write()
        return True

    def _given_up(self, chain: Chain) -> bool:
        known = {(row["method"], row["budget"], row["seed"]) for row in self.skipped}
        return any((chain.method.text, round_.budget.text, chain.seed) in known for round_ in chain.rounds)

    def _do(self, chain: Chain) -> None:
        """Select, train and score; what fails or takes too long is told in the table's notes."""
        if chain.method.text in PEERS:
            try:
                self._select_by_peer(chain)
            except (TooSlow, ValueError, MemoryError) as error:
                self._skip(chain.method.text, chain.rounds[0].budget.text, chain.seed, str(error))
                return
        for row in self.bench.run(chain):
            if "error" in row:
                self._skip(row["method"], row["budget"], row["seed"], row["error"])

    def _skip(self, method: str, budget: str, seed: int, reason: str) -> None:
        print(f"{self.name} seed {seed} {method} {budget}: {reason}", file=sys.stderr, flush=True)
        self.skipped.append({"method": method, "budget": budget, "seed": seed, "reason": reason})

    def _select_by_peer(self, chain: Chain) -> None:
        """Put a peer's picks where the bench looks for the selection of this round."""
        (round_,) = chain.rounds
        folder, pool = self.folder / SELECTIONS / round_.name, self.bench.pool
        if (folder / MANIFEST).is_file() and load_selection(folder).manifest.get("key") == round_.key:
            return
        features_ND = unit_rows(pool.features_ND)
        classes = len(set(self.bench.answers.names))
        positions, seconds = select_with(
            chain.method.text, features_ND, round_.budget.count, chain.seed, classes=classes, limit=self.limit
        )
        figures = {**coverage(features_ND, positions), "seconds": round(seconds, 4)}
        manifest = {"key": round_.key, "method": chain.method.text, "budget": round_.budget.text, "figures": figures}
        ids = [pool.ids[row] for row in positions]
        save_selection(Selection(ids, [0.0] * len(ids), [""] * len(ids), manifest), folder)

    def _finished(self, chain: Chain) -> Iterator[Row]:
        """The rows of a chain, with the paper's loss of each selection."""
        for round_ in chain.rounds:
            for cell in round_.cells:
                row = kept_cell(self.folder, cell)
                if row is not None:
                    split = chain.seed if self.about["drawn"] else ONE
                    loss = self._paper_loss(self.folder / SELECTIONS / round_.name)
                    yield {**row, "split": split, "paper_loss": loss}

    def _paper_loss(self, folder: Path) -> float:
        """Equation 11 of ActiveFT at the picks themselves (temperature 0.07, lambda 1), kept beside the picks."""
        chosen = load_selection(folder)
        figures = chosen.manifest["figures"]
        if "paper_loss" not in figures:
            features_ND = unit_rows(self.bench.pool.features_ND)
            picks_KD = features_ND[[self.bench.pool.position[item] for item in chosen.ids]]
            owner_N, similarity_N = nearest_centroid(features_ND, picks_KD)
            features, owners, similarity = map(torch.from_numpy, (features_ND, owner_N, similarity_N))
            assigned = Assigned(features, owners, similarity)
            loss, _ = PaperLoss(0.07, 1.0)(torch.from_numpy(picks_KD), assigned)
            manifest = {**chosen.manifest, "figures": {**figures, "paper_loss": loss}}
            figures = save_selection(replace(chosen, manifest=manifest), folder).manifest["figures"]
        return float(figures["paper_loss"])

    def write(self) -> None:
        """The table, and what it stands on beside it."""
        table = sorted(self.rows, key=lambda row: (row["k"], row["method"], row["seed"]))
        write_csv(self.table, COLUMNS, [[row.get(name, "") for name in COLUMNS] for row in table])
        write_json(self.table.with_suffix(".json"), {**self.about, "skipped": self.skipped})


def _rows_of_others(table: Path, methods: Sequence[str] | None) -> list[Row]:
    """What a table says of all other methods; nothing where all of them are run."""
    if not methods or not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["method"] not in methods]
    return [{**row, "k": int(row["k"]), "seed": int(row["seed"])} for row in rows]


# Preparing --------------------------------------------------------------------------------------------------------


def _setup(task: Task, backbone: Backbone, data: Path, weights: Path | None, folder: Path, seed: int) -> Setup:
    """Open pool and test set, and lay their features where the bench reads them."""
    pool, pool_ids, test, test_ids = task.sides(data, seed)
    for name, images, ids in ((POOL, pool, pool_ids), (TEST, test, test_ids)):
        if not (folder / name / MANIFEST).is_file():
            save_embeddings(take(activetune.embed(images, backbone=backbone), ids), folder / name)
    picked_from, scored_on = pool.subset(pool_ids), test.subset(test_ids)
    return Setup(
        folder=folder,
        parts=Parts(picked_from, pool_labels(picked_from), scored_on, pool_labels(scored_on)),
        images=replace(picked_from, labels=None),
        head="",
        backbone=task.backbone,
        weights=None if weights is None else str(weights),
        device="cpu",
        precision="auto",
        workers=0,
        use_cache=True,
        keep_models=False,
    )


def _plan(task: Task, bench: Bench, seeds: list[int], asked: Sequence[str] | None) -> Plan:
    """Every selector, every peer that is asked for, every budget and seed, the linear probe."""
    alone, rounds = read_methods(ALONE, {}), [replace(entry, in_rounds=True) for entry in read_methods(ROUNDS, {})]
    peers = [
        Entry(name, name, None, {}, {"version": peer.version, "most": peer.most, "part": PART})
        for name, peer in PEERS.items()
        if asked is None or name in asked
    ]
    labels = list(bench.answers.names)
    made_from = digest(bench.pool.fingerprint, bench.test.fingerprint, digest_stream(labels))
    return Plan(
        methods=[*alone, *peers, *rounds],
        recipes=read_recipes("linear_probe", {}),
        splits=dict.fromkeys(seeds, Split(read_budgets(task.budgets, Stock.of(labels)), made_from)),
        start=read_start("random", {}),
    )


def _chains(plan: Plan, methods: Sequence[str] | None) -> list[Chain]:
    """Seeds outside, then the methods in their order."""
    unknown = set(methods or ()) - {method.text for method in plan.methods}
    if unknown:
        raise SystemExit(f"unknown methods: {', '.join(sorted(unknown))}")
    order = [method.text for method in plan.methods]
    chains = [chain for chain in plan.chains() if methods is None or chain.method.text in methods]
    return sorted(chains, key=lambda chain: (chain.seed, order.index(chain.method.text)))


def _described(plan: Plan, bench: Bench) -> dict[str, Any]:
    """What the table stands on."""
    root = Path(__file__).parents[2]
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src"], cwd=root, check=False).returncode != 0
    (budgets, *_) = (split.budgets for split in plan.splits.values())
    settings = {method.text: dict(method.options) for method in plan.methods}
    return {
        "uncommitted_changes": changed,
        "packages": {peer.package: peer.version for name, peer in PEERS.items() if name in settings},
        "pool_items": len(bench.pool),
        "test_items": len(bench.test),
        "size": bench.pool.features_ND.shape[1],
        "classes": len(set(bench.answers.names)),
        "budgets": [asdict(budget) for budget in budgets],
        "seeds": plan.seeds,
        "rounds": [method.text for method in plan.methods if method.in_rounds],
        "peers": list(PEERS),
        "on_a_part": [name for name, peer in PEERS.items() if peer.most and len(bench.pool) > peer.most],
        "settings": settings,
        "recipe": {recipe.text: dict(recipe.options) for recipe in plan.recipes},
    }


if __name__ == "__main__":
    main()
