"""Seconds that `activetune demo` takes from the first keystroke to the report, with nothing computed before.

python benchmarks/demo.py [--runs 3]

Each run is a process of its own with an output folder and a cache of its own, as on a fresh clone.
``processor_seconds`` are those of the process and of its workers: with one core the demo would take so long.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--data", default="cells", help="of the demo (default: cells)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="file for the figures")
    options = parser.parse_args()
    runs = [run(options.data) for _ in range(options.runs)]
    seconds, processor = zip(*runs, strict=True)
    figures = {
        "data": options.data,
        "runs": options.runs,
        "seconds": [round(value, 1) for value in seconds],
        "median_seconds": round(median(seconds), 1),
        "processor_seconds": round(median(processor), 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }
    print(figures)
    keep_row(options.out, figures, ("data",))


def run(data: str) -> tuple[float, float]:
    """Seconds on the clock and of the processors of one demo."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "activetune", "demo", "--data", data, "--quiet", "--out", f"{folder}/demo"]
        environment = {**os.environ, "XDG_CACHE_HOME": f"{folder}/cache"}
        started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
