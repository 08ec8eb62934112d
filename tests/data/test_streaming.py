"""Predictions line by line: of a pool, of ids as they come, of named files; nothing lost, nothing kept."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune import UsageError, open_pool
from activetune.cli import run
from activetune.data.kinds import ArrayMask, Detections, Sentences
from activetune.data.listed import as_they_come, named_lines
from activetune.data.pool import Pool
from activetune.tasks import make_task
from tests.conftest import tiny_backbone, write_digits

GIVEN: dict[str, Any] = {"workers": 0, "quiet": True, "device": "cpu", "precision": "fp32"}
OPTIONS = ["--device", "cpu", "--precision", "fp32", "--workers", "0", "--quiet"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``digits``, one of which is damaged, and a model ``m`` of them."""
    folder = tmp_path_factory.mktemp("place")
    pool = open_pool(write_digits(folder / "digits", 40))
    name, weights = tiny_backbone()
    activetune.finetune(
        pool, out=folder / "m", recipe="linear_probe", backbone=name, weights=weights, **{**GIVEN, "precision": "auto"}
    )
    (folder / "digits/0/broken.png").write_bytes(b"nothing")
    return folder


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def type_in(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    content = "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_lines_say_what_the_table_says(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(place)
    assert run(["predict", "m", "digits", "--out", "-", *OPTIONS]) == 0
    found = lines(capfdbinary.readouterr().out.decode("ascii"))
    pool = open_pool("digits", quiet=True)
    rows = {item: (name, prob) for item, name, prob in activetune.predict("m", pool, **GIVEN)}
    assert [one["id"] for one in found] == list(pool.ids)
    for one in found:
        if one["id"] == "0/broken.png":
            assert one["error"].startswith("corrupt")
        else:
            assert (one["label"], one["probability"]) == (rows[one["id"]][0], round(rows[one["id"]][1], 6))
    assert list(activetune.stream_predictions("m", pool, **GIVEN)) == found


def test_ids_on_stdin_are_those_of_a_pool_or_paths(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.chdir(place)
    whole = {one["id"]: one for one in activetune.stream_predictions("m", "digits", **GIVEN)}
    type_in(monkeypatch, "3/0003.png", "", "./1/0001.png", "9/none.png", "0/broken.png", "3/0003.png")
    assert run(["predict", "m", "-", "--pool", "digits", "--out", "-", *OPTIONS]) == 0
    found = lines(capfdbinary.readouterr().out.decode("ascii"))
    assert [one["id"] for one in found] == [*("3/0003.png", "1/0001.png", "9/none.png", "0/broken.png", "3/0003.png")]
    assert found[0] == found[4] == pytest.approx(whole["3/0003.png"])
    assert found[2]["error"] == "not in digits" and "error" in found[3]
    type_in(monkeypatch, "digits/3/0003.png", str(place / "digits/1/0001.png"), "digits/no\udcff.png", "digits")
    assert run(["predict", "m", "-", "--out", "-", *OPTIONS]) == 0
    found = lines(capfdbinary.readouterr().out.decode("ascii"))
    assert [one.get("label") for one in found] == [
        whole["3/0003.png"]["label"],
        whole["1/0001.png"]["label"],
        None,
        None,
    ]
    assert "No such file" in found[2]["error"] and "folder" in found[3]["error"]


def test_named_items_go_into_a_table_too(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    out = tmp_path / "p.csv"
    type_in(monkeypatch, "3/0003.png", "1/0001.png", "3/0003.png")
    assert run(["predict", "m", "-", "--pool", "digits", "--out", str(out), *OPTIONS]) == 0
    assert [row.split(",")[0] for row in out.read_text().splitlines()] == ["id", "3/0003.png", "1/0001.png"]
    type_in(monkeypatch, "3/0004.png")
    assert run(["predict", "m", "-", "--pool", "digits", "--out", str(tmp_path / "q.csv"), *OPTIONS]) == 2
    assert "stdin: 1 of 1 ids are not in digits" in capsys.readouterr().err


def test_lines_in_a_file(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    out = tmp_path / "p.jsonl"
    line = ["predict", "m", "digits", "--out", str(out), *OPTIONS]
    assert run(line) == 0
    before = out.read_bytes()
    assert len(lines(before.decode())) == 41
    assert run(line) == 2 and "exists already" in capsys.readouterr().err
    assert run([*line, "--overwrite"]) == 0 and out.read_bytes() == before
    assert run([*line, "--resume"]) == 0 and out.read_bytes() == before
    streamed = ["predict", "m", "digits", "--out", "-", *OPTIONS]
    assert run([*streamed, "--resume"]) == 2 and "when it streams" in capsys.readouterr().err
    assert run([*streamed, "--shard-size", "9"]) == 2 and "given one by one" in capsys.readouterr().err
    assert run([*line, "--draw", str(tmp_path / "d")]) == 2 and "leave --draw out" in capsys.readouterr().err
    table = [*line[:4], str(tmp_path / "q.csv"), "--format", "jsonl", *OPTIONS]
    assert run(table) == 2 and "names a table, and the format is jsonl" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("mine")
    other = [*line[:4], str(tmp_path / "mine.txt"), "--format", "jsonl", "--overwrite", *OPTIONS]
    assert run(other) == 2 and (tmp_path / "mine.txt").read_text() == "mine"
    assert run(["predict", "m", "digits", "--pool", "digits", "--out", "-", *OPTIONS]) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == [
        *(".p.jsonl.json", "mine.txt", "p.jsonl")
    ]


def test_outputs_of_two_forms_leave_each_other_alone(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    for name in ("p.csv", "p.jsonl"):
        assert run(["predict", "m", "digits", "--out", str(tmp_path / name), *OPTIONS]) == 0
    assert "0/broken.png" in (tmp_path / "p.rejected.csv").read_text()
    table = ["predict", "m", "digits", "--out", str(tmp_path / "p.parquet"), *OPTIONS]
    assert run(table) == 2 and "p.rejected.csv" in capsys.readouterr().err


def test_pictures_of_one_name_are_refused(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    (tmp_path / "pool").mkdir()
    for suffix in ("png", "jpg"):
        Image.new("RGB", (32, 32)).save(tmp_path / f"pool/a.{suffix}")
    line = ["predict", "m", str(tmp_path / "pool"), "--out", str(tmp_path / "p.csv"), "--draw", str(tmp_path / "d")]
    assert run([*line, *OPTIONS]) == 2
    assert "the pictures of 'a.jpg' and 'a.png' would have one name" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_a_run_without_pool_and_ids() -> None:
    with pytest.raises(UsageError, match="give a pool, or ids"):
        activetune.stream_predictions("m", **GIVEN)


def test_answers_come_before_the_next_id_does(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks by what was answered gets no further without the answer."""
    monkeypatch.chdir(place)
    answered: list[str] = []

    def ids() -> Iterator[str]:
        for item in open_pool("digits", quiet=True).ids[:4]:
            before = len(answered)
            yield item
            while len(answered) == before:  # as a person at the other end of a pipe would
                pass

    for record in activetune.stream_predictions("m", "digits", ids=ids(), **GIVEN):
        answered.append(record["id"])
    assert len(answered) == 4


# Names as they come ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3, 100])
def test_all_names_come_in_their_order(most: int) -> None:
    names = [str(number) for number in range(50)]
    groups = list(as_they_come(names, most))
    assert [name for group in groups for name in group] == names
    assert max(map(len, groups)) <= most


def test_what_reading_names_raises_comes_after_them() -> None:
    def failing() -> Iterator[str]:
        yield "a"
        raise UsageError("gone")

    found = []
    with pytest.raises(UsageError, match="gone"):
        found += [name for group in as_they_come(failing(), 8) for name in found_in(group, found)]
    assert found == ["a"]


def found_in(group: list[str], found: list[str]) -> list[str]:
    """Note the names at once: what a comprehension has gathered is lost where it is ended."""
    found += group
    return []


def test_names_in_lines() -> None:
    given = [b"\xef\xbb\xbfa b.png\n", b"\n", b"c.png\r\n", "caf\u00e9.png".encode(), b"\xff.png\n"]
    assert list(named_lines(given)) == ["a b.png", "c.png", "caf\u00e9.png", "\udcff.png"]


# Every task -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "answer", "told"),
    [
        ("classification", ("a", 0.25), {"label": "a", "probability": 0.25}),
        ("multilabel", [("b", 0.75)], {"labels": [{"label": "b", "probability": 0.75}]}),
        ("captioning", Sentences(["a dog"]), {"caption": "a dog"}),
        (
            "detection",
            Detections.of([[1, 2, 4, 8]], ["b"], [0.5]),
            {"objects": [{"category_id": 2, "category": "b", "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.5}]},
        ),
    ],
)
def test_the_record_of_a_task(task: str, answer: Any, told: dict[str, Any]) -> None:
    assert make_task(task).form(["a", "b"]).record("x", answer) == {"id": "x", **told}
    assert json.loads(json.dumps(told)) == told


def test_the_record_of_a_mask_holds_the_picture() -> None:
    pixels_HW = np.array([[0, 1, 1], [1, 0, 0]], dtype=np.int32)
    record = make_task("segmentation").form(["a", "b"]).record("x", ArrayMask(pixels_HW))
    assert (record["height"], record["width"]) == (2, 3)
    with Image.open(io.BytesIO(base64.b64decode(record["png"]))) as picture:
        assert np.array_equal(np.asarray(picture), pixels_HW)


def test_a_pool_that_is_empty_of_names(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    assert list(activetune.stream_predictions("m", ids=[], **GIVEN)) == []
    assert isinstance(open_pool("digits", quiet=True), Pool)
