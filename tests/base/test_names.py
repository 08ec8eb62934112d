"""Names that look the same are the same item, at every door; they are written as they were found."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from activetune import Embeddings, UsageError, open_pool
from activetune.base.names import as_known, comparable
from activetune.cli import run
from activetune.data.ids import read_ids
from activetune.data.labels import labels_of
from activetune.selection.constraints import read_limits, read_losses

COMPOSED, DECOMPOSED = "caf\u00e9/1.png", "cafe\u0301 /1.png"


def write_csv(path: Path, *rows: tuple[object, ...]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


def write_images(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name, "PNG")
    return folder


@pytest.mark.parametrize("name", [COMPOSED, DECOMPOSED, "caf\u00e9\\1.png", "./cafe\u0301/1.png", " caf\u00e9/ 1.png"])
def test_all_spellings_of_a_path_are_compared_as_one(name: str) -> None:
    assert comparable(name) == COMPOSED


@given(st.text(max_size=12))
def test_comparing_twice_changes_nothing(name: str) -> None:
    assert comparable(comparable(name)) == comparable(name)


@given(st.lists(st.text(max_size=4), unique=True, max_size=8))
def test_known_names_stay_as_they_are(names: list[str]) -> None:
    assert as_known(names, set(names)) == names


def test_a_name_that_two_items_share_is_neither() -> None:
    known = [COMPOSED, DECOMPOSED]
    assert as_known([COMPOSED, "cafe\u0301/1.png"], known) == [COMPOSED, "cafe\u0301/1.png"]


@pytest.mark.parametrize(("found", "written"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_labels_find_their_images_in_any_spelling(tmp_path: Path, found: str, written: str) -> None:
    pool = open_pool(write_images(tmp_path / "pool", found, "dog/2.png"), quiet=True)
    file = write_csv(tmp_path / "l.csv", ("id", "label"), (written, "cat"), ("dog\\2.png", "dog"))
    for given_labels in (file, {written: "cat", "dog\\2.png": "dog"}):
        labels = labels_of(given_labels, pool)
        assert dict(zip(labels.ids, labels.names, strict=True)) == {found: "cat", "dog/2.png": "dog"}
    assert read_ids(file, pool.position, what="the pool") == [found, "dog/2.png"]


def test_two_spellings_of_one_item_with_two_labels_are_a_sentence(tmp_path: Path) -> None:
    pool = open_pool(write_images(tmp_path / "pool", COMPOSED), quiet=True)
    file = write_csv(tmp_path / "l.csv", ("id", "label"), (COMPOSED, "cat"), (DECOMPOSED, "dog"))
    with pytest.raises(UsageError, match="twice, as 'cat' and as 'dog'"):
        labels_of(file, pool)


def test_a_selection_s_lists_find_their_items_in_any_spelling(tmp_path: Path) -> None:
    embeddings = Embeddings.from_numpy(np.eye(3, dtype=np.float32), [DECOMPOSED, "a.png", "b.png"])
    labelled = write_csv(tmp_path / "l.csv", ("id", "label"), (COMPOSED, "cat"), ("./a.png", "dog"))
    excluded = write_csv(tmp_path / "e.csv", ("id",), (" b.png",))
    assert read_limits(embeddings, labelled, None, None).labelled.tolist() == [0, 1]
    assert read_limits(embeddings, None, excluded, None).candidates.tolist() == [0, 1]
    losses = write_csv(tmp_path / "losses.csv", ("id", "loss"), (COMPOSED, 1), ("a.png", 2), ("b.png", 3))
    assert read_losses(embeddings, losses).tolist() == [1, 2, 3]


def test_linked_folders_outside_are_followed_on_the_command_line_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "store", *(f"cat/{number}.png" for number in range(3)))
    pool = write_images(tmp_path / "pool", "dog/1.png")
    (pool / "cat").symlink_to(tmp_path / "store" / "cat", target_is_directory=True)
    embed = ["embed", str(pool), "--workers", "0", "--device", "cpu"]
    assert run([*embed, "--out", str(tmp_path / "a"), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert run([*embed, "--out", str(tmp_path / "b")]) == 0
    assert "1 linked folder that leads out of the pool (--follow-links takes it)" in capsys.readouterr().err
    assert run([*embed, "--out", str(tmp_path / "c"), "--follow-links"]) == 0
    printed = capsys.readouterr()
    assert "left out" not in printed.err
    assert ": 4 x " in printed.out
