"""Files of answers as people have them: other encodings, numbers as texts, further files beside them, slips."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from activetune import Pool, UsageError, read_annotations
from activetune.data.kinds import VOID
from tests.data.test_annotations import HEIGHT, WIDTH, answers, encoded, make_pool, write


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "pool")


def coco(path: Path, images: list[dict[str, Any]], objects: list[dict[str, Any]], **more: Any) -> Path:
    categories = more.get("categories", [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}])
    return write(path, json.dumps({"images": images, "annotations": objects, "categories": categories}))


def image(number: object, name: str, **more: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT, **more}


# Encodings ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_yolo_texts_and_lists_are_read_in_every_encoding_that_tables_are(
    tmp_path: Path, pool: Pool, encoding: str
) -> None:
    folder = tmp_path / "yolo"
    write(folder / "1.txt", "1 .5 .5 .25 .5\r\n".encode(encoding))
    write(folder / "classes.txt", "kätzchen\r\nhund\r\n".encode(encoding))
    labels = read_annotations(folder, pool, "detection")
    assert labels.classes == ["kätzchen", "hund"]
    assert answers(labels)["1.png"].names == ("hund",)


def test_a_list_of_classes_in_another_encoding_is_refused_and_no_name_is_guessed(tmp_path: Path, pool: Pool) -> None:
    write(tmp_path / "yolo" / "1.txt", "0 .5 .5 .25 .5\n")
    write(tmp_path / "yolo" / "classes.txt", "kätzchen\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"classes\.txt of .* is not UTF-8 text \(line 1, byte 0xe4\)"):
        read_annotations(tmp_path / "yolo", pool, "detection")
    write(tmp_path / "masks" / "1.png", encoded(np.zeros((HEIGHT, WIDTH), np.uint8)))
    write(tmp_path / "masks" / "classes.txt", "straße\n".encode("latin-1"))
    with pytest.raises(UsageError, match=r"no list of classes: it is not UTF-8 text"):
        read_annotations(tmp_path / "masks", pool, "segmentation")
    (tmp_path / "masks" / "classes.txt").write_bytes("straße\n".encode("utf-16"))
    assert read_annotations(tmp_path / "masks", pool, "segmentation").classes == ["straße"]
    content = json.dumps({"images": [], "annotations": [], "note": "ä"}, ensure_ascii=False).encode("latin-1")
    with pytest.raises(UsageError, match="not UTF-8 text, byte 0xe4"):
        read_annotations(write(tmp_path / "c.json", content), pool, "detection")


def test_yaml_names_are_as_they_are_written(tmp_path: Path, pool: Pool) -> None:
    write(tmp_path / "yolo" / "1.txt", "1 .5 .5 .25 .5\n")
    write(tmp_path / "yolo" / "data.yaml", "names: [yes, no, 007, null]\n")
    assert read_annotations(tmp_path / "yolo", pool, "detection").classes == ["yes", "no", "007", "null"]
    write(tmp_path / "yolo" / "data.yaml", "names:\n  0: on\n  1: off\n")
    assert read_annotations(tmp_path / "yolo", pool, "detection").classes == ["on", "off"]


def test_a_class_number_without_a_list_is_told_in_words(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "yolo" / "1.txt", "-1 .5 .5 .25 .5\n0 .5 .5 .25 .5\n")
    assert len(answers(read_annotations(tmp_path / "yolo", pool, "detection"))["1.png"]) == 1
    assert "lines whose class is no whole number from 0 on, left out: 1" in capsys.readouterr().err


# Numbers that are texts or floats -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sides", [("8", "16"), (8.0, 16.0)])
def test_a_size_counts_however_it_is_written(tmp_path: Path, pool: Pool, sides: tuple[Any, Any]) -> None:
    right, wrong = {"height": sides[0], "width": sides[1]}, {"height": sides[1], "width": sides[0]}
    objects = [{"image_id": number, "category_id": 1, "bbox": [1, 1, 4, 4]} for number in (1, 2)]
    images = [image(1, "1.png", **right), image(2, "2.png", **wrong)]
    assert read_annotations(coco(tmp_path / "c.json", images, objects), pool, "detection").ids == ["1.png"]
    cell = {"bbox": [[1, 1, 4, 4]], "category": ["cat"]}
    rows = [{"id": "1.png", "objects": cell, **right}, {"id": "2.png", "objects": cell, **wrong}]
    table = write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    assert read_annotations(table, pool, "detection").ids == ["1.png"]


def test_numbers_that_a_table_made_floats_of_are_the_same_ids(tmp_path: Path, pool: Pool) -> None:
    objects = [{"image_id": 1.0, "category_id": 2.0, "bbox": [1, 1, 4, 4]}]
    labels = read_annotations(coco(tmp_path / "c.json", [image(1.0, "1.png")], objects), pool, "detection")
    assert answers(labels)["1.png"].names == ("dog",)


def test_a_crowd_is_told_in_numbers_words_or_not_at_all(tmp_path: Path, pool: Pool) -> None:
    told = [1, True, "1", "true", 0, False, "0", "false", None, float("nan")]
    cell = {"bbox": [[1, 1, 4, 4]] * len(told), "category": ["cat"] * len(told), "iscrowd": told}
    table = write(tmp_path / "t.jsonl", json.dumps({"id": "1.png", "objects": cell}))
    found = answers(read_annotations(table, pool, "detection"))["1.png"].crowd_K
    assert found.tolist() == [True] * 4 + [False] * 6
    objects = [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "iscrowd": value} for value in told]
    found = answers(read_annotations(coco(tmp_path / "c.json", [image(1, "1.png")], objects), pool, "detection"))
    assert found["1.png"].crowd_K.tolist() == [True] * 4 + [False] * 6


def test_a_category_number_for_two_names_is_told(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = [{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]
    objects = [{"image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}]
    file = coco(tmp_path / "c.json", [image(1, "1.png")], objects, categories=twice)
    assert answers(read_annotations(file, pool, "detection"))["1.png"].names == ("cat",)
    assert "ids of categories that are given to two names, the first counts: 1" in capsys.readouterr().err


# Regions that show nothing --------------------------------------------------------------------------------------------


def test_an_image_whose_regions_all_lie_outside_is_not_answered_as_its_boxes_are_not(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    inside, outside = [1, 1, 6, 1, 6, 6, 1, 6], [50, 50, 60, 50, 60, 60]
    flat, empty = [1, 1, 9, 1, 4, 1], {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]}
    given = {1: [[inside], [outside]], 2: [[outside], [flat], empty], 3: []}
    objects = [
        {"image_id": number, "category_id": 1, "segmentation": region}
        for number, regions in given.items()
        for region in regions
    ]
    file = coco(tmp_path / "c.json", [image(number, f"{number}.png") for number in given], objects)
    labels = read_annotations(file, pool, "segmentation")
    assert labels.ids == ["1.png", "3.png"] and labels.unanswered == 1
    told = capsys.readouterr().err
    assert "regions outside of their image or without area, left out: 4" in told
    assert "images none of whose objects can be read, left out: 1 (the first: c.json, image 1)" in told
    assert read_annotations(file, pool, "detection", quiet=True).ids == ["1.png", "3.png"]


def test_a_region_smaller_than_a_pixel_leaves_the_image_answered(tmp_path: Path, pool: Pool) -> None:
    objects = [{"image_id": 1, "category_id": 1, "segmentation": [[1.1, 1.1, 1.3, 1.1, 1.3, 1.3]]}]
    labels = read_annotations(coco(tmp_path / "c.json", [image(1, "1.png")], objects), pool, "segmentation")
    assert (answers(labels)["1.png"].pixels() == 0).all()


# What lies beside masks -----------------------------------------------------------------------------------------------


def test_a_folder_of_masks_may_hold_other_texts(tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    mask = encoded(np.ones((HEIGHT, WIDTH), np.uint8))
    for folder in (tmp_path / "masks", tmp_path / "drawn"):
        write(folder / "1.png", mask)
        write(folder / "README.txt", "drawn by hand")
        write(folder / "label_colors.txt", "0 0 0\tground")
        assert read_annotations(folder, pool, "segmentation").ids == ["1.png"]
        assert "label_colors.txt is not read; a list of the masks' classes is called classes.txt" in (
            capsys.readouterr().err
        )
    write(tmp_path / "masks" / "notes.json", "{}")
    assert read_annotations(tmp_path / "masks", pool, "segmentation").ids == ["1.png"]
    write(tmp_path / "drawn" / "1.txt", "who knows")
    with pytest.raises(UsageError, match="no answers for segmentation"):
        read_annotations(tmp_path / "drawn", pool, "segmentation")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nground,0,0,0\nroad,128,64,128\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nground:0,0,0::\nroad:128,64,128::\nvoid:9,9,9::\n"),
    ],
)
def test_lists_as_other_programs_write_them(tmp_path: Path, pool: Pool, name: str, text: str) -> None:
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[0], colours[1] = (128, 64, 128), (9, 9, 9) if name == "labelmap.txt" else (0, 0, 0)
    write(tmp_path / "set" / "SegmentationClass" / "1.png", encoded(colours))
    write(tmp_path / "set" / "SegmentationObject" / "1.png", encoded(colours))
    write(tmp_path / "set" / "ImageSets" / "Segmentation" / "default.txt", "1\n")
    write(tmp_path / "set" / name, text)
    labels = read_annotations(tmp_path / "set", pool, "segmentation")
    assert labels.classes == ["ground", "road"]
    second = VOID if name == "labelmap.txt" else 0
    assert answers(labels)["1.png"].pixels()[:3, 0].tolist() == [1, second, 0]


def test_answers_of_another_task_are_called_by_their_format(tmp_path: Path, pool: Pool) -> None:
    document = "<annotation><object><name>cat</name></object></annotation>"
    write(tmp_path / "voc" / "1.xml", document)
    with pytest.raises(UsageError, match=r"for segmentation, but Pascal VOC .* detection, multilabel; give answers of"):
        read_annotations(tmp_path / "voc", pool, "segmentation")
    write(tmp_path / "jpegs" / "1.jpg", b"")
    with pytest.raises(UsageError, match=r"it is 1 image alone, and JPEG does not keep the values of masks"):
        read_annotations(tmp_path / "jpegs", pool, "segmentation")


# Texts in cells -------------------------------------------------------------------------------------------------------


def test_sentences_in_a_cell_of_text_may_be_a_list(tmp_path: Path, pool: Pool) -> None:
    rows = 'id,captions\n1.png,"[""A cat."", ""A dog.""]"\n2.png,[sic] a cat\n3.png,[1]\n'
    labels = read_annotations(write(tmp_path / "t.csv", rows), pool, "captioning")
    assert [answer.texts for answer in labels.answers] == [("A cat.", "A dog."), ("[sic] a cat",), ("[1]",)]


def test_a_separator_in_the_column_of_one_name_is_told(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = read_annotations(write(tmp_path / "t.csv", "id,label\n1.png,cat;dog\n"), pool, "multilabel")
    assert labels.classes == ["cat;dog"]
    assert "names with ; or | in the column 'label', one class each: 1 (the first: row 1, 'cat;dog')" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("line", ["0 .5 .5 .5 .5 .93", "1 .1 .1 .5 .1 .5 .5 .7"])
def test_what_yolo_predicts_is_told_to_be_no_answer(line: str, tmp_path: Path, pool: Pool) -> None:
    write(tmp_path / "yolo" / "labels" / "1.txt", f"{line}\n")
    write(tmp_path / "yolo" / "classes.txt", "cat\ndog\n")
    with pytest.raises(UsageError, match=r"end with a confidence .*predictions are no answers; give texts"):
        read_annotations(tmp_path / "yolo", pool, "detection")
    write(tmp_path / "yolo" / "labels" / "1.txt", "0 .5 .5 .5 .5 7\n")  # which no confidence is
    with pytest.raises(UsageError, match="in a format that is known"):
        read_annotations(tmp_path / "yolo", pool, "detection")


def test_lines_that_yolo_predicts_beside_those_of_people_are_left_out(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "yolo" / "labels" / "1.txt", "0 .5 .5 .5 .5\n0 .5 .5 .5 .5 .93\n")
    assert len(read_annotations(tmp_path / "yolo", pool, "detection").answers[0]) == 1
    assert "lines with a confidence at their end" in capsys.readouterr().err
