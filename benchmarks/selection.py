"""Time and memory of `activetune select` against plain references, in one run.

python benchmarks/selection.py [--only activeft-2500 --only growth-items] [--full] [--out benchmarks/selection.json]

Ours is always the whole command in a process of its own: imports, reading the .npy file, selecting, writing. The plain
references (plain.py) and other libraries compute on features that are already loaded. A plain ActiveFT is timed over a
few iterations and scaled to 300; `--full` runs the one with a hand-written gradient to its end once, for its final
loss, which later runs take from the JSON file. Rows are merged into that file, so parts can be repeated alone.
`growth.py` prints the table and draws the figure from it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import plain
import torch

from activetune.features.distances import unit_rows

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import machine

HERE = Path(__file__).parent
ITERATIONS, TIMED = 300, 5
LONGEST = 300.0  # seconds: a point of a growth curve that is predicted to take longer is left out
Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A row that must reach something: ``targets`` are upper limits, or for ``times_*`` lower ones of a ratio.

    ``small``: the items of the pool on which others are timed too, where the whole pool is too large for them.
    """

    method: str
    items: int
    budget: int
    targets: dict[str, float] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    small: int = 0


CASES = {
    "activeft-2500": Case("activeft", 50_000, 2_500, {"times_dense": 20, "times_autograd": 50}, ("dense", "autograd")),
    "activeft-500": Case("activeft", 50_000, 500, {"times_dense": 5, "times_autograd": 12}, ("dense", "autograd")),
    "activeft-million": Case("activeft", 1_000_000, 10_000, {"seconds": 1200, "peak_anonymous_mb": 3000}),
    "k_center-million": Case("k_center", 1_000_000, 1_000, {"times_loop": 2}, ("loop",)),
    "k_means-500": Case("k_means", 50_000, 500, {}, ("scikit-learn", "faiss")),
    "typiclust-500": Case("typiclust", 50_000, 500, {"seconds": 8}, ("plain", "scikit-activeml")),
    "max_herding-500": Case("max_herding", 50_000, 500, {"seconds": 60, "peak_anonymous_mb": 1000}),
    "max_herding-small": Case("max_herding", 10_000, 500, {}, ("plain", "apricot")),
    "probcover-500": Case("probcover", 50_000, 500, {"seconds": 40}),
    "probcover-small": Case("probcover", 10_000, 500, {}, ("plain", "scikit-activeml")),
}
METHODS = ("k_center", "k_means", "activeft", "typiclust", "max_herding", "probcover")
GROWTH = {
    "growth-items": [(items, 500) for items in (10_000, 30_000, 100_000, 300_000, 1_000_000)],
    "growth-budgets": [(50_000, budget) for budget in (100, 250, 500, 1_000, 2_500)],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=[*CASES, *GROWTH], help="a part; can be repeated")
    parser.add_argument("--method", action="append", choices=METHODS, help="of the growth curves; can be repeated")
    parser.add_argument("--full", action="store_true", help="run plain ActiveFT to its end, for its loss")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out", type=Path, default=HERE / "selection.json")
    parser.add_argument("--pools", type=Path, default=Path(tempfile.gettempdir()) / "activetune-pools")
    options = parser.parse_args()

    for name in options.only or [*CASES, *GROWTH]:
        if name in CASES:
            row = measure(name, options)
            print(json.dumps(row), flush=True)
            merge(row, options.out)
        else:
            for row in growth(name, options):
                print(json.dumps(row), flush=True)
                merge(row, options.out)


# One row --------------------------------------------------------------------------------------------------------------


def measure(name: str, options: argparse.Namespace) -> Row:
    """Ours and the others on one pool, one after the other."""
    case = CASES[name]
    path = plain.pool(options.pools, case.items)
    features_ND = unit_rows(np.load(path, mmap_mode="r")) if case.others else None
    before = saved(options.out, name, options.device)
    others: dict[str, Row] = {}
    ours: Row = {}
    if case.method == "probcover":
        ours = command(path, case, options.device)  # the others take our radius
    for other in case.others:
        print(f"{name}: {other}", file=sys.stderr, flush=True)
        found = OTHERS[case.method, other](features_ND, case, options, ours.get("figures", {}))
        if found is not None:
            others[other] = found
            if "loss" not in found and (kept := before.get("others", {}).get(other, {}).get("loss")) is not None:
                found["loss"] = kept
    if not ours:
        print(f"{name}: ours", file=sys.stderr, flush=True)
        ours = command(path, case, options.device)
    loss, objective = reached(case, ours, features_ND)
    for found in others.values():
        found["ratio"] = round(found["seconds"] / ours["seconds"], 2)
        found["processor_ratio"] = round(found["processor_seconds"] / ours["processor_seconds"], 2)
    ours = {key: value for key, value in ours.items() if key != "picks"}
    row = {**head(name, case.method, case.items, case.budget, options.device), **ours, "loss": loss}
    row |= {"objective": objective, "others": others}
    return {**row, "targets": judged(case, row), **machine(), "load": round(os.getloadavg()[0], 1)}


