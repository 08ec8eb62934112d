"""What a simulation keeps of each cell: its row, and the selection that it was trained on.

A row or a selection counts only where its key says that it is made from the same; a damaged one is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from activetune.base.artefact import MANIFEST
from activetune.base.errors import ActivetuneError
from activetune.base.files import read_json
from activetune.base.tables import read_table
from activetune.selection.artefact import Selection, load_selection, save_selection
from activetune.studies.simulation.plan import Cell

CELLS, SELECTIONS, MODELS = "cells", "selections", "models"

Row = Mapping[str, Any]


def kept_cell(folder: Path, cell: Cell) -> Row | None:
    """The row of a cell that is finished, made from the same, and did not fail."""
    path = folder / CELLS / f"{cell.name}.json"
    try:
        found = read_json(path) if path.is_file() else {}
    except ActivetuneError:  # damaged: it is made again
        return None
    return found if found.pop("key", None) == cell.key and "error" not in found else None


def kept_selection(folder: Path, key: str) -> Selection | None:
    """The selection of a folder, if it is finished and made from the same."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        found = load_selection(folder)
    except ActivetuneError:
        return None
    return found if found.manifest.get("key") == key else None


def joined(before: Selection | None, new: Selection, made_from: Row) -> Selection:
    """All picks so far; seconds are those of all rounds, distances are to all picks."""
    manifest = {**new.manifest, **made_from}
    if before is None:
        return Selection(new.ids, new.scores, new.reasons, manifest)
    figures = dict(new.manifest["figures"])
    figures["seconds"] = round(figures["seconds"] + before.manifest["figures"]["seconds"], 4)
    manifest |= {"k": len(before) + len(new), "figures": figures}
    return Selection([*before.ids, *new.ids], [*before.scores, *new.scores], [*before.reasons, *new.reasons], manifest)


def keep_last_loop(path: Path, folder: Path) -> None:
    """Keep the last selection of a recipe that selects itself, for the report's map."""
    columns = read_table(path)
    rows = [row for row, loop in enumerate(columns["loop"]) if loop == columns["loop"][-1]]
    ids, reasons = ([columns[name][row] for row in rows] for name in ("id", "reason"))
    scores = [float(columns["score"][row]) for row in rows]
    (folder / MANIFEST).unlink(missing_ok=True)
    save_selection(Selection(ids, scores, reasons, {"k": len(ids), "loop": int(columns["loop"][-1])}), folder)
