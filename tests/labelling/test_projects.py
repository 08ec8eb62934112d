"""A selection that is a round of a project: the page has the project's classes without being told."""

from __future__ import annotations

from pathlib import Path

import pytest

from activetune.base.errors import UsageError
from tests.labelling.conftest import round_of, write_selection
from tests.labelling.test_labelling import Client


def names(client: Client) -> list[str]:
    return [one["name"] for one in client.get("/api/state")["classes"]]


def test_the_classes_of_the_project_need_not_be_told(tmp_path: Path, pool: Path) -> None:
    second = round_of(tmp_path / "project", pool, ("dog", "cat"), ["cat", "fox", "bee"])
    with Client(second, classes=None) as client:
        assert names(client) == ["dog", "cat", "bee", "fox"] and not client.get("/api/state")["multilabel"]
        client.change(1, kind="remove", name="bee")
        client.change(2, kind="rename", name="cat", to="kitten")
    with Client(second, classes=None) as client:  # what was removed or renamed stays so
        assert names(client) == ["dog", "kitten", "fox"]
    with Client(second, classes=["wolf"]) as client:
        assert names(client) == ["dog", "kitten", "fox", "wolf"]
    other = round_of(tmp_path / "other", pool, ("dog", "cat"), ["fox"])
    with Client(other, classes=["wolf"]) as client:  # those that are told are meant
        assert names(client) == ["wolf"]


def test_a_project_of_several_classes_per_image_is_labelled_so(tmp_path: Path, pool: Path) -> None:
    answered = ['["cat", "a; b"]', "dog"]
    with Client(round_of(tmp_path / "project", pool, (), answered, "multilabel"), classes=None) as client:
        assert names(client) == ["a; b", "cat", "dog"] and client.get("/api/state")["multilabel"]


def test_a_project_that_knows_no_class_and_a_folder_that_is_no_round_have_none(tmp_path: Path, pool: Path) -> None:
    with Client(round_of(tmp_path / "project", pool, (), []), classes=None) as client:
        assert names(client) == []
    round_of(tmp_path / "project", pool, ("dog",), [])
    for folder in (tmp_path / "project/picks", tmp_path / "rounds/001"):
        with Client(write_selection(folder, ["02.png"], pool), classes=None) as client:
            assert names(client) == []


def test_damaged_settings_of_the_project_are_told(tmp_path: Path, pool: Path) -> None:
    second = round_of(tmp_path / "project", pool, ("dog",), [])
    (tmp_path / "project/project.toml").write_text("classes = [")
    with pytest.raises(UsageError, match=r"project\.toml"):
        Client(second, classes=None)
