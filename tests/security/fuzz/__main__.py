"""Run the readers in processes of their own, and print what was found as a table."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import activetune
from tests.security.fuzz.targets import targets

PACKAGE = Path(activetune.__file__).parent
ENDINGS = 5  # of processes of one reader, before it is given up
EXPLAINING = ("Error", "RejectedImage", "Refusal", "ReadingFault", "MissingExtra", "_unreadable", "unknown_name")


@dataclass
class Found:
    """What the cases of one reader came to, over all its processes."""

    name: str
    cases: int = 0
    read: int = 0
    seconds: float = 0.0
    sentences: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    peak: int = 0

    def add(self, told: dict[str, Any]) -> None:
        """The tally of a process."""
        self.cases += told["cases"]
        self.read += told["read"]
        self.seconds += told["seconds"]
        self.sentences |= set(told["sentences"])
        self.faults.update(told["faults"])
        self.slowest, self.peak = max(self.slowest, told["slowest"]), max(self.peak, told["peak"])


def fuzzed(wanted: Mapping[str, int], seed: int, keep: Path | None, corpus: Path | None = None) -> dict[str, Found]:
    """Run so many cases of each reader; a process that ends before its last case is a fault, and another one goes on.

    Args:
        keep: a folder for the cases that were faults.
        corpus: the cases are led by the lines that they reach, one reader at a time, and those that reach new ones are
            kept in this folder, for other runs to start from.
    """
    found = {name: Found(name) for name in wanted}
    given_up: set[str] = set()
    for attempt in itertools.count():
        left = {name: cases - found[name].cases for name, cases in wanted.items() if name not in given_up}
        left = {name: cases for name, cases in left.items() if cases > 0}
        if not left:
            return found
        folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=_quick()))
        try:
            ended = _process(left, folder, seed + 1000 * attempt, corpus)
            lines = [line for line in ended.stdout.splitlines() if line.startswith(b"{")]  # libFuzzer writes there too
            last = {told["name"]: told for told in map(json.loads, lines)}
            for told in last.values():
                found[told["name"]].add(told)
            if ended.returncode:
                name = next(name for name, cases in left.items() if name not in last or last[name]["cases"] < cases)
                found[name].faults[f"the process ended with {ended.returncode}"] = ended.stderr.decode(
                    errors="replace"
                )[-3000:]
                given_up |= {name} if len(found[name].faults) >= ENDINGS or name not in last else set()
                _kept(folder / "case", keep, f"{name} ended {attempt}")
            _kept(folder / "faults", keep, "")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def _process(
    wanted: Mapping[str, int], folder: Path, seed: int, corpus: Path | None
) -> subprocess.CompletedProcess[bytes]:
    environment = {
        **os.environ,
        **{"PYTHONDONTWRITEBYTECODE": "1", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        **{"TMPDIR": str(folder), "ARROW_DEFAULT_MEMORY_POOL": "system"},
    }
    names = [f"{name}={cases}" for name, cases in wanted.items()]
    module, further = ("loop", []) if corpus is None else ("guided", ["--corpus", str(corpus.absolute())])
    command = [sys.executable, "-m", f"tests.security.fuzz.{module}", str(folder), str(seed), *names, *further]
    return subprocess.run(command, env=environment, cwd=Path(__file__).parents[3], capture_output=True, check=False)


def _quick() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _kept(folder: Path, keep: Path | None, name: str) -> None:
    if keep is not None and folder.is_dir() and any(folder.iterdir()):
        shutil.copytree(folder, keep / name, dirs_exist_ok=True, symlinks=True)


def sentences_in(modules: set[str]) -> int:
    """How many places in these modules explain an error."""
    return sum(
        isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and _name(node.exc.func).endswith(EXPLAINING)
        for module in modules
        for node in ast.walk(ast.parse((PACKAGE / module).read_text(encoding="utf-8")))
    )


def _name(function: ast.expr) -> str:
    return (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )


def row(found: Found) -> str:
    """A line of the table."""
    modules = {place.partition(":")[0] for place in found.sentences if ".py:" in place}
    places = {place for place in found.sentences if ".py:" in place}
    share, rate = found.read / max(1, found.cases), found.cases / max(found.seconds, 1e-9)
    return (
        f"{found.name:32} {found.cases:>8,} {share:>6.0%} {rate:>8,.0f} {len(places):>4} / {sentences_in(modules):<4} "
        f"{found.slowest:>6.2f} {found.peak / 2**20:>7,.0f} {len(found.faults):>7}"
    )


HEADER = (
    f"{'reader':32} {'cases':>8} {'read':>6} {'per s':>8} {'sentences':>11} {'max s':>6} {'max MB':>7} {'faults':>7}"
)


def main() -> int:
    """Returns 1 where there was a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.security.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="of each reader")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", help="readers whose names begin so")
    parser.add_argument("--keep", type=Path, help="a folder for the cases that were faults")
    parser.add_argument("--short", action="store_true", help="fewer cases of readers that are slow")
    parser.add_argument("--guided", type=Path, metavar="CORPUS", help="by coverage (atheris); a folder for its corpus")
    asked = parser.parse_args()
    if asked.guided is not None and importlib.util.find_spec("atheris") is None:
        parser.error("--guided needs atheris: pip install atheris==3.0.0")
    chosen = [one for one in targets() if not asked.only or one.name.startswith(tuple(asked.only))]
    wanted = {one.name: max(20, int(asked.cases * one.short)) if asked.short else asked.cases for one in chosen}
    faults: list[tuple[str, str, str]] = []
    print(HEADER)
    for group in (
        [wanted] if asked.short and asked.guided is None else [{name: cases} for name, cases in wanted.items()]
    ):
        for name, found in fuzzed(group, asked.seed, asked.keep, asked.guided).items():
            print(row(found), flush=True)
            faults += [(name, key, told) for key, told in found.faults.items()]
    for name, key, told in faults:
        print(f"\n{name}: {key}\n{told}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
