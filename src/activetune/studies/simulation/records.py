"""What a simulation tells trackers: the learning curve of each selector and recipe, its steps the numbers of labels."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from activetune.studies.simulation.kept import Row
from activetune.training.trackers import Tracker
from activetune.training.tracking import tracked

_STRANGE = re.compile(r"[^\w\-. /]+")  # signs that MLflow refuses in a name


def record(
    rows: Sequence[Row],
    scores: Sequence[str],
    trackers: Mapping[str, type[Tracker]],
    folder: Path,
    asked: Mapping[str, Any],
    *,
    quiet: bool,
) -> None:
    """Write the records anew from all finished cells, so that a simulation that went on is there once.

    Args:
        rows: finished cells. scores: their columns to tell, each as its mean over the seeds.
        asked: what the simulation was asked for, told as its settings.
    """
    curves: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        curve = _STRANGE.sub(" ", f"{row['method']}/{row['recipe']}").strip()
        for score in scores:
            if row.get(score) not in (None, ""):
                curves[int(row["k"])][f"{curve}/{score}"].append(float(row[score]))
    with tracked(trackers, folder, asked, quiet=quiet) as tracking:
        tracking.begin()
        for labels, found in sorted(curves.items()):
            tracking.log(labels, {name: sum(values) / len(values) for name, values in found.items()})
        tracking.end({})
