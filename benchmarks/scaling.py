"""What several processes cost and bring: `embed` by one process, under torchrun and by Ray, in one run.

python benchmarks/scaling.py --pool POOL --images 2000

Each way embeds the same images from a fresh start, in turn, several times; medians are compared. `images_per_second`
is of the work itself, from the first shard to the last, as the manifest has it; `seconds` is the whole command, with
the start of Python, of the launcher or of the cluster, and `processor_seconds` what the command and all that it has
waited for have used, which other work on the machine disturbs less (not of Ray, whose daemons are nobody's children).
One thread a process: otherwise one would use what two do.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

import activetune
from activetune.base.tables import write_csv


class Measured(NamedTuple):
    """Images per second of the work; seconds and processor seconds of the whole command."""

    rate: float
    seconds: float
    processor_seconds: float


KEY = ("way", "backbone", "pool")  # of a row of the results
PLAIN = [sys.executable, "-m", "activetune"]
WAYS: dict[str, tuple[list[str], list[str]]] = {  # what starts the command, and its options
    "one process": (PLAIN, []),
    **{
        f"torchrun, {count}": (
            [*PLAIN[:1], *f"-m torch.distributed.run --standalone --nproc-per-node={count} -m activetune".split()],
            [],
        )
        for count in (1, 2)
    },
    **{f"Ray, {count}": (PLAIN, ["--engine", "ray", "--processes", str(count)]) for count in (1, 2)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--backbone", default="bundled")
    parser.add_argument("--images", type=int, default=2000, help="images of the pool that are used")
    parser.add_argument("--shard-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", default=";".join(WAYS), help="some of them, divided by semicolons")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="file for the figures")
    options = parser.parse_args()
    ways = options.ways.split(";")

    pool = activetune.open_pool(options.pool)
    drawn = np.sort(np.random.default_rng(0).permutation(len(pool))[: options.images])
    found: dict[str, list[Measured]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "pool.csv"
        write_csv(listed, ("path",), [(str((options.pool / pool.ids[row]).resolve()),) for row in drawn])
        for number in range(options.rounds):
            loads = []
            for way in ways:
                found[way].append(embedded(way, listed, Path(folder) / f"{number}-{ways.index(way)}", options))
                loads.append(os.getloadavg()[0])
                print(way, found[way][-1], flush=True)
            about = {"backbone": options.backbone, "pool": options.pool.stem, "images": len(drawn)}
            for way, figures in compared(found).items():
                keep_row(options.out, {"way": way, **about, **figures, "load": round(max(loads), 1)}, KEY)
    print(options.out.read_text(encoding="utf-8"))


def compared(found: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, Any]]:
    """Medians over the rounds; the ratio to one process is taken within each round, as machines are noisy."""
    bare = [one.rate for one in next(iter(found.values()))]
    return {
        way: {
            "rounds": len(rows),
            "images_per_second": round(statistics.median(row.rate for row in rows), 1),
            "of_one_process": round(statistics.median(row.rate / one for row, one in zip(rows, bare, strict=True)), 3),
            "seconds": round(statistics.median(row.seconds for row in rows), 1),
            "processor_seconds": round(statistics.median(row.processor_seconds for row in rows), 1),
        }
        for way, rows in found.items()
    }


def embedded(way: str, pool: Path, out: Path, options: argparse.Namespace) -> Measured:
    """Embed a pool in one of the ways."""
    start, more = WAYS[way]
    command = [*start, "embed", str(pool), "--out", str(out), "--backbone", options.backbone, "--no-cache", "--quiet"]
    command += ["--workers", "0", "--shard-size", str(options.shard_size), *more]
    started, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - started, os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return Measured(activetune.load_embeddings(out).manifest["figures"]["images_per_second"], seconds, processor)


if __name__ == "__main__":
    main()
