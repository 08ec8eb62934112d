"""What a training tells trackers: settings once, the rows of its history as they come, and the final scores.

The records lie in ``OUT/tracking/NAME``. A run that goes on writes them anew from the history that its checkpoint
holds, so no step is there twice and none is missing. A tracker that fails in the middle is left behind with a note:
the training matters more than its record.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from activetune.base.errors import ActivetuneError, first_line
from activetune.base.files import remove
from activetune.base.progress import note
from activetune.base.ranks import is_first
from activetune.training.trackers import Tracker

TRACKING = "tracking"  # the folder in a stage's output

Row = Mapping[str, Any]


class Tracking:
    """The trackers of one run."""

    def __init__(self, trackers: Mapping[str, Tracker], quiet: bool):
        self._open = dict(trackers)
        self._quiet = quiet
        self._told: set[tuple[str, int]] = set()

    def follow(self, history: Sequence[Row]) -> None:
        """Tell the rows of a history that have not been told yet."""
        trials: dict[str, int] = {}
        for row in history:
            group = str(row.get("phase", "training"))
            if "epoch" in row:
                step = int(row["epoch"])
            else:  # a trial
                group = f"{group}/trials"
                step = trials[group] = trials.get(group, 0) + 1
            if (group, step) not in self._told:
                self._told.add((group, step))
                told = numbers_in({name: value for name, value in row.items() if name != "epoch"})
                self.log(step, {f"{group}/{name}": value for name, value in told.items()})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Tell values of a step; steps go up."""
        self._each(lambda tracker: tracker.log(step, values))

    def begin(self) -> None:
        """Open all of them.

        Raises:
            ActivetuneError: one can't be opened.
        """
        for name, tracker in self._open.items():
            remove(tracker.folder)
            tracker.folder.mkdir(parents=True)
            try:
                tracker.begin()
            except Exception as error:  # another program's code
                raise ActivetuneError(
                    f"the tracker {name} can't begin ({first_line(error)}); leave it out of --track, or mend it"
                ) from error

    def end(self, figures: Mapping[str, Any], *, finished: bool = True) -> None:
        """Tell the final figures and close all of them; a second call does nothing."""
        scores = {f"final/{name}": value for name, value in numbers_in(figures).items()}
        self._each(lambda tracker: tracker.end(scores, finished=finished))
        self._open = {}

    def _each(self, tell: Callable[[Tracker], None]) -> None:
        """Tell every tracker; one that fails is left out from then on."""
        for name, tracker in list(self._open.items()):
            try:
                tell(tracker)
            except Exception as error:  # another program's code
                del self._open[name]
                told = f"the tracker {name} has failed ({first_line(error)}); the training goes on without it"
                note(told, self._quiet)


@contextlib.contextmanager
def tracked(
    asked: Mapping[str, type[Tracker]], folder: Path, settings: Mapping[str, Any], *, quiet: bool
) -> Iterator[Tracking]:
    """The trackers of a run in an output folder, closed however it ends; of several processes the first one has any."""
    mine = asked if is_first() else {}
    opened = {name: cls(folder / TRACKING / name, folder.absolute().name, settings) for name, cls in mine.items()}
    tracking = Tracking(opened, quiet)
    try:
        yield tracking
    finally:
        tracking.end({}, finished=False)


def numbers_in(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among values, those of groups by ``group/name``.

    >>> numbers_in({"epoch": 2, "told": "yes", "estimate": {"value": 0.5}, "lost": float("nan")})
    {'epoch': 2.0, 'estimate/value': 0.5}
    """
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= {f"{name}/{inner}": number for inner, number in numbers_in(value).items()}
        elif isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value):
            found[name] = float(value)
    return found
