"""What is written of a class is its name: only a column of CSV that holds numbers alone is one of numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import activetune
from activetune import Pool, read_annotations
from activetune.data.answers import as_numbers
from activetune.data.label_notes import describe_names
from activetune.data.labels import labels_of
from tests.data.test_annotations import make_pool, write

NAMES = ["2.0", "nan", "NaN", "<NA>", "3."]
TOLD = "labels of a column of numbers alone"


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "pool", [f"{number}.png" for number in range(len(NAMES))])


def coco(path: Path) -> Path:
    images = [{"id": number, "file_name": f"{number}.png", "width": 8, "height": 6} for number in range(len(NAMES))]
    boxes = [{"image_id": number, "category_id": number, "bbox": [0, 0, 2, 2]} for number in range(len(NAMES))]
    categories = [{"id": number, "name": name} for number, name in enumerate(NAMES)]
    return write(path / "a.json", json.dumps({"images": images, "annotations": boxes, "categories": categories}))


def cvat(path: Path) -> Path:
    images = "".join(
        f'<image name="{number}.png" width="8" height="6"><tag label="{name.replace("<", "&lt;")}"/></image>'
        for number, name in enumerate(NAMES)
    )
    return write(path / "a.xml", f"<annotations>{images}</annotations>")


def voc(path: Path) -> Path:
    for number, name in enumerate(NAMES):
        box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>"
        content = f"<annotation><object><name>{name.replace('<', '&lt;')}</name>{box}</object></annotation>"
        write(path / "voc" / f"{number}.xml", content)
    return path / "voc"


def yolo(path: Path) -> Path:
    for number in range(len(NAMES)):
        write(path / "yolo" / "labels" / f"{number}.txt", f"{number} .5 .5 .5 .5\n")
    write(path / "yolo" / "classes.txt", "\n".join(NAMES))
    return path / "yolo"


def label_studio(path: Path) -> Path:
    tasks = [
        {
            "data": {"image": f"{number}.png"},
            "annotations": [{"result": [{"type": "choices", "value": {"choices": [name]}}]}],
        }
        for number, name in enumerate(NAMES)
    ]
    return write(path / "tasks.json", json.dumps(tasks))


def json_lines(path: Path) -> Path:
    rows = [json.dumps({"id": f"{number}.png", "label": name}) for number, name in enumerate(NAMES)]
    return write(path / "l.jsonl", "\n".join(rows))


def parquet(path: Path) -> Path:
    ids = [f"{number}.png" for number in range(len(NAMES))]
    pq.write_table(pa.table({"id": ids, "label": NAMES}), path / "l.parquet")
    return path / "l.parquet"


def text_column(path: Path) -> Path:
    rows = [f"{number}.png,{name}\n" for number, name in enumerate([*NAMES[:-1], "cat"])]
    return write(path / "l.csv", "id,label\n" + "".join(rows))


@pytest.mark.parametrize(
    "made", [coco, cvat, voc, yolo, label_studio, json_lines, parquet], ids=lambda made: made.__name__
)
def test_the_text_of_a_class_is_its_name(
    made: Any, tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = read_annotations(made(tmp_path), pool, "multilabel")
    assert {item: answer.names for item, answer in zip(labels.ids, labels.answers, strict=True)} == {
        f"{number}.png": (name,) for number, name in enumerate(NAMES)
    }
    assert TOLD not in capsys.readouterr().err


def test_beside_a_text_all_cells_of_csv_are_text(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    path, want = text_column(tmp_path), [*NAMES[:-1], "cat"]
    for labels in (activetune.import_labels(path, pool=pool), labels_of(path, pool)):
        assert dict(zip(labels.ids, labels.answers, strict=True)) == dict(zip(pool.ids, want, strict=True))
    assert TOLD not in capsys.readouterr().err
    assert "'nan'" in describe_names({"nan": 3, "cat": 9})[-1]  # before training, it is asked whether it is a gap


@pytest.mark.parametrize(
    ("cells", "want"),
    [
        (["2.0", "", "10.0"], ["2", None, "10"]),
        (["2.0", "nan", " 1. "], ["2", None, "1"]),
        (["0.5", "<NA>", "-3.0", "1e-05"], ["0.5", None, "-3", "1e-05"]),
        (["nan", "nan"], [None, None]),
        (["007", "2.0"], ["007", "2.0"]),
        (["inf", "2.0"], ["inf", "2.0"]),
        ([2.0, "nan"], [2.0, "nan"]),
    ],
)
def test_a_column_of_numbers_alone(cells: list[Any], want: list[Any]) -> None:
    from activetune.base.tables import Untyped

    typed = not all(isinstance(cell, str) for cell in cells)
    assert list(as_numbers(cells if typed else Untyped(cells)).cells) == want
    assert list(as_numbers(cells).cells) == cells  # where texts and numbers are told apart, texts are texts


def test_a_column_of_numbers_is_told_at_every_door(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "l.csv", "id,label\n0.png,2.0\n1.png,nan\n2.png,1\n")
    manifest = write(tmp_path / "pool" / "m.csv", "path,label\n0.png,2.0\n1.png,nan\n2.png,1\n")
    write(tmp_path / "pool" / "metadata.csv", "file_name,label\n0.png,2.0\n1.png,nan\n2.png,1\n")
    boxes = write(
        tmp_path / "b.csv", "filename,class,xmin,ymin,xmax,ymax\n0.png,2.0,0,0,2,2\n1.png,,,,,\n2.png,1,0,0,2,2\n"
    )
    for read in (
        lambda: labels_of(path, pool),
        lambda: activetune.import_labels(path, pool=pool),
        lambda: activetune.open_pool(manifest),
        lambda: activetune.open_pool(tmp_path / "pool"),
        lambda: read_annotations(path, pool, "multilabel"),
        lambda: read_annotations(boxes, pool, "detection"),
    ):
        found: Any = read()
        names = set(getattr(found, "classes", None) or filter(None, found.labels))
        assert names == {"1", "2"}
        said = capsys.readouterr().err
        assert f"{TOLD}, in which 2.0 is the class '2' and nan is no answer" in said and "(the first: '2.0')" in said
    assert labels_of(path, pool, quiet=True).unanswered == 1
    assert not capsys.readouterr().err


def test_classes_that_csv_would_make_numbers_of_are_told_when_they_are_written(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"0.png": "2.0", "1.png": "1.0"}
    activetune.export_labels(answers, pool=pool, format="table", out=tmp_path / "out.csv")
    assert "takes '2.0' for a number" in capsys.readouterr().err
    made = activetune.export_labels(answers, pool=pool, format="cvat", out=tmp_path / "out.xml")
    activetune.import_labels(made, pool=pool, out=tmp_path / "back.csv")
    assert "takes '2.0' for a number" in capsys.readouterr().err
    activetune.import_labels(made, pool=pool, out=tmp_path / "back.parquet")
    assert "takes" not in capsys.readouterr().err
    assert set(read_annotations(tmp_path / "back.parquet", pool, "multilabel").classes) == {"1.0", "2.0"}


def test_several_names_that_read_like_numbers_come_back_from_csv(tmp_path: Path, pool: Pool) -> None:
    from activetune.data.kinds import Names

    answers = {"0.png": Names(("2.0",)), "1.png": Names(("1.0", "nan")), "2.png": Names(("nan",))}
    path = activetune.export_labels(answers, pool=pool, format="table", out=tmp_path / "out.csv", task="multilabel")
    labels = read_annotations(path, pool, "multilabel")
    assert dict(zip(labels.ids, labels.answers, strict=True)) == answers
