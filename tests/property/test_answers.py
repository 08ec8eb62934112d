"""What must hold of answers however they come: nothing is lost, nothing is twice, and what counts follows the rule."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from activetune.studies.rounds.answers import (
    LABELLED,
    OPEN,
    PASSED,
    Answer,
    decide,
    labels_in,
    merged,
    read_history,
    write_history,
)

IDS = ("a/1.png", 'b,"2".png', "ü\n3.png")
LABELS = ("cat", "dog", "a,b", "x\ry")
SOURCES = ("rounds/001/labels.csv", "rounds/002/labels.csv", "given/1234/l.csv")


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    label = draw(st.sampled_from(("", *LABELS)))
    state = LABELLED if label else draw(st.sampled_from((OPEN, *PASSED)))
    return Answer(draw(st.sampled_from(IDS)), label, state, draw(st.sampled_from(SOURCES)), draw(st.integers(0, 1)))


BATCHES = st.lists(st.lists(answers(), max_size=6, unique_by=lambda one: one.place), max_size=5)


def history_of(batches: list[list[Answer]]) -> list[Answer]:
    history: list[Answer] = []
    for number, batch in enumerate(batches):
        history = [*history, *merged(history, batch, str(number))]
    return history


@settings(max_examples=60, deadline=None)
@given(BATCHES)
def test_every_answer_is_kept_once(batches: list[list[Answer]]) -> None:
    history = history_of(batches)
    kept = {(*one.place, *one.told) for one in history}
    assert all((*one.place, *one.told) in kept for batch in batches for one in batch if one.state != OPEN)
    for place in {one.place for one in history}:
        assert all(first.told != second.told for first, second in pairs(history, place))
    if batches:
        assert merged(history, batches[-1], "later") == []  # a call that is repeated adds nothing


def pairs(history: list[Answer], place: object) -> list[tuple[Answer, Answer]]:
    found = [one for one in history if one.place == place]
    return list(itertools.pairwise(found))


@settings(max_examples=60, deadline=None)
@given(BATCHES)
def test_what_counts_follows_the_rule(batches: list[list[Answer]]) -> None:
    history = history_of(batches)
    standing = {one.place: one for one in history}
    for item, decision in decide(history).items():
        mine = [one for one in standing.values() if one.id == item and one.state != OPEN]
        said = Counter(one.label for one in mine if one.state == LABELLED)
        assert decision.answer in mine and len(decision.others) == len(mine) - 1
        if said:
            assert said[decision.answer.label] == max(said.values()) and decision.answer.state == LABELLED
            assert decision.conflict == (len(said) > 1)
            assert decision.open == (len(said) > 1 and 2 * max(said.values()) <= sum(said.values()))
    decided = {item for item, one in decide(history).items() if one.answer.state == LABELLED}
    assert set(labels_in(decide(history), aside=IDS[:1])) == decided - {IDS[0]}


@settings(max_examples=30, deadline=None)
@given(BATCHES)
def test_the_history_comes_back_from_its_file(tmp_path_factory: object, batches: list[list[Answer]]) -> None:
    path = Path(tmp_path_factory.mktemp("history")) / "history.csv"  # type: ignore[attr-defined]
    history = history_of(batches)
    write_history(path, history)
    assert read_history(path) == history
