"""Where stored values lie, how they are read, and how figures and tables are told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def read(name: str) -> dict[str, Any]:
    """A stored JSON object, by its path from the project's root."""
    found: dict[str, Any] = json.loads((ROOT / name).read_text(encoding="utf-8"))
    return found


def three(value: float) -> str:
    """A number to three digits."""
    return f"{float(f'{value:.3g}'):,.0f}"


def brief(value: float) -> str:
    """A number to three digits, and to two where it is small."""
    return three(value) if value >= 99.5 else f"{value:.2g}"


def lines(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    told = [f"| {' | '.join(row)} |" for row in (header, *rows)]
    told.insert(1, "|---" * len(header) + "|")
    return "\n".join(told).replace("|  |", "| |").replace("|  |", "| |")  # cells without anything
