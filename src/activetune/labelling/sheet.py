"""The answers as they stand: what the events of the journal come to, one after the other.

| event | what it does |
|---|---|
| ``{"kind": "begin", "multilabel"}`` | a start of the page; once an item may have several classes it always may |
| ``{"kind": "answer", "id", "state", "labels", …}`` | takes the place of the item's answer; brings back its class |
| ``{"kind": "add", "name"}`` | a further class |
| ``{"kind": "rename", "name", "to"}`` | a class gets another name, in all answers |
| ``{"kind": "undo", "name", "to"}`` | takes the last rename back |
| ``{"kind": "remove", "name"}`` | a class that no answer has is there no more |

A class that gets the name of another one is one with it from then on. A name that was given up still leads to the class
that took its place: another tab may not know yet. Where such a rename is taken back, the answers that it changed are as
before, with the number of that event; those that say something else since stay.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from activetune.base.errors import UsageError, first_line, some
from activetune.base.printing import counted
from activetune.labelling.journal import Event

LABELLED, SKIPPED, UNSURE, NONE, OPEN = "labelled", "skipped", "unsure", "none", "open"


class Told(NamedTuple):
    """What an event of the journal says of an item, by the names of today."""

    item: str
    state: str
    labels: tuple[str, ...]
    reason: str = ""


STATES = (LABELLED, SKIPPED, UNSURE, NONE, OPEN)


@dataclass(frozen=True)
class Answer:
    """What stands for an item.

    Attributes:
        state: ``labelled``, ``skipped``, ``unsure``, ``none`` (not any of the classes) or ``open`` (taken back).
        labels: class names, at most one where an item has one class; none unless ``labelled``.
        reason: why, in words; "" where none was given.
        suggestion: what the page suggested when it was given; None where it showed nothing.
        by: who gave it, by the name that they told; "" where none was.
        number: of its event. at: seconds since 1970.
    """

    state: str
    labels: tuple[str, ...] = ()
    reason: str = ""
    suggestion: tuple[str, ...] | None = None
    by: str = ""
    number: int = 0
    at: float = 0.0

    @property
    def done(self) -> bool:
        """Whether somebody has decided: a skipped item waits for another look."""
        return self.state in (LABELLED, UNSURE, NONE)


NOTHING = Answer(OPEN)


class Renamed(NamedTuple):
    """A rename that can be taken back.

    Attributes:
        place: of the class among the others. led: to which classes names led that had been given up before.
        answers: those that had the class, by item, where it became one with another; None where it did not.
    """

    name: str
    to: str
    place: int
    led: dict[str, str]
    answers: dict[str, Answer] | None


class Sheet:
    """The answers to N items, and the classes; changed by :meth:`apply` alone."""

    def __init__(self, ids: Sequence[str], *, multilabel: bool = False):
        self.ids = list(ids)
        self.multilabel = multilabel
        self.row = {item: row for row, item in enumerate(self.ids)}
        self.answers: dict[str, Answer] = {}
        self.classes: list[str] = []
        self.renamed: dict[str, str] = {}
        self.removed: set[str] = set()
        self.number = 0  # of the last event
        self.changes: list[tuple[int, int]] = []  # (number of the event, row)
        self.reshaped = 0  # number of the last event that changed a class
        self.renames: list[tuple[int, str, str, str]] = []  # (number of the event, client, name, to)
        self._undoable: list[Renamed] = []
        self.states: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def current(self, name: str) -> str | None:
        """The class that a name stands for today; None where it stands for none."""
        found = name if name in self.classes else self.renamed.get(name)
        return found if found in self.classes else None

    def known(self, name: str) -> str | None:
        """The same, or the class that was removed: another tab may have given it before it knew."""
        found = name if name in self.classes else self.renamed.get(name, name)
        return found if found in self.classes or found in self.removed else None

    def todays(self, names: Sequence[str]) -> tuple[str, ...]:
        """The classes that names stand for today, in ascending order."""
        return tuple(sorted({known for name in names if (known := self.current(name)) is not None}))

    def answer(self, item: str) -> Answer:
        """What stands for an item."""
        return self.answers.get(item, NOTHING)

    def refuse(self, content: Mapping[str, Any]) -> None:
        """Refuse an event (:mod:`activetune.labelling.requests` has its form) that can't be applied.

        Raises:
            UsageError: an id or a class that there is not, or one that there is already.
        """
        kind, name = content["kind"], content.get("name")
        if kind == "answer":
            self._refuse_answer(content)
        elif kind == "add" and name in self.classes:
            raise UsageError(f"there is a class {name!r} already; choose it")
        elif kind in ("rename", "remove") and name not in self.classes:
            raise UsageError(f"{name!r} is not one of the classes: {some(self.classes, 8)}")
        elif kind == "rename" and name == content["to"]:
            raise UsageError(f"{name!r} is called so already; give another name")
        elif kind == "remove" and (bearing := sum(name in answer.labels for answer in self.answers.values())):
            raise UsageError(
                f"{counted(bearing, 'answer')} {'has' if bearing == 1 else 'have'} the class {name!r}; "
                "rename it to another class, which makes both one, or answer anew first"
            )
        elif kind == "undo":
            self._refuse_undo(content["name"], content["to"])

    def _refuse_undo(self, name: str, to: str) -> None:
        last = self._undoable[-1] if self._undoable else None
        if last is None or (last.name, last.to) != (name, to) or to not in self.classes or name in self.classes:
            was = "no class was renamed" if last is None else f"the last one was {last.name!r} to {last.to!r}"
            raise UsageError(
                f"the rename of {name!r} to {to!r} can't be taken back: {was}, and {some(self.classes, 8)} are the "
                "classes now; rename or add a class"
            )

    def _refuse_answer(self, content: Mapping[str, Any]) -> None:
        if content["id"] not in self.row:
            raise UsageError(
                f"id {content['id']!r} is not one of the {len(self.ids):,} items of this selection; check it"
            )
        for name in content["labels"]:
            if self.known(name) is None:
                raise UsageError(f"{name!r} is not one of the {len(self.classes):,} classes: {some(self.classes, 8)}")
        if content["state"] == LABELLED and len(content["labels"]) != 1 and not self.multilabel:
            raise UsageError(
                f"{len(content['labels'])} classes were given for one image; give one, or start with --multilabel"
            )

    def replayed(self, events: Iterable[Event], path: Path) -> Iterator[Event]:
        """Take up the events of a journal, one by one.

        Raises:
            UsageError: one is no event, or none that can follow those before it: the journal is damaged.
        """
        for event in events:
            try:
                self.apply(event)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise UsageError(
                    f"{path} is damaged (event {event.number:,}: {first_line(error)}); move it away: labels.csv beside "
                    "it holds the answers, and is taken up"
                ) from None
            yield event

    def apply(self, event: Event) -> None:
        """Take up an event of the journal."""
        content, self.number = event.content, event.number
        if content["kind"] == "begin":
            self.multilabel = self.multilabel or content["multilabel"]
        elif content["kind"] == "answer":
            labels = tuple(sorted({known for name in content["labels"] if (known := self.known(name)) is not None}))
            for name in labels:
                if name not in self.classes:
                    self._add(name, event.number)
            shown = content.get("suggestion")
            self._put(
                content["id"],
                Answer(
                    content["state"],
                    labels,
                    content.get("reason", ""),
                    None if shown is None else tuple(shown),
                    content.get("by", ""),
                    event.number,
                    content.get("at", event.at),
                ),
            )
        elif content["kind"] == "add":
            self._add(content["name"], event.number)
        elif content["kind"] == "remove":
            self.classes.remove(content["name"])
            self.removed.add(content["name"])
            self.reshaped = event.number
        elif content["kind"] == "undo":
            self._undo(event)
        else:
            self._undoable.append(self._undoable_by(content["name"], content["to"]))
            self._rename(event, content["name"], content["to"])

    def _add(self, name: str, number: int) -> None:
        self.classes.append(name)
        self.renamed.pop(name, None)
        self.removed.discard(name)
        self.reshaped = number

    def _put(self, item: str, answer: Answer) -> None:
        before = self.answers.get(item)
        self.answers[item] = answer
        if item not in self.row:
            return  # of an earlier selection in this folder
        if before is not None:
            self.states[before.state] -= 1
            self.counts.subtract(before.labels)
        self.states[answer.state] += 1
        self.counts.update(answer.labels)
        self.changes.append((answer.number, self.row[item]))

    def _undoable_by(self, name: str, to: str) -> Renamed:
        """What has to be known to take a rename back, before it is made."""
        had = None
        if to in self.classes:
            had = {item: answer for item, answer in self.answers.items() if name in answer.labels}
        return Renamed(name, to, self.classes.index(name), dict(self.renamed), had)

    def _undo(self, event: Event) -> None:
        last = self._undoable.pop()
        if last.answers is None:
            self._rename(event, last.to, last.name)
            led = last.led | {last.to: last.name}
        else:
            self.classes.insert(last.place, last.name)
            led = last.led
        self.renamed = {name: to for name, to in led.items() if name not in self.classes}
        self.reshaped = event.number
        for item, answer in (last.answers or {}).items():
            now = self.answers[item]
            as_renamed = answer.state, swapped(answer.labels, last.name, last.to), answer.reason
            if (now.state, now.labels, now.reason) == as_renamed:
                self._put(item, replace(answer, number=event.number))

    def _rename(self, event: Event, old: str, new: str) -> None:
        self.renames.append((event.number, event.client, old, new))
        self.reshaped = event.number
        if new in self.classes:
            self.classes.remove(old)
        else:
            self.classes[self.classes.index(old)] = new
        self.renamed = {name: new if to == old else to for name, to in self.renamed.items() if name != new}
        self.renamed[old] = new
        self.removed.discard(new)
        for item, answer in self.answers.items():
            if old in answer.labels:
                self.answers[item] = replace(answer, labels=swapped(answer.labels, old, new))
        known = [self.answers[item] for item in self.ids if item in self.answers]
        self.counts = Counter(name for answer in known for name in answer.labels)

    def changed_since(self, number: int, most: int | None = None) -> list[int]:
        """The rows whose answers came after an event, each once, the last one first; ``most`` of them."""
        found: dict[int, None] = {}
        for at, row in reversed(self.changes):
            if at <= number or len(found) == most:
                break
            found[row] = None
        return list(found)


def swapped(names: Sequence[str], old: str, new: str) -> tuple[str, ...]:
    """Class names, ascending, of which one has got another name."""
    return tuple(sorted({new if name == old else name for name in names}))
