"""What recipes of several phases share: a record of the phases, and a pilot that runs them to choose by."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from activetune.base.arrays import IntArray
from activetune.base.progress import note
from activetune.training.job import Job, Outcome, untold
from activetune.training.network_state import copied

Found = TypeVar("Found")


@dataclass
class Phases:
    """The phases that have run.

    Attributes:
        history: their rows, in order. figures: of each, by its name, with its ``seconds``.
    """

    history: list[Mapping[str, Any]] = field(default_factory=list)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self, name: str, phase: Callable[[], Outcome]) -> dict[str, Any]:
        """Run a phase and record it; gives its figures."""
        self.run_for(name, lambda: (phase(), None))
        return self.figures[name]

    def run_for(self, name: str, phase: Callable[[], tuple[Outcome, Found]]) -> Found:
        """Run a phase and record it; gives what it has found for those after it."""
        started = time.perf_counter()
        done, found = phase()
        self.history += done.history
        self.figures[name] = {**done.figures, "seconds": round(time.perf_counter() - started, 3)}
        return found


@dataclass
class Pilot:
    """A run without some of the labels.

    Attributes:
        job: the run's own; it has no reader of its progress. by: how its figures were made, for their sentence.
        figures: how many items were left out, and ``seconds`` when it has ended.
    """

    job: Job
    by: str
    figures: dict[str, Any]

    @staticmethod
    def rows(history: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Rows of a history under names that tell them from those of the run itself."""
        return [{**row, "phase": f"pilot {row['phase']}"} for row in history]


@contextmanager
def pilot(job: Job, left_out: IntArray, **changes: Any) -> Iterator[Pilot]:
    """A context in which phases run without some items; when it ends, the job's network is as it was before.

    Args:
        left_out: positions of these items, among the labelled ones. changes: to the job.
    """
    note(f"pilot: {len(left_out)} of {len(job.labels)} labels are left out to choose by", job.quiet)
    started, work = time.perf_counter(), job.work / "pilot"
    work.mkdir(exist_ok=True)
    before = copied(job.backbone.state_dict())
    by = f"a pilot trained on the other {len(job.labels) - len(left_out):,}"
    run = Pilot(replace(job, work=work, track=untold, **changes), by, {"n_validation": len(left_out)})
    yield run
    job.network.remove_heads()
    job.backbone.load_state_dict(before)
    run.figures["seconds"] = round(time.perf_counter() - started, 3)