def head(name: str, method: str, items: int, budget: int, device: str) -> Row:
    """What a row is of."""
    return {"name": name, "method": method, "N": items, "D": plain.SIZE, "K": budget, "device": device}


def judged(case: Case, row: Row) -> Row:
    """Each target with its value and whether it is met."""
    found: Row = {}
    for name, limit in case.targets.items():
        if name.startswith("times_"):
            value = row["others"].get(name.removeprefix("times_"), {}).get("ratio")
            found[name] = {"at_least": limit, "value": value, "met": None if value is None else value >= limit}
        else:
            found[name] = {"at_most": limit, "value": row[name], "met": row[name] <= limit}
    if "loss" in row["others"].get("dense", {}):
        limit = row["others"]["dense"]["loss"]
        found["loss"] = {"at_most": limit, "value": row["loss"], "met": row["loss"] <= limit}
    return found


def reached(case: Case, ours: Row, features_ND: np.ndarray | None) -> tuple[float | None, str]:
    """What our picks reach, lower is better, and its name."""
    figures = ours["figures"]
    if case.method == "activeft":
        return figures["loss"], "exact paper loss of the centroids"
    if case.method == "k_center":
        return figures["radius"], "radius"
    if case.method in ("k_means", "typiclust"):
        return figures["emd"], "mean distance to the nearest pick"
    if case.method == "probcover":
        reach = figures["probcover_radius"]
        value = None if features_ND is None else plain.outside_balls(features_ND, ours["picks"], reach)
        return value, f"share of items outside all balls of radius {reach:.3f}"
    value = None if features_ND is None else plain.left_by_kernel(features_ND, ours["picks"])
    return value, "1 - mean kernel coverage"


# Ours: the command in a process of its own ----------------------------------------------------------------------------


def command(path: Path, case: Case, device: str) -> Row:
    """Seconds and peak memory of the whole command, and what its manifest says."""
    program = Path(sys.executable).with_name("activetune")
    with tempfile.TemporaryDirectory() as folder:
        words = [program, "select", path, "--budget", case.budget, "--method", case.method]
        words += ["--device", device, "--quiet", "--out", Path(folder) / "selection"]
        started, clock = time.perf_counter(), os.times()
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
        sampler = Sampler(process.pid)
        if process.wait():
            raise SystemExit(f"'{' '.join(map(str, words))}' ended with {process.returncode}")
        seconds, spent = time.perf_counter() - started, os.times()
        sampler.join()
        chosen = activetune_selection(Path(folder) / "selection")
    return {
        "seconds": round(seconds, 2),
        "select_seconds": round(chosen["figures"]["seconds"], 2),
        "processor_seconds": round(
            spent.children_user + spent.children_system - clock.children_user - clock.children_system, 1
        ),
        "peak_anonymous_mb": round(sampler.anonymous_kb * 1024 / 1e6),
        "peak_resident_mb": round(sampler.resident_kb * 1024 / 1e6),
        **chosen,
    }


def activetune_selection(folder: Path) -> Row:
    """Positions and figures of a selection on disk (ids of a .npy file are positions)."""
    lines = (folder / "selection.csv").read_text().splitlines()[1:]
    figures = json.loads((folder / "manifest.json").read_text())["figures"]
    return {"picks": np.asarray([int(line.split(",")[0]) for line in lines]), "figures": figures}


