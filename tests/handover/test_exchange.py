"""``export`` and ``import``: what is given, what other tools write, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import activetune
from activetune import open_pool
from activetune.base.errors import UsageError
from activetune.base.tables import read_table
from activetune.cli import run
from activetune.data.annotations import formats, read_annotations
from activetune.data.annotations._brush import packed, unpacked
from activetune.data.annotations._sheet import folders_of, stems_of
from activetune.data.kinds import ArrayMask, Boxes, Names, Sentences
from activetune.selection.artefact import Selection, save_selection

CLASSES = {"day 1/ü.png": "cat", "day 2/ü.png": "dog", "a.png": "cat"}
WRITTEN = [(name, task) for name, module in formats().items() for task in getattr(module, "WRITES", ())]
SINGLE = {"coco": "x.json", "cvat": "x.xml", "huggingface": "x.parquet", "label_studio": "x.json", "table": "x.csv"}


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    folder = tmp_path / "pool"
    for number, item in enumerate(CLASSES):
        (folder / item).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (number * 50, 0, 0)).save(folder / item)
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    rows = "".join(f"{item},{name}\n" for item, name in CLASSES.items())
    (tmp_path / "labels.csv").write_text(f"id,label\n{rows}", encoding="utf-8")
    return tmp_path / "labels.csv"


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Boxes of one pixel, at the border, a crowd; and an image without an object."""
    rows = {
        "bbox": [[3, 4, 1, 1], [0, 0, 40, 30], [2, 2, 9.5, 8]],
        "category": ["cat", "dog", "cat"],
        "iscrowd": [0, 0, 1],
    }
    lines = [{"id": "a.png", "objects": rows}, {"id": "day 1/ü.png", "objects": {"bbox": [], "category": []}}]
    (tmp_path / "boxes.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "boxes.jsonl"


def told(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = run([str(argument) for argument in arguments])
    return code, *capsys.readouterr()


# Round trips by the command line --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, task in WRITTEN if task == "classification"])
def test_classes_come_back_from_every_format(
    name: str, pool: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, back = tmp_path / "out", tmp_path / "back.csv"
    assert told(capsys, "export", labels, "--pool", pool, "--to", name, "--out", out, "--quiet")[0] == 0
    assert told(capsys, "import", out, "--pool", pool, "--from", name, "--out", back, "--quiet")[0] == 0
    found = activetune.read_labels(back, open_pool(pool, quiet=True))
    assert dict(zip(found.ids, found.answers, strict=True)) == CLASSES


@pytest.mark.parametrize("name", [name for name, task in WRITTEN if task == "detection"])
def test_boxes_come_back_from_every_format(name: str, pool: Path, boxes: Path, tmp_path: Path) -> None:
    opened = open_pool(pool, quiet=True)
    out = activetune.export_labels(boxes, pool=opened, format=name, out=tmp_path / SINGLE.get(name, "out"), quiet=True)
    back = tmp_path / "annotations.parquet"
    activetune.import_labels(out, pool=opened, format=name, out=back, quiet=True)
    found = read_annotations(back, opened, "detection", quiet=True)
    want = read_annotations(boxes, opened, "detection", quiet=True)
    assert list(found.ids) == list(want.ids)
    for answer, known in zip(found.answers, want.answers, strict=True):
        kept = np.flatnonzero(~known.crowd_K) if name == "yolo" else np.arange(len(known))  # no crowds there
        assert answer.names == tuple(known.names[row] for row in kept)
        assert answer.crowd_K.tolist() == known.crowd_K[kept].tolist()
        np.testing.assert_allclose(answer.xyxy_K4, known.xyxy_K4[kept], atol=1e-5)


IN_PYTHON: dict[str, tuple[str, Any]] = {
    "classification": ("table", "cat"),
    "multilabel": ("table", ["cat", "dog"]),
    "captioning": ("table", Sentences(("a red square",))),
    "detection": ("coco", Boxes.of([[1, 2, 9, 8]], ["cat"])),
    "segmentation": ("masks", ArrayMask(np.ones((30, 40), dtype=np.uint8))),
}


@pytest.mark.parametrize("task", IN_PYTHON)
def test_answers_in_python_are_exported_as_those_of_a_file(task: str, pool: Path, tmp_path: Path) -> None:
    name, answer = IN_PYTHON[task]
    given: dict[str, Any] = {"pool": open_pool(pool, quiet=True), "format": name, "quiet": True}
    answers, classes = {"a.png": answer, "day 1/ü.png": None}, ["cat", "dog"]
    out = activetune.export_labels(answers, out=tmp_path / "out", classes=classes, **given)
    back = activetune.import_labels(out, task=task, **given)
    assert list(back.ids) == ["a.png"]
    again = activetune.export_labels(back, out=tmp_path / "again", **given)
    one, two = (json.loads((folder / "manifest.json").read_text()) for folder in (out, again))
    assert (one["task"], one["n"]) == (two["task"], two["n"]) == (task, 1)
    if task != "captioning":
        assert list(one["classes"]) == classes
    with pytest.raises(UsageError, match="not in the pool"):
        activetune.export_labels({"b.png": answer}, out=tmp_path / "no", classes=classes, **given)
    with pytest.raises(UsageError, match=r"needs answers of the kind|no single|one class|several"):
        wrong = "detection" if task != "detection" else "captioning"
        activetune.export_labels(answers, out=tmp_path / "no", task=wrong, classes=classes, **given)


@pytest.mark.parametrize("name", sorted({name for name, task in WRITTEN if task == "classification"}))
def test_a_selection_is_exported_as_images_to_label(name: str, pool: Path, tmp_path: Path) -> None:
    (tmp_path / "picks.csv").write_text("id,rank,score,reason\na.png,1,1,far\nday 2/ü.png,2,1,far\n", encoding="utf-8")
    out = activetune.export_labels(
        tmp_path / "picks.csv", pool=pool, format=name, out=tmp_path / "out", classes=["cat", "dog"], quiet=True
    )
    about = json.loads((out / "manifest.json").read_text())
    assert (about["n"], about["task"], about["classes"]) == (2, "classification", ["cat", "dog"])
    with pytest.raises(UsageError, match="holds no answer"):
        activetune.import_labels(out, pool=pool, format=name, task="classification", quiet=True)


@pytest.mark.parametrize(("name", "task"), [("coco", "detection"), ("voc", "detection"), ("masks", "segmentation")])
def test_a_selection_is_asked_what_the_format_asks_first(name: str, task: str, pool: Path, tmp_path: Path) -> None:
    (tmp_path / "picks.csv").write_text("id,rank,score,reason\na.png,1,1,far\n", encoding="utf-8")
    given: dict[str, Any] = {"pool": pool, "format": name, "quiet": True}
    out = activetune.export_labels(tmp_path / "picks.csv", out=tmp_path / "out", classes=["cat", "dog"], **given)
    about = json.loads((out / "manifest.json").read_text())
    assert (about["n"], about["task"]) == (1, task)


def test_the_answers_of_a_selection_may_be_several_classes(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "sel").mkdir()
    save_selection(Selection(["a.png", "day 2/ü.png"], [1.0, 1.0], ["far"] * 2, {"pool": str(pool)}), tmp_path / "sel")
    rows = 'id,label,labels,state\na.png,cat;dog,"[""cat"", ""dog""]",labelled\nday 2/ü.png,,,\n'
    (tmp_path / "sel" / "labels.csv").write_text(rows)
    for task in (None, "multilabel"):
        out = tmp_path / f"{task}.csv"
        activetune.export_labels(tmp_path / "sel", pool=pool, format="table", task=task, out=out, quiet=True)
        assert out.read_text().splitlines() == ["id,labels", "a.png,cat;dog", "day 2/ü.png,"]


def test_an_image_that_is_moved_to_another_class_has_that_one(pool: Path, labels: Path, tmp_path: Path) -> None:
    out = activetune.export_labels(labels, pool=pool, format="imagefolder", out=tmp_path / "out", quiet=True)
    (out / "cat" / "a.png").rename(out / "dog" / "a.png")
    found = activetune.import_labels(out, pool=pool, format="imagefolder", quiet=True)
    assert dict(zip(found.ids, found.answers, strict=True))["a.png"] == "dog"


def test_names_of_folders_are_no_classes_where_the_answers_name_others(
    pool: Path, labels: Path, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"pool": pool, "format": "imagefolder", "quiet": True}  # its folders are called "day 1" …
    out = activetune.export_labels(labels, out=tmp_path / "out", **given)
    assert json.loads((out / "manifest.json").read_text())["classes"] == ["cat", "dog"]
    assert sorted(path.name for path in out.iterdir()) == ["cat", "dog", "manifest.json"]  # and no folder is empty
    labels.write_text("id,label\na.png,day 1\n")
    out = activetune.export_labels(labels, out=tmp_path / "other", **given)
    assert json.loads((out / "manifest.json").read_text())["classes"] == ["day 1", "day 2"]


def test_voc_names_its_classes_as_cvat_asks_for(pool: Path, boxes: Path, tmp_path: Path) -> None:
    out = activetune.export_labels(boxes, pool=pool, format="voc", out=tmp_path / "out", quiet=True)
    assert (out / "labelmap.txt").read_text() == "# label:color_rgb:parts:actions\ncat:::\ndog:::\n"


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_parquet_tells_the_library_datasets_that_its_images_are_images(
    task: str, pool: Path, labels: Path, boxes: Path, tmp_path: Path
) -> None:
    given = labels if task == "classification" else boxes
    out = activetune.export_labels(given, pool=pool, format="parquet", out=tmp_path / "x.parquet", quiet=True)
    told = json.loads((pq.read_schema(out).metadata or {})[b"huggingface"])["info"]["features"]
    text = {"dtype": "string", "_type": "Value"}
    assert (told["id"], told["image"]) == (text, {"_type": "Image"})
    if task == "classification":
        assert told["label"] == text
    else:
        assert told["objects"]["category"] == {"feature": text, "_type": "Sequence"}


def test_a_pools_own_folders_are_its_classes_and_its_images_no_masks(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    want = {"day 1/ü.png": "day 1", "day 2/ü.png": "day 2"}
    found = activetune.import_labels(pool, pool=pool, quiet=True)
    assert {item: name for item, name in zip(found.ids, found.answers, strict=True) if item in want} == want
    out = activetune.export_labels(pool, pool=pool, format="table", out=tmp_path / "x.csv")
    assert "is the pool itself: the answers are the names of its folders" in capsys.readouterr().err
    assert "day 1/ü.png,day 1\n" in out.read_text(encoding="utf-8")


def test_links_lead_to_the_pools_own_files(pool: Path, labels: Path, tmp_path: Path) -> None:
    out = activetune.export_labels(labels, pool=pool, format="imagefolder", out=tmp_path / "out", link=True, quiet=True)
    assert {path.resolve() for path in out.rglob("*.png")} == {(pool / item).resolve() for item in CLASSES}


# Predictions ----------------------------------------------------------------------------------------------------------


def test_predictions_are_suggestions_and_never_answers(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "predicted.csv").write_text("id,label,probability\na.png,cat,0.75\n")
    out = activetune.export_labels(
        tmp_path / "predicted.csv", pool=pool, format="label_studio", out=tmp_path / "tasks.json", quiet=True
    )
    (task,) = json.loads(out.read_text())
    assert task["predictions"][0]["score"] == 0.75 and "annotations" not in task
    assert task["data"] == {"image": "/data/local-files/?d=pool/a.png", "item": "a.png"}
    assert '<Choice value="cat"' in (tmp_path / "tasks.config.xml").read_text()
    with pytest.raises(UsageError, match="holds no answer"):
        activetune.import_labels(out, pool=pool, task="classification", quiet=True)


@pytest.mark.parametrize("name", ["label_studio", "fiftyone"])
def test_a_prediction_that_stands_in_two_rows_is_no_answer_of_several_classes(
    name: str, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, out = tmp_path / "predicted.csv", tmp_path / "out"
    said.write_text("id,label,probability\na.png,cat,0.75\na.png,cat,0.5\n")
    code, _, err = told(capsys, "export", said, "--pool", pool, "--to", name, "--out", out)
    assert code == 2 and "predicted.csv names the class 'cat' of 'a.png' in two rows; keep one of them" in err
    assert not out.exists()


def test_addresses_of_local_files_lead_to_the_images_or_are_refused(pool: Path, labels: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"format": "label_studio", "quiet": True}
    below, elsewhere = pool / "below.csv", tmp_path / "elsewhere.csv"
    below.write_text("path\n" + "".join(f"{item}\n" for item in CLASSES), encoding="utf-8")
    made = activetune.export_labels(labels, pool=below, out=tmp_path / "below.json", **options)
    found = {task["data"]["item"]: task["data"]["image"] for task in json.loads(made.read_text(encoding="utf-8"))}
    assert found["day 1/ü.png"] == "/data/local-files/?d=pool/day%201/%C3%BC.png"
    elsewhere.write_text("path,id\n" + "".join(f"pool/{item},{item}\n" for item in CLASSES), encoding="utf-8")
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", pool)
    for other in (elsewhere, Path(packed)):
        with pytest.raises(UsageError, match=r"3 of 3 images are no files .*give --image-url ADDRESS"):
            activetune.export_labels(labels, pool=other, out=tmp_path / "x.json", **options)
        assert not (tmp_path / "x.json").exists()
        activetune.export_labels(labels, pool=other, out=tmp_path / "x.json", image_url="http://a/", **options)
        (tmp_path / "x.json").unlink()
        (tmp_path / "x.config.xml").unlink()


@pytest.mark.parametrize("columns", ["id,rank,score,reason", "id,label,probability", "id,label,state,source,row"])
def test_an_import_replaces_no_table_that_holds_more_than_answers(
    columns: str, pool: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.csv").write_text(columns + "\n")
    code, _, err = told(capsys, "import", labels, "--pool", pool, "--out", tmp_path / "mine.csv", "--overwrite")
    assert code == 2 and "is a file that this command did not write" in err
    assert (tmp_path / "mine.csv").read_text() == columns + "\n"


def test_imported_predictions_are_told_to_be_a_model_s(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = tmp_path / "predictions.csv"
    said.write_text("id,label,probability\n" + "".join(f"{item},{name},0.9\n" for item, name in CLASSES.items()))
    code, _, err = told(capsys, "import", said, "--pool", pool, "--out", tmp_path / "back.csv")
    assert code == 0 and "has a column probability, as predict writes it: these are a model's answers" in err


def test_cvat_is_not_given_a_project_without_classes_and_an_untouched_one_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool, waiting = tmp_path / "flat", tmp_path / "waiting.csv"
    pool.mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30)).save(pool / name)
    waiting.write_text("id,label\na.png,\nb.png,\n")
    given = ("--pool", pool, "--to", "cvat", "--out", tmp_path / "cvat.xml")
    code, _, err = told(capsys, "export", waiting, *given)
    assert code == 2 and "cvat needs the classes that a person chooses from; give them with --classes a,b,c" in err
    assert told(capsys, "export", waiting, *given, "--classes", "cat,dog", "--task", "classification")[0] == 0
    back = ("--pool", pool, "--from", "cvat", "--task", "multilabel", "--out", tmp_path / "back.parquet")
    code, out, err = told(capsys, "import", tmp_path / "cvat.xml", *back)
    assert code == 0 and "none of the 2 images" in err, out + err


def test_a_selection_with_suggestions(pool: Path, labels: Path, tmp_path: Path) -> None:
    (tmp_path / "predicted.csv").write_text("id,label,probability\na.png,dog,0.5\nday 1/ü.png,cat,0.9\n", "utf-8")
    out = tmp_path / "tasks.json"
    activetune.export_labels(
        labels, pool=pool, format="label_studio", out=out, suggestions=tmp_path / "predicted.csv", quiet=True
    )
    tasks = {task["data"]["item"]: task for task in json.loads(out.read_text())}
    assert tasks["a.png"]["annotations"][0]["result"][0]["value"] == {"choices": ["cat"]}
    assert tasks["a.png"]["predictions"][0]["result"][0]["value"] == {"choices": ["dog"]}
    found = activetune.import_labels(out, pool=pool, quiet=True)
    assert dict(zip(found.ids, found.answers, strict=True)) == CLASSES


def test_boxes_and_masks_that_predict_wrote(pool: Path, tmp_path: Path) -> None:
    result = {"image_id": "a.png", "category_id": 2, "category": "dog", "bbox": [1, 2, 3, 4], "score": 0.5}
    (tmp_path / "boxes.json").write_text(json.dumps([result]))
    out = activetune.export_labels(
        tmp_path / "boxes.json", pool=pool, format="coco", out=tmp_path / "c.json", quiet=True
    )
    content = json.loads(out.read_text())
    assert len(content["images"]) == 3
    assert content["annotations"][0]["score"] == 0.5
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.full((30, 40), 1, dtype=np.uint8)).save(tmp_path / "masks" / "m.png")
    (tmp_path / "masks" / "masks.csv").write_text("id,file,digest\na.png,m.png,0\n")
    (tmp_path / "masks" / "classes.csv").write_text("name,value,red,green,blue\nroad,0,0,0,0\ncar,1,9,9,9\n")
    out = activetune.export_labels(tmp_path / "masks", pool=pool, format="cvat", out=tmp_path / "c.xml", quiet=True)
    assert 'label="car" source="auto"' in out.read_text()


# What annotation tools make of an export ------------------------------------------------------------------------------


def exported(boxes: Path, pool: Path, tmp_path: Path, name: str) -> Path:
    """The boxes in a format."""
    out = tmp_path / SINGLE.get(name, name)
    activetune.export_labels(boxes, pool=pool, format=name, out=out, quiet=True)
    return out


def imported(path: Path, pool: Path, name: str, task: str = "detection") -> dict[str, Any]:
    found = activetune.import_labels(path, pool=pool, format=name, task=task)
    return dict(zip(found.ids, found.answers, strict=True))


ELLIPSE = {"type": "ellipselabels", "value": {"x": 9, "y": 9, "radiusX": 3, "radiusY": 3, "ellipselabels": ["cat"]}}
KEYPOINT = {"_cls": "Keypoints", "keypoints": [{"_cls": "Keypoint", "label": "cat", "points": [[0.1, 0.1]]}]}


@pytest.mark.parametrize("task", ["detection", "multilabel"])
@pytest.mark.parametrize("name", ["cvat", "label_studio", "fiftyone"])
def test_an_image_with_objects_of_another_kind_alone_does_not_show_none(
    name: str, task: str, pool: Path, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(boxes, pool, tmp_path, name)
    if name == "cvat":
        other = '<ellipse label="cat" cx="9" cy="9" rx="3" ry="3"/>'
        out.write_text(re.sub(r'(<image[^>]*name="day 1/ü.png"[^/]*)/>', rf"\1>{other}</image>", out.read_text()))
    elif name == "label_studio":
        tasks = json.loads(out.read_text())
        next(one for one in tasks if one["data"]["item"] == "day 1/ü.png")["annotations"] = [{"result": [ELLIPSE]}]
        out.write_text(json.dumps(tasks))
    else:
        content = json.loads((out / "samples.json").read_text())
        content["samples"][1]["ground_truth"] = KEYPOINT
        (out / "samples.json").write_text(json.dumps(content))
    assert set(imported(out, pool, name, task)) == {"a.png"}
    assert "left out: 1" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["cvat", "fiftyone"])
def test_a_class_that_is_renamed_in_the_answers_alone_counts(
    name: str, pool: Path, boxes: Path, tmp_path: Path
) -> None:
    """FiftyOne keeps the list of classes that it was given."""
    out = exported(boxes, pool, tmp_path, name)
    file, cat, kitty = out, 'label="cat"', 'label="kitty"'
    if name == "fiftyone":
        file, cat, kitty = out / "samples.json", '"label": "cat"', '"label": "kitty"'
    file.write_text(file.read_text().replace(cat, kitty))
    assert imported(out, pool, name)["a.png"].names == ("kitty", "dog", "kitty")


def test_what_a_model_said_in_fiftyone_is_no_answer_beside_those_of_people(
    pool: Path, boxes: Path, tmp_path: Path
) -> None:
    out = exported(boxes, pool, tmp_path, "fiftyone")
    content = json.loads((out / "samples.json").read_text())
    first, second = content["samples"]
    second["predictions"], second["ground_truth"] = first["ground_truth"], None
    (out / "samples.json").write_text(json.dumps(content))
    assert set(imported(out, pool, "fiftyone")) == {"a.png"}


@pytest.mark.parametrize("name", ["fiftyone", "imagefolder"])
def test_ids_survive_where_the_field_of_ids_is_dropped(name: str, pool: Path, boxes: Path, tmp_path: Path) -> None:
    out = exported(boxes, pool, tmp_path, name)
    file = out / {"fiftyone": "samples.json", "imagefolder": "metadata.jsonl"}[name]
    text = re.sub(r', "(activetune_id|id)": "[^"]*"', "", file.read_text())
    assert text != file.read_text()
    file.write_text(text)
    assert set(imported(out, pool, name)) == {"a.png", "day 1/ü.png"}


def test_tracks_beside_images_are_told(
    pool: Path, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = exported(boxes, pool, tmp_path, "cvat")
    out.write_text(out.read_text().replace("</annotations>", '<track id="0" label="cat"/></annotations>'))
    assert len(imported(out, pool, "cvat")) == 2
    assert "tracks of a video, left out: 1" in capsys.readouterr().err


# What Label Studio exports --------------------------------------------------------------------------------------------


def choice(*names: str, **more: Any) -> dict[str, Any]:
    result = {"type": "choices", "from_name": "x", "to_name": "image", "value": {"choices": list(names)}}
    return {"result": [result], **more}


def studio(tmp_path: Path, pool: Path, tasks: Sequence[Any], **options: Any) -> dict[str, Any]:
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    found = activetune.import_labels(tmp_path / "export.json", pool=pool, format="label_studio", **options)
    return dict(zip(found.ids, found.answers, strict=True))


def test_of_several_annotators_ground_truth_then_most_then_the_last_counts(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    early, late = {"updated_at": "2026-01-01T00:00:00Z"}, {"updated_at": "2026-01-02T00:00:00Z"}
    tasks = [
        {
            "data": {"image": "/data/upload/3/0a1b2c3d-a.png"},
            "annotations": [choice("cat", **late), choice("dog", ground_truth=True)],
        },
        {
            "data": {"image": "s3://bucket/day%201/%C3%BC.png"},
            "annotations": [choice("cat"), choice("dog", **late), choice("cat")],
        },
        {
            "data": {"image": "http://host/day%202/%C3%BC.png"},
            "annotations": [choice("cat", **early)],
        },
        {"data": {"image": "http://host/day%202/%C3%BC.png"}, "annotations": [choice("dog", **late)]},  # imported twice
    ]
    assert studio(tmp_path, pool, tasks) == {"a.png": "dog", "day 1/ü.png": "cat", "day 2/ü.png": "dog"}
    assert "said counts: 2 (the first: task 2)" in capsys.readouterr().err
    both = [{"data": {"image": "a.png"}, "annotations": [choice("cat", "dog"), choice("dog", "cat")]}]
    assert studio(tmp_path, pool, both) == {"a.png": Names(("cat", "dog"))}
    assert "differently" not in capsys.readouterr().err


def test_cancelled_annotations_drafts_and_predictions_are_no_answers(pool: Path, tmp_path: Path) -> None:
    tasks = [
        {"data": {"image": "a.png"}, "annotations": [choice("cat", was_cancelled=True), choice("dog")]},
        {
            "data": {"image": "day 1/ü.png"},
            "annotations": [choice("cat", was_cancelled=True)],
            "drafts": [choice("cat")],
        },
        {"data": {"image": "day 2/ü.png"}, "annotations": [], "predictions": [choice("cat")]},
    ]
    assert studio(tmp_path, pool, tasks, quiet=True) == {"a.png": "dog"}


def test_json_min_has_a_row_per_annotation(pool: Path, tmp_path: Path) -> None:
    box = {"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}
    about = {"annotator": 1, "annotation_id": 5}
    rows = [{"id": 7, "image": "a.png", "tag": [{**box, "original_width": 40, "original_height": 30}], **about}]
    found = studio(tmp_path, pool, rows, quiet=True)
    assert found["a.png"].xyxy_K4.tolist() == [[4, 3, 24, 18]]
    rows = [
        {"id": 7, "image": "a.png", "choice": "cat", **about},
        {"id": 8, "image": "day 2/ü.png", "choice": "dog", **about},
    ]
    assert studio(tmp_path, pool, rows, quiet=True) == {"a.png": "cat", "day 2/ü.png": "dog"}


MIN = {"annotator": 1, "annotation_id": 5, "created_at": "2026-01-01", "lead_time": None}


@pytest.mark.parametrize(
    ("column", "values", "task", "want"),
    [
        ("answer", ["cat", "dog"], None, ["cat", "dog"]),  # the field of our own config
        ("kind of cell", ["cat", "dog"], None, ["cat", "dog"]),  # of somebody's config
        ("answer", ["A cat that sleeps", "A dog that barks"], None, [("A cat that sleeps",), ("A dog that barks",)]),
        ("answer", ["a cat", "a dog"], "captioning", [("a cat",), ("a dog",)]),
        ("answer", [{"text": ["a", "b"]}, ["c", "d"]], None, [("a", "b"), ("c", "d")]),
    ],
)
def test_json_min_names_its_columns_as_the_config(
    column: str, values: list[Any], task: str | None, want: list[Any], pool: Path, tmp_path: Path
) -> None:
    ids = ["a.png", "day 1/ü.png"]
    rows = [
        {"image": item, "patient": "x", "item": item, "id": number, column: value, **MIN}
        for number, (item, value) in enumerate(zip(ids, values, strict=True))
    ]
    (tmp_path / "min.json").write_text(json.dumps(rows))
    found = activetune.import_labels(tmp_path / "min.json", pool=pool, task=task, quiet=True)
    said = dict(zip(found.ids, (getattr(answer, "texts", answer) for answer in found.answers), strict=True))
    assert said == dict(zip(ids, want, strict=True))


def test_good_results_of_a_bad_export_are_kept(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = [
        7,
        {"data": {}},
        {"data": {"image": "a.png"}, "annotations": [choice("cat")]},
        {"data": {"image": "none.png"}, "annotations": []},
    ]
    assert studio(tmp_path, pool, tasks) == {"a.png": "cat"}
    said = capsys.readouterr().err
    assert (
        "tasks that are no objects" in said
        and "tasks without an image" in said
        and "without an image in the pool" in said
    )


def test_a_turned_box_is_the_box_around_it(pool: Path, tmp_path: Path) -> None:
    value = {"x": 50, "y": 0, "width": 25, "height": 100 / 3, "rotation": 90, "rectanglelabels": ["cat"]}
    result = {"type": "rectanglelabels", "value": value, "original_width": 40, "original_height": 30}
    found = studio(tmp_path, pool, [{"data": {"image": "a.png"}, "annotations": [{"result": [result]}]}], quiet=True)
    np.testing.assert_allclose(
        found["a.png"].xyxy_K4, [[10, 0, 20, 10]], atol=1e-4
    )  # 10 x 10 px to the left of (20, 0)


def test_brushes_are_packed_as_they_are_unpacked() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (7, 5), (300, 400)):
        inside = rng.random(shape) < rng.random()
        assert (unpacked(packed(inside), shape) == inside).all()
    assert (unpacked(packed(np.ones((300, 400), dtype=np.bool_)), (300, 400))).all()
    with pytest.raises(ValueError, match="ends too early"):
        unpacked(packed(inside)[:40], shape)


# What is refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["detection", None])
def test_a_format_that_is_named_wrongly_is_told_with_the_one_that_lies_there(
    task: str | None, pool: Path, boxes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no note tells of answers before any were read."""
    out = activetune.export_labels(boxes, pool=pool, format="voc", out=tmp_path / "out", quiet=True)
    with pytest.raises(UsageError, match=r"out holds no YOLO, but Pascal VOC; leave --from out"):
        activetune.import_labels(
            out, pool=pool, format="yolo", task=task, out=tmp_path / "read.csv" if task is None else None
        )
    assert "holds answers of" not in capsys.readouterr().err


def test_entities_in_xml_are_never_unpacked(pool: Path, tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]><annotations><image name="&b;"/></annotations>'
    (tmp_path / "bomb.xml").write_text(bomb)
    with pytest.raises(UsageError, match="declares a document type"):
        activetune.import_labels(tmp_path / "bomb.xml", pool=pool, format="cvat", quiet=True)


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--to", "nonsense", "--out", "o"], 2, "format"),
        (
            ["--to", "box_table", "--out", "o"],
            2,
            "box_table can't be exported to: it is read only; give one of coco, csv",
        ),
        (["--to", "normal", "--out", "o"], 2, "it is written by 'activetune import … --out FILE.parquet'"),
        (["--to", "voc", "--out", "o"], 2, "can't hold answers of classification"),
        (["--to", "cvat", "--out", "o.json"], 2, "is written as .xml"),
        (["--to", "cvat", "--out", "o", "--link"], 2, "leave --link out"),
        (["--to", "cvat", "--out", "o", "--image-url", "x"], 2, "label_studio"),
        (["--to", "cvat", "--out", "pool/o"], 2, "lies in the pool"),
        (["--to", "cvat", "--out", "o", "--task", "detection"], 2, "has no column for detection"),
        (["--to", "cvat", "--out", "o", "--seed", "1"], 2, "draws nothing at random"),
    ],
)
def test_wrong_use_is_a_sentence_and_writes_nothing(
    more: list[str], code: int, words: str, pool: Path, labels: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(pool.parent)
    before = sorted(pool.parent.rglob("*"))
    ended, out, err = told(capsys, "export", labels, "--pool", pool, "--quiet", *more)
    assert (ended, out) == (code, "")
    assert words in err and len(err.splitlines()) == 1
    assert sorted(pool.parent.rglob("*")) == before


@pytest.mark.parametrize("out", ["out", "out.json"])
def test_an_output_that_is_there_is_replaced_when_asked_for_alone(
    out: str, pool: Path, labels: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"pool": pool, "format": "label_studio", "out": tmp_path / out, "quiet": True}
    activetune.export_labels(labels, **options)
    with pytest.raises(UsageError, match="--overwrite"):
        activetune.export_labels(labels, **options)
    assert activetune.export_labels(labels, **options, resume=True) == tmp_path / out
    (tmp_path / "other.csv").write_text("id,label\na.png,dog\n")
    with pytest.raises(UsageError, match="--overwrite"):
        activetune.export_labels(tmp_path / "other.csv", **options, resume=True)
    activetune.export_labels(labels, **options, overwrite=True)
    (tmp_path / "notes.json").write_text("{}")
    with pytest.raises(UsageError, match="did not write"):
        activetune.export_labels(labels, **{**options, "out": tmp_path / "notes.json"}, overwrite=True)


def test_an_import_never_replaces_a_file_of_another_kind(pool: Path, labels: Path, tmp_path: Path) -> None:
    made = activetune.export_labels(labels, pool=pool, format="cvat", out=tmp_path / "c.xml", quiet=True)
    (tmp_path / "other.csv").write_text("name,age\n")
    with pytest.raises(UsageError, match="did not write"):
        activetune.import_labels(made, pool=pool, out=tmp_path / "other.csv", overwrite=True, quiet=True)


def test_ids_that_lead_elsewhere_stay_in_the_folder() -> None:
    stems = stems_of(["../../etc/x.png", "/etc/x.png", "a/../b.png", "A.png", "a.jpg", "a.png", ".x", "classes.png"])
    assert len({stem.casefold() for stem in stems.values()}) == len(stems)
    assert not any("/" in stem or stem.startswith(".") or stem == "classes" for stem in stems.values())
    folders = folders_of(["../x", "..", "a/b", "Cat", "cat", "_unlabelled", "", "CON"])
    assert len({folder.casefold() for folder in folders.values()}) == len(folders)
    assert not any("/" in name or name.startswith((".", "_")) for name in folders.values())


@pytest.mark.parametrize("command", ["export", "import"])
def test_images_alone_are_told_as_such_and_no_task_is_named_that_nobody_asked_for(
    command: str, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "plain" / "1.jpg")
    plain, to = tmp_path / "plain", ["--to", "cvat"] if command == "export" else []
    code, _, err = told(capsys, command, plain, "--pool", plain, *to, "--out", tmp_path / "out.csv", "--quiet")
    assert code == 2 and "holds no answers in a format that is known: it is 1 image alone" in err
    assert "captioning" not in err and "activetune list formats" in err and len(err.split()) < 60
    given = [command, plain, "--pool", plain, *to, "--quiet", "--task", "detection", "--out", tmp_path / "out.parquet"]
    code, _, err = told(capsys, *given)
    assert code == 2 and "holds no answers for detection in a format that is known" in err


@pytest.mark.parametrize("command", ["export", "import"])
def test_images_in_colours_are_not_taken_for_masks(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("pool/cat", "sorted/cat"):
        (tmp_path / place).mkdir(parents=True)
        Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / place / "1.png")
    given = [command, tmp_path / "sorted", "--pool", tmp_path / "pool", "--out", tmp_path / "out.csv", "--quiet"]
    code, _, err = told(capsys, *given, *(["--to", "csv"] if command == "export" else []))
    assert code == 2 and "holds images in colours" in err and "--from imagefolder" in err
    if command == "import":
        assert told(capsys, *given, "--from", "imagefolder")[0] == 0
        assert (tmp_path / "out.csv").read_text() == "id,label\ncat/1.png,cat\n"


def test_what_holds_no_answers_is_exported_as_a_selection_or_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "plain").mkdir()
    Image.new("RGB", (40, 30)).save(tmp_path / "plain" / "1.jpg")
    given = ["--pool", tmp_path / "plain", "--to", "label_studio", "--out", tmp_path / "out.json", "--classes", "a,b"]
    code, _, err = told(capsys, "export", tmp_path / "plain", *given)
    assert code == 2 and "give images to label as a selection or a table of ids" in err
    (tmp_path / "ids.csv").write_text("id\n1.jpg\n")
    assert told(capsys, "export", tmp_path / "ids.csv", *given)[0] == 0


def test_an_export_says_what_was_written(
    pool: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels.write_text("id,label\na.png,cat\nday 2/ü.png,\n", encoding="utf-8")
    given = ["--pool", pool, "--to", "label_studio", "--quiet"]
    code, out, _ = told(capsys, "export", labels, *given, "--out", tmp_path / "tasks")
    assert (code, out) == (0, f"{tmp_path / 'tasks'}: 2 images, 1 answered, for label_studio\n")
    (tmp_path / "predicted.csv").write_text("id,label,probability\na.png,cat,0.75\n")
    code, out, _ = told(capsys, "export", tmp_path / "predicted.csv", *given, "--out", tmp_path / "guessed")
    assert (code, out) == (0, f"{tmp_path / 'guessed'}: 1 image, 1 answered by a model, for label_studio\n")


@pytest.mark.parametrize("name", ["cvat", "label_studio", "table"])
def test_answers_to_files_that_were_written_out_come_back_under_the_pool_s_ids(
    name: str, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picks = Selection(list(CLASSES), [1.0] * len(CLASSES), [""] * len(CLASSES), {"pool": str(pool)})
    files = activetune.save_images(picks, out=tmp_path / "tl", pool=pool, quiet=True)
    called = dict(zip((file.name for file in files), CLASSES.values(), strict=True))
    (tmp_path / "said.csv").write_text("id,label\n" + "".join(f"{item},{one}\n" for item, one in called.items()))
    out = tmp_path / {"cvat": "said.xml", "label_studio": "said.json", "table": "again.csv"}[name]
    given = ("--pool", tmp_path / "tl/images", "--to", name, "--out", out)
    assert told(capsys, "export", tmp_path / "said.csv", *given)[0] == 0
    back = ("import", out, "--from", name, "--task", "classification", "--out", tmp_path / "back.csv")
    assert told(capsys, *back, "--pool", tmp_path / "tl/images.csv")[0] == 0
    rows = read_table(tmp_path / "back.csv")
    assert dict(zip(rows["id"], rows["label"], strict=True)) == CLASSES


def test_files_that_were_written_out_are_told_where_no_name_is_known(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "said.csv").write_text("id,label\nday_9_x-0123abcd.png,cat\n")
    with pytest.raises(UsageError, match=r"those of the pool DIR/images\.csv"):
        activetune.import_labels(tmp_path / "said.csv", pool=pool, quiet=True)


@pytest.mark.parametrize("name", ["label_studio", "label-studio"])
def test_label_studio_is_known_with_either_sign(
    name: str, pool: Path, labels: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told(capsys, "export", labels, "--pool", pool, "--to", name, "--out", tmp_path / "tasks")[0] == 0
    given = ("--pool", pool, "--from", name, "--out", tmp_path / "back.csv")
    assert told(capsys, "import", tmp_path / "tasks", *given)[0] == 0
    code, _, err = told(capsys, "label", tmp_path / "nowhere", "--in", name, "--url", "http://127.0.0.1:1")
    assert code == 2 and "LABEL_STUDIO_API_KEY" in err


def test_the_list_of_formats_says_where_the_one_class_of_an_image_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = told(capsys, "list", "formats")
    read = [line for line in out.splitlines() if line.startswith("    read: ")]
    assert len(read) == len(formats())
    assert all(("classification" in line) == ("multilabel" in line) for line in read)


# The table of the page ------------------------------------------------------------------------------------------------


def test_the_page_says_what_each_format_reads_and_writes() -> None:
    text = (Path(__file__).parents[2] / "docs" / "exchange.md").read_text(encoding="utf-8")
    table = text.partition("| format | one class |")[2].partition("\n\n")[0].splitlines()[2:]
    told = {}
    for line in table:
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        told[name.split("`")[1]] = (name.count("`") // 2 - 1, cells[:5], cells[5])
    assert told.keys() == formats().keys()
    for name, module in formats().items():
        read, written = {*module.TASKS}, {*getattr(module, "WRITES", ())}
        read |= {"classification"} & {"classification" if "multilabel" in read else ""}
        kinds = ("classification", "multilabel", "detection", "segmentation", "captioning")
        cells = ["yes" if kind in written else "read" if kind in read else "no" for kind in kinds]
        unwritten = "by `import`" if hasattr(module, "MADE_BY") else "read only"
        place = f"`{Path(module.FILE).suffix}`" if hasattr(module, "FILE") else "folder" if written else unwritten
        assert told[name] == (len(getattr(module, "ALSO", ())), cells, place), name
