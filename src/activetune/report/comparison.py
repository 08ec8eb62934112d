"""The files of a comparison, and the notes that stand beside its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

TABLE, ATTENTION = "comparison.csv", "attention.png"


def notes_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What must be known beside rows, a line each; the same note of several rows once."""
    lines = [f"{row['probe']}, {str(row['what']).partition(',')[0]}: {row['note']}" for row in rows if row.get("note")]
    return list(dict.fromkeys(lines))
