"""Class names that are nearly equal are found, whatever their number, and others are left alone."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activetune import Labels
from activetune.data.label_notes import describe_spelling
from activetune.data.labels import with_classes
from activetune.data.near_names import near_names, nearest_spellings


def alike(first: str, second: str, counts: tuple[int, int] = (5, 5)) -> bool:
    return bool(near_names({first: counts[0], second: counts[1]}))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *(("cat", "CAT"), ("cat", "Cat"), ("a", "A"), ("Straße", "STRASSE"), ("cafe\u0301", "café")),
        *(("fire truck", "fire_truck"), ("fire truck", "Firetruck"), ("fire-truck", "fire  truck")),
        *(
            ("rabbit", "rabit"),
            ("cat", "cats"),
            ("receive", "recieve"),
            ("banana", "banane"),
            ("golden rabbit", "golden rabit"),
        ),
        *(("class 12 rabbit", "class 12 rabit"), ("ﬁsh", "fish"), ("犬猫鳥", "犬猫鳥魚")),
    ],
)
def test_nearly_equal_names(first: str, second: str) -> None:
    assert alike(first, second)
    assert alike(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *(("cat", "car"), ("house", "mouse"), ("bear", "pear"), ("a", "b"), ("ab", "abc"), ("dog", "god dog")),
        *(("class_12", "class_13"), ("n01440764", "n01443537"), ("1_1", "11"), ("3", "-3"), ("v1", "v2")),
        *(
            ("grade A", "grade B"),
            ("vitamin b", "vitamin d"),
            ("sea house", "sea mouse"),
            ("C", "C++"),
            ("left", "right"),
        ),
        *(("rabbit", "rabbit hutch"), ("rabbit fox", "rabit foxx")),
    ],
)
def test_different_names(first: str, second: str) -> None:
    assert not alike(first, second)
    assert not alike(second, first)


def test_a_replaced_letter_in_a_short_word_counts_where_one_name_is_rare() -> None:
    assert not alike("zebra", "zebta", (5, 1))
    assert alike("zebra", "zebta", (10, 1))
    assert near_names({"zebta": 1, "zebra": 30}) == [("zebra", "zebta")]


def test_the_name_with_more_labels_comes_first_and_stands_for_its_spellings() -> None:
    counts = {"CAT": 9, "cat": 10, "Cat": 1, "cats": 3}
    assert near_names(counts) == [("cat", "CAT"), ("cat", "Cat"), ("cat", "cats")]


NAMES = st.text("abAB_ 1", min_size=1, max_size=7).map(str.strip).filter(bool)


@given(st.dictionaries(NAMES, st.integers(0, 40), min_size=2, max_size=8))
def test_the_same_pairs_are_found_as_by_comparing_all(counts: dict[str, int]) -> None:
    """Of several spellings one stands for all, so that pairs are compared as groups."""
    found = near_names(counts)
    assert all(counts[first] >= counts[second] for first, second in found if first.casefold() == second.casefold())
    joined = {name: {name} for name in counts}
    for first, second in found:
        merged = joined[first] | joined[second]
        for name in merged:
            joined[name] = merged
    for first in counts:
        for second in counts:
            if first != second and near_names({first: 1, second: 1}):
                assert second in joined[first]


@given(st.sampled_from(["rabbit", "golden retriever", "hippopotamus"]), st.data())
def test_any_slip_of_one_letter_is_found_among_many_names(name: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(name) - 1).filter(lambda i: name[i] != " "))
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    kind = data.draw(st.sampled_from(["missing", "added", "replaced"]))
    slip = name[:place] + {"missing": "", "added": letter + name[place], "replaced": letter}[kind] + name[place + 1 :]
    many = {f"{first}{second}{first}x{second}": 3 for first in "bcdfgk" for second in "aeiou"}
    met = near_names({**many, name: 5, slip: 5})
    assert met == ([] if slip == name else [(min(name, slip), max(name, slip))])


def test_ten_thousand_names_meet_few_others() -> None:
    """The number of comparisons, not the time, is bounded: every name but two shares no part with another."""
    counts = {f"{word} {number}": 1 for number in range(5_000) for word in ("kingfisher", "woodpecker")}
    assert near_names({**counts, "kingfishe 7": 1}) == [("kingfishe 7", "kingfisher 7")]


def test_the_nearest_spelling_of_names() -> None:
    assert nearest_spellings(["Cat", "rabit", "bird"], ["dog", "cat", "rabbit"]) == {"Cat": "cat", "rabit": "rabbit"}
    assert nearest_spellings(["cat"], ["cat", "Cat"]) == {}
    assert nearest_spellings(["bird"], []) == {}


def test_half_of_the_labels_in_capitals_is_told() -> None:
    names = [f"class {letter * 4}" for letter in string.ascii_lowercase[:10]]
    spelt = [*names, *(name.upper() for name in names)]
    labels = Labels.of({f"{row}": name for row, name in enumerate(spelt * 3)})
    (told,) = describe_spelling(labels)
    assert told.startswith(
        "some of the 20 class names differ by case, blanks or one letter only (labels of each): "
        "'CLASS AAAA' (3) and 'class aaaa' (3)"
    )
    assert "and 7 more pairs; where two mean the same, spell them alike" in told


def test_classes_without_labels_are_compared_too() -> None:
    labels = with_classes(Labels.of({"1": "cat", "2": "Dog"}), ["cat", "dog", "Dog"])
    (told,) = describe_spelling(labels)
    assert "'Dog' (1) and 'dog' (0)" in told


def test_names_that_read_like_a_missing_answer_are_told() -> None:
    assert describe_spelling(Labels.of({"1": "cat", "2": "None", "3": "None"})) == [
        "'None' is a class here (2 labels); where they stand for a missing answer, leave the cell empty"
    ]
    assert describe_spelling(Labels.of({"1": "cat", "2": "dog"})) == []
