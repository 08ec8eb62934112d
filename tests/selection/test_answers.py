"""What a label is: the same answers through every door, and a sentence for what is none."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from activetune import Embeddings, Labels, Pool, UsageError, open_pool
from activetune.base.tables import Untyped
from activetune.data.answers import as_numbers, class_name, class_names
from activetune.data.labels import labels_of, pool_labels, with_classes
from activetune.features.artefact import load_embeddings, save_embeddings
from activetune.selection.constraints import read_limits
from activetune.selection.select import select


class NAType:
    """As pandas' missing value: neither equal to anything nor true or false."""

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")

    def __repr__(self) -> str:
        return "<NA>"

    __hash__ = object.__hash__


NAN = float("nan")
MISSING = [None, NAN, np.float32(NAN), np.float64(NAN), np.array(NAN), Decimal("NaN"), NAType(), np.datetime64("NaT")]
BLANK = ["", "  ", "\t", b"", np.str_(" ")]


@pytest.mark.parametrize("value", [*MISSING, *BLANK], ids=repr)
def test_missing_labels_are_not_answered(value: object) -> None:
    assert class_name(value) is None
    assert Labels.of({"a": value, "b": "cat"}).ids == ["b"]


@pytest.mark.parametrize(
    ("value", "name"),
    [
        *((value, "3") for value in (3, 3.0, "3", " 3 ", b"3", np.int8(3), np.uint64(3), np.float16(3))),
        *((value, "3") for value in (Decimal("3.0"), Fraction(3), np.array(3), torch.tensor(3), torch.tensor(3.0))),
        *((value, "0") for value in (0, -0.0, np.float32(0))),
        *((value, "0.1") for value in (0.1, "0.1", np.float32(0.1), np.float16(0.1), np.float64(0.1))),
        *((value, "-1") for value in (-1, -1.0, "-1")),
        *((value, "True") for value in (True, np.bool_(True), "True")),
        *((value, "café") for value in ("cafe\u0301", "caf\u00e9", "cafe\u0301 ".encode(), np.str_("caf\u00e9"))),
        *((value, value) for value in ("None", "none", "03.0", "1e3", "v3.0", "3.0.0", "nan bread", "a  b", "NA")),
        *((value, value) for value in ("3.0", "3.", "-0.0", "nan", "NaN", "<NA>", np.str_("2.0"))),
        (10**30, str(10**30)),
        (1e22, "1e+22"),
        (1e15, "1000000000000000"),
    ],
    ids=repr,
)
def test_labels_have_one_name_whatever_their_type(value: object, name: str) -> None:
    assert class_name(value) == name


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["cat", "dog"], r"a list of 2 values \(\['cat', 'dog'\]\)"),
        (("cat",), "a tuple of 1 values"),
        (np.array([0, 1, 0]), r"an array of shape \(3,\)"),
        (torch.tensor([0.0, 1.0]), r"an array of shape \(2,\)"),
        ({"name": "cat"}, "a dict"),
        ({"cat"}, "a set"),
        (np.datetime64("2020-01-01"), "a value of the type datetime64"),
        (object, "a value of the type type"),
        (1j, "a value of the type complex"),
    ],
    ids=repr,
)
def test_several_labels_are_a_sentence(value: object, told: str) -> None:
    message = rf"the given labels: the label of '1' is {told}.*; there is one label an image"
    with pytest.raises(UsageError, match=message):
        Labels.of({"0": "cat", "1": value})


@pytest.mark.parametrize("value", [math.inf, -math.inf, 10**300, np.float32(math.inf), b"\xff", "\ud800"], ids=repr)
def test_what_has_no_name_is_a_sentence(value: object) -> None:
    with pytest.raises(UsageError, match=r"the label of 'b'.*there is one label an image"):
        class_names(["cat", value], "l.csv", ["a", "b"])


@pytest.mark.parametrize("given_labels", ["cat", {"0": "a", "1": "b"}, {"a"}, b"ab", np.array("cat")], ids=repr)
def test_labels_that_are_no_sequence_are_a_sentence(given_labels: Any) -> None:
    with pytest.raises(UsageError, match="must be a sequence in the order of the items"):
        class_names(given_labels, "the labels")


def test_positions_in_a_list_of_names() -> None:
    values = [1, 0.0, -1, None, NAN, "cat", np.int64(1)]
    assert class_names(values, "x", names=["cat", "dog"]) == ["dog", "cat", None, None, None, "cat", "dog"]
    for wrong in (2, -2, 0.5):
        with pytest.raises(UsageError, match=r"the label of row 1 is .*, but there are 2 class names, counted from 0"):
            class_names([wrong], "x", names=["cat", "dog"])


