"""The ledger: what each round has asked for, what came back, and how long people were at it.

A round that was closed leaves items open, and a later one may ask for them again. So that no item counts twice, it
belongs to one of the rounds that have asked for it: the one whose answer counts, or else the last of them. The others
count it as ``elsewhere``, and the sums over all rounds are of distinct items.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from activetune.base.printing import counted
from activetune.base.tables import write_csv
from activetune.selection.artefact import told_method
from activetune.studies.rounds.answers import LABELLED, Answer, Decision
from activetune.studies.rounds.project import Project

PAUSE = 300.0  # seconds between two answers of a person, from which on they were not at it


@dataclass(frozen=True)
class Entry:
    """One round.

    Attributes:
        round: its number; 0: labels that were given from elsewhere. method: the selector; ``auto: activeft`` where
            ``auto`` has taken one. asked: items, of which ``audit`` are random.
        answered, passed: with a class; looked at without one (skipped, unsure, none of the classes).
        open: wait for an answer, in the last round. unanswered: do so no more, as the round was closed or the image
            has left the pool. elsewhere: another round has asked for them too, and counts them.
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
    unanswered: int
    elsewhere: int
    seconds: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


NO_ROUND = Entry(0, "", 0, 0, 0, 0, 0, 0, 0, None)
HEADER = tuple(field.name for field in fields(Entry))


def ledger_of(
    project: Project, history: Sequence[Answer], decisions: Mapping[str, Decision], pool: Collection[str]
) -> list[Entry]:
    """An entry per round, and a first one where labels came from elsewhere.

    Args:
        pool: the images that are there.
    """
    selections = {number: project.selection(number) for number in project.rounds}
    asked = {number: selection.to_label for number, selection in selections.items()}
    owners = _owners(asked, decisions)
    entries = []
    elsewhere = {answer.id for answer in history if answer.round == 0}
    if elsewhere:
        states = Counter(decisions[item].answer.state for item in elsewhere - owners.keys() if item in decisions)
        aside = len(elsewhere & project.given_audit)
        answered = states[LABELLED]
        passed = states.total() - answered
        entries.append(Entry(0, "given", 0, aside, answered, passed, 0, 0, 0, seconds_of(history, 0)))
    for number, selection in selections.items():
        waiting = pool if number == project.rounds[-1] else ()
        counts = _counts([item for item in asked[number] if owners[item] == number], decisions, waiting)
        others = len(asked[number]) - sum(counts)
        about = number, told_method(selection.manifest), len(asked[number]), len(selection.audit)
        entries.append(Entry(*about, *counts, others, seconds_of(history, number)))
    return entries


def _owners(asked: Mapping[int, Collection[str]], decisions: Mapping[str, Decision]) -> dict[str, int]:
    """The round that an item belongs to, of those that have asked for it."""
    owners = {item: number for number in sorted(asked) for item in asked[number]}
    for item in owners:
        told = decisions[item].answer.round if item in decisions else 0
        if item in asked.get(told, ()):
            owners[item] = told
    return owners


def _counts(
    items: Collection[str], decisions: Mapping[str, Decision], waiting: Collection[str]
) -> tuple[int, int, int, int]:
    """Items that are answered, passed, open and unanswered; those of ``waiting`` may be open."""
    undecided = [item for item in items if item not in decisions]
    answered = sum(item in decisions and decisions[item].answer.state == LABELLED for item in items)
    open_ = sum(item in waiting for item in undecided)
    return answered, len(items) - len(undecided) - answered, open_, len(undecided) - open_


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
    """``2 rounds asked for 190 items: 170 answered, 4 passed, 10 open, 6 unanswered; 12 minutes of labelling``.

    Each item counts once, however many rounds have asked for it.
    """
    rounds = [entry for entry in entries if entry.round]

    def total(name: str) -> int:
        return sum(getattr(entry, name) for entry in rounds)

    seconds = [entry.seconds for entry in rounds if entry.seconds is not None]
    minutes = f"; {sum(seconds) / 60:.0f} minutes of labelling" if sum(seconds) >= 30 else ""
    states = f"{total('answered'):,} answered, {total('passed'):,} passed, {total('open'):,} open"
    states += f", {total('unanswered'):,} unanswered" if total("unanswered") else ""
    asked = total("asked") - total("elsewhere")
    return f"{counted(len(rounds), 'round')} asked for {counted(asked, 'item')}: {states}{minutes}"
