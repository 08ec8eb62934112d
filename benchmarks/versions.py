"""Two versions of activetune side by side: the same commands in turn, in one run.

python benchmarks/versions.py --before DIR --pool FILE --labelled FILE --weights FILE

DIR is a checkout of the version to compare with. Each round runs every command once by each version, so what slows the
machine slows both. The ratio of a command is the median, over the rounds, of this version's seconds per second of the
other one. Processor seconds are those of the command and all its children; they move less than seconds do when the
machine has other work.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import plain

sys.path.insert(0, str(Path(__file__).parents[1] / "experiments"))
from machine import commit_of, keep_row

HERE = Path(__file__).resolve().parent
COMMAND = "from activetune.cli import main; raise SystemExit(main())"
VIT = ("--backbone", "timm/vit_tiny_patch16_224")


def commands(options: argparse.Namespace) -> dict[str, list[str]]:
    """What is measured: a name for the table, and the arguments without ``--out``."""
    features = str(plain.pool(options.pools, 50_000))
    small = str(plain.pool(options.pools, 10_000))
    weights = ("--weights", str(options.weights))
    labelled = str(options.labelled)
    return {
        "embed, bundled": ["embed", str(options.pool), "--no-cache"],
        "embed, ViT-Tiny": ["embed", labelled, *VIT, *weights, "--no-cache"],
        "select activeft, K 500": ["select", features, "--method", "activeft", "--budget", "500"],
        "select k_means, K 500": ["select", features, "--method", "k_means", "--budget", "500"],
        "select typiclust, K 500": ["select", features, "--method", "typiclust", "--budget", "500"],
        "select max_herding, N 10,000": ["select", small, "--method", "max_herding", "--budget", "500"],
        "select probcover, N 10,000": ["select", small, "--method", "probcover", "--budget", "500"],
        "finetune linear_probe": ["finetune", labelled, *VIT, *weights, "--recipe", "linear_probe"],
        "finetune full": ["finetune", labelled, "--recipe", "full", "--set", "epochs=10"],
        "finetune fact": ["finetune", labelled, "--recipe", "fact", "--set", "epochs=5"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="a checkout of the version to compare with")
    parser.add_argument("--pool", type=Path, required=True, help="images to embed with the bundled backbone")
    parser.add_argument("--labelled", type=Path, required=True, help="a small pool with labels, to train on")
    parser.add_argument("--weights", type=Path, required=True, help="of timm/vit_tiny_patch16_224")
    parser.add_argument("--only", action="append", help="a name of the table; can be repeated")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pools", type=Path, default=Path(tempfile.gettempdir()) / "activetune-pools")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"), help="file for the figures")
    options = parser.parse_args()
    versions = {"before": options.before.resolve(), "now": HERE.parent}
    for name, arguments in commands(options).items():
        if options.only and name not in options.only:
            continue
        found = [
            {version: measure(source, arguments) for version, source in versions.items()} for _ in range(options.rounds)
        ]
        row = {"name": name, "before": commit_of(options.before), "rounds": options.rounds, **summary(found)}
        print(json.dumps(row), flush=True)
        keep_row(options.out, row, ("name",))


def measure(source: Path, arguments: list[str]) -> dict[str, float]:
    """Seconds, and processor seconds of the command and its children, of one version."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "PYTHONPATH": str(source / "src"),
            "ACTIVETUNE_CACHE": str(Path(folder) / "cache"),
        }
        line = [sys.executable, "-c", COMMAND, *arguments, "--out", str(Path(folder) / "out"), "--quiet"]
        started, before = time.perf_counter(), os.times()
        ended = subprocess.run(line, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        seconds, after = time.perf_counter() - started, os.times()
    if ended.returncode:
        raise SystemExit(f"{' '.join(arguments)} of {source} ended with {ended.returncode}:\n{ended.stderr}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "processor": spent}


def summary(found: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, float]:
    """Medians over the rounds; of each round's ratio also the least and the largest."""
    row: dict[str, float] = {}
    for what in ("seconds", "processor"):
        for version in ("before", "now"):
            row[f"{what}_{version}"] = round(statistics.median(one[version][what] for one in found), 2)
        ratios = [one["now"][what] / one["before"][what] for one in found]
        row[f"{what}_ratio"] = round(statistics.median(ratios), 3)
        row[f"{what}_ratio_least"], row[f"{what}_ratio_most"] = round(min(ratios), 3), round(max(ratios), 3)
    return row


if __name__ == "__main__":
    main()