def test_lists_of_classes_are_read_as_labels_are() -> None:
    labels = Labels.of({"a": 3, "b": "cat"})
    assert with_classes(labels, ["dog ", 3.0, "cat"]).classes == ["dog", "3", "cat"]
    with pytest.raises(UsageError, match="a class in the list has no name"):
        with_classes(labels, ["3", "cat", ""])


# Every door ---------------------------------------------------------------------------------------------------------


class NoImages:
    """Images that nobody may look at."""

    def read(self, index: int) -> bytes:
        raise AssertionError("labels are read without looking at images")

    def place(self, index: int) -> None:
        return None


Cells = list[Any]
Door = Callable[[Path, Cells], list[str | None]]
FEATURES = np.eye(64, dtype=np.float32)


def names_of(count: int) -> list[str]:
    return [f"{row}.png" for row in range(count)]


def unlabelled(count: int) -> Pool:
    return Pool("toys", names_of(count), None, NoImages())


def aligned(labels: Labels, count: int) -> list[str | None]:
    known = dict(zip(labels.ids, labels.names, strict=True))
    return [known.get(item) for item in names_of(count)]


def column(cells: Cells) -> pa.Array:
    """A Parquet column as pandas writes one: text stays, numbers with missing values are floats."""
    if all(isinstance(cell, str) or cell is None for cell in cells):
        return pa.array(cells, pa.string())
    return pa.array([None if cell == "" else cell for cell in cells], pa.float64())


def through_a_mapping(folder: Path, cells: Cells) -> list[str | None]:
    return aligned(labels_of(dict(zip(names_of(len(cells)), cells, strict=True)), unlabelled(len(cells))), len(cells))


