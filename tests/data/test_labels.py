"""Label files, and fair splits of few labels."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activetune import ActivetuneError, Embeddings, Labels, Pool, UsageError, open_pool, read_labels, select
from activetune.data.ids import read_ids
from activetune.data.label_notes import describe_imbalance, describe_shortage
from activetune.data.labels import keep, labels_of, pool_labels, with_classes
from activetune.data.splits import carve_validation, stratified_folds


class NoImages:
    """Images that nobody may look at."""

    def read(self, index: int) -> bytes:
        raise AssertionError("labels are read without looking at images")

    def place(self, index: int) -> None:
        return None


POOL = Pool("toys", ["a/1.png", "a/2.png", "b/3.png", "4.png"], ["a", "a", "b", None], NoImages())


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def as_dict(labels: Labels) -> dict[str, str]:
    return dict(zip(labels.ids, labels.names, strict=True))


# Files ----------------------------------------------------------------------------------------------------------------


def test_csv(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "l.csv", "id,label\na/1.png,dog\nb/3.png,cat\n4.png,dog\n"), POOL)
    assert as_dict(labels) == {"a/1.png": "dog", "b/3.png": "cat", "4.png": "dog"}
    assert labels.classes == ["cat", "dog"]
    assert labels.indices.tolist() == [1, 0, 1]


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"label": ["dog", None, "cat"], "id": POOL.ids[:3]}), tmp_path / "l.parquet")
    assert as_dict(read_labels(tmp_path / "l.parquet", POOL)) == {"a/1.png": "dog", "b/3.png": "cat"}


def test_parquet_with_numbers_as_labels(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": POOL.ids[:2], "label": [0, 7]}), tmp_path / "l.parquet")
    assert as_dict(read_labels(tmp_path / "l.parquet", POOL)) == {"a/1.png": "0", "a/2.png": "7"}


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_byte_order_mark_spaces_and_line_ends(tmp_path: Path, newline: str) -> None:
    text = newline.join(["id , label", "a/1.png, dog ", "", "4.png,cat"])
    assert as_dict(read_labels(write(tmp_path / "l.csv", text, "utf-8-sig"), POOL)) == {
        "a/1.png": "dog",
        "4.png": "cat",
    }


def test_further_columns_are_left_alone(tmp_path: Path) -> None:
    text = 'rank,id,reason,label,who\n1,a/1.png,"far, away",dog,me\n2,4.png,x,cat,me\n'
    assert as_dict(read_labels(write(tmp_path / "l.csv", text), POOL)) == {"a/1.png": "dog", "4.png": "cat"}


def test_names_in_any_script(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "l.csv", "id,label\na/1.png,Größe\n4.png,犬\n"), POOL)
    assert labels.names == ["Größe", "犬"]


def test_empty_answers_are_skipped(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "l.csv", "id,label\na/1.png,\na/2.png,  \nb/3.png,cat\n"), POOL)
    assert as_dict(labels) == {"b/3.png": "cat"}


def test_no_answer_at_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no label: 2 rows, none of them answered"):
        read_labels(write(tmp_path / "l.csv", "id,label\na/1.png,\na/2.png,\n"), POOL)


def test_duplicates_that_agree_count_once(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "l.csv", "id,label\n4.png,cat\na/1.png,dog\n4.png,cat\n4.png,\n"), POOL)
    assert as_dict(labels) == {"4.png": "cat", "a/1.png": "dog"}


def test_contradiction(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"labels '4.png' twice, as 'cat' and as 'dog'; keep one"):
        read_labels(write(tmp_path / "l.csv", "id,label\n4.png,cat\n4.png,dog\n"), POOL)


def test_unknown_ids(tmp_path: Path) -> None:
    rows = "".join(f"c/{number}.png,dog\n" for number in range(5))
    with pytest.raises(UsageError, match=r"5 of 6 ids are not in the pool toys: 'c/0.png'.* and 2 more; ids are"):
        read_labels(write(tmp_path / "l.csv", f"id,label\n4.png,dog\n{rows}"), POOL)


def test_an_unknown_id_without_an_answer_is_still_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 of 2 ids are not in the pool"):
        read_labels(write(tmp_path / "l.csv", "id,label\n4.png,dog\nc/9.png,\n"), POOL)


def test_no_id_column(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no column 'id'; its columns are: path, label"):
        read_labels(write(tmp_path / "l.csv", "path,label\n4.png,dog\n"), POOL)


def test_empty_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no column 'id'; its columns are: none"):
        read_labels(write(tmp_path / "l.csv", ""), POOL)


def test_a_selection_takes_the_labels_of_the_pool(tmp_path: Path) -> None:
    path = write(tmp_path / "selection.csv", "id,rank,score,reason\nb/3.png,1,0.5,x\na/2.png,2,0.4,y\n4.png,3,0,z\n")
    assert as_dict(read_labels(path, POOL)) == {"b/3.png": "b", "a/2.png": "a"}


def test_a_selection_of_a_pool_without_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "selection.csv", "id,rank\nb/3.png,1\n")
    with pytest.raises(UsageError, match="has no column 'label', and the pool toys has no labels of its own"):
        read_labels(path, replace(POOL, labels=None))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("l.csv", b"id,label\n4.png\n", "line 2 has another number of fields"),
        ("l.csv", b"id,label\n4.png,\xff\xfe\n", "can't be read as CSV or Parquet"),
        ("l.parquet", b"PAR1 and no more", "can't be read as CSV or Parquet"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=sentence):
        read_labels(tmp_path / name, POOL)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_labels(tmp_path / "l.csv", POOL)


def test_read_ids_are_distinct_and_in_order(tmp_path: Path) -> None:
    path = write(tmp_path / "l.csv", "id\n4.png\na/1.png\n4.png\n")
    assert read_ids(path, POOL.position, what="the pool") == ["4.png", "a/1.png"]
    with pytest.raises(UsageError, match="1 of 2 ids are not in these embeddings"):
        read_ids(path, {"4.png"}, what="these embeddings")
    assert read_ids(iter(["./4.png", "a\\1.png", "4.png"]), POOL.position, what="the pool") == ["4.png", "a/1.png"]


def test_labels_of_the_digits_folder(digits: Path) -> None:
    pool = open_pool(digits)
    labels = pool_labels(pool)
    assert labels.classes == [str(digit) for digit in range(10)]
    assert all(item.startswith(f"{name}/") for item, name in as_dict(labels).items())


def test_labels_of_a_pool_skip_items_without_one() -> None:
    assert as_dict(pool_labels(POOL)) == {"a/1.png": "a", "a/2.png": "a", "b/3.png": "b"}
    with pytest.raises(UsageError, match="has no labels of its own"):
        pool_labels(replace(POOL, labels=[None] * 4))


def test_a_selection_without_labels_says_how_to_label_it(tmp_path: Path) -> None:
    pool = replace(POOL, labels=None)
    embeddings = Embeddings(list(pool.ids), np.eye(len(pool.ids), dtype=np.float32))
    select(embeddings, budget=2, out=tmp_path / "sel", quiet=True)
    says = f"label them with 'activetune label {tmp_path / 'sel'}', then give {tmp_path / 'sel/labels.csv'}"
    with pytest.raises(UsageError, match=re.escape(says)):
        read_labels(tmp_path / "sel/selection.csv", pool)


def test_keep_leaves_the_class_list() -> None:
    kept = keep(pool_labels(POOL), ["a/2.png", "4.png"])
    assert as_dict(kept) == {"a/2.png": "a"}
    assert kept.classes == ["a", "b"]


def test_shortage_names_classes_with_a_single_label() -> None:
    assert describe_shortage(pool_labels(POOL)) == [
        "1 class has a single label ('b'): used for training, never for validation"
    ]
    assert describe_shortage(Labels.of({"1": "a", "2": "a"})) == []


def test_shortage_names_classes_without_a_label() -> None:
    assert describe_shortage(with_classes(Labels.of({"1": "a", "2": "a"}), ["x", "a", "y"])) == [
        "2 classes have no label ('x', 'y'): in the model's outputs, but nothing teaches them"
    ]
    assert describe_shortage(with_classes(Labels.of({"1": "a", "2": "a"}), ["x", "a"])) == [
        "1 class has no label ('x'): in the model's outputs, but nothing teaches it"
    ]


def test_imbalance_is_told_from_twenty_to_one_on() -> None:
    def with_count(count: int) -> Labels:
        return Labels.of({"rare": "b", **{str(number): "a" for number in range(count)}})

    assert describe_imbalance(with_count(19)) == []
    (told,) = describe_imbalance(with_count(20))
    assert told.startswith("classes have from 1 label ('b') to 20 ('a')")


@pytest.mark.parametrize(("classes", "sentence"), [(["a", "b", "a"], "name 'a' twice"), (["b"], "the labels hold 'a'")])
def test_class_lists_that_do_not_fit_are_explained(classes: list[str], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        with_classes(Labels.of({"1": "a"}), classes)


# Splits ---------------------------------------------------------------------------------------------------------------

COUNTS = st.lists(st.integers(1, 20), min_size=1, max_size=7)  # labels of each class
INDICES = COUNTS.map(
    lambda counts: np.random.default_rng(sum(counts)).permutation(np.repeat(range(len(counts)), counts))
)


@given(INDICES, st.floats(0, 0.9), st.integers(0, 100))
def test_validation_is_stratified(indices: np.ndarray, share: float, seed: int) -> None:
    held = carve_validation(indices, share, np.random.default_rng(seed), least=1)
    assert held.tolist() == sorted(set(held.tolist()))
    assert held.dtype == np.int64
    classes, counts = np.unique(indices, return_counts=True)
    for number, count in zip(classes, counts, strict=True):
        taken = int((indices[held] == number).sum())
        assert taken == min(round(share * count), count - 1)


@given(INDICES, st.floats(0, 0.9), st.integers(0, 100))
def test_every_class_stays_in_training(indices: np.ndarray, share: float, seed: int) -> None:
    held = carve_validation(indices, share, np.random.default_rng(seed), least=1)
    assert set(np.delete(indices, held)) == set(indices)


@given(INDICES, st.integers(0, 100))
def test_validation_is_the_same_for_the_same_seed(indices: np.ndarray, seed: int) -> None:
    first, second = (carve_validation(indices, 0.3, np.random.default_rng(seed), least=1) for _ in range(2))
    assert first.tolist() == second.tolist()


def test_validation_depends_on_the_seed() -> None:
    indices = np.repeat(np.arange(4), 20)
    answers = {tuple(carve_validation(indices, 0.25, np.random.default_rng(seed), least=1)) for seed in range(5)}
    assert len(answers) > 1


@pytest.mark.parametrize(("shots", "held"), [(10, 0), (90, 0), (100, 200)])
def test_nothing_is_held_out_where_it_is_too_little_to_choose_by(shots: int, held: int) -> None:
    indices = np.tile(np.arange(10), shots)
    assert len(carve_validation(indices, 0.2, np.random.default_rng(0))) == held


@given(INDICES, st.integers(2, 6), st.integers(0, 100))
def test_no_class_leaves_training_in_any_fold(indices: np.ndarray, folds: int, seed: int) -> None:
    fold = stratified_folds(indices, folds, np.random.default_rng(seed))
    assert len(fold) == len(indices)
    for number in range(folds):
        assert set(indices[fold != number]) == set(indices)


@given(INDICES, st.integers(2, 6), st.integers(0, 100))
def test_single_items_are_in_no_fold_and_all_others_in_one(indices: np.ndarray, folds: int, seed: int) -> None:
    fold = stratified_folds(indices, folds, np.random.default_rng(seed))
    single = np.bincount(indices)[indices] == 1
    assert (fold[single] == -1).all()
    assert ((fold[~single] >= 0) & (fold[~single] < folds)).all()


@given(INDICES, st.integers(2, 6), st.integers(0, 100))
def test_single_items_are_dealt_too_where_that_is_asked_for(indices: np.ndarray, folds: int, seed: int) -> None:
    plain, dealt = (
        stratified_folds(indices, folds, np.random.default_rng(seed), alone_too=alone_too)
        for alone_too in (False, True)
    )
    assert (dealt[plain >= 0] == plain[plain >= 0]).all()
    sizes = np.bincount(dealt, minlength=folds)
    assert len(sizes) == folds and sizes.max() - sizes.min() <= 1


@given(INDICES, st.integers(2, 6), st.integers(0, 100))
def test_folds_are_balanced_and_stratified(indices: np.ndarray, folds: int, seed: int) -> None:
    fold = stratified_folds(indices, folds, np.random.default_rng(seed))
    for chosen in (fold >= 0, *((fold >= 0) & (indices == number) for number in range(8))):
        sizes = np.bincount(fold[chosen], minlength=folds)
        assert sizes.max() - sizes.min() <= 1


@given(INDICES, st.integers(0, 100))
def test_folds_are_the_same_for_the_same_seed(indices: np.ndarray, seed: int) -> None:
    first, second = (stratified_folds(indices, 3, np.random.default_rng(seed)) for _ in range(2))
    assert first.tolist() == second.tolist()


# Ids that are nearly right --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ("photos/a/1.png", "remove 'photos/' in front, so that 'photos/a/1.png' becomes 'a/1.png'"),
        ("/data/photos/a/1.png", "remove '/data/photos/' in front"),
        ("photos\\a\\1.png", "did you mean 'a/1.png' for"),
        ("A/1.PNG", "did you mean 'a/1.png' for"),
        ("a/1", "did you mean 'a/1.png' for"),
        ("a/1.jpg", "did you mean 'a/1.png' for"),
        ("1.png", "did you mean 'a/1.png' for"),
        ("9.png", "ids are the paths relative to the pool's root, as in items.parquet and selection.csv, for instance"),
        ("", "an id is empty: give one, or remove the row"),
        ("a/1.png\nx", "an id holds a line break, perhaps because a quotation mark is missing"),
    ],
)
def test_ids_that_are_nearly_right_say_what_was_meant(tmp_path: Path, item: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        labels_of({item: "cat"}, POOL)
    assert told in str(error.value)
    with pytest.raises(UsageError) as error:
        read_labels(write(tmp_path / "l.csv", f'label,id\ncat,"{item}"\n'), POOL)
    assert told in str(error.value)


def test_ids_of_images_that_are_gone_are_removed_or_their_pool_is_given() -> None:
    many = replace(POOL, ids=[f"a/{number}.png" for number in range(4)])
    known = {"a/0.png": "cat", "a/1.png": "dog"}
    for labels, told in (
        (known | {"b/9.png": "cat"}, "for instance 'a/0.png': remove those of images that are gone, and correct the"),
        (known | {"b/3.png": "cat"}, "did you mean 'a/3.png' for 'b/3.png'? If the image is gone, remove its id"),
        ({"b/8.png": "cat", "b/9.png": "cat"}, "for instance 'a/0.png': correct them, or give the pool that they come"),
    ):
        with pytest.raises(UsageError) as error:
            labels_of(labels, many)
        assert told in str(error.value)


def test_an_id_that_could_be_several_is_not_guessed() -> None:
    pool = replace(POOL, ids=["a/1.png", "b/1.png", "c.png", "d.png"])
    with pytest.raises(UsageError, match="ids are the paths relative to the pool's root"):
        labels_of({"1.png": "cat"}, pool)


def test_a_file_without_a_header_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no line of column names: its first line is a row \('a/1.png', 'dog'\)"):
        read_labels(write(tmp_path / "l.csv", "a/1.png,dog\n4.png,cat\n"), POOL)


# Answers of any kind --------------------------------------------------------------------------------------------------


def test_labels_hold_answers_of_any_one_kind() -> None:
    boxes = Labels(["1", "2", "3"], [("box", 1), ("box", 2), ("box", 3)], ["cat"])
    assert keep(boxes, ["3", "1"]).answers == [("box", 1), ("box", 3)]
    assert len(boxes) == 3
    for read in (lambda: boxes.names, lambda: boxes.indices):
        with pytest.raises(ActivetuneError, match="these answers are no class names: each is a tuple"):
            read()


@pytest.mark.parametrize(
    ("ids", "answers", "told"),
    [
        (["1", "2"], ["cat"], "2 ids, but 1 answers"),
        (["1", "1"], ["cat", "dog"], "ids must be distinct; repeated: '1'"),
        (["1", "2"], ["cat", ("dog",)], r"the answers are of several kinds \(str, tuple\)"),
    ],
)
def test_labels_that_do_not_fit_together(ids: list[str], answers: list[object], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        Labels(ids, answers, ["cat", "dog"])


def test_splits_take_any_strata() -> None:
    """Items that nothing tells apart are one group, and groups need not be numbered from 0."""
    alone = np.zeros(50, dtype=np.int64)
    assert len(carve_validation(alone, 0.2, np.random.default_rng(0), least=1)) == 10
    assert np.bincount(stratified_folds(alone, 5, np.random.default_rng(0))).tolist() == [10] * 5
    for groups in (np.array([7, 7, -3, -3]), np.array([10**12, 5, 5, 10**12])):
        fold = stratified_folds(groups, 2, np.random.default_rng(0))
        assert sorted(zip(groups.tolist(), fold.tolist(), strict=True)) == sorted(
            (g, f) for g in set(groups.tolist()) for f in (0, 1)
        )
