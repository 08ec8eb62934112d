"""Answers with their history: read from the rounds' label files, merged, and decided where they differ.

The history keeps every answer that was ever taken over, in the order in which it was; rows are added and never changed.
An answer has a *place*: the file that it came from, and which row of the item it was there. In its place a later answer
takes the earlier one's part (somebody has corrected it, or taken it back). Answers in different places stand beside
each other, and where they differ there is a conflict:

- the class that most places say counts; of equally many the one that was taken over last;
- a class goes before "skipped" and "unsure";
- a conflict is *open* as long as no class has more places than all others together.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.names import as_known, whole_number
from activetune.base.tables import need_columns, read_table, write_csv
from activetune.data.answers import as_numbers, class_name
from activetune.data.ids import ids_of, refuse_unknown
from activetune.data.several import cell_of_names, parts_of_cell
from activetune.report.subject import CONFLICTS

LABELLED, OPEN = "labelled", ""
PASSED = ("skipped", "unsure", "none")  # states of items that were looked at and got no class
FILE = ("id", "label", "state", "round", "by", "answered", "places", "conflict", "audit")
CONFLICT_COLUMNS = ("id", "counts", "answers", "open")


@dataclass(frozen=True)
class Answer:
    """One answer to one item.

    Attributes:
        label: the class, or several as one text (:func:`cell_of_names`); empty unless the state is ``labelled``.
        state: ``labelled``, ``skipped``, ``unsure``, ``none`` (none of the classes), or empty: taken back.
        source: the file, relative to the project, or ``given/DIGEST/NAME``. row: which row of the item there.
        by, answered: who, and when, where the file says it. merged: when it was taken over (UTC).
    """

    id: str
    label: str
    state: str
    source: str
    row: int = 0
    by: str = ""
    answered: str = ""
    merged: str = ""

    @property
    def place(self) -> tuple[str, str, int]:
        """Where it stands: a later answer in the same place takes its part."""
        return self.id, self.source, self.row

    @property
    def told(self) -> tuple[str, str, str]:
        """What it says, and who says so."""
        return self.label, self.state, self.by

    @property
    def round(self) -> int:
        """The number of the round that asked for it; 0: none did."""
        first, _, rest = self.source.partition("/")
        return (whole_number(rest.partition("/")[0]) or 0) if first == "rounds" else 0


HEADER = tuple(field.name for field in fields(Answer))


@dataclass(frozen=True)
class Decision:
    """What counts of all answers to one item.

    Attributes:
        answer: the one that counts. others: what the other places say now. open: whether nobody has settled it yet.
    """

    answer: Answer
    others: Sequence[Answer]
    open: bool

    @property
    def conflict(self) -> bool:
        """Whether some place says another class."""
        mine = self.answer
        return any(one.state == LABELLED and one.label != mine.label for one in self.others)


def read_answers(path: Path, source: str, known: Collection[str], *, multilabel: bool) -> list[Answer]:
    """All rows of a label file.

    Raises:
        UsageError: no such table, unknown ids, or a cell that is no label.
    """
    columns = read_table(path)
    need_columns(columns, ["id"], path, known)
    if not {"label", "labels"} & columns.keys():
        need_columns(columns, ["label"], path)
    for name in {"label", "labels"} & columns.keys():
        columns[name] = list(as_numbers(columns[name]).cells)
    ids = as_known(ids_of(columns["id"]), known)
    refuse_unknown(ids, known, path, "the project's pool")
    rows: Counter[str] = Counter()
    found = []
    for number, item in enumerate(ids):
        cells = {name: values[number] for name, values in columns.items()}
        label, state = _read(cells, f"{path}: the label of {item!r}", multilabel)
        by, answered = (str(cells.get(name) or "").strip() for name in ("by", "answered"))
        found.append(Answer(item, label, state, source, rows[item], by, answered))
        rows[item] += 1
    return found


def _read(cells: Mapping[str, Any], where: str, multilabel: bool) -> tuple[str, str]:
    """Label and state of a row."""
    state = str(cells.get("state") or "").strip().lower()
    try:
        names = _several(cells) if multilabel else [class_name(cells.get("label"))]
    except (UsageError, ValueError, TypeError) as error:
        raise UsageError(f"{where} can't be read ({error}); give a class name, or leave it empty") from None
    known = sorted({name for name in names if name is not None})
    if known or (multilabel and state == LABELLED):
        return (cell_of_names(known) if known else "") if multilabel else known[0], LABELLED
    return "", state if state in PASSED else OPEN


def _several(cells: Mapping[str, Any]) -> list[str | None]:
    """The class names of an image that may show several: a list in ``labels``, or text with ``;`` or ``|``.

    Raises:
        UsageError: both columns are filled, and say different things: one of them was corrected by hand.
    """
    listed, text = cells.get("labels"), cells.get("label")
    found = [class_name(one) for one in (parts_of_cell(listed) if isinstance(listed, str) else listed or ())]
    told = [class_name(one) for one in (parts_of_cell(text) if isinstance(text, str) else [text])]
    names = sorted(name for name in found if name is not None)
    if names and any(told) and text != ";".join(names) and set(told) - {None} != set(names):
        raise UsageError(f"label says {text!r} and labels {listed!r}: correct one, and leave the other empty")
    return found if names or listed == "[]" else told


# The history --------------------------------------------------------------------------------------------------------


def read_history(path: Path) -> list[Answer]:
    """The answers that were taken over, in their order.

    Raises:
        UsageError: a damaged file; it is never written anew then.
    """
    if not path.exists():
        return []
    columns = read_table(path)
    need_columns(columns, HEADER, path)
    try:
        rows = zip(*(columns[name] for name in HEADER), strict=True)
        return [replace(Answer(*map(str, row)), row=int(row[HEADER.index("row")])) for row in rows]  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(f"{path} is damaged ({error}); correct it, or move it away to merge all files anew") from None


def merged(history: Sequence[Answer], found: Iterable[Answer], now: str) -> list[Answer]:
    """The answers that the history does not have yet: new ones, and those that say something else in their place.

    >>> first = Answer("1.jpg", "cat", "labelled", "rounds/001/labels.csv")
    >>> merged([first], [first, replace(first, label="dog")], "now")[0].label
    'dog'
    """
    last = {answer.place: answer.told for answer in history}
    added = []
    for answer in found:
        before = last.get(answer.place)
        blank = answer.state == OPEN
        if (before is None and blank) or before == answer.told or (blank and before is not None and not before[1]):
            continue
        last[answer.place] = answer.told
        added.append(replace(answer, merged=now))
    return added


def write_history(path: Path, history: Sequence[Answer]) -> None:
    """Write all of it in one step."""
    write_csv(path, HEADER, (astuple(answer) for answer in history))


# What counts --------------------------------------------------------------------------------------------------------


def decide(history: Sequence[Answer], up_to: int | None = None) -> dict[str, Decision]:
    """What counts of each item that has an answer, see the module.

    Args:
        up_to: leave out what later rounds have asked for.
    """
    standing: dict[tuple[str, str, int], tuple[int, Answer]] = {}
    for order, answer in enumerate(history):
        if up_to is None or answer.round <= up_to:
            standing[answer.place] = order, answer
    by_item: dict[str, list[tuple[int, Answer]]] = {}
    for order, answer in standing.values():
        if answer.state != OPEN:
            by_item.setdefault(answer.id, []).append((order, answer))
    return {
        item: _decided([one for _, one in sorted(found, key=lambda pair: pair[0])]) for item, found in by_item.items()
    }


def _decided(answers: Sequence[Answer]) -> Decision:
    """Of the standing answers to one item, in the order in which they were taken over."""
    said = [answer for answer in answers if answer.state == LABELLED] or list(answers)
    votes = Counter((answer.label, answer.state) for answer in said)
    most = max(votes.values())
    chosen = next(answer for answer in reversed(said) if votes[answer.label, answer.state] == most)
    others = [answer for answer in answers if answer is not chosen]
    return Decision(chosen, others, len(votes) > 1 and 2 * most <= len(said) and chosen.state == LABELLED)


def labels_in(decisions: Mapping[str, Decision], aside: Collection[str] = ()) -> dict[str, str]:
    """The class of each labelled item, without those set aside."""
    return {
        item: one.answer.label for item, one in decisions.items() if one.answer.state == LABELLED and item not in aside
    }


def write_decisions(
    folder: Path, decisions: Mapping[str, Decision], audit: Collection[str], *, multilabel: bool
) -> None:
    """Write ``labels.csv`` and ``conflicts.csv``."""
    header = (*FILE[:2], "labels", *FILE[2:]) if multilabel else FILE
    rows = []
    for item, one in decisions.items():
        answer = one.answer
        names = json.dumps(parts_of_cell(answer.label) if multilabel else [], ensure_ascii=False)
        several = (names if answer.state == LABELLED else "",) if multilabel else ()
        conflict = "open" if one.open else "settled" if one.conflict else ""
        about = (answer.state, answer.round or "", answer.by, answer.answered, 1 + len(one.others), conflict)
        rows.append((item, answer.label, *several, *about, "yes" if item in audit else ""))
    write_csv(folder / "labels.csv", header, rows)
    listed = [
        (item, one.answer.label, "; ".join(map(_told, [one.answer, *one.others])), "yes" if one.open else "")
        for item, one in decisions.items()
        if one.conflict
    ]
    write_csv(folder / CONFLICTS, CONFLICT_COLUMNS, listed)


def _told(answer: Answer) -> str:
    """``cat (anna, rounds/001/labels.csv)``."""
    return f"{answer.label or answer.state} ({', '.join(part for part in (answer.by, answer.source) if part)})"
