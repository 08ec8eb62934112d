"""``labels.csv``: the answers as a table that every stage reads, derived from the journal and always whole.

Columns: ``id``, ``label`` (blank unless labelled), with several classes per image also ``labels`` (a list in JSON),
``state``, ``reason``, ``suggestion`` (what the page showed when the answer was given), ``by``, ``answered`` (UTC) and
``event``, the number of the answer in the journal. Columns and rows of others' making are kept.

What a person has written into the file between two runs is taken up: a row that does not say what the journal says of
its event was changed by hand. What somebody writes into it during a run stays in a file of its own, and is told.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError, repeated, some
from activetune.base.names import as_known, whole_number
from activetune.base.tables import csv_line, need_columns, read_table
from activetune.data.answers import as_numbers, class_name, is_missing
from activetune.data.ids import ids_of
from activetune.data.several import parts_of_cell
from activetune.labelling.own_file import OwnFile
from activetune.labelling.sheet import LABELLED, NONE, OPEN, SKIPPED, STATES, UNSURE, Answer, Sheet, Told

OWN = ("id", "label", "labels", "state", "reason", "suggestion", "by", "answered", "event")
SEVERAL, REASON = "labels", "reason"


class LabelFile:
    """The file of one sheet; a changed row costs its own line alone, writing costs the whole file."""

    def __init__(self, path: Path, sheet: Sheet):
        """Read what is there.

        Raises:
            UsageError: it is no table with a column ``id``.
        """
        self.path, self.sheet = path, sheet
        self.own = OwnFile(path)
        self._found: dict[str, dict[str, Any]] = {}
        self._numbers: dict[Any, Any] = {}  # by the text of a label, what it is in a column of numbers alone
        self.further: list[str] = []
        if path.exists():
            self._read()
        self._lines: dict[str, bytes] = {}

    @functools.cached_property
    def header(self) -> list[str]:
        """The columns that are written, by then."""
        return [name for name in OWN if name != SEVERAL or self.sheet.multilabel] + self.further

    def _read(self) -> None:
        columns = read_table(self.path)
        need_columns(columns, ["id"], self.path, self.sheet.row)
        ids = as_known(ids_of(columns["id"]), self.sheet.row)
        self.further = [name for name in columns if name not in OWN]
        if "label" in columns:
            self._numbers = dict(zip(columns["label"], as_numbers(columns["label"]).cells, strict=True))
        if twice := repeated(ids):
            raise UsageError(f"{self.path} has several rows of {some(twice)}; keep one row per item")
        for position, item in enumerate(ids):
            self._found[item] = {name: cells[position] for name, cells in columns.items()}

    def by_hand(self, answers: Mapping[tuple[int, str], Told]) -> Iterator[dict[str, Any]]:
        """What somebody has written into the file, as contents of events; of a journal that is gone, all that it said.

        Rows of items that the selection does not have stay in the file, and are no answers here.

        Args:
            answers: by the number of their event and the item, what the journal says.

        Raises:
            UsageError: a cell that is no label.
        """
        for item, row in self._found.items():
            if item not in self.sheet.row and item not in self.sheet.answers:
                continue
            event = _text(row, "event")
            number = whole_number(event)
            if event and number is None:
                raise UsageError(
                    f"{self.path}: the column event of {item!r} holds {event!r}, and is for numbers of this program; "
                    "write the class into the column label"
                )
            known = None if number is None else answers.get((number, item))  # None: it is another journal's
            state, labels = self._told(item, row, known)
            current = tuple(sorted({self.sheet.naming.current(name) or name for name in labels}))
            stands = self.sheet.answer(item)
            before = (known or Told(item, OPEN, ()), Told(item, stands.state, stands.labels, stands.reason))
            told = Told(item, state, current, _text(row, REASON))
            if told in before or (REASON not in row and told in [one._replace(reason="") for one in before]):
                continue
            content = {"kind": "answer", "id": item, "state": state, "labels": list(current)}
            corrected = {REASON: told.reason} if known and told.reason not in ("", known.reason) else {}
            yield content | (_lost(row) if known is None else corrected)

    def _told(self, item: str, row: Mapping[str, Any], known: Told | None) -> tuple[str, tuple[str, ...]]:
        """State and class names of a row.

        Args:
            known: what the journal says of its event; of two columns that say different things, the one that says
                something else was changed by hand.
        """
        where = f"{self.path}: the label of {item!r}"
        if (listed := self._listed(row, where)) is not None:
            one = str(row.get("label") or "").strip()
            as_before = "label" not in row or known is None or one == ";".join(known.labels)
            if as_before or (LABELLED, self.sheet.naming.todays(listed)) != (known and (known.state, known.labels)):
                return LABELLED, listed
        name = self._name(row.get("label"), where)
        if name is not None and known is not None and known.state == LABELLED and name == ";".join(known.labels):
            return LABELLED, known.labels  # a name may hold the separator
        if name is not None:
            several = self.sheet.multilabel and (SEVERAL not in row or known is not None)
            parts = [part.strip() for part in name.split(";")] if several else [name]
            return LABELLED, tuple(sorted({part for part in parts if part}))
        state = str(row.get("state") or "").strip()
        return (state if state in STATES and state in (SKIPPED, UNSURE, NONE) else OPEN), ()

    def _name(self, cell: Any, where: str) -> str | None:
        """The class in a cell; the one that is known by that text, or else what a spreadsheet has made a number of."""
        try:
            name = class_name(cell)
            known = name is not None and self.sheet.naming.current(name) is not None
            return name if known or not isinstance(cell, str) else class_name(self._numbers.get(cell, cell))
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None

    def _listed(self, row: Mapping[str, Any], where: str) -> tuple[str, ...] | None:
        """The class names in the column of several; None where there is none, or it is blank."""
        text = row.get(SEVERAL)
        if not (self.sheet.multilabel and isinstance(text, str) and text.strip()):
            return None
        try:
            return tuple(sorted({name for part in parts_of_cell(text) if (name := class_name(part)) is not None}))
        except UsageError:
            raise UsageError(f"{where} can't be read ({text!r}); give names with ; between them") from None

    def write(self, changed: Sequence[str] | None = None) -> None:
        """Write the file in one step; an edit by others is kept beside it, see :class:`OwnFile`.

        Args:
            changed: the items whose answers are new since it was last written; None: all may be.
        """
        sheet = self.sheet
        for item in self._items() if changed is None or not self._lines else changed:
            self._lines[item] = self._line(item, sheet.answer(item))
        self.own.write(csv_line(self.header).encode() + b"".join(self._lines.values()))

    def _items(self) -> list[str]:
        """The picks in their order, then what else was answered or listed in this folder."""
        return list(dict.fromkeys([*self.sheet.ids, *self.sheet.answers, *self._found]))

    def _line(self, item: str, answer: Answer) -> bytes:
        if item not in self.sheet.row and item not in self.sheet.answers:
            return csv_line([self._found[item].get(name) or "" for name in self.header]).encode()
        names = answer.labels
        cells: dict[str, object] = {
            "id": item,
            "label": ";".join(names),
            SEVERAL: json.dumps(list(names), ensure_ascii=False) if answer.state == LABELLED else "",
            "state": "" if answer.state == OPEN else answer.state,
            "reason": answer.reason,
            "suggestion": ";".join(answer.suggestion or ()),
            "by": answer.by,
            "answered": _moment(answer.at) if answer.number else "",
            "event": answer.number or "",
        }
        further = self._found.get(item, {})
        return csv_line([cells[name] if name in cells else further.get(name) or "" for name in self.header]).encode()


def _lost(row: Mapping[str, Any]) -> dict[str, Any]:
    """Who has given an answer, when, and on what suggestion, as a file says whose journal is gone."""
    found: dict[str, Any] = {name: text for name in (REASON, "by") if (text := _text(row, name))}
    if shown := _text(row, "suggestion"):
        found["suggestion"] = shown.split(";")
    with contextlib.suppress(ValueError, OverflowError):
        found["at"] = datetime.fromisoformat(_text(row, "answered")).timestamp()
    return found


def _text(row: Mapping[str, Any], name: str) -> str:
    cell = row.get(name)
    return "" if is_missing(cell) else str(cell).strip()


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
