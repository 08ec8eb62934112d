"""Names that other programs have changed: uploads, addresses and Roboflow's exports, where no name is one as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from activetune import Pool, UsageError, read_annotations
from activetune.data.annotations._matching import match
from activetune.data.annotations._problems import Problems
from tests.data.test_annotations import make_pool, write

BARE = "names read without what an upload, an address or Roboflow adds to them"
ALIKE = "names that fit an image alike, left out"
STRANGE = "names without an image in the pool, left out"
DIGEST = "0123456789abcdef0123456789abcdef"


def pool_of(*ids: str) -> Pool:
    return Pool("p", list(ids), None, None)  # type: ignore[arg-type]


def matched(pool: Pool, *names: str) -> tuple[dict[str, str], dict[str, int]]:
    problems = Problems("f")
    found = match(names, pool, problems)
    return found, {what: problem.count for what, problem in problems.found.items()}


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("labels/a1b2c3d4-a.txt", "a.jpg"),
        ("/data/upload/1/a1b2c3d4-a.jpg", "a.jpg"),
        ("/labelstudio/data/upload/12/a1b2c3d4-a.jpg", "a.jpg"),
        ("../../label-studio/data/media/upload/1/a1b2c3d4-a.jpg", "a.jpg"),
        ("http://host:8080/studio/data/upload/1/a1b2c3d4-a%20b.jpg", "sub/a b.jpg"),
        (f"train/images/a_jpg.rf.{DIGEST}.jpg", "a.jpg"),
        (f"labels/a_jpeg.rf.{DIGEST}.txt", "a.jpg"),
        (f"d-1_png.rf.{DIGEST}.jpg", "d-1.png"),
        ("sub%2Fa%20b.jpg", "sub/a b.jpg"),
        ("https://host/pool/a.jpg?x=1", "a.jpg"),
    ],
)
def test_names_as_other_programs_make_them(name: str, item: str) -> None:
    found, told = matched(pool_of("a.jpg", "sub/a b.jpg", "d-1.png"), name)
    assert found == {name: item} and told[BARE] == 1


def test_a_name_that_is_one_as_it_is_comes_first() -> None:
    found, told = matched(pool_of("a1b2c3d4-a.jpg", "a.jpg"), "a1b2c3d4-a.jpg", "a.jpg")
    assert found == {"a1b2c3d4-a.jpg": "a1b2c3d4-a.jpg", "a.jpg": "a.jpg"} and not told
    found, told = matched(pool_of("a%20b.jpg", "a b.jpg"), "x/a%20b.jpg")
    assert found == {"x/a%20b.jpg": "a%20b.jpg"} and not told
    found, told = matched(pool_of("a.jpg"), "a.txt", "a1b2c3d4-a.txt")  # the second is another file
    assert found == {"a.txt": "a.jpg"} and told == {STRANGE: 1}


def test_two_files_that_claim_one_image_are_told_and_neither_counts() -> None:
    found, told = matched(pool_of("a.jpg", "b.jpg"), "a1b2c3d4-a.txt", "ffffffff-a.txt", "0a0b0c0d-b.txt")
    assert found == {"0a0b0c0d-b.txt": "b.jpg"} and told == {ALIKE: 2, BARE: 1}
    versions = [f"a_jpg.rf.{digit * 32}.jpg" for digit in "12"]  # of one photograph, augmented twice
    found, told = matched(pool_of("a.jpg", "b.jpg"), *versions, "b.jpg")
    assert found == {"b.jpg": "b.jpg"} and told == {ALIKE: 2}


def test_a_changed_name_that_several_images_have_finds_none() -> None:
    found, told = matched(pool_of("x/a.jpg", "y/a.jpg", "b.jpg"), "a1b2c3d4-a.jpg", "b.jpg")
    assert found == {"b.jpg": "b.jpg"} and told == {"names of several images, left out": 1}


@pytest.mark.parametrize("name", ["20240131-a.jpg", "a1b2c3d-a.jpg", "A1B2C3D4-a.jpg", "a_jpg.rf.1.jpg", "xa.jpg"])
def test_what_only_looks_alike_is_no_such_name(name: str) -> None:
    with pytest.raises(UsageError, match="none of its 1 names"):
        match([name], pool_of("a.jpg"), Problems("f"))


def test_label_studios_export_for_yolo_and_roboflows_for_coco(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = make_pool(tmp_path / "pool", ["a.png", "b.png"])
    for name, number in (("a1b2c3d4-a", 0), ("ffffffff-b", 1)):
        write(tmp_path / "yolo" / "labels" / f"{name}.txt", f"{number} .5 .5 .5 .5\n")
    write(tmp_path / "yolo" / "classes.txt", "cat\ndog\n")
    write(tmp_path / "yolo" / "notes.json", "{}")
    images = [{"id": number, "file_name": f"{stem}_png.rf.{DIGEST}.jpg"} for number, stem in enumerate("ab")]
    boxes = [{"image_id": number, "category_id": number, "bbox": [4, 2, 8, 4]} for number in range(2)]
    content = {
        "images": images,
        "annotations": boxes,
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
    }
    for path in (tmp_path / "yolo", write(tmp_path / "coco.json", json.dumps(content))):
        labels = read_annotations(path, pool, "detection")
        assert {item: answer.names for item, answer in zip(labels.ids, labels.answers, strict=True)} == {
            "a.png": ("cat",),
            "b.png": ("dog",),
        }
        assert f"{BARE}: 2" in capsys.readouterr().err
