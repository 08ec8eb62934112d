"""The ledger: what each round has asked for, what came back, and how long people were at it."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from activetune.base.printing import counted
from activetune.base.tables import write_csv
from activetune.selection.artefact import told_method
from activetune.studies.rounds.answers import LABELLED, OPEN, Answer, Decision
from activetune.studies.rounds.project import Project

PAUSE = 300.0  # seconds between two answers of a person, from which on they were not at it


@dataclass(frozen=True)
class Entry:
    """One round.

    Attributes:
        round: its number; 0: labels that were given from elsewhere. method: the selector; ``auto: activeft`` where
            ``auto`` has taken one. asked: items, of which ``audit`` are random.
        answered, passed, open: with a class; looked at without one (skipped, unsure, none of the classes); not yet.
        seconds: that people were at it, the sum of the times between two answers of a person without longer pauses;
            None where the file does not say when.
    """

    round: int
    method: str
    asked: int
    audit: int
    answered: int
    passed: int
    open: int
    seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


NO_ROUND = Entry(0, "", 0, 0, 0, 0, 0, None)
HEADER = tuple(field.name for field in fields(Entry))


def ledger_of(project: Project, history: Sequence[Answer], decisions: Mapping[str, Decision]) -> list[Entry]:
    """An entry per round, and a first one where labels came from elsewhere."""
    entries = []
    elsewhere = {answer.id for answer in history if answer.round == 0}
    if elsewhere:
        answered, passed, _ = _counts(elsewhere, decisions)
        aside = len(elsewhere & project.given_audit)
        entries.append(Entry(0, "given", 0, aside, answered, passed, 0, seconds_of(history, 0)))
    for number in project.rounds:
        selection = project.selection(number)
        items = selection.to_label
        method = told_method(selection.manifest)
        counts = _counts(items, decisions)
        entries.append(Entry(number, method, len(items), len(selection.audit), *counts, seconds_of(history, number)))
    return entries


def _counts(items: Collection[str], decisions: Mapping[str, Decision]) -> tuple[int, int, int]:
    """Items that are answered, passed and open."""
    states = [decisions[item].answer.state if item in decisions else OPEN for item in items]
    answered, waiting = states.count(LABELLED), states.count(OPEN)
    return answered, len(states) - answered - waiting, waiting


def seconds_of(history: Sequence[Answer], number: int) -> float | None:
    """How long people were at a round, see :class:`Entry`."""
    times: dict[str, set[datetime]] = {}
    for answer in history:
        if answer.round == number and (at := _moment(answer.answered)) is not None:
            times.setdefault(answer.by, set()).add(at)
    if not times:
        return None
    gaps = [
        (later - earlier).total_seconds()
        for moments in map(sorted, times.values())
        for earlier, later in itertools.pairwise(moments)
    ]
    return round(sum(gap for gap in gaps if gap <= PAUSE), 1)


def _moment(text: str) -> datetime | None:
    """A time as ISO 8601 has it; one without a zone is taken for UTC."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def write_ledger(path: Path, entries: Sequence[Entry]) -> None:
    """Write ``ledger.csv``."""
    write_csv(path, HEADER, ([("" if cell is None else cell) for cell in astuple(entry)] for entry in entries))


def told(entries: Sequence[Entry]) -> str:
    """``2 rounds asked for 200 items: 180 answered, 4 passed, 16 open; 12 minutes of labelling``."""
    rounds = [entry for entry in entries if entry.round]
    answered, passed, waiting = (sum(getattr(one, name) for one in rounds) for name in ("answered", "passed", "open"))
    seconds = [entry.seconds for entry in rounds if entry.seconds is not None]
    minutes = f"; {sum(seconds) / 60:.0f} minutes of labelling" if sum(seconds) >= 30 else ""
    asked = sum(entry.asked for entry in rounds)
    states = f"{answered:,} answered, {passed:,} passed, {waiting:,} open{minutes}"
    return f"{counted(len(rounds), 'round')} asked for {counted(asked, 'item')}: {states}"
