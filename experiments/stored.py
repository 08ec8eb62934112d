"""Where stored values lie, and how they are read and told."""

from __future__ import annotations

import json
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
