"""What the labelling page and a model's server stand: as many requests as this machine makes, for half a minute.

python benchmarks/load.py

64 connections ask one thing after the other, each tenth request of the page an answer that is to be kept. Whoever asks
runs on the same cores as the server, so that both have about half of the machine. Nothing may be lost or refused, and
memory and open files may not grow. The rows stay in --out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import keep_row

from tests.security.load import check, model_under_load, page_under_load

CONNECTIONS = 64
LOADS = {"label": page_under_load, "serve": model_under_load}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    for server, load in LOADS.items():
        with tempfile.TemporaryDirectory() as folder:
            found = load(Path(folder), seconds=options.seconds, connections=CONNECTIONS)
        print(f"{server}: {found.told()}", flush=True)
        check(found)
        row = {
            "server": server,
            "seconds": round(found.seconds, 1),
            "requests": found.requests,
            "answers": found.kept,
            "lost": found.lost,
            "refused": found.refused,
            "memory_mib": round((found.memory_after - found.memory_before) / 2**20, 1),
            "open_files": found.files_after - found.files_before,
        }
        keep_row(options.out, row, ("server",))


if __name__ == "__main__":
    main()
