"""Classes that are renamed, merged and parted again: each answer means what was sent, whoever sent it and when."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune.base.errors import UsageError
from activetune.labelling.classes import Classes, told
from activetune.labelling.journal import Event, Journal
from activetune.labelling.sheet import Sheet
from tests.labelling.test_labelling import Client, labels_in, rows_of

ITEMS = ["0", "1", "2"]
NAMES = ["cat", "dog", "fox"]


def sheet_of(contents: Sequence[dict[str, Any]], names: Sequence[str] = NAMES, *, multilabel: bool = False) -> Sheet:
    sheet = Sheet(ITEMS, multilabel=multilabel)
    for number, content in enumerate([*({"kind": "add", "name": name} for name in names), *contents], start=1):
        sheet.refuse(content)
        sheet.apply(Event(number, "one", content, float(number)))
    return sheet


def says(item: str, *names: str, by: str = "") -> dict[str, Any]:
    return {"kind": "answer", "id": item, "state": "labelled", "labels": list(names), "by": by}


def change(kind: str, name: str, to: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "to": to}


def labels_of(sheet: Sheet) -> dict[str, tuple[str, ...]]:
    return {item: sheet.answer(item).labels for item in ITEMS if sheet.answer(item).labels}


# What stands after a merge is taken back ----------------------------------------------------------------------------


def test_an_answer_of_after_the_merge_is_nobody_else_s(sel: Path) -> None:
    with Client(sel) as client:
        client.answer(1, "00.png", "cat", client="A", by="ann")
        client.http.post(
            "/api/classes", json={"client": "A", "sequence": 2, "kind": "rename", "name": "cat", "to": "dog"}
        )
        client.answer(1, "00.png", "dog", client="B", by="bob")  # anew, and the same as it shows
        client.answer(2, "01.png", "cat", client="B", by="bob")  # of a tab that was not told yet
        assert labels_in(sel) == {"00.png": "dog", "01.png": "dog"}
        seen = client.get("/api/state")["number"]
        client.http.post(
            "/api/classes", json={"client": "A", "sequence": 3, "kind": "undo", "name": "cat", "to": "dog"}
        )
        expected = {"00.png": "dog", "01.png": "cat"}
        assert labels_in(sel) == expected and [row["by"] for row in rows_of(sel)[:2]] == ["bob", "bob"]
        state = client.get("/api/state", since=seen)
        assert [(one["id"], one["label"]) for one in state["changes"]] == [("01.png", "cat")]
        assert state["classes"] == [{"name": "cat", "count": 1}, {"name": "dog", "count": 1}]
        number = client.page.desk.sheet.number
    with Client(sel, classes=None) as client:  # which is no correction by hand
        assert labels_in(sel) == expected and client.page.desk.sheet.number == number


EVENTS = st.lists(st.tuples(st.sampled_from(ITEMS), st.sets(st.sampled_from(NAMES), min_size=1)), max_size=5)


@settings(max_examples=200, deadline=None)
@given(EVENTS, EVENTS, EVENTS, st.permutations(NAMES), st.booleans())
def test_a_merge_that_is_taken_back_leaves_no_trace(
    before: list[Any], during: list[Any], after: list[Any], names: list[str], plain: bool
) -> None:
    sent = [
        [says(item, *labels, by=f"{number}") for number, (item, labels) in enumerate(part)]
        for part in (before, during, after)
    ]
    name, to, other = names
    inner = [change("rename", to, "wolf"), *sent[1], change("undo", to, "wolf")] if plain else sent[1]
    twice = [change("rename", name, to), change("rename", to, other), *inner, change("undo", to, other)]
    if plain:
        twice = [change("rename", name, to), *inner]
    found = sheet_of([*sent[0], *twice, change("undo", name, to), *sent[2]], multilabel=True)
    wanted = sheet_of([*sent[0], *sent[1], *sent[2]], multilabel=True)
    assert labels_of(found) == labels_of(wanted) and found.classes == NAMES
    assert [found.answer(item).by for item in ITEMS] == [wanted.answer(item).by for item in ITEMS]
    assert +found.counts == +wanted.counts and +found.states == +wanted.states


def test_merges_are_taken_back_one_by_one_and_made_again() -> None:
    steps = [says("0", "cat"), change("rename", "cat", "dog"), says("1", "cat"), change("rename", "dog", "fox")]
    for taken_back, expected in (
        ([], {"0": ("fox",), "1": ("fox",)}),
        ([change("undo", "dog", "fox")], {"0": ("dog",), "1": ("dog",)}),
        ([change("undo", "dog", "fox"), change("undo", "cat", "dog")], {"0": ("cat",), "1": ("cat",)}),
    ):
        assert labels_of(sheet_of([*steps, *taken_back])) == expected
    again = [*steps, *taken_back, change("rename", "cat", "dog"), says("2", "cat"), change("undo", "cat", "dog")]
    assert labels_of(sheet_of(again)) == dict.fromkeys(ITEMS, ("cat",))


def test_a_name_of_the_time_between_still_leads_to_its_class() -> None:
    steps = [change("rename", "cat", "kitten"), says("0", "kitten"), says("1", "cat"), change("undo", "cat", "kitten")]
    assert labels_of(sheet_of([*steps, says("2", "kitten")])) == dict.fromkeys(ITEMS, ("cat",))
    steps = [change("rename", "cat", "dog"), change("rename", "dog", "wolf"), says("0", "cat"), says("1", "dog")]
    back = [change("undo", "dog", "wolf"), change("undo", "cat", "dog")]
    assert labels_of(sheet_of([*steps, *back])) == {"0": ("cat",), "1": ("dog",)}


def test_a_name_that_another_class_has_by_now_is_not_taken_from_it() -> None:
    steps = [says("0", "cat"), change("rename", "cat", "dog"), {"kind": "add", "name": "cat"}, says("1", "cat")]
    sheet = sheet_of(steps)
    assert labels_of(sheet) == {"0": ("dog",), "1": ("cat",)}
    with pytest.raises(UsageError, match="can't be taken back"):
        sheet.refuse(change("undo", "cat", "dog"))
    freed = [says("1", "fox"), {"kind": "remove", "name": "cat"}, change("undo", "cat", "dog"), says("2", "cat")]
    sheet = sheet_of([*steps, *freed])
    assert labels_of(sheet) == {"0": ("cat",), "1": ("fox",), "2": ("cat",)} and sheet.classes == NAMES
    renamed = sheet_of([*steps, *freed, change("rename", "cat", "lynx")])
    assert labels_of(renamed) == {"0": ("lynx",), "1": ("fox",), "2": ("lynx",)}


def test_a_class_that_took_the_name_of_a_removed_one_is_the_only_one_of_it() -> None:
    steps = [change("rename", "cat", "dog"), {"kind": "remove", "name": "dog"}, change("rename", "fox", "dog")]
    sheet = sheet_of([*steps, says("0", "cat"), says("1", "dog"), says("2", "fox"), change("rename", "dog", "wolf")])
    assert labels_of(sheet) == dict.fromkeys(ITEMS, ("wolf",)) and sheet.classes == ["wolf"]


def test_a_removed_class_that_is_added_or_named_again_is_the_same_one() -> None:
    for again in ({"kind": "add", "name": "cat"}, says("2", "cat")):
        steps = [change("rename", "dog", "cat"), {"kind": "remove", "name": "cat"}, again, says("0", "dog")]
        assert labels_of(sheet_of(steps))["0"] == ("cat",)
        parted = sheet_of([*steps, change("undo", "dog", "cat")])
        assert labels_of(parted)["0"] == ("dog",) and set(parted.classes) == set(NAMES)


def test_a_class_can_not_be_renamed_to_its_own_name() -> None:
    classes = Classes()
    classes.add("cat")
    with pytest.raises(ValueError, match="'cat' is called so already"):
        classes.rename("cat", "cat")
    assert told(classes.meant(["cat", "cat", "none"])) == ("cat",)


# Journals of earlier versions ---------------------------------------------------------------------------------------

JOURNAL = [
    ("start", 1, {"kind": "add", "name": "cat"}),
    ("start", 2, {"kind": "add", "name": "dog"}),
    ("A", 1, {"by": "ann", "id": "00.png", "kind": "answer", "labels": ["cat"], "state": "labelled"}),
    ("A", 2, {"kind": "rename", "name": "cat", "to": "dog"}),
    ("B", 1, {"by": "bob", "id": "00.png", "kind": "answer", "labels": ["dog"], "state": "labelled"}),
    ("B", 2, {"by": "bob", "id": "01.png", "kind": "answer", "labels": ["cat"], "state": "labelled"}),
    ("A", 3, {"by": "ann", "id": "02.png", "kind": "answer", "labels": ["dog"], "state": "labelled"}),
    ("A", 4, {"kind": "undo", "name": "cat", "to": "dog"}),
]
WRITTEN = """id,label,state,reason,suggestion,by,answered,event
00.png,cat,labelled,,,ann,2026-01-01T00:00:00.000+00:00,8
01.png,dog,labelled,,,bob,2026-01-01T00:00:00.000+00:00,6
02.png,dog,labelled,,,ann,2026-01-01T00:00:00.000+00:00,7
"""


def old_journal(folder: Path, contents: Sequence[tuple[str, int, dict[str, Any]]] = JOURNAL) -> None:
    Journal(folder / "labels.sqlite").close()
    with sqlite3.connect(folder / "labels.sqlite") as connection:
        rows = [(client, sequence, json.dumps(content), 1767225600.0) for client, sequence, content in contents]
        connection.executemany("INSERT INTO events (client, sequence, content, at) VALUES (?, ?, ?, ?)", rows)
        connection.execute("PRAGMA user_version = 3")
    connection.close()


def test_the_file_that_an_earlier_version_made_is_put_right_by_the_journal(sel: Path) -> None:
    old_journal(sel)
    (sel / "labels.csv").write_text(WRITTEN)
    for _ in range(2):
        with Client(sel, classes=None) as client:
            assert labels_in(sel) == {"00.png": "dog", "01.png": "cat", "02.png": "dog"}
            assert [row["by"] for row in rows_of(sel)[:3]] == ["bob", "bob", "ann"]
            assert client.page.desk.sheet.number == len(JOURNAL)


def test_what_was_written_by_hand_into_such_a_file_is_taken_up(sel: Path) -> None:
    old_journal(sel)
    (sel / "labels.csv").write_text(WRITTEN.replace("00.png,cat", "00.png,fox").replace("02.png,dog", "02.png,cat"))
    with Client(sel, classes=None):
        assert labels_in(sel) == {"00.png": "fox", "01.png": "cat", "02.png": "cat"}


def test_a_class_that_an_earlier_version_saw_without_an_answer_keeps_its_answers(sel: Path) -> None:
    removed = [("A", 5, {"by": "ann", "id": "00.png", "kind": "answer", "labels": ["dog"], "state": "labelled"})]
    removed += [("A", 6, {"kind": "remove", "name": "cat"}), ("A", 7, {"kind": "add", "name": "cat"})]
    old_journal(sel, [*JOURNAL, *removed])
    with Client(sel, classes=None) as client:
        assert labels_in(sel) == {"00.png": "dog", "01.png": "cat", "02.png": "dog"}
        assert client.page.desk.sheet.classes == ["cat", "dog"]
