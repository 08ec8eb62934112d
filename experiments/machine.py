"""What a figure was measured on: a line for the results files."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def machine() -> dict[str, str]:
    """Date, commit, processor, cores and versions."""
    import torch  # here, as scripts that measure memory do without it

    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit_of(Path()),
        "machine": f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores, no GPU"
        if not torch.cuda.is_available()
        else torch.cuda.get_device_name(),
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}",
    }


def commit_of(folder: Path) -> str:
    """The short name of a checkout's commit."""
    line = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


def sets_parser(description: str, known: Iterable[str]) -> argparse.ArgumentParser:
    """The options of a script that measures sets one by one: ``--out``, and ``--sets``, a list of names."""
    names = list(known)

    def listed(text: str) -> list[str]:
        if unknown := set(text.split(";")) - set(names):
            raise argparse.ArgumentTypeError(f"no set is called {unknown.pop()!r}; there are: {'; '.join(names)}")
        return text.split(";")

    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/pool"), help="of pools.py and run.py")
    parser.add_argument("--sets", type=listed, default=names, help="names with semicolons between; default: all")
    return parser


def keep_sets(path: Path, names: Iterable[str], measured: Callable[[str], Iterable[dict[str, Any]]]) -> None:
    """Measure some sets anew, one after the other, and put the rows of each into a results file in place of its own."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    rows = content.get("rows", [])
    for name in names:
        found = list(measured(name))
        rows = [*(row for row in rows if row["set"] != name), *found]
        path.write_text(json.dumps({**machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


def keep_row(path: Path, row: Mapping[str, Any], names: Sequence[str]) -> None:
    """Put a row with what it was measured on into a results file, in place of the one that is alike in ``names``."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rows": []}
    others = [old for old in content["rows"] if any(old.get(name) != row[name] for name in names)]
    path.write_text(json.dumps({"rows": [*others, {**row, **machine()}]}, indent=1) + "\n", encoding="utf-8")
