"""Journal, sheet and label file together, and the one thread that writes them.

An answer is checked, committed to the journal, applied to the sheet, and put into ``labels.csv``, in this order; then
its sender is told. Of more than ``FEW`` items the file is written a moment later where that takes long, at the latest
after ``LATEST`` seconds and at the end; the next start derives it anew, whatever happened.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError, some
from activetune.base.printing import counted
from activetune.base.progress import note
from activetune.labelling.classes import told
from activetune.labelling.journal import Entry, Event, Journal
from activetune.labelling.label_file import LabelFile
from activetune.labelling.sheet import LABELLED, Answer, Sheet, Told, swapped
from activetune.labelling.suggestions import Known

START, FILE = "start", "labels.csv"  # clients of the program itself
FEW = 5_000  # items
QUICK, IDLE, LATEST = 0.025, 0.3, 2.0  # seconds


def answered_by_people(path: Path) -> bool:
    """Whether a journal that may be there holds answers of a page, not of a label file that was taken up.

    Raises:
        UsageError: it is damaged. ActivetuneError: it can't be written.
    """
    if not path.is_file():
        return False
    journal = Journal(path)
    with contextlib.closing(journal):
        return any(
            event.content.get("kind") == "answer" and event.client not in (START, FILE) for event in journal.events()
        )


@dataclass
class _Request:
    """Entries of one request, all of which are kept, or none; the future tells the sequence numbers that are saved."""

    entries: Sequence[Entry]
    saved: Future[list[int]] = field(default_factory=Future)


class Desk:
    """What a page works on. ``sheet`` is read anywhere, under ``lock``; it is changed by the writer's thread alone."""

    def __init__(self, journal: Path, labels: Path, ids: Sequence[str]):
        """Take up what is there.

        Raises:
            UsageError: a damaged journal or label file. ActivetuneError: they can't be written.
        """
        self.lock = threading.Lock()
        self.sheet = Sheet(ids)
        self._journal = Journal(journal)
        self._told: Callable[[], object] = lambda: None
        self._waiting: queue.Queue[_Request | None] = queue.Queue()
        self._unwritten: set[str] = set()
        self._seconds = 0.0  # that the file took last
        self._since = 0.0  # when the first unwritten answer came
        self._failed = False
        self._given: dict[tuple[int, str], Told] = {}  # by event and item: what the journal says, by the names of today
        self._sequences = self._journal.last_sequences()
        before: list[dict[str, Answer]] = []
        for event in self.sheet.replayed(self._journal.events(), journal):
            self._say(event, before)
        self._path = labels
        self._thread = threading.Thread(target=self._work, name="writer", daemon=True)

    def _say(self, event: Event, before: list[dict[str, Answer]]) -> None:
        """What an event says of items; what those before it say by its names.

        Args:
            before: at each rename that is not taken back, the answers that it gave a class to.
        """
        content, kind, sheet = event.content, event.content["kind"], self.sheet
        if kind == "answer":
            today = sheet.naming.todays(content["labels"])
            said = Told(content["id"], content["state"], today, content.get("reason", ""))
            self._given[event.number, said.item] = said
        elif kind == "rename":
            self._given = {key: renamed(said, content["name"], content["to"]) for key, said in self._given.items()}
            before.append({item: one for item, one in sheet.answers.items() if content["to"] in one.labels})
        elif kind == "undo":
            had = before.pop()
            if content["to"] not in sheet.classes:
                self._given = {key: renamed(said, content["to"], content["name"]) for key, said in self._given.items()}
                return
            # Earlier versions wrote an answer of before the merge under this number, also over a later one.
            put_back = {item: answer for item, answer in sheet.answers.items() if answer.number == event.number}
            for item, answer in (had | put_back).items():
                self._given[event.number, item] = Told(item, answer.state, told(answer.meant), answer.reason)

    def begin(
        self,
        classes: Sequence[str],
        *,
        usual: Sequence[str] = (),
        of_model: Sequence[str] = (),
        multilabel: bool,
        told: Callable[[], object],
        quiet: bool = True,
    ) -> None:
        """Add classes that are not there yet, take up what was written into the label file by hand, and start.

        Args:
            usual: classes of the project; without ``classes`` they are there, but for those that were removed.
            of_model: classes of the model that suggests; without ``classes`` they come behind those that are there.
            told: is called, in the writer's thread, after answers have come.

        Raises:
            UsageError: the model knows none of the classes that are there.
        """
        self._file = LabelFile(self._path, self.sheet)
        if of_model:
            self._refuse_other_classes(of_model, [*classes, *usual])
        if multilabel and not self.sheet.multilabel:
            done = len(self.sheet.answers)
            note(
                f"from now on an image may have several classes: {counted(done, 'answer')} of one class each stay as "
                f"they are, and {self._path.name} has a column of lists",
                quiet or not done,
            )
            self._add(START, {"kind": "begin", "multilabel": True})
        by_hand = list(self._file.by_hand(self._given))
        named = list(classes or self._unless_removed(usual))
        named += [name for content in by_hand for name in content["labels"]]
        named += () if classes else self._unless_removed(of_model)
        self._add_classes(named, quiet)
        self._add(FILE, *by_hand)
        self._given = {}
        self._file.write()
        self._told = told
        self._thread.start()

    def _unless_removed(self, names: Sequence[str]) -> list[str]:
        """Classes that nobody has asked for by name: a removed one stays so."""
        naming = self.sheet.naming
        return [name for name in names if naming.known(name) not in naming.removed]

    def _add_classes(self, named: Sequence[str], quiet: bool) -> None:
        """Add those that are not there, and say so where there were others: a typing error is one more class."""
        before = list(self.sheet.classes)
        new = [name for name in dict.fromkeys(named) if self.sheet.naming.current(name) is None]
        self._add(START, *({"kind": "add", "name": name} for name in new))
        note(
            f"{counted(len(new), 'class', 'classes')} beside the {len(before):,} that were there: {some(new)}; Shift+R "
            "on the page removes a class that no answer has",
            quiet or not (new and before),
        )

    def _refuse_other_classes(self, of_model: Sequence[str], classes: Sequence[str]) -> None:
        """Refuse a model that can suggest nothing to those who label, before anything is changed."""
        named = (name for content in self._file.by_hand(self._given) for name in content["labels"])
        there = list(dict.fromkeys([*self.sheet.classes, *classes, *named]))
        if there and not set(there) & {self.sheet.naming.current(name) or name for name in of_model}:
            raise UsageError(
                f"the model tells {some(of_model)} apart, and the classes here are {some(there)}: it has nothing to "
                "suggest; leave --model out, or give one that knows them"
            )

    def _add(self, client: str, *contents: dict[str, Any]) -> None:
        """Keep events of the program itself: all of them, or none where it is stopped on the way."""
        first = self.last_sequence(client) + 1
        entries = [Entry(client, first + number, content) for number, content in enumerate(contents)]
        self._apply(self._journal.add(entries), entries)

    def _apply(self, events: Sequence[Event], entries: Sequence[Entry]) -> None:
        for event in events:
            self.sheet.apply(event)
        for entry in entries:
            self._sequences[entry.client] = max(entry.sequence, self.last_sequence(entry.client))

    def save(self, entries: Sequence[Entry]) -> Future[list[int]]:
        """Keep what a client sends; the future's result is there once it is on disk.

        Its exceptions: UsageError for what can't be applied, ActivetuneError where it can't be written.
        """
        request = _Request(entries)
        self._waiting.put(request)
        return request.saved

    @property
    def edited(self) -> list[str]:
        """The names of files that keep what somebody wrote into the label file during this run."""
        return [path.name for path in self._file.own.edited]

    def last_sequence(self, client: str) -> int:
        """The highest number that a client has given to an event; 0 without any."""
        return self._sequences.get(client, 0)

    def known(self) -> Known:
        """The labelled items, for a fit."""
        with self.lock:
            answers = sorted(
                (answer.number, self.sheet.row[item], answer.labels)
                for item, answer in self.sheet.answers.items()
                if answer.state == LABELLED and item in self.sheet.row
            )
            classes, number = list(self.sheet.classes), self.sheet.number
        return Known([row for _, row, _ in answers], [labels for _, _, labels in answers], classes, number)

    def end(self) -> None:
        """Write what is unwritten, and let go of the files."""
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        self._journal.close()

    # In the writer's thread ---------------------------------------------------------------------------------------

    def _work(self) -> None:
        open_ = True
        while open_:
            requests, open_ = self._next()
            done = [(request, result) for request in requests if (result := self._keep(request)) is not None]
            if self._unwritten and (not open_ or self._is_time(busy=bool(requests))):
                self._write()
            if done:
                self._told()
            for request, result in done:
                _resolve(request, result)

    def _next(self) -> tuple[list[_Request], bool]:
        """All requests that wait, and whether there may be more; none where the file has waited for long enough."""
        found: list[_Request] = []
        try:
            request = self._waiting.get(timeout=IDLE if self._unwritten else None)
            while request is not None:
                found.append(request)
                request = self._waiting.get_nowait()
            return found, False
        except queue.Empty:
            return found, True

    def _is_time(self, *, busy: bool) -> bool:
        """Whether to write the file now: it takes no time worth mentioning, nothing else is to do, or it is late."""
        quick = len(self.sheet.ids) <= FEW or self._seconds <= QUICK
        return quick or not busy or time.monotonic() - self._since > LATEST

    def _keep(self, request: _Request) -> list[int] | None:
        """Check and commit a request, and apply it; None where it was refused."""
        try:
            for entry in request.entries:
                if self._journal.content_of(entry.client, entry.sequence) is None:
                    self.sheet.refuse(entry.content)
            events = self._journal.add(request.entries)
        except Exception as error:
            _resolve(request, error)
            return None
        with self.lock:
            self._apply(events, request.entries)
        if events and not self._unwritten:
            self._since = time.monotonic()
        swept = any(event.content["kind"] in ("rename", "undo") for event in events)
        self._unwritten |= (
            set(self.sheet.answers)
            if swept
            else {event.content["id"] for event in events if event.content["kind"] == "answer"}
        )
        return [entry.sequence for entry in request.entries]

    def _write(self) -> None:
        """Write the label file; where that fails the answers are in the journal, and the next try has them too."""
        started = time.monotonic()
        try:
            self._file.write(sorted(self._unwritten))
        except OSError as error:
            if not self._failed:
                note(f"{self._path} can't be written now ({error.strerror}); the answers are in the journal beside it")
            self._failed = True
            return
        self._failed = False
        self._seconds = time.monotonic() - started
        self._unwritten = set()


def renamed(told: Told, name: str, to: str) -> Told:
    """What an answer says once a class has got another name."""
    return told._replace(labels=swapped(told.labels, name, to))


def _resolve(request: _Request, result: list[int] | Exception) -> None:
    """Tell the sender, if it still waits."""
    if not request.saved.set_running_or_notify_cancel():
        return
    if isinstance(result, Exception):
        request.saved.set_exception(result)
    else:
        request.saved.set_result(result)