class Sampler(threading.Thread):
    """Five times a second: a process's resident memory that is its own, without mapped files, and its peak of all."""

    def __init__(self, process: int):
        super().__init__(daemon=True)
        self.status, self.anonymous_kb, self.resident_kb = Path(f"/proc/{process}/status"), 0, 0
        self.start()

    def run(self) -> None:
        while True:
            try:
                lines = self.status.read_text().splitlines()
            except OSError:
                return
            values = {line.split()[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}
            if "RssAnon:" not in values:  # it has ended
                return
            self.anonymous_kb = max(self.anonymous_kb, values["RssAnon:"])
            self.resident_kb = max(self.resident_kb, values["VmHWM:"])
            time.sleep(0.2)


# Others: plain references and libraries -------------------------------------------------------------------------------

Other = Callable[[Any, Case, argparse.Namespace, Row], Row | None]


def _activeft(kind: Callable[..., Any], to_the_end: bool) -> Other:
    def run(features_ND: np.ndarray, case: Case, options: argparse.Namespace, _figures: Row) -> Row:
        state = kind(torch.from_numpy(features_ND).to(options.device), case.budget)
        state.step()
        found, _ = _timed(lambda: [state.step() for _ in range(TIMED)], options.device, ITERATIONS / TIMED)
        found["seconds_an_iteration"] = round(found["seconds"] / ITERATIONS, 4)
        found["how"] = f"{TIMED} iterations after a warm-up, scaled to {ITERATIONS}"
        if to_the_end and options.full:
            for _ in range(ITERATIONS - TIMED - 1):
                state.step()
            found["loss"] = state.loss()
        return found

    return run


def _picks(function: Callable[..., Any], objective: Callable[..., float], *, reach: bool = False) -> Other:
    """A function that picks, on NumPy rows; ``reach``: both take our radius."""

    def run(features_ND: np.ndarray, case: Case, options: argparse.Namespace, figures: Row) -> Row | None:
        extra = (figures["probcover_radius"],) if reach else ()
        try:
            found, picks = _timed(lambda: function(features_ND, case.budget, *extra), "cpu")
        except ImportError as error:
            print(f"left out: {error}", file=sys.stderr)
            return None
        picks = np.asarray(picks)
        return {**found, "picks": len(picks), "loss": objective(features_ND, picks, *extra)}

    return run


def _timed(function: Callable[[], Any], device: str, times: float = 1) -> tuple[Row, Any]:
    """Seconds and processor seconds, both scaled, and what the function gives."""
    started, clock = time.perf_counter(), time.process_time()
    result = function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    seconds, processor = (time.perf_counter() - started) * times, (time.process_time() - clock) * times
    return {"seconds": round(seconds, 2), "processor_seconds": round(processor, 1)}, result


OTHERS: dict[tuple[str, str], Other] = {
    ("activeft", "dense"): _activeft(plain.DenseActiveFT, True),
    ("activeft", "autograd"): _activeft(plain.AutogradActiveFT, False),
    ("k_center", "loop"): _picks(plain.k_center, plain.radius),
    ("k_means", "scikit-learn"): _picks(plain.k_means, plain.mean_distance),
    ("k_means", "faiss"): _picks(plain.faiss_k_means, plain.mean_distance),
    ("typiclust", "plain"): _picks(plain.typiclust, plain.mean_distance),
    ("typiclust", "scikit-activeml"): _picks(plain.skactiveml_typiclust, plain.mean_distance),
    ("max_herding", "plain"): _picks(plain.max_herding, plain.left_by_kernel),
    ("max_herding", "apricot"): _picks(plain.apricot_herding, plain.left_by_kernel),
    ("probcover", "plain"): _picks(plain.probcover, plain.outside_balls, reach=True),
    ("probcover", "scikit-activeml"): _picks(plain.skactiveml_probcover, plain.outside_balls, reach=True),
}


# Growth ---------------------------------------------------------------------------------------------------------------


def growth(name: str, options: argparse.Namespace) -> Iterator[Row]:
    """Ours alone, along N or along K; a point that is predicted to take too long is named and left out."""
    for method in options.method or METHODS:
        done: list[tuple[float, float]] = []
        for items, budget in GROWTH[name]:
            row = head(f"{name}/{method}", method, items, budget, options.device)
            expected = _predicted(done, items * budget)
            if expected > LONGEST:
                yield {**row, "left_out": f"predicted {expected:,.0f} s, more than {LONGEST:.0f}", **machine()}
                continue
            found = command(plain.pool(options.pools, items), Case(method, items, budget), options.device)
            del found["picks"]
            done.append((items * budget, found["seconds"]))
            yield {**row, **found, **machine(), "load": round(os.getloadavg()[0], 1)}


def _predicted(done: list[tuple[float, float]], work: float) -> float:
    """Seconds on the line through the last two points on logarithmic axes, no flatter than proportional."""
    if not done:
        return 0.0
    slope = 1.0
    if len(done) > 1:
        (work_a, seconds_a), (work_b, seconds_b) = done[-2:]
        slope = max(1.0, np.log(seconds_b / seconds_a) / np.log(work_b / work_a))
    return float(done[-1][1] * (work / done[-1][0]) ** slope)


# The file of rows -----------------------------------------------------------------------------------------------------


def merge(row: Row, path: Path) -> None:
    """Put a row into the file in place of the one of the same name, size, budget and device."""
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    same = [_key(old) for old in rows]
    if _key(row) in same:
        rows[same.index(_key(row))] = row
    else:
        rows.append(row)
    path.write_text(json.dumps(rows, indent=1) + "\n")


def saved(path: Path, name: str, device: str) -> Row:
    """The row of that name in the file, or an empty one."""
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    return next((row for row in rows if row["name"] == name and row["device"] == device), {})


def _key(row: Row) -> tuple[Any, ...]:
    return row["name"], row["N"], row["K"], row["device"]


if __name__ == "__main__":
    main()
