"""From clear to snowy and foggy images: models that the tables ``cifar10`` and ``shift`` kept, on shifted test sets.

python experiments/vecaf/shift.py

Run it after ``run.py --table cifar10`` and ``--table shift``, with the same --out. Severity 3 of CIFAR-10-C's five,
made for 32 pixels, on 2,000 test images; every model's scores are kept in --out, so a run that is cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from activetune.data.corruption import Benchmark
from activetune.evaluation.statistics import mean_and_spread

sys.path.insert(0, str(Path(__file__).parents[1]))
from machine import machine

import activetune

HERE = Path(__file__).parent
KINDS, SEVERITY = ("snow", "fog"), 3
BENCHMARK: Benchmark = "cifar10_c"
ROWS = {  # name: the simulation, and the beginnings of its models' names
    "all": ("cifar10-selections", "random-*-100%-*"),
    "random": ("cifar10-selections", "random-*-5%-*"),
    "ActiveFT": ("cifar10-selections", "activeft-*-5%-*"),
    "ODS": ("cifar10-selections", "ods_ensemble=5-*-5%-*"),
    "VeCAF, captions of a snowy day": ("shift-snowy", "ods_*"),
    "VeCAF, captions of a foggy day": ("shift-foggy", "ods_*"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/vecaf"))
    out: Path = parser.parse_args().out
    shifted, test = out / BENCHMARK, out / "cifar10-test-2000.parquet"
    activetune.corrupt(test, kinds=KINDS, severities=(SEVERITY,), benchmark=BENCHMARK, out=shifted, resume=True)
    found: dict[str, dict[str, list[float]]] = {}
    for row, (simulation, pattern) in ROWS.items():
        scores: dict[str, list[float]] = {name: [] for name in ("clear", *KINDS)}
        for folder in sorted((out / f"here-{simulation}" / "models").glob(pattern)):
            clear = activetune.evaluate(folder, test, out=folder / "scores.json", resume=True, quiet=True)
            told = folder / f"{BENCHMARK}.json"
            shifts = activetune.evaluate_shifts(folder, shifted, out=told, resume=True, quiet=True)
            for name, value in {"clear": clear.value, **{kind: shifts[kind][SEVERITY] for kind in KINDS}}.items():
                scores[name].append(value)
        found[row] = scores
        cells = [mean_and_spread(values, factor=100) for values in scores.values() if values]
        print(f"| {row} | {' | '.join(cells)} |", flush=True)
    content = {**machine(), "benchmark": BENCHMARK, "severity": SEVERITY, "top1": found}
    (HERE / "results" / "shift.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
