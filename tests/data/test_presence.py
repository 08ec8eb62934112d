"""Classes that an image shows, and budgets that count an image for each of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from activetune import Embeddings, Labels, UsageError, embed, load_selection, select
from activetune.cli import run
from activetune.data.kinds import VOID, ArrayMask, Boxes, Names, Sentences
from activetune.data.presence import Presence, classes_present
from activetune.selection.selectors import selectors

CLASSES = ["ant", "bee", "cat", "dog"]


def mask(*rows: Sequence[int]) -> ArrayMask:
    return ArrayMask(np.asarray(rows, dtype=np.int32))


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ("cat", (2,)),
        (Names.of(["dog", "ant"]), (0, 3)),
        (Names(), ()),
        (Boxes.of([[0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 9, 9]], ["dog", "bee", "dog"]), (1, 3)),
        (Boxes.of([], []), ()),
        (Boxes.of([[0, 0, 2, 2], [1, 1, 3, 3]], ["dog", "bee"], [True, False]), (1,)),
        (mask([3, 3, VOID], [1, VOID, 1]), (1, 3)),
        (mask([VOID, VOID]), ()),
    ],
)
def test_classes_present_of_every_kind(answer: Any, shown: tuple[int, ...]) -> None:
    assert classes_present(answer, CLASSES) == shown


def test_answers_without_classes_are_sentences() -> None:
    with pytest.raises(UsageError, match="sentences name no class"):
        classes_present(Sentences(("a dog",)), CLASSES)
    with pytest.raises(UsageError, match="'eel', which is none of the 4 classes"):
        classes_present(Names.of(["eel"]), CLASSES)


def test_presence_joins_by_id_and_what_is_not_answered_shows_nothing() -> None:
    labels = Labels(["c", "a", "elsewhere"], [Names.of(["dog"]), Names.of(["ant", "dog"]), Names.of(["bee"])], CLASSES)
    presence = Presence.of(labels, ["a", "b", "c"])
    assert presence.shown_NC.tolist() == [[True, False, False, True], [False] * 4, [False, False, False, True]]
    assert presence.counts(np.array([0, 1, 2])).tolist() == [1, 0, 0, 2]
    some = presence.among(np.array([0, 1, 2]))
    assert list(some.names) == ["ant", "dog"]
    assert some.fingerprint != presence.fingerprint


# Budgets --------------------------------------------------------------------------------------------------------------


def pool_of(shown: Sequence[Sequence[str]], dimensions: int = 6) -> tuple[Embeddings, Labels]:
    """Random features of items that show these classes."""
    rng = np.random.default_rng(0)
    ids = [f"{row:03d}" for row in range(len(shown))]
    found = Embeddings.from_numpy(rng.normal(size=(len(shown), dimensions)).astype(np.float32), ids)
    return found, Labels(ids, [Names.of(names) for names in shown], CLASSES)


def counts_of(ids: Sequence[str], labels: Labels) -> dict[str, int]:
    answers = dict(zip(labels.ids, labels.answers, strict=True))
    return {name: sum(name in answers[item].names for item in ids) for name in labels.classes}


def scenes(count: int, seed: int = 0) -> list[list[str]]:
    """Streets: most show a cat, fewer a dog, few a bee, an ant is rare; some show nothing."""
    rng = np.random.default_rng(seed)
    return [
        [name for name, share in zip(CLASSES, (0.05, 0.15, 0.8, 0.5), strict=True) if rng.random() < share]
        for _ in range(count)
    ]


@pytest.mark.parametrize("method", ["random", "k_means", "max_herding", "activeft", "every_nth"])
def test_per_class_shows_each_class_as_often_as_promised(method: str) -> None:
    embeddings, labels = pool_of(scenes(120))
    selection = select(embeddings, budget="3/class", method=method, labels=labels)
    got = counts_of(selection.ids, labels)
    assert min(got.values()) >= 3
    assert len(set(selection.ids)) == len(selection) <= 12
    assert len(selection) < 12  # a rare class's images show frequent ones too
    assert got["ant"] == 3
    assert selection.manifest["balance"]["ant"] == {
        "asked": 3,
        "k": 3,
        "available": counts_of(embeddings.ids, labels)["ant"],
    }
    assert (selection.manifest["asked"], selection.manifest["k"]) == (None, len(selection))
    assert selection.manifest["figures"]["classes_met"] == selection.manifest["figures"]["classes_known"] == 4


def test_the_rarest_class_is_taken_first() -> None:
    embeddings, labels = pool_of([["cat"]] * 9 + [["cat", "ant"]] * 2 + [["bee"]] * 3)
    selection = select(embeddings, budget="2/class", method="k_center", labels=labels)
    assert set(selection.ids[:2]) == {"009", "010"}  # both ants, which are cats enough
    assert set(selection.ids[2:]) <= {"011", "012", "013"}
    assert len(selection) == 4


@settings(deadline=None, max_examples=30)
@given(st.lists(st.sets(st.sampled_from(CLASSES), max_size=3), min_size=4, max_size=30), st.integers(1, 3))
def test_per_class_is_kept_for_any_pool(shown: list[set[str]], each: int) -> None:
    embeddings, labels = pool_of([sorted(names) for names in shown])
    available = {name: count for name, count in counts_of(embeddings.ids, labels).items() if count}
    if not available or min(available.values()) < each:
        with pytest.raises(UsageError, match=r"is over what class|is known to show a class"):
            select(embeddings, budget=f"{each}/class", method="random", labels=labels)
        return
    selection = select(embeddings, budget=f"{each}/class", method="random", labels=labels)
    got = counts_of(selection.ids, labels)
    assert all(got[name] >= each for name in available)
    assert len(selection) <= each * len(available)
    before = counts_of(selection.ids[:-1], labels)
    assert any(before[name] < each for name in available)  # the last pick was needed


@pytest.mark.parametrize("method", ["random", "k_means", "k_center"])
@pytest.mark.parametrize("budget", [4, 17, 60])
def test_balance_takes_exactly_the_budget_and_lifts_what_is_shown_least(method: str, budget: int) -> None:
    embeddings, labels = pool_of(scenes(150))
    even = select(embeddings, budget=budget, method=method, balance="label", labels=labels)
    plain = select(embeddings, budget=budget, method=method)
    assert len(set(even.ids)) == len(even) == budget
    got, without = counts_of(even.ids, labels), counts_of(plain.ids, labels)
    available = counts_of(embeddings.ids, labels)
    assert got["ant"] >= min(available["ant"], max(1, budget // 4))
    assert min(got.values()) >= min(without.values())
    assert got["bee"] >= without["bee"]
    assert all(answer.names for item, answer in zip(labels.ids, labels.answers, strict=True) if item in even.ids)


def test_answers_of_one_class_each_are_as_the_embeddings_own() -> None:
    rng = np.random.default_rng(1)
    names = [CLASSES[number] for number in rng.integers(4, size=60)]
    rows = rng.normal(size=(60, 5)).astype(np.float32)
    own, bare = Embeddings.from_numpy(rows, labels=names), Embeddings.from_numpy(rows)
    labels = Labels.of(dict(zip(bare.ids, names, strict=True)))
    for given_ in ({"budget": "2/class"}, {"budget": 9, "balance": "label"}):
        expected = select(own, method="k_means", **given_)  # type: ignore[arg-type]
        found = select(bare, method="k_means", labels=labels, **given_)  # type: ignore[arg-type]
        assert found.ids == expected.ids
        assert found.manifest["balance_values"] == expected.manifest["balance_values"]


def test_images_that_show_a_single_class_each_get_the_same_shares_as_by_name() -> None:
    shown = [[CLASSES[number]] for number in np.random.default_rng(1).integers(4, size=60)]
    embeddings, labels = pool_of(shown)
    assert counts_of(select(embeddings, budget="2/class", labels=labels).ids, labels) == dict.fromkeys(CLASSES, 2)
    got = counts_of(select(embeddings, budget=10, balance="label", labels=labels).ids, labels)
    assert sorted(got.values()) == [2, 2, 3, 3]


def test_labelled_excluded_and_distant_items_are_heeded() -> None:
    embeddings, labels = pool_of(scenes(120))
    labelled, excluded = embeddings.ids[:20], embeddings.ids[20:40]
    picked = select(embeddings, budget="1/class", method="k_means", labels=labels, labelled=labelled, exclude=excluded)
    assert not set(picked.ids) & {*labelled, *excluded}
    assert min(counts_of(picked.ids, labels).values()) >= 1
    apart = select(embeddings, budget="6/class", method="random", labels=labels, min_distance=1.2)
    rows = embeddings.features_ND / np.linalg.norm(embeddings.features_ND, axis=1, keepdims=True)
    chosen = rows[[embeddings.position[item] for item in apart.ids]]
    distance = np.linalg.norm(chosen[:, None] - chosen[None], axis=2) + 9 * np.eye(len(chosen))
    assert distance.min() >= 1.2 - 1e-6
    short = [name for name, count in counts_of(apart.ids, labels).items() if count < 6]
    assert short and all(repr(name) in apart.manifest["shortfall"] for name in short[:3])


def test_what_is_impossible_is_a_sentence() -> None:
    embeddings, labels = pool_of([["cat"]] * 5 + [["ant", "cat"]] + [[]] * 4)
    with pytest.raises(UsageError, match="the budget 2/class is over what class 'ant' has: 1 items"):
        select(embeddings, budget="2/class", labels=labels)
    with pytest.raises(UsageError, match="the budget 7 is over what can be balanced: 6 of the 10 items"):
        select(embeddings, budget=7, balance="label", labels=labels)
    nothing = Labels(list(embeddings.ids), [Names()] * 10, CLASSES)
    with pytest.raises(UsageError, match="none of the items is known to show a class"):
        select(embeddings, budget="1/class", labels=nothing)
    with pytest.raises(UsageError, match="none of the 1 labels is of an item of these embeddings"):
        select(embeddings, budget="1/class", labels=Labels(["x"], [Names()], CLASSES))


def test_the_answers_are_part_of_what_resume_recognises(tmp_path: Path) -> None:
    embeddings, labels = pool_of(scenes(80))
    others = Labels(labels.ids, list(reversed(labels.answers)), labels.classes)
    first = select(embeddings, budget="1/class", labels=labels, out=tmp_path / "sel")
    assert select(embeddings, budget="1/class", labels=labels, out=tmp_path / "sel", resume=True).ids == first.ids
    with pytest.raises(UsageError, match="not empty"):
        select(embeddings, budget="1/class", labels=others, out=tmp_path / "sel", resume=True)


def test_masks_and_boxes_count_too() -> None:
    embeddings, names = pool_of(scenes(60))
    index = {name: number for number, name in enumerate(CLASSES)}
    answers = {
        "masks": [mask([index[name] for name in answer.names] or [VOID]) for answer in names.answers],
        "boxes": [Boxes.of([[0, 0, 4, 4]] * len(answer.names), answer.names) for answer in names.answers],
    }
    expected = select(embeddings, budget="2/class", method="k_means", labels=names).ids
    for found in answers.values():
        assert (
            select(embeddings, budget="2/class", method="k_means", labels=Labels(names.ids, found, CLASSES)).ids
            == expected
        )


def test_on_the_command_line_labels_are_read_by_their_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pool").mkdir()
    for number in range(12):
        pixels = rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pool" / f"{number:02d}.png")
    rows = [f"{number:02d}.png,{'ab'[number % 2]}" for number in range(12)]
    (tmp_path / "labels.csv").write_text("\n".join(["id,label", *rows]))
    embed(tmp_path / "pool", out=tmp_path / "emb", use_cache=False, quiet=True)
    line = ["select", str(tmp_path / "emb"), "--budget", "2/class", "--method", "k_means", "--quiet"]
    assert run([*line, "--labels", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "sel")]) == 0
    assert sorted(int(item[:2]) % 2 for item in load_selection(tmp_path / "sel").ids) == [0, 0, 1, 1]
    np.savez(tmp_path / "made.npz", features=rng.normal(size=(12, 4)), ids=[row[:6] for row in rows])
    line[1] = str(tmp_path / "made.npz")
    assert run([*line, "--labels", str(tmp_path / "labels.csv"), "--out", str(tmp_path / "elsewhere")]) == 0
    assert sorted(int(item[:2]) % 2 for item in load_selection(tmp_path / "elsewhere").ids) == [0, 0, 1, 1]
    assert run([*line, "--task", "classification", "--out", str(tmp_path / "x")]) == 2
    assert "--task classification says what --labels answer" in capsys.readouterr().err


def test_every_method_that_reads_features_can_be_asked_per_class_shown() -> None:
    embeddings, labels = pool_of(scenes(60))
    for name, cls in selectors().items():
        if cls.needs <= {"features_ND"}:
            selection = select(embeddings, budget="1/class", method=name, labels=labels)
            assert min(counts_of(selection.ids, labels).values()) >= 1, name


def test_masks_and_repeated_rows_are_read_on_the_command_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    shown = {f"{number:02d}.png": [number % 3] + [2] * (number % 2) for number in range(12)}
    for name, classes in shown.items():
        for folder in ("pool", "masks"):
            (tmp_path / folder).mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(tmp_path / "pool" / name)
        pixels = np.zeros((24, 24), dtype=np.uint8) + classes[0]
        pixels[:9] = classes[-1]
        Image.fromarray(pixels).save(tmp_path / "masks" / name)
    (tmp_path / "masks" / "classes.txt").write_text("ant\nbee\ncat\n")
    names = [f"{name},{'abc'[number]}" for name, classes in shown.items() for number in classes]
    (tmp_path / "names.csv").write_text("\n".join(["id,label", *names]))
    embed(tmp_path / "pool", out=tmp_path / "emb", use_cache=False, quiet=True)
    picked = []
    for task, labels in (("segmentation", "masks"), ("multilabel", "names.csv")):
        line = ["select", str(tmp_path / "emb"), "--budget", "3/class", "--method", "k_center", "--quiet"]
        given_ = ["--labels", str(tmp_path / labels), "--task", task, "--out", str(tmp_path / task)]
        assert run([*line, *given_]) == 0
        ids = load_selection(tmp_path / task).ids
        counts = [sum(number in shown[item] for item in ids) for number in range(3)]
        assert min(counts) >= 3
        assert len(ids) < 9
        picked.append(ids)
    assert picked[0] == picked[1]


def test_answers_may_be_a_file_or_a_mapping_and_their_task_is_named(tmp_path: Path) -> None:
    ids = [f"{number}.png" for number in range(12)]
    embeddings = Embeddings(ids, np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32))
    names = {item: Names.of(["cat", "dog"][: 1 + number % 2]) for number, item in enumerate(ids)}
    (tmp_path / "names.csv").write_text(
        "id,labels\n" + "".join(f"{item},{';'.join(answer.names)}\n" for item, answer in names.items()),
        encoding="utf-8",
    )
    asked: dict[str, Any] = {"budget": "2/class", "method": "k_center", "task": "multilabel", "quiet": True}
    expected = select(embeddings, labels=Labels(ids, list(names.values()), ["cat", "dog"]), **asked)
    for given_labels in (names, tmp_path / "names.csv"):
        assert list(select(embeddings, labels=given_labels, **asked).ids) == list(expected.ids)
    with pytest.raises(UsageError, match="multilabel says what the labels answer, and there are none"):
        select(embeddings, **asked)
