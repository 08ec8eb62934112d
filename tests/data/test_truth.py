"""What a model is scored against, and what is said where labels and model do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest

from activetune import Labels, Pool, UsageError
from activetune.data.truth import truth_of


class NoImages:
    """Images that nobody may look at."""

    def read(self, index: int) -> bytes:
        raise AssertionError("labels are read without looking at images")

    def stamp(self) -> str:
        return "none"


ONE_FOLDER = Pool("test", ["cat/1.png", "cat/2.png"], None, NoImages())


def test_one_folder_that_the_model_knows_is_the_label(capsys: pytest.CaptureFixture[str]) -> None:
    found = truth_of(None, ONE_FOLDER, ["cat", "dog"], quiet=False)
    assert (found.ids, found.names) == (["cat/1.png", "cat/2.png"], ["cat", "cat"])
    assert (
        capsys.readouterr().err
        == "all images of test lie in the folder 'cat', a class of the model: that is their label\n"
    )


def test_one_folder_that_the_model_does_not_know() -> None:
    with pytest.raises(
        UsageError, match="all its images lie in the folder 'cat', which tells no classes apart; give a"
    ):
        truth_of(None, ONE_FOLDER, ["dog", "bird"], quiet=True)
    with pytest.raises(UsageError, match="the pool test has no labels of its own; give a file"):
        truth_of(None, replace(ONE_FOLDER, ids=["1.png", "2.png"]), ["cat"], quiet=True)


def test_labels_that_are_given_win_over_the_folder() -> None:
    labels = Labels.of({"cat/1.png": "dog"})
    assert truth_of(labels, ONE_FOLDER, ["cat", "dog"], quiet=True).names == ["dog"]
    assert truth_of({"cat/1.png": "dog"}, ONE_FOLDER, ["cat", "dog"], quiet=True).names == ["dog"]


def test_classes_spelt_otherwise_are_pointed_at(capsys: pytest.CaptureFixture[str]) -> None:
    labels = Labels.of({"cat/1.png": "Cat", "cat/2.png": "dog"})
    truth_of(labels, ONE_FOLDER, ["cat", "dog"], quiet=False)
    told = "the model does not know 'Cat'; their items count as wrong; spelt otherwise: 'Cat' is 'cat' there\n"
    assert capsys.readouterr().err == told
    with pytest.raises(UsageError, match="have no class in common; spelt otherwise: 'Cat' is 'cat' there"):
        truth_of(Labels.of({"cat/1.png": "Cat"}), ONE_FOLDER, ["cat", "bird"], quiet=True)
