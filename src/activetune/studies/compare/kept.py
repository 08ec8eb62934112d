"""What a probe has told, kept in the work folder until all have: p depends on the number of all rows.

A file holds the rows of a probe: their words as JSON, and the arrays of both figures of each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from activetune.base.numpy_files import read_own_archive, write_archive
from activetune.studies.compare.probe import Row
from activetune.studies.compare.sampled import BoxMeans, GroupMeans, Means, PixelMeans, Sampled

KINDS: dict[str, type[Sampled]] = {one.__name__: one for one in (Means, GroupMeans, PixelMeans, BoxMeans)}
WORDS = "rows"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Keep the rows of a probe, in one step."""
    words = [
        {"what": row.what, "metric": row.metric, "note": row.note, "kinds": [type(side).__name__ for side in row.sides]}
        for row in rows
    ]
    arrays = {
        f"{number}-{place}-{name}": array
        for number, row in enumerate(rows)
        for place, side in enumerate(row.sides)
        for name, array in vars(side).items()
    }
    write_archive(path, {WORDS: np.asarray(json.dumps(words)), **arrays})


def read_rows(path: Path) -> list[Row] | None:
    """The rows of a probe that were kept; None where there are none, or the file is damaged."""
    arrays = read_own_archive(path)
    if arrays is None or WORDS not in arrays:
        return None
    rows = []
    for number, words in enumerate(json.loads(str(arrays[WORDS]))):
        a, b = (_figure(arrays, f"{number}-{place}-", kind) for place, kind in enumerate(words["kinds"]))
        rows.append(Row(words["what"], words["metric"], (a, b), words["note"]))
    return rows


def _figure(arrays: dict[str, np.ndarray], begin: str, kind: str) -> Sampled:
    """The figure whose arrays' names begin so."""
    own = {name.removeprefix(begin): array for name, array in arrays.items() if name.startswith(begin)}
    return KINDS[kind](**own)
