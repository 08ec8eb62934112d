"""What a project knows of its images: the answers of its label files, taken over into the history, and what follows.

The history is on disk before anything is made of it, and all other tables are made of it again by every call.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from activetune.base.errors import UsageError, some
from activetune.base.fingerprint import digest
from activetune.base.printing import counted
from activetune.base.progress import note
from activetune.base.tables import write_csv
from activetune.data.pool import Pool
from activetune.report.subject import LEDGER
from activetune.selection.artefact import ANSWERS, write_blank_labels
from activetune.selection.audit import AUDIT, audit_beside, write_audit
from activetune.studies.rounds.advice import split
from activetune.studies.rounds.answers import (
    LABELLED,
    Answer,
    Decision,
    decide,
    labels_in,
    merged,
    read_answers,
    read_history,
    write_decisions,
    write_history,
)
from activetune.studies.rounds.ledger import Entry, ledger_of, write_ledger
from activetune.studies.rounds.project import GIVEN_AUDIT, Project

HISTORY = "history.csv"


@dataclass(frozen=True)
class Answered:
    """A project's answers.

    Attributes:
        history: every answer that was ever taken over. added: those of them that this call has taken over.
    """

    project: Project
    pool: Pool
    history: Sequence[Answer]
    added: Sequence[Answer]

    @cached_property
    def decisions(self) -> Mapping[str, Decision]:
        """The answer that counts of each item that somebody has looked at."""
        return decide(self.history)

    @property
    def taught(self) -> Mapping[str, str]:
        """The answers that may be learned from, to images that are in the pool."""
        found = labels_in(self.decisions, self.project.audit)
        return {item: label for item, label in found.items() if item in self.pool.position}

    @cached_property
    def present(self) -> Mapping[str, Decision]:
        """The same of the items whose images are in the pool: what tables for other commands may name."""
        return {item: one for item, one in self.decisions.items() if item in self.pool.position}

    @property
    def passed(self) -> list[str]:
        """The items that were looked at and got no class."""
        return [item for item, one in self.decisions.items() if one.answer.state != LABELLED]

    @property
    def conflicts(self) -> list[str]:
        """The items with different answers that nobody has settled: ``3/0001.png: 'cat' counts, also 'dog'``."""
        return [_described(item, one) for item, one in self.present.items() if one.open]

    def taught_before(self, number: int) -> dict[str, str]:
        """What could be learned from before a round had answers of its own."""
        first = next((row for row, answer in enumerate(self.history) if answer.round == number), None)
        return labels_in(decide(self.history[:first], number - 1), self.project.audit)

    def of(self, items: Collection[str]) -> dict[str, str]:
        """The labels of some of the items, whether they may be learned from or not."""
        return {item: label for item, label in labels_in(self.decisions).items() if item in items}

    def classes(self, labels: Mapping[str, str]) -> set[str]:
        """The classes that occur in labels."""
        return _classes_in(labels, self.project)

    def write_tables(self) -> list[Entry]:
        """Write all that is derived from the history, of images that are in the pool; the ledger."""
        folder, audit, present = self.project.folder, self.project.audit, self.pool.position
        write_decisions(folder, self.present, audit, multilabel=self.project.settings.multilabel)
        write_audit(sorted(audit & present.keys()), folder)
        if audit and not audit & present.keys():
            (folder / AUDIT).unlink(missing_ok=True)
        ledger = ledger_of(self.project, self.history, self.decisions, present)
        write_ledger(folder / LEDGER, ledger)
        return ledger

    def tell_gone(self, quiet: bool) -> None:
        """Say how many answers are to images that have left the pool."""
        gone = len(self.decisions) - len(self.present)
        note(
            f"{counted(gone, 'item')} with an answer {'is' if gone == 1 else 'are'} not in the pool any more: "
            f"{self.project.folder / ANSWERS} leaves them out, and {HISTORY} keeps what was answered",
            quiet or not gone,
        )

    def write_round(self, number: int, quiet: bool) -> None:
        """The label file of a round, with what was taken over from one before: a blank cell would take it back."""
        path = self.project.round(number) / ANSWERS
        source = _source(self.project, path)
        known = {answer.id: answer for answer in self.history if answer.source == source}
        asked = self.project.selection(number).to_label
        if not known:
            write_blank_labels(asked, path.parent)
            return
        answers = [known.get(item, Answer(item, "", "", source)) for item in dict.fromkeys([*asked, *known])]
        names = ("id", "label", "state", "by", "answered")
        write_csv(path, names, [[getattr(one, name) for name in names] for one in answers])
        note(f"{path} was not there: it is written anew, with the answers taken over from it", quiet)


def classes_of(project: Project) -> list[str]:
    """The classes of a project: those of its settings, then further ones that were answered so far.

    Raises:
        UsageError: its history is damaged.
    """
    named = project.settings.classes
    answered = _classes_in(labels_in(decide(read_history(project.folder / HISTORY))), project)
    return [*named, *sorted(answered - set(named))]


def _classes_in(labels: Mapping[str, str], project: Project) -> set[str]:
    if project.settings.multilabel:
        return {name for names in split(labels).values() for name in names}
    return {*labels.values()}


def take_over(
    project: Project,
    pool: Pool,
    given: str | os.PathLike[str] | None,
    quiet: bool,
    *,
    excluded: Collection[str] = (),
) -> Answered:
    """Add what is new in the rounds' label files to the history.

    Args:
        given: a label file from elsewhere, to be taken over too, with the audit that lies beside it.
        excluded: ids that are treated as if they were not in the pool, which answers may be of all the same.

    Raises:
        UsageError: a file is damaged, names unknown items, or holds no label where it was given.
    """
    known, path, multilabel = {*pool.position, *excluded}, project.folder / HISTORY, project.settings.multilabel
    history, found = read_history(path), []
    for number in project.rounds:
        file = project.round(number) / ANSWERS
        if file.exists():
            asked = {*known, *project.selection(number).to_label}  # an image may have left the pool since
            found += read_answers(file, _source(project, file), asked, multilabel=multilabel)
    if given is not None:
        found += _of_file(Path(given), known, multilabel)
        _adopt(project, pool, audit_beside(given), quiet)
    added = merged(history, found, datetime.now(UTC).isoformat(timespec="seconds"))
    if added:
        history = [*history, *added]
        write_history(path, history)
    return Answered(project, pool, history, added)


def _source(project: Project, file: Path) -> str:
    return file.relative_to(project.folder).as_posix()


def _of_file(file: Path, known: Collection[str], multilabel: bool) -> list[Answer]:
    """The answers of a file from elsewhere."""
    if not file.is_file():
        raise UsageError(f"the file {file} does not exist; give a file with the columns id and label")
    source = f"given/{digest(str(file.resolve()))[:8]}/{file.name}"  # corrected and given again it is the same
    found = read_answers(file, source, known, multilabel=multilabel)
    if not any(answer.state == LABELLED for answer in found):
        raise UsageError(f"{file} holds no label; write each item's class into its column label")
    return found


def _adopt(project: Project, pool: Pool, aside: frozenset[str], quiet: bool) -> None:
    """Take over the audit of the selection whose labels are given, before any of them is learned from."""
    if gone := len(aside - pool.position.keys()):
        note(f"{counted(gone, 'item')} of the labels' audit {'is' if gone == 1 else 'are'} not in the pool", quiet)
    new = (aside & pool.position.keys()) - project.audit
    if new:
        write_audit(sorted(project.given_audit | new), project.folder, name=GIVEN_AUDIT)
        told = "an item of the labels' audit" if len(new) == 1 else f"{len(new):,} items of the labels' audit"
        note(f"{told}: models are scored on them, and none learns from them", quiet)


def _described(item: str, decision: Decision) -> str:
    others = {one.label for one in decision.others if one.state == LABELLED} - {decision.answer.label}
    return f"{item}: {decision.answer.label!r} counts, also {some(sorted(others))}"
