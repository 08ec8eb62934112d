"""The answers as they stand: what the events of the journal come to, one after the other.

| event | what it does |
|---|---|
| ``{"kind": "begin", "multilabel"}`` | a start of the page; once an item may have several classes it always may |
| ``{"kind": "answer", "id", "state", "labels", …}`` | takes the place of the item's answer; brings back its class |
| ``{"kind": "add", "name"}`` | a further class |
| ``{"kind": "rename", "name", "to"}`` | a class gets another name, in all answers |
| ``{"kind": "undo", "name", "to"}`` | takes the last rename back |
| ``{"kind": "remove", "name"}`` | a class that no answer has is there no more |

An answer is kept with the categories that its names stood for when it came (:mod:`activetune.labelling.classes`); its
classes are told from these after every change of a class. So a class that gets the name of another one is one with it,
and where that is taken back each answer has the class again that was sent, whoever sent it and when. An answer that
changes so gets the number of that event.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from activetune.base.errors import UsageError, first_line, some
from activetune.base.printing import counted
from activetune.labelling.classes import Category, Classes, told
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
        by: who gave it, by the name that they told; "" where none was. client: that sent it.
        number: of its event, or of the later one that changed its classes. at: seconds since 1970.
        meant: the categories that its names stood for when it came; ``labels`` are told from them.
    """

    state: str
    labels: tuple[str, ...] = ()
    reason: str = ""
    suggestion: tuple[str, ...] | None = None
    by: str = ""
    number: int = 0
    at: float = 0.0
    client: str = ""
    meant: tuple[Category, ...] = field(default=(), repr=False)

    @property
    def done(self) -> bool:
        """Whether somebody has decided: a skipped item waits for another look."""
        return self.state in (LABELLED, UNSURE, NONE)


NOTHING = Answer(OPEN)


class Sheet:
    """The answers to N items, and the classes; changed by :meth:`apply` alone."""

    def __init__(self, ids: Sequence[str], *, multilabel: bool = False):
        self.ids = list(ids)
        self.multilabel = multilabel
        self.row = {item: row for row, item in enumerate(self.ids)}
        self.answers: dict[str, Answer] = {}
        self.naming = Classes()
        self.number = 0  # of the last event
        self.changes: list[tuple[int, int]] = []  # (number of the event, row)
        self.reshaped = 0  # number of the last event that changed a class
        self.renames: list[tuple[int, str, str, str]] = []  # (number of the event, client, name, to)
        self.states: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    @property
    def classes(self) -> list[str]:
        """Their names of today, in the order of their keys."""
        return self.naming.names

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
        elif kind == "remove" and (bearing := self._bearing(str(name))):
            raise UsageError(
                f"{counted(bearing, 'answer')} {'has' if bearing == 1 else 'have'} the class {name!r}; "
                "rename it to another class, which makes both one, or answer anew first"
            )
        elif kind == "undo":
            self.naming.refuse_undo(content["name"], content["to"])

    def _refuse_answer(self, content: Mapping[str, Any]) -> None:
        if content["id"] not in self.row:
            raise UsageError(
                f"id {content['id']!r} is not one of the {len(self.ids):,} items of this selection; check it"
            )
        for name in content["labels"]:
            if self.naming.known(name) is None:
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
        kind = content["kind"]
        if kind == "begin":
            self.multilabel = self.multilabel or content["multilabel"]
        elif kind == "answer":
            self._put(content["id"], self._answer_of(event))
        else:
            self._reshape(event, kind)
            self.reshaped = event.number

    def _answer_of(self, event: Event) -> Answer:
        content = event.content
        meant = self.naming.meant(content["labels"])
        for name in told(meant):
            if name not in self.classes:
                self.naming.add(name)
                self.reshaped = event.number
        shown = content.get("suggestion")
        return Answer(
            content["state"],
            told(meant),
            content.get("reason", ""),
            None if shown is None else tuple(shown),
            content.get("by", ""),
            event.number,
            content.get("at", event.at),
            event.client,
            meant,
        )

    def _reshape(self, event: Event, kind: str) -> None:
        """Change a class."""
        content, naming = event.content, self.naming
        if kind == "add":
            naming.add(content["name"])
        elif kind == "remove":
            if not self._bearing(content["name"]):  # an earlier version may have counted otherwise
                naming.remove(content["name"])
        elif kind == "rename":
            naming.rename(content["name"], content["to"])
            self._renamed(event, content["name"], content["to"])
        elif kind != "undo":
            raise ValueError(f"{kind!r} is no kind of event")
        elif naming.undo():
            self._parted(event.number)
        else:
            self._renamed(event, content["to"], content["name"])

    def _bearing(self, name: str) -> int:
        """How many answers have a class."""
        return sum(name in answer.labels for answer in self.answers.values())

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

    def _renamed(self, event: Event, name: str, to: str) -> None:
        """Tell the answers anew that have a renamed class; clients hear of the rename, not of each."""
        self.renames.append((event.number, event.client, name, to))
        for item, answer in self.answers.items():
            if name in answer.labels:
                self.answers[item] = replace(answer, labels=told(answer.meant))
        known = [self.answers[item] for item in self.ids if item in self.answers]
        self.counts = Counter(name for answer in known for name in answer.labels)

    def _parted(self, number: int) -> None:
        """Tell the answers anew whose classes a merge that was taken back had made one."""
        for item, answer in list(self.answers.items()):
            if (labels := told(answer.meant)) != answer.labels:
                self._put(item, replace(answer, labels=labels, number=number))

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
