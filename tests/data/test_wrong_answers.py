"""Files whose answers were given to another image, or lost, without a word."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import activetune
from activetune import UsageError, open_pool
from activetune.cli import run
from activetune.cli._options import class_list
from activetune.data.annotations import save_annotations
from activetune.data.kinds import ArrayMask, Boxes
from activetune.data.labels import Labels
from activetune.tasks import make_task


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    (tmp_path / "pool").mkdir()
    for number in (1, 2, 3):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(tmp_path / f"pool/{number}.png")
    return tmp_path / "pool"


def read(path: Path, pool: Path, task: str | None = None, **options: Any) -> dict[str, Any]:
    found = activetune.import_labels(path, pool=pool, task=task, quiet=True, **options)
    return dict(zip(found.ids, found.answers, strict=True))


def boxes(path: Path, pool: Path) -> dict[str, list[list[float]]]:
    return {item: answer.xyxy_K4.tolist() for item, answer in read(path, pool, "detection").items()}


def export(pool: Path, labels: dict[str, Any], format: str, out: Path, **options: Any) -> Path:
    return activetune.export_labels(labels, pool=pool, format=format, out=out, quiet=True, **options)


def test_an_image_that_has_another_class_now_leaves_the_folder_of_the_first(pool: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export(pool, {"1.png": "cat", "2.png": "dog"}, "imagefolder", out)
    export(pool, {"1.png": "zebra", "2.png": "dog"}, "imagefolder", out, overwrite=True)
    assert not (out / "cat").exists()
    assert read(out, pool) == {"1.png": "zebra", "2.png": "dog"}


def test_folders_that_no_export_has_written_stay(pool: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "cat"
    mine.mkdir(parents=True)
    (mine / "precious.png").write_bytes(b"mine")
    with pytest.raises(UsageError, match="holds 'cat', which no export has written; nothing was written"):
        export(pool, {"1.png": "cat"}, "imagefolder", tmp_path / "mine", overwrite=True)
    assert (mine / "precious.png").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("format", "name", "content"),
    [("coco", "package.json", '{"name": "x"}'), ("table", "people.csv", "name,age\nAda,36\n")],
)
def test_a_file_of_another_kind_is_not_replaced(
    format: str, name: str, content: str, pool: Path, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    answers: Any = {"1.png": "cat"} if format == "table" else {"1.png": Boxes.of([[0, 0, 9, 9]], ["cat"])}
    with pytest.raises(UsageError, match="nothing was written"):
        export(pool, answers, format, tmp_path / name, overwrite=True)
    assert (tmp_path / name).read_text() == content


def test_what_lies_beside_a_file_is_not_replaced_unasked(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "proj.config.xml").write_text("<View/>")
    with pytest.raises(UsageError, match=r"'proj.config.xml' beside .* would be replaced"):
        export(pool, {"1.png": "cat"}, "label_studio", tmp_path / "proj.json")
    assert (tmp_path / "proj.config.xml").read_text() == "<View/>" and not (tmp_path / "proj.json").exists()


def test_all_files_of_a_folder_are_read(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    for number in range(25):
        Image.new("RGB", (8, 8)).save(tmp_path / f"pool/{number}.png")
        box = (
            f'<image name="{number}.png" width="8" height="8"><box label="a" xtl="0" ytl="0" xbr="4" ybr="4"/></image>'
        )
        (tmp_path / "cvat").mkdir(exist_ok=True)
        (tmp_path / f"cvat/{number}.xml").write_text(f"<annotations>{box}</annotations>")
    assert len(boxes(tmp_path / "cvat", tmp_path / "pool")) == 25


def test_run_lengths_are_in_pixels_whatever_the_boxes_are_in(pool: Path, tmp_path: Path) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[:20, :15] = 1
    given = ArrayMask(mask.astype(np.int64))
    export(pool, {"1.png": given}, "label_studio", tmp_path / "tasks", classes=["background", "ink"])
    tasks = json.loads((tmp_path / "tasks/tasks.json").read_text())
    results = [one for one in tasks[0]["annotations"][0]["result"] if one["value"]["brushlabels"] == ["ink"]]
    tasks[0]["annotations"][0]["result"] = results
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    assert boxes(tmp_path / "export.json", pool) == {"1.png": [[0, 0, 15, 20]]}


def coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> str:
    return json.dumps({"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "cat"}]})


def test_run_lengths_of_another_size_are_no_box(pool: Path, tmp_path: Path) -> None:
    rle = {"size": [24, 32], "counts": [0, 24 * 16, 24 * 16]}
    image = {"id": 1, "file_name": "1.png", "width": 64, "height": 48}
    (tmp_path / "c.json").write_text(coco([image], [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": rle}]))
    with pytest.raises(UsageError, match="answer"):
        boxes(tmp_path / "c.json", pool)


def test_an_id_that_two_images_have_is_nobodys(pool: Path, tmp_path: Path) -> None:
    images = [{"id": number, "file_name": name} for number, name in ((1, "1.png"), (1, "2.png"), (2, "3.png"))]
    found = [{"id": row, "image_id": key, "category_id": 1, "bbox": [0, 0, 9, 9]} for row, key in ((1, 1), (2, 2))]
    (tmp_path / "c.json").write_text(coco(images, found))
    assert boxes(tmp_path / "c.json", pool) == {"3.png": [[0, 0, 9, 9]]}


def test_a_row_number_is_no_id_beside_a_files_name(pool: Path, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1, "file_name": "2.png", "labels": ["cat"]}\n')
    assert list(read(tmp_path / "a.jsonl", pool, "multilabel")) == ["2.png"]
    (tmp_path / "b.jsonl").write_text('{"id": "1.png", "file_name": "renamed.png", "labels": ["cat"]}\n')
    assert list(read(tmp_path / "b.jsonl", pool, "multilabel")) == ["1.png"]


def test_names_with_points_have_their_own_sidecars(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number, name in ((1, "cat"), (2, "dog")):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (number, 0, 0)).save(picture, "PNG")
            for suffix, content in (("png", picture.getvalue()), ("cls", name.encode())):
                member = tarfile.TarInfo(f"IMG_2020.01.02-{number}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    assert open_pool(tmp_path / "a.tar", quiet=True).labels == ["cat", "dog"]


def yolo(folder: Path, lines: dict[str, str], **yaml: str) -> Path:
    folder.mkdir()
    for name, content in yaml.items():
        (folder / f"{name}.yaml").write_text(content)
    for name, line in lines.items():
        (folder / f"{name}.txt").write_text(line)
    return folder


def test_points_behind_a_box_are_no_polygon(pool: Path, tmp_path: Path) -> None:
    line = "0 .5 .5 .2 .2 " + " ".join(["0.4 0.4 2"] * 4)
    folder = yolo(tmp_path / "pose", {"1": line}, data="names: [cat]\nkpt_shape: [4, 3]\n")
    np.testing.assert_allclose(boxes(folder, pool)["1.png"], [[25.6, 19.2, 38.4, 28.8]], atol=1e-4)
    person = "0 .5 .5 .2 .2 " + " ".join(["0.4 0.4 2"] * 17)  # as many numbers as no polygon has
    folder = yolo(tmp_path / "people", {"1": person}, data="names: [person]\nkpt_shape: [17, 3]\n")
    found = read(folder, pool)["1.png"]
    np.testing.assert_allclose(found.xyxy_K4, [[25.6, 19.2, 38.4, 28.8]], atol=1e-4)


def test_other_yaml_files_and_names_like_those_of_other_texts(pool: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(pool / "license_plate.png")
    lines = {"license_plate": "0 .5 .5 1 1", "1": "0 .5 .5 1 1", "readme": "0 .5 .5 1 1"}
    folder = yolo(tmp_path / "yolo", lines, args="epochs: 3\n", data="names: [cat]\n")
    assert set(boxes(folder, pool)) == {"1.png", "license_plate.png"}


def test_long_names_of_any_script_fit_into_a_file_system(tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    item = "猫" * 80 + ".png"
    Image.new("RGB", (8, 8)).save(tmp_path / "pool" / item)
    answers: Any = {item: Boxes.of([[0, 0, 4, 4]], ["cat"])}
    out = export(tmp_path / "pool", answers, "yolo", tmp_path / "out")
    assert list(boxes(out, tmp_path / "pool")) == [item]


@pytest.mark.parametrize(
    "task",
    [
        {"data": {"image": "http://[bad/1.png"}},
        {"data": {"item": "1.png"}, "annotations": [{"result": [{"type": ["x"], "value": {}}]}]},
    ],
)
def test_odd_tasks_end_in_a_sentence(task: dict[str, Any], pool: Path, tmp_path: Path) -> None:
    (tmp_path / "tasks.json").write_text(json.dumps([{"annotations": [], **task}]))
    with pytest.raises(UsageError):
        read(tmp_path / "tasks.json", pool, "classification", format="label_studio")


def test_a_run_length_beyond_all_numbers_is_left_out(pool: Path, tmp_path: Path) -> None:
    mask = '<mask label="a" rle="99999999999999999999" left="0" top="0" width="4" height="4"/>'
    rest = '<image name="2.png" width="64" height="48"><box label="a" xtl="0" ytl="0" xbr="4" ybr="4"/></image>'
    image = f'<image name="1.png" width="64" height="48">{mask}</image>{rest}'
    (tmp_path / "a.xml").write_text(f"<annotations>{image}</annotations>")
    assert list(boxes(tmp_path / "a.xml", pool)) == ["2.png"]


def test_options_that_are_no_table_or_too_many(pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text("[simulate.settings]\nactiveft = 3\n")
    common = [
        "simulate",
        str(pool),
        "--test",
        "30%",
        "--methods",
        "random",
        "--budgets",
        "1",
        "--out",
        str(tmp_path / "o"),
    ]
    assert run([*common, "--config", str(tmp_path / "s.toml")]) == 2
    assert "settings.activeft is no table of settings" in capsys.readouterr().err
    assert run([*common, "--settings", "random.a=1", "--settings", "random.a=2"]) == 2
    assert "random.a is given twice" in capsys.readouterr().err
    assert run(["corrupt", str(pool), "--severity", "1-99999999999", "--out", str(tmp_path / "c")]) == 2
    assert "severity can't be '1-99999999999'; give 1 to 5" in capsys.readouterr().err


def test_the_classes_beside_masks_are_class_names(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text("name,value\nbackground,0\ncat,1\nvoid,255\n")
    (tmp_path / "plain.csv").write_text("name\ncat\n")
    assert class_list(str(tmp_path / "classes.csv")) == ["background", "cat"]
    assert class_list(str(tmp_path / "plain.csv")) == ["name", "cat"]


def test_a_file_among_the_names_of_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "cat").mkdir()  # the images of a class often lie in a folder of its name
    with pytest.raises(UsageError, match=r"--classes lists 'classes.txt', which is a file; give it alone, or names"):
        class_list("foo, classes.txt")
    assert class_list("cat,dog,gone.txt") == ["cat", "dog", "gone.txt"] and class_list("classes.txt") == ["cat", "dog"]


def test_rows_of_one_image_are_its_sentences_wherever_they_are_read(pool: Path, tmp_path: Path) -> None:
    (pool / "metadata.csv").write_text("file_name,caption\n1.png,a cat\n1.png,a grey cat\n2.png,a dog\n")
    found = activetune.import_labels(pool / "metadata.csv", pool=pool, task="captioning", quiet=True)
    own = open_pool(pool, quiet=True)
    for labels in (found, make_task("captioning").labels_of(None, own)):
        texts = {item: answer.texts for item, answer in zip(labels.ids, labels.answers, strict=True)}
        assert texts == {"1.png": ("a cat", "a grey cat"), "2.png": ("a dog",)}


def test_the_boxes_of_a_crowded_image_come_back(pool: Path, tmp_path: Path) -> None:
    given = Boxes.of([[x % 60, 3.25, x % 60 + 1.5, 20.125] for x in range(2_500)], ["cat"] * 2_500)
    out = export(pool, {"1.png": given}, "table", tmp_path / "crowd.csv")
    assert len(boxes(out, pool)["1.png"]) == 2_500


def test_small_boxes_of_our_own_files_are_pixels(pool: Path, tmp_path: Path) -> None:
    given = {"1.png": Boxes.of([[0, 0, 1, 0.5]], ["cat"])}
    labels = Labels(list(given), list(given.values()), ["cat"], 0)
    save_annotations(labels, tmp_path / "a.parquet", task="detection", pool=open_pool(pool, quiet=True))
    assert boxes(tmp_path / "a.parquet", pool) == {"1.png": [[0, 0, 1, 0.5]]}


def test_of_several_data_sets_of_fiftyone_one_is_asked_for(pool: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        export(pool, {"1.png": "cat"}, "fiftyone", tmp_path / "sets" / name)
    with pytest.raises(UsageError, match=r"holds 2 data sets of FiftyOne \('a/samples.json', 'b/samples.json'\)"):
        read(tmp_path / "sets", pool, "classification", format="fiftyone")
    assert read(tmp_path / "sets" / "b", pool) == {"1.png": "cat"}


def test_tags_of_cvat_are_no_objects_beside_boxes(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = {"cat": "any", "dog": "rectangle", "blurred": "tag"}
    listed = "".join(f"<label><name>{name}</name><type>{kind}</type></label>" for name, kind in labels.items())
    box = '<box label="cat" xtl="0" ytl="0" xbr="4" ybr="4"/>'
    images = {"1.png": f'{box}<tag label="blurred"/>', "2.png": '<tag label="nothing"/>'}
    parts = "".join(f'<image name="{name}" width="64" height="48">{inner}</image>' for name, inner in images.items())
    path = tmp_path / "a.xml"
    path.write_text(f"<annotations><meta><task><labels>{listed}</labels></task></meta>{parts}</annotations>")
    assert activetune.read_annotations(path, open_pool(pool, quiet=True), "detection").classes == ["cat", "dog"]
    found = boxes(path, pool)
    assert set(found) == {"1.png", "2.png"} and len(found["2.png"]) == 0
    assert "without a box" not in capsys.readouterr().err
    several = activetune.import_labels(path, pool=pool, task="multilabel", quiet=True)
    assert [answer.names for answer in several.answers] == [("blurred", "cat"), ("nothing",)]
    path.write_text(f"<annotations>{parts.replace(box, '')}</annotations>")
    with pytest.raises(UsageError, match="has what detection needs, boxes"):
        boxes(path, pool)
