"""Tables with a row per box: every spelling of their columns, folders of them, and what is wrong in them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import activetune
from activetune import Pool, UsageError, read_annotations
from activetune.data.annotations import pool_annotations, tasks_at
from tests.data.test_annotations import answers, make_pool, write

TENSORFLOW = "filename,width,height,class,xmin,ymin,xmax,ymax\n"


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Images of 16 x 8 pixels."""
    return make_pool(tmp_path / "pool")


def boxes(path: Path, pool: Pool) -> dict[str, list[tuple[str, list[float]]]]:
    found = answers(read_annotations(path, pool, "detection"))
    return {item: list(zip(one.names, one.xyxy_K4.tolist(), strict=True)) for item, one in found.items()}


@pytest.mark.parametrize(
    "table",
    [
        TENSORFLOW + "1.png,16,8,cat,1,2,5,6\n",
        "id,label,x_left,y_top,x_right,y_bottom\n1.png,cat,1,2,5,6\n",
        "id,x_min,y_min,x_max,y_max,label\n1.png,1,2,5,6,cat\n",
        "image_path;x1;y1;x2;y2;class\nsome/where/1.png;1;2;5;6;cat\n",
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\ncat,1,2,4,4,1.png,16,8\n",
        "id,filename,x,y,width,height,label\n7,1.png,1.0,2,4,4,cat\n",
        "Image ID,X Min,Y Min,X Max,Y Max,Class Name\n1.png,1,2,5,6,cat\n",
        "ImageID,Source,LabelName,XMin,XMax,YMin,YMax\n1,human,cat,0.0625,0.3125,0.25,0.75\n",
    ],
)
def test_columns_are_found_by_their_names(table: str, tmp_path: Path, pool: Pool) -> None:
    path = write(tmp_path / "boxes.csv", table)
    assert boxes(path, pool) == {"1.png": [("cat", [1, 2, 5, 6])]}
    assert tasks_at(path) == ["detection", "multilabel"]
    assert answers(read_annotations(path, pool, "multilabel"))["1.png"].names == ("cat",)


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl", ".parquet"])
def test_the_other_kinds_of_tables_are_read_alike(suffix: str, tmp_path: Path, pool: Pool) -> None:
    row = {"filename": "1.png", "class": "cat", "xmin": 1, "ymin": 2, "xmax": 5, "ymax": 6, "difficult": 1}
    path = tmp_path / f"boxes{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        tabs = "\t".join(row) + "\n" + "\t".join(map(str, row.values())) + "\n"
        write(path, tabs if suffix == ".tsv" else json.dumps(row) + "\n")
    assert boxes(path, pool) == {"1.png": [("cat", [1, 2, 5, 6])]}
    assert answers(read_annotations(path, pool, "detection"))["1.png"].crowd_K.tolist() == [True]


def test_the_tables_of_a_folder_or_zip_name_what_lies_beside_them(tmp_path: Path) -> None:
    """An export of Roboflow: a table and images in a folder per part, with the same names in each."""
    root = tmp_path / "export"
    pool = make_pool(root, ("train/1.png", "train/2.png", "valid/1.png"))
    write(root / "train" / "_annotations.csv", TENSORFLOW + "1.png,16,8,cat,1,2,5,6\n1.png,16,8,dog,0,0,3,3\n")
    write(root / "valid" / "_annotations.csv", TENSORFLOW + "1.png,16,8,dog,2,2,4,4\n")
    expected = {"train/1.png": [("cat", [1, 2, 5, 6]), ("dog", [0, 0, 3, 3])], "valid/1.png": [("dog", [2, 2, 4, 4])]}
    assert boxes(root, pool) == expected
    assert list(answers(pool_annotations(pool, "detection", quiet=True))) == list(expected)
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for table in root.rglob("*.csv"):
            archive.write(table, table.relative_to(root))
    assert boxes(tmp_path / "export.zip", pool) == expected


