"""A label file that somebody edits while the page is open: nothing of it is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from activetune.base.errors import UsageError
from activetune.labelling import own_file
from activetune.labelling.own_file import OwnFile
from tests.labelling.test_labelling import Client, labels_in


def test_what_was_written_meanwhile_is_kept_told_and_taken_up(sel: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sel / "labels.csv"
    with Client(sel) as client:
        for sequence, label in enumerate(("cat", "dog", "cat"), start=1):
            client.answer(sequence, f"0{sequence}.png", label)
        assert client.get("/api/state")["edited"] == [] and "was changed" not in capsys.readouterr().err
        edited = path.read_text().replace("02.png,dog", "02.png,fox")
        path.write_text(edited)
        client.answer(4, "03.png", "dog")
        client.answer(5, "04.png", "dog")
        assert client.get("/api/state")["edited"] == ["labels.edited-1.csv"]
        assert (sel / "labels.edited-1.csv").read_text() == edited
        assert labels_in(sel) == {"01.png": "cat", "02.png": "dog", "03.png": "dog", "04.png": "dog"}
        told = capsys.readouterr().err
        assert told.count("was changed while the page was open: labels.edited-1.csv beside it keeps") == 1
        path.write_text(path.read_text().replace("04.png,dog", "04.png,cat"))
        client.answer(6, "05.png", "cat")
        assert client.get("/api/state")["edited"] == ["labels.edited-1.csv", "labels.edited-2.csv"]
    (sel / "labels.edited-1.csv").replace(path)  # as the sentence says
    with Client(sel) as client:
        expected = {"01.png": "cat", "02.png": "fox", "03.png": "dog", "04.png": "dog", "05.png": "cat"}
        assert labels_in(sel) == expected and client.get("/api/state")["edited"] == []


def test_an_edit_that_no_answer_follows_stays_and_is_taken_up(sel: Path) -> None:
    path = sel / "labels.csv"
    with Client(sel) as client:
        client.answer(1, "01.png", "cat")
        path.write_text(path.read_text().replace("01.png,cat", "01.png,dog"))
    assert labels_in(sel) == {"01.png": "dog"}
    with Client(sel):
        assert labels_in(sel) == {"01.png": "dog"}
    assert not list(sel.glob("labels.edited*"))


def test_a_file_that_was_copied_touched_or_removed_is_no_edit(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_bytes(b"first")
    file = OwnFile(path)
    file.write(b"second")
    (tmp_path / "copy").write_bytes(b"second")
    (tmp_path / "copy").replace(path)
    file.write(b"third")
    os.utime(path, (1, 1))
    file.write(b"fourth")
    path.unlink()
    file.write(b"fifth")
    assert (file.edited, path.read_bytes()) == ([], b"fifth")


def test_a_file_that_was_not_there_at_the_start_is_kept_too(tmp_path: Path) -> None:
    file = OwnFile(tmp_path / "labels.csv")
    (tmp_path / "labels.csv").write_bytes(b"somebody's")
    (tmp_path / "labels.edited-1.csv").write_bytes(b"of an earlier run")
    file.write(b"ours")
    assert [path.name for path in file.edited] == ["labels.edited-2.csv"]
    assert file.edited[0].read_bytes() == b"somebody's" and (tmp_path / "labels.csv").read_bytes() == b"ours"


def test_a_label_file_that_is_a_folder_is_told(sel: Path) -> None:
    (sel / "labels.csv").mkdir()
    with pytest.raises(UsageError, match=r"labels\.csv"):
        Client(sel)


def test_an_edit_of_the_same_length_is_seen(tmp_path: Path) -> None:
    file = OwnFile(tmp_path / "labels.csv")
    file.write(b"cat")
    (tmp_path / "labels.csv").write_bytes(b"dog")
    os.utime(tmp_path / "labels.csv", ns=(0, 7))
    file.write(b"fox")
    assert file.edited[0].read_bytes() == b"dog"


def test_an_edit_that_can_not_be_kept_is_not_written_over_and_is_kept_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, full = tmp_path / "labels.csv", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file = OwnFile(path)
    file.write(b"ours")
    path.write_bytes(b"edited")
    whole = own_file.replacing

    def refusing(name: str) -> None:
        def replacing(target: Path) -> object:
            if target.name == name:
                raise full
            return whole(target)

        monkeypatch.setattr(own_file, "replacing", replacing)

    for name, kept in (("labels.edited-1.csv", 0), ("labels.csv", 1), ("labels.csv", 1)):
        refusing(name)
        with pytest.raises(OSError, match="No space left"):
            file.write(b"newer")
        assert (path.read_bytes(), len(file.edited)) == (b"edited", kept)
    refusing("none")
    file.write(b"newer")
    assert (path.read_bytes(), len(file.edited)) == (b"newer", 1)