def through_a_csv(folder: Path, cells: Cells) -> list[str | None]:
    with (folder / "l.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL)
        rows.writerow(["id", "label"])
        rows.writerows(zip(names_of(len(cells)), cells, strict=True))
    return aligned(labels_of(folder / "l.csv", unlabelled(len(cells))), len(cells))


def through_json_lines(folder: Path, cells: Cells) -> list[str | None]:
    rows = [{"id": item, "label": cell} for item, cell in zip(names_of(len(cells)), cells, strict=True)]
    (folder / "l.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return aligned(labels_of(folder / "l.jsonl", unlabelled(len(cells))), len(cells))


def through_parquet(folder: Path, cells: Cells) -> list[str | None]:
    pq.write_table(pa.table({"id": names_of(len(cells)), "label": column(cells)}), folder / "l.parquet")
    return aligned(labels_of(folder / "l.parquet", unlabelled(len(cells))), len(cells))


def through_a_csv_manifest(folder: Path, cells: Cells) -> list[str | None]:
    (folder / names_of(1)[0]).touch()
    with (folder / "m.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, quoting=csv.QUOTE_ALL)
        rows.writerow(["path", "label"])
        rows.writerows(zip(names_of(len(cells)), cells, strict=True))
    return aligned(pool_labels(open_pool(folder / "m.csv")), len(cells))


def through_a_parquet_manifest(folder: Path, cells: Cells) -> list[str | None]:
    (folder / names_of(1)[0]).touch()
    pq.write_table(pa.table({"path": names_of(len(cells)), "label": column(cells)}), folder / "m.parquet")
    return aligned(pool_labels(open_pool(folder / "m.parquet")), len(cells))


def through_hugging_face(folder: Path, cells: Cells) -> list[str | None]:
    images = [{"bytes": b"", "path": item} for item in names_of(len(cells))]
    pq.write_table(pa.table({"image": images, "label": column(cells)}), folder / "hf.parquet")
    return aligned(pool_labels(open_pool(folder / "hf.parquet")), len(cells))


def through_from_numpy(folder: Path, cells: Cells) -> list[str | None]:
    return list(Embeddings.from_numpy(FEATURES[: len(cells)], names_of(len(cells)), cells).labels or [])


def through_an_npz(folder: Path, cells: Cells) -> list[str | None]:
    numbers = all(isinstance(cell, int | float) for cell in cells)
    labels = np.asarray(cells) if numbers else np.asarray(["" if cell is None else cell for cell in cells], dtype=str)
    np.savez(folder / "f.npz", features=FEATURES[: len(cells)], ids=names_of(len(cells)), labels=labels)
    return list(load_embeddings(folder / "f.npz").labels or [])


def through_saved_embeddings(folder: Path, cells: Cells) -> list[str | None]:
    embeddings = Embeddings(names_of(len(cells)), FEATURES[: len(cells)], cells)
    return list(save_embeddings(embeddings, folder / "emb").labels or [])


def through_a_pool(folder: Path, cells: Cells) -> list[str | None]:
    return aligned(labels_of(None, Pool("toys", names_of(len(cells)), cells, NoImages())), len(cells))


def through_labelled(folder: Path, cells: Cells) -> list[str | None]:
    embeddings = Embeddings.from_numpy(FEATURES, names_of(len(FEATURES)))
    limits = read_limits(embeddings, dict(zip(names_of(len(cells)), cells, strict=True)), None, None)
    assert limits.answers_L is not None
    answers = [None if index < 0 else limits.classes[index] for index in limits.answers_L]
    return [answers[limits.labelled.tolist().index(row)] for row in range(len(cells))]


DOORS = [value for name, value in sorted(globals().items()) if name.startswith("through_")]

TEXTS = st.one_of(
    st.none(),
    st.sampled_from(["", " ", "nan", "NaN", "cat", " dog ", "3.0", "cafe\u0301", "-1", "=1+1", 'a"b', "a,b;c", "<NA>"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
)
WHOLE = st.integers(-(2**40), 2**40)
NUMBERS = st.one_of(WHOLE, WHOLE.map(float), st.just(NAN), st.floats(allow_infinity=False, width=32))
ANSWERED = st.lists(st.one_of(TEXTS), min_size=1, max_size=12) | st.lists(NUMBERS, min_size=1, max_size=12)


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cells=ANSWERED)
def test_every_door_gives_the_same_answers(door: Door, cells: Cells, tmp_path: Path) -> None:
    in_csv = door in (through_a_csv, through_a_csv_manifest)
    read = as_numbers(Untyped("" if cell is None else str(cell) for cell in cells)).cells if in_csv else cells
    expected = [class_name(cell) for cell in read]
    if any(expected):
        assert door(tmp_path, cells) == expected


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
def test_whole_floats_are_whole_numbers_at_every_door(door: Door, tmp_path: Path) -> None:
    assert door(tmp_path, [3.0, NAN, 0.0, 12]) == ["3", None, "0", "12"]


def test_float_columns_of_any_width_give_the_same_names(tmp_path: Path) -> None:
    for kind in (pa.float16(), pa.float32(), pa.float64()):
        values = pa.array(np.asarray([0.1, 3.0, np.nan]), pa.float64()).cast(kind, safe=False)
        pq.write_table(
            pa.table({"id": names_of(4), "label": pa.concat_arrays([values, pa.nulls(1, kind)])}),
            tmp_path / "l.parquet",
        )
        assert aligned(labels_of(tmp_path / "l.parquet", unlabelled(4)), 4) == ["0.1", "3", None, None]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([["cat"], ["dog", "cat"]]),
        pa.array([[0, 1], [1, 0]], pa.list_(pa.int8(), 2)),
        pa.array([{"name": "cat"}, {"name": "dog"}]),
        pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64())),
        pa.array([0, 1], pa.timestamp("ns")),
    ],
    ids=lambda values: str(values.type),
)
def test_columns_that_hold_no_single_label_are_a_sentence(values: pa.Array, tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": names_of(2), "path": names_of(2), "label": values}), tmp_path / "l.parquet")
    for read in (lambda: labels_of(tmp_path / "l.parquet", unlabelled(2)), lambda: open_pool(tmp_path / "l.parquet")):
        with pytest.raises(UsageError, match="one label an image"):
            read()


def test_one_hot_rows_are_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the label of '0' is an array of shape \(3,\)"):
        Embeddings.from_numpy(FEATURES[:3], labels=np.eye(3))
    np.savez(tmp_path / "f.npz", features=FEATURES[:3], labels=np.eye(3))
    with pytest.raises(UsageError, match="there is one label an image"):
        load_embeddings(tmp_path / "f.npz")


def test_labels_that_are_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", features=FEATURES[:2], labels=np.array(["cat", None], dtype=object))
    with pytest.raises(UsageError, match="labels are Python objects, which are never unpickled; save them as text"):
        load_embeddings(tmp_path / "f.npz")


def test_nothing_answered_is_said_at_every_door(tmp_path: Path) -> None:
    pool = unlabelled(2)
    with pytest.raises(UsageError, match="none of the 2 given labels is answered"):
        labels_of({"0.png": None, "1.png": NAN}, pool)
    with pytest.raises(UsageError, match="no label was given"):
        labels_of({}, pool)
    with pytest.raises(UsageError, match="the pool toys has no labels of its own"):
        labels_of(None, Pool("toys", pool.ids, [None, NAN], NoImages()))  # type: ignore[list-item]


def test_balancing_by_labels_passes_over_what_is_missing() -> None:
    labels = ["cat", NAN, "cat", None, "dog", NAN, "dog", ""]
    embeddings = Embeddings.from_numpy(FEATURES[:8], labels=labels)
    assert embeddings.labels == ["cat", None, "cat", None, "dog", None, "dog", None]
    assert select(embeddings, budget="1/class", method="random").manifest["figures"]["classes_known"] == 2