def test_what_is_wrong_in_a_row_is_told_and_the_others_are_kept(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["1.png,16,8,cat,1,2,5,6", "1.png,16,8,,1,2,5,6", "2.png,16,8,cat,1,2,much,6", ",16,8,cat,1,2,5,6"]
    rows += ["3.png,16,8,,,,,", "1.png,16,8,dog,,,,", "1.png,16,8,dog,5,2,1,6", "1.png,16,8,dog,inf,2,5,6"]
    path = write(tmp_path / "boxes.csv", TENSORFLOW + "\n".join(rows))
    assert boxes(path, pool) == {"1.png": [("cat", [1, 2, 5, 6])], "3.png": []}
    told = capsys.readouterr().err
    for part in (
        "boxes without a class, left out: 1 (the first: row 2)",
        "boxes with a number that can't be read, left out: 2 (the first: row 3, 1, 2, much, 6)",
        "rows without the name of an image, left out: 1 (the first: row 4)",
        "objects without a box, left out: 1",
        "boxes without area, left out: 1",
        "images none of whose objects can be read, left out: 1",
    ):
        assert part in told


@pytest.mark.parametrize(
    ("table", "task", "message"),
    [
        (
            "filename,xmin,ymin,xmax,ymax\n1.png,1,2,3,4\n",
            "detection",
            "no column for the class of a box; name it label",
        ),
        (TENSORFLOW, "detection", "has no row; add a row per box"),
        (TENSORFLOW + "1.png,16,8,cat,1,2,5,6\n", "segmentation", "but box tables with answers for detection"),
        ("filename,class,xmin\n1.png,cat,1\n", "detection", "has no column 'id'; its columns are: filename"),
        ("id,class,xmin\n1.png,cat,1\n", "detection", r"or per row a box \(xmin, ymin, xmax, ymax\) and its class"),
    ],
)
def test_a_table_that_can_not_be_read_says_why(table: str, task: str, message: str, tmp_path: Path, pool: Pool) -> None:
    with pytest.raises(UsageError, match=message):
        read_annotations(write(tmp_path / "boxes.csv", table), pool, task)


def test_a_table_of_captions_beside_boxes_is_one_of_captions_too(tmp_path: Path, pool: Pool) -> None:
    path = write(tmp_path / "both.csv", "id,caption,label,xmin,ymin,xmax,ymax\n1.png,A cat.,cat,1,2,5,6\n")
    assert answers(read_annotations(path, pool, "captioning"))["1.png"].texts == ("A cat.",)
    assert boxes(path, pool) == {"1.png": [("cat", [1, 2, 5, 6])]}


def test_a_box_table_can_be_written_in_other_formats(tmp_path: Path, pool: Pool) -> None:
    path = write(tmp_path / "boxes.csv", "id,x_min,y_min,x_max,y_max,label\n1.png,1,2,5,6,cat\n1.png,0,0,3,3,dog\n")
    activetune.export_labels(path, pool=pool, format="coco", out=tmp_path / "boxes.json", quiet=True)
    assert boxes(tmp_path / "boxes.json", pool) == boxes(path, pool)


# Numbers in another unit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "line"), [("detection", "0 300 200 50 60"), ("segmentation", "0 1 2 30 2 30 40")])
def test_pixels_in_yolo_are_told_as_such(task: str, line: str, tmp_path: Path, pool: Pool) -> None:
    write(tmp_path / "yolo" / "1.txt", line + "\n")
    with pytest.raises(UsageError, match=r"lines in pixels, where YOLO has shares of .* from 0 to 1, left out: 1"):
        read_annotations(tmp_path / "yolo", pool, task)


def test_shares_in_a_format_of_pixels_are_refused(tmp_path: Path, pool: Pool) -> None:
    content = {
        "images": [{"id": 1, "file_name": "1.png"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0.25, 0.25, 0.5, 0.5]}],
    }
    path = write(tmp_path / "boxes.json", json.dumps(content))
    with pytest.raises(UsageError, match=r"its 1 boxes are shares of the image from 0 to 1, and pixels are expected"):
        read_annotations(path, pool, "detection")
    content["annotations"][0]["bbox"] = [0, 0, 1, 1]  # one pixel
    assert boxes(write(path, json.dumps(content)), pool) == {"1.png": [("cat", [0, 0, 1, 1])]}
