"""Label Studio: only what a task asks counts, controls that are joined are told, and a model's words are no answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import activetune
from activetune import Pool, UsageError
from tests.data.test_annotations import make_pool, write

IDS = ["a.png", "b.png", "c.png", "d.png"]
PLACE = {"x": 25, "y": 25, "width": 50, "height": 50, "rotation": 0}


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "pool", IDS)


def box(name: str, number: str = "r1") -> dict[str, Any]:
    value = {**PLACE, "rectanglelabels": [name]}
    return {"id": number, "type": "rectanglelabels", "from_name": "box", "to_name": "image", "value": value}


def choice(*names: str, control: str = "choice", number: str = "q1", **more: Any) -> dict[str, Any]:
    value = {"choices": list(names), **more}
    return {"id": number, "type": "choices", "from_name": control, "to_name": "image", "value": value}


def read(folder: Path, pool: Pool, *results: list[dict[str, Any]] | None, **options: Any) -> tuple[Any, list[str]]:
    """What is imported of the images in their order; None: nobody has annotated it."""
    tasks = [
        {"id": number, "data": {"image": item}, "annotations": [] if found is None else [{"result": found}]}
        for number, (item, found) in enumerate(zip(IDS, results, strict=False), 1)
    ]
    labels = activetune.import_labels(write(folder / "t.json", json.dumps(tasks)), pool=pool, **options)
    answers = dict(zip(labels.ids, labels.answers, strict=True))
    return {item: getattr(answer, "names", answer) for item, answer in answers.items()}, list(labels.classes)


def test_choices_are_no_classes_of_boxes_and_an_image_with_choices_alone_shows_none(
    pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = (
        [box("cat"), choice("occluded", number="r1")],
        [choice("no object")],
        [box("dog"), choice("blurry")],
        None,
    )
    for task in ("detection", None):
        found = read(tmp_path, pool, *results, task=task)
        assert found == ({"a.png": ("cat",), "b.png": (), "c.png": ("dog",)}, ["cat", "dog"])
        assert not capsys.readouterr().err


def test_choices_are_no_classes_of_masks(pool: Pool, tmp_path: Path) -> None:
    corners = [[0, 0], [50, 0], [50, 100], [0, 100]]
    drawn = {"type": "polygonlabels", "value": {"points": corners, "polygonlabels": ["cat"]}}
    answers, classes = read(tmp_path, pool, [drawn, choice("blurry")], [choice("empty")], task="segmentation")
    assert classes == ["background", "cat"]
    assert {item: mask.pixels().mean() for item, mask in answers.items()} == {"a.png": 0.5, "b.png": 0}


def test_several_classes_are_those_of_the_image_not_of_its_regions(pool: Pool, tmp_path: Path) -> None:
    results = ([box("cat"), choice("occluded", number="r1"), choice("indoor")], [choice("small", **PLACE)])
    assert read(tmp_path, pool, *results, task="multilabel", quiet=True) == (
        {"a.png": ("cat", "indoor"), "b.png": ()},
        ["cat", "indoor"],
    )


@pytest.mark.parametrize("task", ["detection", "segmentation"])
def test_a_file_of_choices_alone_answers_no_task_with_places(task: str, pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"made choices .* drawn nothing, and {task} needs .*--task classification"):
        read(tmp_path, pool, [choice("cat")], [choice("dog")], task=task)


def test_controls_whose_choices_are_joined_are_told(
    pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = [[choice(name, control="animal"), choice("sharp", control="quality")] for name in ("cat", "dog")]
    told = r"2 controls: 'animal' ('cat', 'dog') and 'quality' ('sharp')"
    answers, classes = read(tmp_path, pool, *results)
    assert answers == {"a.png": ("cat", "sharp"), "b.png": ("dog", "sharp")} and classes == ["cat", "dog", "sharp"]
    assert told in capsys.readouterr().err
    with pytest.raises(UsageError) as error:
        read(tmp_path, pool, *results, task="classification", quiet=True)
    assert told in str(error.value) and "--classes" in str(error.value)
    found = read(tmp_path, pool, *results, task="classification", classes=["cat", "dog"])
    assert found == ({"a.png": "cat", "b.png": "dog"}, ["cat", "dog"])
    assert "2 controls" not in capsys.readouterr().err


def test_rows_of_json_min_have_their_controls_as_columns(
    pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"image": "a.png", "id": 1, "animal": {"choices": ["cat"]}, "quality": {"choices": ["sharp"]}, "annotator": 1},
        {"image": "b.png", "id": 2, "animal": {"choices": ["dog"]}, "quality": {"choices": ["sharp"]}, "annotator": 1},
    ]
    activetune.import_labels(write(tmp_path / "min.json", json.dumps(rows)), pool=pool, task="multilabel")
    assert "'animal' ('cat', 'dog') and 'quality' ('sharp')" in capsys.readouterr().err


@pytest.mark.parametrize("task", [None, "classification", "multilabel", "detection"])
def test_predictions_alone_are_told_to_be_no_answers(task: str | None, pool: Pool, tmp_path: Path) -> None:
    said = [{"result": [choice("cat")], "score": 0.9}]
    tasks = [{"data": {"image": item}, "annotations": [], "predictions": said} for item in IDS[:2]]
    path = write(tmp_path / "t.json", json.dumps(tasks))
    with pytest.raises(UsageError, match=r"2 of its 2 tasks \(predictions\).*never an answer; accept or correct"):
        activetune.import_labels(path, pool=pool, task=task)


@pytest.mark.parametrize(
    "address",
    [
        "/data/upload/1/a1b2c3d4-a.png",
        "/labelstudio/data/upload/1/a1b2c3d4-a.png",
        "/labelstudio/data/local-files/?d=pool/a.png",
        "../../label-studio/data/media/upload/1/a1b2c3d4-a.png",
        "http://host/data/upload/1/a1b2c3d4-a.png",
    ],
)
def test_addresses_of_a_server_below_any_path(address: str, pool: Pool, tmp_path: Path) -> None:
    tasks = [{"data": {"image": address}, "annotations": [{"result": [choice("cat")]}]}]
    labels = activetune.import_labels(write(tmp_path / "t.json", json.dumps(tasks)), pool=pool)
    assert labels.ids == ["a.png"]


def test_a_pool_of_uploads_keeps_their_names(tmp_path: Path) -> None:
    names = ["a1b2c3d4-a.png", "ffffffff-a.png"]
    uploads = make_pool(tmp_path / "uploads", names)
    tasks = [
        {"data": {"image": f"/data/upload/1/{name}"}, "annotations": [{"result": [choice(answer)]}]}
        for name, answer in zip(names, ("cat", "dog"), strict=True)
    ]
    labels = activetune.import_labels(write(tmp_path / "t.json", json.dumps(tasks)), pool=uploads)
    assert dict(zip(labels.ids, labels.answers, strict=True)) == dict(zip(names, ("cat", "dog"), strict=True))
