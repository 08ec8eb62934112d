"""Answers beyond one class per image: known answers of every reader, hostile files, and real data sets."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from activetune import Labels, Pool, UsageError, open_pool, pool_annotations, read_annotations, save_annotations
from activetune.base.errors import RejectedImage
from activetune.data.annotations import _masks, annotations_of
from activetune.data.annotations._legend import legend_of_values, read_legend
from activetune.data.annotations._matching import match
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Polygons, polygon, runs
from activetune.data.annotations._writing import KIND, _earlier_parts
from activetune.data.images import decode_image, image_size
from activetune.data.kinds import VOID, ArrayMask, Boxes, Names, Sentences, fingerprint_of
from activetune.data.labels import pool_labels
from activetune.tasks import make_task

HEIGHT, WIDTH = 8, 16


def encoded(values: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def make_pool(folder: Path, names: Sequence[str] = ("1.png", "2.png", "3.png")) -> Pool:
    for name in names:
        write(folder / name, encoded(Image.new("RGB", (WIDTH, HEIGHT))))
    return open_pool(folder, quiet=True)


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "pool")


def answers(labels: Labels) -> dict[str, Any]:
    return dict(zip(labels.ids, labels.answers, strict=True))


# Names of images ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "name", "item"),
    [
        (["a/1.jpg", "b/1.jpg"], "a/1.jpg", "a/1.jpg"),
        (["a/1.jpg", "b/1.jpg"], "1.jpg", None),
        (["a/1.jpg", "b/1.jpg"], "data/b/1.jpg", "b/1.jpg"),
        (["1.jpg"], "/home/somebody/set/images/1.jpg", "1.jpg"),
        (["a/1.jpg"], "1.jpg", "a/1.jpg"),
        (["a/1.jpg"], "a\\1.jpg", "a/1.jpg"),
        (["cafe\u0301.jpg"], "caf\u00e9.jpg", "cafe\u0301.jpg"),
        (["train/images/7.jpg", "val/images/7.jpg"], "train/masks/7.png", "train/images/7.jpg"),
        (["images/train/7.jpg", "images/val/7.jpg"], "labels/val/7.txt", "images/val/7.jpg"),
        (["set/JPEGImages/7.jpg"], "set/Annotations/7.xml", "set/JPEGImages/7.jpg"),
        (["7.webp", "8.webp"], "7.jpg", "7.webp"),
        (["train/7.png", "val/7.jpg"], "train/7.jpg", "train/7.png"),
        (["7.jpg", "7.png"], "7.jpg", "7.jpg"),
        (["7.jpg", "7.png"], "7.txt", None),
        (["a/7.jpg", "8.jpg"], "a/7_mask.gif", "a/7.jpg"),
        (["7.jpg", "7_mask.jpg"], "7_mask.png", "7_mask.jpg"),
        (["frame_0.5.jpg", "frame_0.6.jpg"], "frame_0.5", "frame_0.5.jpg"),
        (["8.jpg"], "7.jpg", None),
        (["8.jpg"], "", None),
    ],
)
def test_the_image_that_a_name_stands_for(ids: list[str], name: str, item: str | None) -> None:
    pool, problems = Pool("p", ids, None, None), Problems("f")  # type: ignore[arg-type]
    if item is None:
        with pytest.raises(UsageError, match="none of its 1 names"):
            match([name], pool, problems)
    else:
        assert match([name], pool, problems) == {name: item}


def test_a_name_that_several_images_have_is_told_from_one_that_none_has() -> None:
    pool = Pool("p", ["x/a.jpg", "y/a.jpg", "b.jpg"], None, None)  # type: ignore[arg-type]
    problems = Problems("f")
    assert match(["a.jpg", "b.jpg", "y/a.png", "c.jpg"], pool, problems) == {"b.jpg": "b.jpg", "y/a.png": "y/a.jpg"}
    assert [str(problem) for problem in problems.found.values()] == [
        "f: names of several images, left out: 1 (the first: 'a.jpg': write its path below the pool)",
        "f: names without an image in the pool, left out: 1 (the first: 'c.jpg')",
    ]
    with pytest.raises(UsageError, match=r"none of its 1 names .* names of several images"):
        match(["a.jpg"], pool, Problems("f"))


def test_a_name_taken_for_an_image_in_a_folder_of_another_name_is_told() -> None:
    pool = Pool("p", ["left/a.jpg", "b.jpg", "images/deep/c.jpg"], None, None)  # type: ignore[arg-type]
    problems = Problems("f")
    names = ["/home/right/a.png", "/home/b.jpg", "masks/deep/c.png"]
    assert match(names, pool, problems) == dict(zip(names, pool.ids, strict=True))
    assert [str(problem) for problem in problems.found.values()] == [
        "f: names taken for images in folders of other names: 1 (the first: '/home/right/a.png' for 'left/a.jpg')"
    ]


def test_of_two_names_for_an_image_the_nearer_one_counts_and_of_two_alike_none() -> None:
    pool = Pool("p", ["val/1.jpg", "2.jpg"], None, None)  # type: ignore[arg-type]
    problems = Problems("f")
    assert match(["train/1.jpg", "val/1.jpg", "2.jpg"], pool, problems) == {"val/1.jpg": "val/1.jpg", "2.jpg": "2.jpg"}
    assert [str(problem) for problem in problems.found.values()] == [
        "f: names without an image in the pool, left out: 1 (the first: 'train/1.jpg')"
    ]
    problems = Problems("f")
    assert match(["train/2.jpg", "test/2.jpg", "val/1.jpg"], pool, problems) == {"val/1.jpg": "val/1.jpg"}
    assert problems.found["names that fit an image alike, left out"].count == 2


# Sizes ----------------------------------------------------------------------------------------------------------------


def exif(turn: int) -> bytes:
    found = Image.Exif()
    found[0x0112] = turn
    return found.tobytes()


PICTURE = Image.effect_noise((30, 20), 60)


@pytest.mark.parametrize(
    "content",
    [
        encoded(PICTURE, "JPEG"),
        encoded(PICTURE, "JPEG", exif=exif(6)),
        encoded(PICTURE, "JPEG", exif=exif(3)),
        encoded(PICTURE, "JPEG", exif=exif(9)),
        encoded(PICTURE, "PNG"),
        encoded(PICTURE, "PNG", exif=exif(8)),
        encoded(PICTURE, "WEBP", exif=exif(6)),
        encoded(PICTURE, "BMP"),
        encoded(PICTURE, "GIF"),
        encoded(PICTURE, "TIFF"),
        encoded(Image.new("RGB", (3, 300)), "PNG"),
        encoded(Image.new("RGB", (1000, 2)), "JPEG"),
    ],
)
def test_the_size_is_that_of_the_decoded_image(content: bytes, tmp_path: Path) -> None:
    image = decode_image(content)
    assert image_size(content) == (image.height, image.width)
    for part in (10, 200, len(content)):
        assert image_size(content[:part], whole=False) in (None, (image.height, image.width))
    write(tmp_path / "set" / "1.png", content)
    with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "set" / "1.png", "1.png")
    for path in (tmp_path / "set", tmp_path / "set.zip"):
        assert open_pool(path, quiet=True).size(0) == (image.height, image.width)


def test_the_size_of_no_image_is_a_reason(tmp_path: Path) -> None:
    for content in (b"", b"no image", encoded(PICTURE, "PNG")[:20]):
        with pytest.raises(RejectedImage):
            image_size(content)


# Boxes ----------------------------------------------------------------------------------------------------------------


def coco(
    path: Path, boxes: Mapping[str, Sequence[Any]] = {}, *, size: tuple[int, int] = (HEIGHT, WIDTH), **more: Any
) -> Path:
    """A COCO file: annotations by the image's name, with the category 1 where they have none."""
    images = [
        {"id": number, "file_name": name, "height": size[0], "width": size[1]} for number, name in enumerate(boxes)
    ]
    given = [
        {"image_id": number, "category_id": 1, **entry}
        for number, entries in enumerate(boxes.values())
        for entry in entries
    ]
    content = {"images": images, "annotations": given, "categories": [{"id": 1, "name": "cat"}], **more}
    return write(path, json.dumps(content))


def test_boxes_outside_partly_outside_without_area_and_of_no_numbers(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = [
        *([1, 1, 4, 4], [-3, 2, 8, 100], [0, 0, 16.4, 8], [20, 1, 5, 5], [3, 3, 0, 4], [3, 3, 2, -1]),
        *([1e300, 0, 1e300, 1], [float("nan"), 0, 1, 1], [1, 2, 3], "box", [None] * 4, [10**400, 0, 1, 1]),
    ]
    path = coco(tmp_path / "c.json", {"1.png": [{"bbox": box} for box in boxes]})
    found = answers(read_annotations(path, pool, "detection"))["1.png"]
    assert found.xyxy_K4.tolist() == [[1, 1, 5, 5], [0, 2, 5, 8], [0, 0, 16, 8]]
    told = capsys.readouterr().err
    for part in (
        "boxes partly outside of their image, cut off at its border: 1 (the first: c.json, image 0, corners -3, 2, 5",
        "boxes outside of their image, left out: 1 (the first: c.json, image 0, corners 20, 1, 25, 6 in 16 x 8 pixels)",
        "boxes without area, left out: 2 (",
        "boxes that are no finite numbers, left out: 2 (",
        "boxes that are not 4 numbers, left out: 4 (the first: c.json, annotation 8)",
    ):
        assert part in told, told
    assert len(told.splitlines()) == 5  # a box is told of once


def test_images_of_another_size_are_left_out_and_those_without_a_size_take_their_own(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    content = json.loads(coco(tmp_path / "c.json", {"1.png": [{"bbox": [0, 0, 99, 99]}], "2.png": []}).read_text())
    del content["images"][0]["width"]
    content["images"][1]["width"] = 32
    labels = read_annotations(write(tmp_path / "c.json", json.dumps(content)), pool, "detection")
    assert {item: value.xyxy_K4.tolist() for item, value in answers(labels).items()} == {"1.png": [[0, 0, 16, 8]]}
    assert labels.unanswered == 1
    told = capsys.readouterr().err
    assert "images of another size than their annotation is for, left out: 1 (the first: '2.png' has 16 x 8" in told


def test_a_turned_photo_is_annotated_as_it_is_shown(tmp_path: Path) -> None:
    write(tmp_path / "pool" / "1.jpg", encoded(PICTURE, "JPEG", exif=exif(6)))
    pool = open_pool(tmp_path / "pool", quiet=True)
    upright = coco(tmp_path / "c.json", {"1.jpg": [{"bbox": [0, 0, 20, 30]}]}, size=(30, 20))
    assert len(read_annotations(upright, pool, "detection").answers[0]) == 1
    with pytest.raises(UsageError, match=r"images of another size .* sizes are those of the photo as it is shown"):
        read_annotations(coco(tmp_path / "c.json", {"1.jpg": []}, size=(20, 30)), pool, "detection")


def test_a_damaged_image_has_the_size_that_its_annotation_says(tmp_path: Path) -> None:
    pool = make_pool(tmp_path / "pool")
    write(tmp_path / "pool" / "1.png", b"damaged")
    labels = read_annotations(coco(tmp_path / "c.json", {"1.png": [{"bbox": [0, 0, 2, 2]}]}), pool, "detection")
    assert len(labels.answers[0]) == 1
    write(tmp_path / "labels" / "1.txt", "0 0.5 0.5 0.5 0.5")
    with pytest.raises(UsageError, match="images whose size can't be read, left out: 1"):
        read_annotations(tmp_path / "labels", pool, "detection")


# COCO -----------------------------------------------------------------------------------------------------------------


def test_coco_classes_are_its_categories_by_id_whether_they_occur_or_not(tmp_path: Path, pool: Pool) -> None:
    categories = [{"id": 10, "name": "zebra"}, {"id": 9, "name": "ant"}, {"id": 1, "name": "cat"}]
    path = coco(tmp_path / "c.json", {"1.png": [{"bbox": [0, 0, 2, 2]}]}, categories=categories)
    assert read_annotations(path, pool, "detection").classes == ["cat", "ant", "zebra"]
    assert read_annotations(path, pool, "multilabel").classes == ["cat", "ant", "zebra"]
    with pytest.raises(UsageError, match="holds no captions, which captioning needs"):
        read_annotations(path, pool, "captioning")


def test_where_all_regions_of_coco_are_crowds_none_is(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Datumaro marks every mask so."""
    left = {"counts": [0, 64, 64], "size": [HEIGHT, WIDTH]}
    path = coco(tmp_path / "c.json", {"1.png": [{"bbox": [0, 0, 8, 8], "segmentation": left, "iscrowd": 1}]})
    labels = read_annotations(path, pool, "segmentation")
    assert labels.answers[0].pixels()[0, [0, -1]].tolist() == [1, 0]
    assert "all of its 1 objects are marked as crowds (iscrowd)" in capsys.readouterr().err
    assert read_annotations(path, pool, "detection").answers[0].crowd_K.tolist() == [True]


def test_coco_crowds_are_crowds_in_detection_and_void_in_a_mask(tmp_path: Path, pool: Pool) -> None:
    crowd = {"counts": [0, 64, 64], "size": [HEIGHT, WIDTH]}  # the left half
    square = [2, 2, 6, 2, 6, 6, 2, 6]
    entries = [
        {"bbox": [0, 0, 8, 8], "segmentation": crowd, "iscrowd": 1},
        {"bbox": [2, 2, 4, 4], "segmentation": [square]},
    ]
    path = coco(tmp_path / "c.json", {"1.png": entries})
    assert read_annotations(path, pool, "detection").answers[0].crowd_K.tolist() == [True, False]
    labels = read_annotations(path, pool, "segmentation")
    expected = np.zeros((HEIGHT, WIDTH), dtype=int)
    expected[:, :8] = VOID
    expected[2:6, 2:6] = 1
    assert labels.classes == ["background", "cat"]
    assert labels.answers[0].pixels().tolist() == expected.tolist()
    without = read_annotations(path, pool, "segmentation", classes=["cat"]).answers[0].pixels()
    assert set(np.unique(without)) == {VOID, 0}


def test_coco_objects_without_a_region_are_void_and_images_with_boxes_alone_not_answered(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    square, line = [0, 0, 2, 0, 2, 2, 0, 2], [1, 1, 3, 3]
    boxes = {
        "1.png": [{"bbox": [0, 0, 2, 2], "segmentation": [line, square]}, {"bbox": [4, 0, 4, 4], "segmentation": []}],
        "2.png": [{"bbox": [0, 0, 2, 2], "segmentation": [line]}],
        "3.png": [],
    }
    labels = read_annotations(coco(tmp_path / "c.json", boxes), pool, "segmentation")
    found = answers(labels)
    expected = np.zeros((HEIGHT, WIDTH), dtype=int)
    expected[:2, :2] = 1
    expected[:4, 4:8] = VOID
    assert found["1.png"].pixels().tolist() == expected.tolist()
    assert sorted(found) == ["1.png", "3.png"] and not found["3.png"].pixels().any()
    told = capsys.readouterr().err
    assert "polygons with fewer than 3 corners, left out: 2 (the first: c.json, annotation 0)" in told
    assert "objects without a region, their box is void: 1" in told
    assert "images whose objects have no regions, left out: 1 (the first: '2.png'" in told


def test_coco_regions_make_boxes_where_there_are_none(tmp_path: Path, pool: Pool) -> None:
    counts = {"counts": [8 * 3 + 1, 2, 101], "size": [HEIGHT, WIDTH]}
    path = coco(
        tmp_path / "c.json",
        {"1.png": [{"segmentation": counts}, {"segmentation": [[1, 1, 5, 2, 3, 6]]}, {"segmentation": [[1, 2]]}]},
    )
    assert read_annotations(path, pool, "detection").answers[0].xyxy_K4.tolist() == [[3, 1, 4, 3], [1, 1, 5, 6]]


@pytest.mark.parametrize(
    "region",
    [
        {"counts": [10, 5], "size": [HEIGHT, WIDTH]},
        {"counts": [10, -5, 123], "size": [HEIGHT, WIDTH]},
        {"counts": [1e300, 1], "size": [HEIGHT, WIDTH]},
        {"counts": "!!", "size": [HEIGHT, WIDTH]},
        {"counts": "a" * 40, "size": [HEIGHT, WIDTH]},
        {"counts": [64, 64], "size": [1e12, 1e12]},
        {"counts": [64, 64], "size": "8x16"},
        {"counts": None},
        {"size": [HEIGHT, WIDTH]},
        [[1, 2, 3, 4, 5]],
        [["1", "2", "3", "4", "5", "6"]],
        [[1, 2, 3, 4, float("inf"), 6]],
        [{"x": 1}],
        [[[1, 2], [3, 4], [5, 6]]],
        "polygon",
        7,
    ],
)
def test_coco_damaged_regions_are_left_out(
    tmp_path: Path, pool: Pool, region: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = [{"bbox": [0, 0, 2, 2], "segmentation": region}, {"segmentation": [[4, 0, 8, 0, 8, 4, 4, 4]]}]
    found = read_annotations(coco(tmp_path / "c.json", {"1.png": entries}), pool, "segmentation").answers[0].pixels()
    assert found[:2, :2].tolist() == [[VOID, VOID]] * 2
    assert found[0, 4] == 1
    assert "regions that are damaged, left out: 1 (the first: c.json, annotation 0, " in capsys.readouterr().err


def test_coco_rows_of_every_wrong_kind_are_counted(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [
        *({"id": 1, "file_name": "1.png"}, {"id": "2", "file_name": "2.png"}, {"id": [3], "file_name": "3.png"}),
        *("image", {"file_name": "3.png"}, {"id": 5}, {"id": 1, "file_name": "3.png"}, {"id": 6, "file_name": "2.png"}),
    ]
    annotations = [
        *({"image_id": 1, "category_id": 1, "bbox": [0, 0, 2, 2]}, {"image_id": 2, "category_id": "1"}),
        *({"image_id": 77, "category_id": 1}, {"image_id": {"a": 1}}, 5, {"image_id": 2, "category_id": 99}),
    ]
    categories = [{"id": 1, "name": "cat"}, {"id": 2}, {"name": "dog"}, {"id": 3, "name": ["x"]}, None]
    path = coco(tmp_path / "c.json", {}, images=images, annotations=annotations, categories=categories)
    labels = read_annotations(path, pool, "multilabel")
    assert answers(labels) == {"2.png": Names(("cat",))}
    told = capsys.readouterr().err
    for part in (
        "images without id or file_name, left out: 4 (the first: c.json, image 2)",
        "ids that several images have, which are left out with their annotations: 1",
        "images listed twice with different answers, the first counts: 1 (the first: '2.png', c.json, image 7)",
        "annotations of images that the file does not list, left out: 3 (the first: c.json, annotation 0)",
        "annotations that are no objects, left out: 1",
        "annotations of a category that the file does not list, left out: 1",
        "categories without id or name, left out: 4 (the first: c.json, category 1)",
    ):
        assert part in told, told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "c.json is no JSON that can be read .*line 1"),
        ("[" * 100_000, "nested too deeply"),
        ('{"images": [], "annotations": [' + "1" * 5000 + "]}", "thousands of digits"),
        ("[]", "is no COCO file"),
        ('{"images": {}, "annotations": []}', "is no COCO file"),
        ('{"images": [], "annotations": []}', "holds no categories"),
        ('{"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}', "lists no images"),
        (b"\xff\xfe\x00", "is no JSON"),
        ("", "is no JSON"),
    ],
)
def test_coco_files_that_are_none(tmp_path: Path, pool: Pool, content: str | bytes, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_annotations(write(tmp_path / "c.json", content), pool, "detection")


def test_coco_files_of_a_folder_are_taken_together_without_the_damaged_and_those_of_other_tasks(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    coco(tmp_path / "set" / "train.json", {"1.png": [{"bbox": [0, 0, 2, 2]}]})
    coco(tmp_path / "set" / "val.json", {"2.png": []})
    coco(tmp_path / "set" / "captions.json", {"3.png": [{"caption": "A cat."}], "1.png": []}, categories=None)
    write(tmp_path / "set" / "broken.json", '{"images": [], "annotations": [')
    write(tmp_path / "set" / "package.json", "{}")
    assert sorted(read_annotations(tmp_path / "set", pool, "detection").ids) == ["1.png", "2.png"]
    assert "damaged files, left out: 1 (the first: broken.json of" in capsys.readouterr().err
    labels = read_annotations(tmp_path / "set", pool, "captioning", quiet=True)
    assert answers(labels) == {"3.png": Sentences(("A cat.",))}
    assert labels.unanswered == 1
    assert capsys.readouterr().err == ""


# Regions --------------------------------------------------------------------------------------------------------------


def slowly_filled(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """The same by one question per pixel: how many edges lie to the left of its centre?"""
    found = np.zeros((height, width), dtype=np.int32)
    for row in range(height):
        for column in range(width):
            count = 0
            for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
                if (y0 <= row + 0.5) != (y1 <= row + 0.5):
                    count += x0 + (row + 0.5 - y0) / (y1 - y0) * (x1 - x0) <= column + 0.5
            found[row, column] = count % 2
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-9, 20, width=32), st.floats(-9, 20, width=32)), min_size=3, max_size=8))
def test_polygons_hold_the_pixels_whose_centre_lies_inside(corners: list[tuple[float, float]]) -> None:
    shape = Polygons((np.asarray(corners, dtype=np.float32),))
    mask = np.zeros((7, 11), dtype=np.int32)
    shape.paint(mask, 1)
    assert mask.tolist() == slowly_filled(np.asarray(corners), 7, 11).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_are_pycocotools(seed: int) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seed)
    size = (37, 23 + 100 * seed)
    mask = np.asfortranarray(rng.random(size) < (0.01, 0.5, 0.99, 0.2, 0.001)[seed], dtype=np.uint8)
    if seed == 4:
        mask[:, 100:300] = 1
    packed = coco_mask.encode(mask)
    for counts in (packed["counts"], packed["counts"].decode()):
        found = runs(counts, list(size))
        assert found.inside().tolist() == (mask == 1).tolist()
        assert found.area == mask.sum()


def test_polygons_are_nearly_those_of_pycocotools() -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    flat = np.stack([50 + 33.3 * np.cos(angles), 40 + 20.7 * np.sin(angles)], axis=1).ravel().tolist()
    theirs = coco_mask.decode(coco_mask.frPyObjects([flat], 80, 100))[..., 0]
    ours = np.zeros((80, 100), dtype=np.int32)
    Polygons((polygon(flat),)).paint(ours, 1)  # type: ignore[arg-type]
    assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98


# VOC ------------------------------------------------------------------------------------------------------------------


def voc_object(name: str, *corners: object, more: str = "") -> str:
    sides = zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=False)
    box = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name>{more}<bndbox>{box}</bndbox></object>"


def test_voc_corners_are_counted_from_1_and_belong_to_the_box(tmp_path: Path, pool: Pool) -> None:
    part = "<part><bndbox><xmin>7</xmin></bndbox></part>"
    objects = [
        voc_object("cat", 1, 1, 16, 8, more=part),
        voc_object("dog", "2.5", 3, 4, 5, more="<difficult>1</difficult>"),
        voc_object("dog", 0, 0, 3, 3),
    ]
    write(tmp_path / "set" / "1.xml", f"<annotation>{''.join(objects)}</annotation>")
    found = read_annotations(tmp_path / "set", pool, "detection")
    assert found.answers[0].xyxy_K4.tolist() == [[0, 0, 16, 8], [1.5, 2, 4, 5], [0, 0, 3, 3]]
    assert found.answers[0].crowd_K.tolist() == [False, True, False]
    assert found.classes == ["cat", "dog"]


def test_voc_hostile_files_are_listed_and_the_good_ones_kept(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY x "xxxxxxxxxx"><!ENTITY y "&x;&x;&x;&x;">]><annotation><object><name>&y;</name>'
    bomb += "</object></annotation>"
    write(tmp_path / "set" / "1.xml", f"<annotation>{voc_object('cat', 1, 1, 3, 3)}</annotation>")
    write(tmp_path / "set" / "2.xml", bomb)
    write(tmp_path / "set" / "3.xml", bomb.encode("utf-16"))
    write(tmp_path / "set" / "4.xml", "<a>" * 100_000)
    write(tmp_path / "set" / "5.xml", b"\x00\xff")
    write(tmp_path / "set" / "6.xml", '<?xml version="1.0" encoding="nonsense"?><annotation/>')
    write(tmp_path / "set" / "7.xml", "<other/>")
    write(tmp_path / "set" / "8.xml", f"<annotation>{'<x>' * 50_000}{'</x>' * 50_000}</annotation>")
    write(tmp_path / "set" / "9.xml", "")
    labels = read_annotations(tmp_path / "set", pool, "detection")
    assert labels.ids == ["1.png"]
    told = capsys.readouterr().err
    assert "damaged files, left out: 6 (the first: 2.xml declares a document type" in told
    assert "XML files whose root is not <annotation>, left out: 1 (the first: 7.xml)" in told


def test_voc_objects_without_name_or_box(tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    objects = [voc_object("", 1, 1, 3, 3), voc_object("cat", 1, 1, "much", 3), voc_object("cat", 1, 2, 3)]
    objects += ["<object/>", voc_object("cat", 2, 2, 2, 5), voc_object("cat", 1, 1, "nan", 3)]
    write(tmp_path / "set" / "1.xml", f"<annotation>{''.join(objects)}</annotation>")
    write(tmp_path / "set" / "2.xml", f"<annotation>{voc_object('cat', 1, 1, 3, 3)}</annotation>")
    write(tmp_path / "set" / "3.xml", f"<annotation>{voc_object('cat', 20, 1, 30, 3)}</annotation>")
    found = answers(read_annotations(tmp_path / "set", pool, "detection"))
    assert {item: len(value) for item, value in found.items()} == {
        "2.png": 1
    }  # 3.png may show a cat, no one knows where
    told = capsys.readouterr().err
    assert "objects without a name, left out: 2 (the first: 1.xml, object 1)" in told
    assert "objects without a box, left out: 3" in told and "boxes without area, left out: 1" in told
    assert "images none of whose objects can be read, left out: 2 (the first: 1.xml)" in told
    write(tmp_path / "set" / "3.xml", f"<annotation>{voc_object('', 1, 1, 3, 3)}</annotation>")
    assert read_annotations(tmp_path / "set", pool, "multilabel", quiet=True).answers == [Names(("cat",))] * 2


def test_voc_lists_name_the_images_that_count(tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    for number in (1, 2, 3):
        write(tmp_path / "set" / "Annotations" / f"{number}.xml", "<annotation/>")
    path = write(tmp_path / "set" / "ImageSets" / "Main" / "cat_train.txt", "3  1\n1 -1\n\n9 0\n")
    assert read_annotations(path, pool, "detection").ids == ["3.png", "1.png"]
    assert "listed images without an XML file, left out: 1 (the first: '9')" in capsys.readouterr().err


# YOLO -----------------------------------------------------------------------------------------------------------------


def test_yolo_lines_of_every_kind(tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["1 0.5 0.5 0.5 0.5", "", "0 0.25 0.25 0.5 0.5 ", "0 0 0 0.5 0 0.5 1", "7 0.5 0.5 1 1", "-1 0.5 0.5 1 1"]
    lines += ["0.5 0.5 0.5 1 1", "0 1 2 3", "0 nan 0.5 1 1", "cat 0.5 0.5 1 1", "0 1e300 0 1 1"]
    write(tmp_path / "set" / "labels" / "1.txt", "\r\n".join(lines))
    write(tmp_path / "set" / "labels" / "2.txt", "")
    write(tmp_path / "set" / "classes.txt", "cat\ndog\n")
    write(tmp_path / "set" / "labels" / "classes.txt", "dog\ncat\n")  # as a program writes it that draws boxes
    write(tmp_path / "set" / "labels" / "other.yaml", "services: {}\n")
    labels = read_annotations(tmp_path / "set", pool, "detection")
    assert answers(labels)["1.png"].xyxy_K4.tolist() == [[4, 2, 12, 6], [0, 0, 8, 4], [0, 0, 8, 8]]
    assert answers(labels)["1.png"].names == ("dog", "cat", "cat")
    assert len(answers(labels)["2.png"]) == 0
    assert labels.classes == ["cat", "dog"]
    told = capsys.readouterr().err
    assert "lines whose class is no number from 0 to 1, left out: 3 (the first: labels/1.txt, line 5, 7)" in told
    assert "and 3 corners or more, left out: 4 (the first: labels/1.txt, line 8)" in told
    assert "another order than classes.txt, which counts (remove the wrong one): 1 (the first: labels/cl" in told


def test_yolo_names_stand_in_yaml_or_are_given_or_are_the_numbers(tmp_path: Path, pool: Pool) -> None:
    write(tmp_path / "set" / "labels" / "1.txt", "10 0.5 0.5 0.5 0.5\n2 0.5 0.5 0.5 0.5")
    assert read_annotations(tmp_path / "set", pool, "multilabel").classes == [str(number) for number in range(11)]
    given = [f"c{number}" for number in range(11)]
    assert read_annotations(tmp_path / "set", pool, "detection", classes=given).answers[0].names == ("c10", "c2")
    path = write(tmp_path / "set" / "data.yaml", f"names: {given}\nnc: 11\n")
    for place in (path, tmp_path / "set"):
        assert read_annotations(place, pool, "detection").classes == given
    for text in ("names: [a, b", "names: 5", "names: [[a], [b]]", "names: [a, a]", "5", "names: {1: a}", "[" * 5000):
        write(path, text)
        with pytest.raises(UsageError, match=r"data\.yaml of"):
            read_annotations(tmp_path / "set", pool, "detection")


def test_objects_without_what_the_task_is_about_are_refused(tmp_path: Path, pool: Pool) -> None:
    write(tmp_path / "set" / "labels" / "1.txt", "0 0.5 0.5 0.5 0.5")
    write(tmp_path / "set" / "labels" / "2.txt", "")
    with pytest.raises(UsageError, match=r"none of its 1 objects has what segmentation needs, regions"):
        read_annotations(tmp_path / "set", pool, "segmentation")
    path = coco(tmp_path / "c.json", {"1.png": [{}, {"bbox": [1]}], "2.png": []})
    with pytest.raises(
        UsageError, match=r"none of its 2 objects has what detection needs, boxes; boxes that are not 4"
    ):
        read_annotations(path, pool, "detection")


def test_classes_of_which_the_file_has_none_are_refused(tmp_path: Path, pool: Pool) -> None:
    path = coco(tmp_path / "c.json", {"1.png": [{"bbox": [0, 0, 2, 2]}], "2.png": []})
    for task in ("detection", "multilabel", "segmentation"):
        with pytest.raises(
            UsageError, match=r"holds the classes 'cat', none of .* \('Cat', 'dog'\); 'Cat' is spelt 'cat' there"
        ):
            read_annotations(path, pool, task, classes=["Cat", "dog"])
    write(tmp_path / "m" / "1.png", encoded(VALUES))
    write(tmp_path / "m" / "classes.txt", "road\ncar\ntree")
    with pytest.raises(UsageError, match="holds the classes 'car', 'road', 'tree', none of which"):
        read_annotations(tmp_path / "m", pool, "segmentation", classes=["house"])


def test_an_image_whose_objects_are_all_damaged_is_not_empty(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = {
        "1.png": [{"bbox": [0, 0, float("nan"), 2]}],
        "2.png": [{"category_id": 9}],
        "3.png": [{"bbox": [0, 0, 2, 2]}],
    }
    path = coco(tmp_path / "c.json", boxes)
    for task, ids in (("detection", ["3.png"]), ("multilabel", ["1.png", "3.png"])):
        labels = read_annotations(path, pool, task)
        assert labels.ids == ids and labels.unanswered == 3 - len(ids)
    assert (
        "images none of whose objects can be read, left out: 2 (the first: c.json, image 0)" in capsys.readouterr().err
    )


# Masks ----------------------------------------------------------------------------------------------------------------

VALUES = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 3
COLOURS = np.asarray([[0, 0, 0], [255, 0, 0], [0, 128, 7]], dtype=np.uint8)


def mask_of(labels: Labels, item: str = "1.png") -> list[list[int]]:
    found: list[list[int]] = answers(labels)[item].pixels().tolist()
    return found


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "road\ncar\nvoid"),
        ("classes.txt", "car,1\nroad, 0\nVoid,2"),
        ("classes.csv", "name,value\nroad,0\ncar,1\nignore,2"),
        ("classes.csv", "id,name,more\n0,road,x\n1,car,y\n2,unlabelled,z"),
        ("classes.json", '["road", "car", "unlabeled"]'),
        ("classes.json", '{"road": 0, "car": 1, "void": 2}'),
        ("classes.json", '{"0": "road", "2": "void", "1": "car"}'),
    ],
)
def test_lists_of_values(tmp_path: Path, pool: Pool, name: str, text: str) -> None:
    write(tmp_path / "m" / "1.png", encoded(VALUES))
    write(tmp_path / "m" / name, text)
    labels = read_annotations(tmp_path / "m", pool, "segmentation")
    assert sorted(labels.classes) == ["car", "road"]
    stands = {0: labels.classes.index("road"), 1: labels.classes.index("car"), 2: VOID}
    assert mask_of(labels) == [[stands[value] for value in row] for row in VALUES.tolist()]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "road,0,0,0\ncar,255,0,0\nvoid,0,128,7"),
        ("classes.txt", "road,#000000\ncar,#ff0000\nvoid,#008007"),
        ("classes.csv", "name,r,g,b\nroad,0,0,0\ncar,255,0,0\nvoid,0,128,7"),
        ("classes.csv", "color,class\n#000000,road\n#FF0000,car\n#008007,void"),
        ("classes.json", '{"road": [0, 0, 0], "car": "#ff0000", "void": [0, 128, 7]}'),
    ],
)
@pytest.mark.parametrize("palette", [False, True])
def test_lists_of_colours(tmp_path: Path, pool: Pool, name: str, text: str, palette: bool) -> None:
    image = Image.fromarray(VALUES if palette else COLOURS[VALUES])
    if palette:
        image.putpalette(COLOURS.ravel().tolist())
    write(tmp_path / "m" / "1.png", encoded(image))
    write(tmp_path / "m" / name, text)
    labels = read_annotations(tmp_path / "m", pool, "segmentation")
    assert labels.classes == ["road", "car"]
    assert mask_of(labels) == np.asarray([0, 1, VOID])[VALUES].tolist()


@pytest.mark.parametrize(
    "content",
    [
        encoded(VALUES),
        encoded(VALUES, "TIFF"),
        encoded(VALUES, "BMP"),
        encoded(np.stack([VALUES] * 3, axis=-1)),
        encoded(np.stack([VALUES] * 3 + [VALUES * 0], axis=-1)),
        encoded(VALUES.astype(np.uint16)),
        encoded(VALUES.astype(np.int32), "TIFF"),
    ],
    ids=["grey", "tiff", "bmp", "rgb", "rgba", "16 bits", "32 bits"],
)
def test_values_are_those_of_the_file_however_it_is_packed(tmp_path: Path, pool: Pool, content: bytes) -> None:
    kinds = {b"II": ".tif", b"BM": ".bmp"}
    write(tmp_path / "m" / f"1{kinds.get(content[:2], '.png')}", content)
    assert mask_of(read_annotations(tmp_path / "m", pool, "segmentation")) == VALUES.tolist()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_of_grey_are_not_spread(tmp_path: Path, pool: Pool, bits: int) -> None:
    import struct
    import zlib

    values = VALUES % 2**bits
    rows = b"".join(
        b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes() for row in values
    )

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    write(tmp_path / "m" / "1.png", b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    assert mask_of(read_annotations(tmp_path / "m", pool, "segmentation")) == values.tolist()


def test_without_a_list_the_values_are_the_classes_and_255_is_void(tmp_path: Path, pool: Pool) -> None:
    values = np.where(VALUES == 2, 255, VALUES * 10).astype(np.uint8)
    write(tmp_path / "m" / "1.png", encoded(values))
    labels = read_annotations(tmp_path / "m", pool, "segmentation")
    assert labels.classes == ["0", "10"]
    assert mask_of(labels) == np.asarray([0, 1, VOID])[VALUES].tolist()
    again = read_annotations(tmp_path / "m", pool, "segmentation", classes=labels.classes)
    assert mask_of(again) == mask_of(labels)  # names that are numbers are values, not places in the list
    named = read_annotations(tmp_path / "m", pool, "segmentation", classes=[f"c{n}" for n in range(11)])
    assert mask_of(named) == np.asarray([0, 10, VOID])[VALUES].tolist()


def test_masks_of_0_and_255_alone_have_two_classes() -> None:
    assert legend_of_values([0, 255]).classes == ("0", "255")
    with pytest.raises(UsageError, match="every pixel of the masks has the value 255, which is void; name it in a"):
        legend_of_values([255])
    assert legend_of_values([0, 1, 255]).classes == ("0", "1")


def test_masks_that_can_not_be_used_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = make_pool(tmp_path / "pool", [f"{number}.png" for number in range(8)])
    write(tmp_path / "m" / "classes.txt", "road\ncar")
    contents = {
        "0": encoded(VALUES % 2),
        "1": encoded(VALUES),  # 2 is no class
        "2": encoded(COLOURS[VALUES]),
        "3": b"no mask",
        "4": encoded(VALUES % 2)[:50],
        "5": encoded(VALUES % 2, "JPEG"),
        "6": encoded((VALUES % 2)[:, :5]),
        "7": encoded(VALUES.astype(np.float32), "TIFF"),
    }
    for name, content in contents.items():
        write(tmp_path / "m" / f"{name}.png", content)
    labels = read_annotations(tmp_path / "m", pool, "segmentation")
    assert labels.ids == ["0.png"]
    told = capsys.readouterr().err
    assert "masks that can't be used, left out: 6 (the first: 1.png: 2 stands for no class: add it to the" in told
    assert "images of another size than their annotation is for, left out: 1 (the first: '6.png' has 16 x 8" in told


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("classes.txt", "", "names no class"),
        ("classes.txt", "void", "names no class"),
        ("classes.txt", "road,70000", "a value from 0 to 65,535"),
        ("classes.txt", "road,1,2", "a colour as r,g,b"),
        ("classes.txt", "road,1\ncar,#ff0000", "some classes a value and some a colour"),
        ("classes.txt", "road,1\ncar,1", "to two classes"),
        ("classes.csv", "name,weight\nroad,1", "has the columns name, weight"),
        ("classes.json", "{", "no JSON"),
        ("classes.json", "5", "must hold a list of names"),
        ("classes.json", '{"road": {"x": 1}}', "a value from 0"),
        ("classes.json", "[[1], 2]", "is no label"),
        ("classes.txt", b"\xff\xfe\xff", "is no list of classes"),
    ],
)
def test_lists_of_classes_that_are_none(name: str, text: str | bytes, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_legend(text if isinstance(text, bytes) else text.encode(), name, name)


def test_masks_beside_their_images_and_around_them(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / "set" / split / "images" / "1.png", encoded(Image.new("RGB", (WIDTH, HEIGHT))))
        write(tmp_path / "set" / split / "masks" / "1.png", encoded(VALUES % 2 + 2 * (split == "val")))
    whole = open_pool(tmp_path / "set", quiet=True)
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*.png")):
            archive.write(path, path.relative_to(tmp_path))
    packed = open_pool(tmp_path / "set.zip", quiet=True)
    for pool, path, front in ((whole, tmp_path / "set", ""), (packed, tmp_path / "set.zip", "set/")):
        labels = read_annotations(path, pool, "segmentation", quiet=True)
        assert sorted(labels.ids) == [f"{front}train/images/1.png", f"{front}val/images/1.png"]
        assert labels.classes == ["0", "1", "2", "3"]
        assert np.max(mask_of(labels, f"{front}train/images/1.png")) == 1
    part = read_annotations(
        tmp_path / "set" / "val" / "masks", open_pool(tmp_path / "set" / "val" / "images"), "segmentation"
    )
    assert part.ids == ["1.png"] and part.classes == ["2", "3"]


def test_masks_are_decoded_when_used_and_with_a_list_of_classes_few_are_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path / "pool", [f"{number}.png" for number in range(9)])
    write(tmp_path / "m" / "classes.txt", "road\ncar\nvoid")
    for number in range(9):
        write(tmp_path / "m" / f"{number}.png", encoded(VALUES))
    decoded: list[int] = []
    real = _masks.decode_mask
    monkeypatch.setattr(_masks, "decode_mask", lambda *args, **more: decoded.append(1) or real(*args, **more))
    monkeypatch.setattr(_masks, "LOOKED_AT", 3 * HEIGHT * WIDTH)
    labels = read_annotations(tmp_path / "m", pool, "segmentation")
    assert (len(labels), len(decoded)) == (9, 3)
    copies = pickle.loads(pickle.dumps(labels.answers))
    assert [mask.size for mask in copies] == [(HEIGHT, WIDTH)] * 9 and len(decoded) == 3
    assert copies[5].pixels().tolist() == np.asarray([0, 1, VOID])[VALUES].tolist()
    assert len({fingerprint_of(mask) for mask in labels.answers}) == 1
    write(tmp_path / "m" / "5.png", encoded(VALUES + 5))
    with pytest.raises(UsageError, match=r"the mask 5\.png of .* can't be used: 5, 6, 7 stand for no class"):
        labels.answers[5].pixels()
    assert fingerprint_of(copies[5]) != fingerprint_of(copies[4])


def test_classes_that_are_not_given_are_void(tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "m" / "1.png", encoded(VALUES))
    write(tmp_path / "m" / "classes.txt", "road\ncar\ntree")
    labels = read_annotations(tmp_path / "m", pool, "segmentation", classes=["tree", "road"])
    assert labels.classes == ["tree", "road"]
    assert mask_of(labels) == np.asarray([1, VOID, 0])[VALUES].tolist()
    assert "their pixels are void: 1 (the first: 'car')" in capsys.readouterr().err


# Tables ---------------------------------------------------------------------------------------------------------------


def test_names_in_rows_in_lists_and_in_one_text(tmp_path: Path, pool: Pool) -> None:
    expected = {"1.png": Names(("cat", "dog")), "3.png": Names(("cat",))}
    rows = write(tmp_path / "l.csv", "id,label\n1.png,dog\n1.png,cat\n2.png,\n3.png,cat\n1.png,dog\n")
    labels = read_annotations(rows, pool, "multilabel")
    assert (answers(labels), labels.classes, labels.unanswered) == (expected, ["cat", "dog"], 1)
    for separator in (";", "|", " ; "):
        text = write(tmp_path / "l.csv", f"id,labels\n1.png,dog{separator}cat\n2.png,[]\n3.png,cat{separator}\n")
        assert answers(read_annotations(text, pool, "multilabel")) == {**expected, "2.png": Names()}
    text = write(tmp_path / "l.csv", 'id,labels\n1.png,"[""dog"", ""cat""]"\n3.png,cat\n')
    assert answers(read_annotations(text, pool, "multilabel")) == expected
    pq.write_table(pa.table({"id": pool.ids, "label": [["dog", "cat"], [], ["cat"]]}), tmp_path / "l.parquet")
    found = answers(read_annotations(tmp_path / "l.parquet", pool, "multilabel"))
    assert found == {**expected, "2.png": Names()}
    text = write(tmp_path / "l.jsonl", '{"id": "1.png", "labels": [null]}\n{"id": "2.png", "labels": NaN}')
    labels = read_annotations(text, pool, "multilabel")
    assert (answers(labels), labels.unanswered) == ({"1.png": Names()}, 1)
    objects = """id,objects\n1.png,"{""bbox"": [[0, 0, 2, 2]], ""category"": [""cat""]}"\n2.png,\n3.png,[]\n"""
    labels = read_annotations(write(tmp_path / "o.csv", objects), pool, "detection")
    assert {item: len(value) for item, value in answers(labels).items()} == {"1.png": 1, "3.png": 0}
    whole = write(tmp_path / "l.csv", "id,label\n1.png,dog;cat\n")  # one name in a column that is called one
    assert read_annotations(whole, pool, "multilabel").classes == ["dog;cat"]


def test_sentences_in_rows_and_lists(tmp_path: Path, pool: Pool) -> None:
    path = write(tmp_path / "c.csv", 'id,caption\n1.png,"One, two."\n2.png, \n1.png,Three.\n')
    labels = read_annotations(path, pool, "captioning")
    assert answers(labels) == {"1.png": Sentences(("One, two.", "Three."))}
    assert labels.unanswered == 1
    path = write(tmp_path / "c.jsonl", '{"file_name": "x/1.png", "text": ["A.", "B."]}\n{"file_name": "2.png"}')
    assert answers(read_annotations(path, pool, "captioning")) == {"1.png": Sentences(("A.", "B."))}


def test_text_that_is_no_unicode_is_left_out(tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]) -> None:
    half = "\ud800"
    rows = [{"id": "1.png", "caption": f"A {half}."}, {"id": "2.png", "caption": "B."}, {"id": half, "caption": "C."}]
    path = write(tmp_path / "c.jsonl", "\n".join(map(json.dumps, rows)))
    assert answers(read_annotations(path, pool, "captioning")) == {"2.png": Sentences(("B.",))}
    path = coco(tmp_path / "c.json", {"1.png": [{"caption": half}], "2.png": [{"caption": "B."}], half: []})
    assert answers(read_annotations(path, pool, "captioning")) == {"2.png": Sentences(("B.",))}
    told = capsys.readouterr().err
    assert "cells that can't be read, left out: 1 (the first: row 1, column 'caption', it is not valid Unicode" in told
    assert "annotations without a caption, left out: 1" in told
    path = coco(tmp_path / "c.json", {"2.png": [{}]}, categories=[{"id": 1, "name": half}, {"id": 2, "name": "cat"}])
    with pytest.raises(UsageError, match="holds no answer for multilabel"):
        read_annotations(path, pool, "multilabel")
    for labels, task in (
        (Labels(["1.png"], [Sentences((half,))], []), "captioning"),
        (Labels(["1.png"], [Names((half,))], [half]), "multilabel"),
    ):
        with pytest.raises(UsageError, match="not valid Unicode"):
            save_annotations(labels, tmp_path / "a.parquet", task=task)
    assert not (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize(
    ("text", "task", "told"),
    [
        ("id,caption\n1.png,A.\n", "multilabel", "has no column for multilabel: it needs one of labels, label"),
        ("id,label\n1.png,a\n", "captioning", "has no column for captioning"),
        ("name,label\n1.png,a\n", "multilabel", "has no column 'id'.*rename 'name' to 'id'"),
        ("id,label\n1.png,\n", "multilabel", "holds no answer for multilabel"),
        ("id,label\n", "multilabel", "has no row"),
        ('id,label\n1.png,"a\n', "multilabel", "quotation mark that opens in line 2"),
    ],
)
def test_tables_without_answers(tmp_path: Path, pool: Pool, text: str, task: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_annotations(write(tmp_path / "l.csv", text), pool, task)


# What pools bring -----------------------------------------------------------------------------------------------------

ROWS: list[dict[str, Any]] = [
    {"file_name": "1.png", "labels": ["cat", "dog"], "text": "A.", "mask_file_name": "m/1.png"},
    {"file_name": "2.png", "labels": [], "text": None, "mask_file_name": None},
    {"file_name": "3.png", "labels": None, "text": "C.", "mask_file_name": "../secret.png"},
]
for number, row in enumerate(ROWS):
    row["objects"] = {"bbox": [[0, 0, 2 + number, 2]], "categories": ["cat"]}


def check_brought(pool: Pool, front: str = "") -> None:
    named = answers(pool_annotations(pool, "multilabel"))
    assert named == {f"{front}1.png": Names(("cat", "dog")), f"{front}2.png": Names()}
    assert sorted(answers(pool_annotations(pool, "captioning"))) == [f"{front}1.png", f"{front}3.png"]
    boxes = answers(pool_annotations(pool, "detection"))
    assert {item: value.xyxy_K4.tolist() for item, value in boxes.items()} == {
        f"{front}{number + 1}.png": [[0, 0, 2 + number, 2]] for number in range(3)
    }
    masks = pool_annotations(pool, "segmentation", quiet=True)
    assert mask_of(masks, f"{front}1.png") == VALUES.tolist()
    assert masks.ids == [f"{front}1.png"]
    part = pool_annotations(pool.subset([f"{front}3.png", f"{front}1.png"]), "segmentation", quiet=True)
    assert mask_of(part, f"{front}1.png") == VALUES.tolist()
    part = pool_annotations(pool.subset([f"{front}3.png"]), "detection")
    assert part.answers[0].xyxy_K4.tolist() == [[0, 0, 4, 2]]
    assert pickle.loads(pickle.dumps(pool)).further.names() == pool.further.names()  # type: ignore[union-attr]


def test_an_imagefolder_and_a_zip_of_it_bring_answers(tmp_path: Path) -> None:
    make_pool(tmp_path / "pool" / "train")
    write(tmp_path / "pool" / "train" / "metadata.jsonl", "\n".join(map(json.dumps, ROWS)))
    write(tmp_path / "pool" / "train" / "m" / "1.png", encoded(VALUES))
    write(tmp_path / "pool" / "secret.png", encoded(VALUES))
    with zipfile.ZipFile(tmp_path / "pool.zip", "w") as archive:
        for path in sorted((tmp_path / "pool" / "train").rglob("*")):
            archive.write(path, path.relative_to(tmp_path / "pool" / "train"))
    check_brought(open_pool(tmp_path / "pool" / "train", quiet=True))
    check_brought(open_pool(tmp_path / "pool.zip", quiet=True))


def test_a_manifest_brings_answers(tmp_path: Path) -> None:
    make_pool(tmp_path / "pool")
    write(tmp_path / "pool" / "m" / "1.png", encoded(VALUES))
    rows = [{**row, "mask_file_name": row["mask_file_name"] if row["file_name"] == "1.png" else None} for row in ROWS]
    write(tmp_path / "pool" / "list.jsonl", "\n".join(map(json.dumps, rows)))
    check_brought(open_pool(tmp_path / "pool" / "list.jsonl", quiet=True))


def hugging_face(path: Path) -> Path:
    """Two shards with objects as a list of structs, several labels per image, and masks."""
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    label = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    features = {"labels": {"feature": label, "_type": "List"}, "objects": [{"category": label, "bbox": {}}]}
    objects = pa.list_(pa.struct([("bbox", pa.list_(pa.float64(), 4)), ("category", pa.int64())]))
    schema = pa.schema(
        [("image", image), ("label", image), ("labels", pa.list_(pa.int64())), ("objects", objects)],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    path.mkdir()
    for shard, numbers in enumerate(([1, 2], [3])):
        rows = [
            {
                "image": {"bytes": encoded(Image.new("RGB", (WIDTH, HEIGHT))), "path": f"{number}.png"},
                "label": None if number == 2 else {"bytes": encoded(VALUES), "path": None},
                "labels": [[0, 1], [], None][number - 1],
                "objects": [{"bbox": [0, 0, 1 + number, 2], "category": number % 2}],
            }
            for number in numbers
        ]
        pq.write_table(pa.Table.from_pylist(rows, schema), path / f"train-{shard:05d}-of-00002.parquet")
    return path


def test_hugging_face_parquet_brings_answers(tmp_path: Path) -> None:
    pool = open_pool(hugging_face(tmp_path / "hf"))
    assert (list(pool.ids), pool.labels) == (["1.png", "2.png", "3.png"], None)
    named = pool_annotations(pool, "multilabel")
    assert answers(named) == {"1.png": Names(("cat", "dog")), "2.png": Names()}
    assert named.classes == ["cat", "dog"]
    boxes = answers(pool_annotations(pool, "detection"))
    assert [value.names for value in boxes.values()] == [("dog",), ("cat",), ("dog",)]
    masks = pool_annotations(pool.subset(["3.png", "2.png"]), "segmentation")
    assert masks.ids == ["3.png"] and mask_of(masks, "3.png") == VALUES.tolist()
    with pytest.raises(UsageError, match=r"the pool .* has no column for captioning"):
        pool_annotations(pool, "captioning")
    other = make_pool(tmp_path / "pool")
    assert read_annotations(tmp_path / "hf", other, "detection").ids == ["1.png", "2.png", "3.png"]


def test_further_columns_are_read_by_nobody_who_does_not_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = hugging_face(tmp_path / "hf")
    real = pq.ParquetFile.read

    def read(file: pq.ParquetFile, columns: Sequence[str], **more: Any) -> pa.Table:
        assert set(columns) <= {"image.path", "label", "labels"}
        return real(file, columns=columns, **more)

    monkeypatch.setattr(pq.ParquetFile, "read", read)
    assert len(open_pool(path)) == 3


def test_a_folder_and_a_zip_bring_what_lies_beside_their_images(tmp_path: Path) -> None:
    make_pool(tmp_path / "set" / "images", ["1.png", "2.png"])
    write(tmp_path / "set" / "masks" / "1.png", encoded(VALUES))
    write(tmp_path / "set" / "Annotations" / "2.xml", "<annotation/>")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").rglob("*.*")):
            archive.write(path, path.relative_to(tmp_path / "set"))
    for path in (tmp_path / "set", tmp_path / "set.zip"):
        pool = open_pool(path, quiet=True)
        assert pool_annotations(pool, "segmentation").ids == ["images/1.png"]
        assert {item: len(boxes) for item, boxes in answers(pool_annotations(pool, "detection")).items()} == {
            "images/2.png": 0
        }
        with pytest.raises(UsageError, match="brings no answers for captioning"):
            pool_annotations(pool, "captioning")
    alone = open_pool(tmp_path / "set" / "images", quiet=True)  # images that could be masks, were they not the pool's
    with pytest.raises(UsageError, match="brings no answers for segmentation"):
        pool_annotations(alone, "segmentation")


def test_pools_without_answers_say_so(tmp_path: Path, pool: Pool) -> None:
    with pytest.raises(UsageError, match="brings no answers for detection; give a file or folder of them"):
        pool_annotations(pool, "detection")
    with pytest.raises(
        UsageError, match=r"has no labels of its own; it has answers to other tasks in labels \(multilabel\), objects"
    ):
        pool_labels(open_pool(hugging_face(tmp_path / "hf")))


# The form on disk -----------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
CLASS_LISTS = st.lists(TEXTS, min_size=1, max_size=5, unique=True)


@st.composite
def answers_and_classes(draw: st.DrawFn, task: str) -> tuple[list[Any], list[str]]:
    """Answers of a task to three images."""
    classes = draw(CLASS_LISTS)
    names = st.sampled_from(classes)
    if task == "multilabel":
        return [Names.of(draw(st.lists(names, max_size=4))) for _ in range(3)], classes
    if task == "captioning":
        return [Sentences(tuple(draw(st.lists(st.text(), min_size=1, max_size=3)))) for _ in range(3)], []
    if task == "segmentation":
        positions = st.integers(-1, len(classes) - 1)
        flat = [draw(st.lists(positions, min_size=128, max_size=128)) for _ in range(3)]
        return [ArrayMask(np.asarray(values, dtype=np.int32).reshape(HEIGHT, WIDTH)) for values in flat], classes
    sides = [st.floats(0, side, width=32) for side in (WIDTH, HEIGHT)]
    boxes = st.tuples(*sides, *sides).map(lambda box: [*np.minimum(box[:2], box[2:]), *np.maximum(box[:2], box[2:])])
    found = []
    for _ in range(3):
        corners = [box for box in draw(st.lists(boxes, max_size=4)) if box[0] < box[2] and box[1] < box[3]]
        crowd = [draw(st.booleans()) for _ in corners]
        found.append(Boxes.of(corners, [draw(names) for _ in corners], crowd))
    return found, classes


@pytest.mark.parametrize("task", ["captioning", "detection", "multilabel", "segmentation"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_is_saved_comes_back_to_the_bit(task: str, data: st.DataObject, tmp_path: Path) -> None:
    pool = open_pool(tmp_path / "pool") if (tmp_path / "pool").exists() else make_pool(tmp_path / "pool")
    given_answers, classes = data.draw(answers_and_classes(task))
    labels = Labels(["3.png", "1.png", "2.png"], given_answers, classes)
    path = save_annotations(
        labels, tmp_path / "a.parquet", task=task, pool=data.draw(st.sampled_from([None, pool])), overwrite=True
    )
    again = read_annotations(path, pool, task)
    assert (again.ids, list(again.classes)) == (labels.ids, classes)
    for before, after in zip(labels.answers, again.answers, strict=True):
        if task == "segmentation":
            assert after.pixels().dtype == np.int32 and (after.pixels() == before.pixels()).all()
        else:
            assert fingerprint_of(after) == fingerprint_of(before)


def test_many_classes_need_16_bits_of_a_mask(tmp_path: Path, pool: Pool) -> None:
    for count in (255, 256, 300):
        mask = np.arange(HEIGHT * WIDTH, dtype=np.int32).reshape(HEIGHT, WIDTH) + count - HEIGHT * WIDTH
        mask[0, 0] = VOID
        labels = Labels(["1.png"], [ArrayMask(mask)], [f"c{number}" for number in range(count)])
        path = save_annotations(labels, tmp_path / f"{count}.parquet", task="segmentation")
        assert mask_of(read_annotations(path, pool, "segmentation")) == mask.tolist()


def test_the_columns_on_disk(tmp_path: Path, pool: Pool) -> None:
    boxes = [Boxes.of([[0, 1, 2, 3], [1, 1, 4, 4]], ["cat", "dog"], [False, True]), Boxes.of([], [])]
    path = save_annotations(
        Labels(["1.png", "2.png"], boxes, ["dog", "cat"]), tmp_path / "a.parquet", task="detection", pool=pool
    )
    table = pq.read_table(path)
    size = {"width": 16, "height": 8}
    none = dict.fromkeys(["label", "x_left", "y_top", "x_right", "y_bottom", "crowd"])
    assert table.to_pylist() == [
        {"id": "1.png", "label": "cat", "x_left": 0, "y_top": 1, "x_right": 2, "y_bottom": 3, "crowd": False, **size},
        {"id": "1.png", "label": "dog", "x_left": 1, "y_top": 1, "x_right": 4, "y_bottom": 4, "crowd": True, **size},
        {"id": "2.png", **none, **size},
    ]
    about = json.loads(table.schema.metadata[b"activetune"])
    assert about == {"kind": "annotations", "format": 1, "task": "detection", "classes": ["dog", "cat"]}
    named = read_annotations(path, pool, "multilabel")
    assert answers(named) == {"1.png": Names(("cat", "dog")), "2.png": Names()}


def test_format_1_is_read_as_the_documents_describe_it(tmp_path: Path, pool: Pool) -> None:
    def read(task: str, classes: list[str], columns: dict[str, list[Any]]) -> dict[str, Any]:
        about = {"kind": "annotations", "format": 1, "task": task, "classes": classes}
        table = pa.table(columns).replace_schema_metadata({"activetune": json.dumps(about)})
        pq.write_table(table, tmp_path / "a.parquet")
        labels = read_annotations(tmp_path / "a.parquet", pool, task)
        assert labels.classes == classes
        return answers(labels)

    ids = ["1.png", "1.png", "2.png"]
    assert read("multilabel", ["b", "a"], {"id": ids, "label": ["a", "b", None]}) == {
        "1.png": Names(("a", "b")),
        "2.png": Names(),
    }
    assert read("captioning", [], {"id": ids, "caption": ["B ", "A", ""]}) == {
        "1.png": Sentences(("B ", "A")),
        "2.png": Sentences(("",)),
    }
    corners = {"x_left": [1.5, 0.0, None], "y_top": [1.0, 0.0, None], "x_right": [2.0, 1.0, None]}
    more = {"y_bottom": [3.0, 1.0, None], "crowd": [True, False, None], "width": [16, 16, None], "height": [8, 8, None]}
    boxes = read("detection", ["b", "a"], {"id": ids, "label": ["a", "b", None], **corners, **more})
    assert boxes["1.png"].xyxy_K4.tolist() == [[1.5, 1, 2, 3], [0, 0, 1, 1]]
    assert boxes["1.png"].crowd_K.tolist() == [True, False] and len(boxes["2.png"]) == 0
    values = np.where(VALUES == 2, 255, VALUES).astype(np.uint8)
    masks = read("segmentation", ["b", "a"], {"id": ["3.png"], "mask": [encoded(values)], "width": [16], "height": [8]})
    assert masks["3.png"].pixels().tolist() == np.asarray([0, 1, VOID])[VALUES].tolist()


def test_a_table_of_boxes_that_somebody_else_wrote(tmp_path: Path, pool: Pool) -> None:
    columns = {"id": ["2.png", "1.png"], "label": ["dog", "cat"], "x_left": [0, 1], "y_top": [0, 1]}
    pq.write_table(pa.table({**columns, "x_right": [40.5, 3], "y_bottom": [3, 3]}), tmp_path / "b.parquet")
    labels = read_annotations(tmp_path / "b.parquet", pool, "detection", quiet=True)
    assert labels.classes == ["cat", "dog"]
    assert answers(labels)["2.png"].xyxy_K4.tolist() == [[0, 0, 16, 3]]


def test_wrong_uses_of_the_form_on_disk_are_sentences(tmp_path: Path, pool: Pool) -> None:
    labels = Labels(["1.png"], [Names(("cat",))], ["cat"])
    path = save_annotations(labels, tmp_path / "a.parquet", task="multilabel")
    before = path.read_bytes()
    for wrong, task, told in (
        (labels, "multilabel", "exists already"),
        (labels, "detection", "is a Names, which is no answer of detection; it takes Boxes"),
        (labels, "classification", "unknown task 'classification'"),
        (replace(labels, classes=["dog"]), "multilabel", "names 'cat', which the classes do not"),
    ):
        with pytest.raises(UsageError, match=told):
            save_annotations(wrong, path, task=task)
    mask = Labels(["1.png"], [ArrayMask(np.full((2, 2), 7, dtype=np.int32))], ["road"])
    with pytest.raises(UsageError, match="positions from 7 to 7 of 1 classes"):
        save_annotations(mask, path, task="segmentation", overwrite=True)
    assert path.read_bytes() == before and list(tmp_path.glob(".*partial")) == []
    with pytest.raises(UsageError, match="holds answers of the task multilabel, not of captioning"):
        read_annotations(path, pool, "captioning")


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ("{", "can't be read as annotations"),
        ("[" * 9000, "nested too deeply"),
        ("5", "metadata are damaged"),
        ('{"kind": "annotations", "format": 1, "task": "x", "classes": []}', "metadata are damaged"),
        ('{"kind": "annotations", "format": 1, "task": "multilabel", "classes": "ab"}', "metadata are damaged"),
        ('{"kind": "annotations", "format": 1, "task": "multilabel", "classes": ["a", "a"]}', "metadata are damaged"),
        ('{"kind": "annotations", "format": 2, "task": "multilabel", "classes": ["a"]}', "made by a newer activetune"),
        ('{"kind": "annotations", "format": 1, "task": "segmentation", "classes": ["a"]}', "holds answers of the task"),
        ('{"kind": "annotations", "format": 1, "task": "multilabel", "classes": ["a"]}', "has no column 'label'"),
    ],
)
def test_damaged_metadata_are_a_sentence(tmp_path: Path, pool: Pool, about: str, told: str) -> None:
    schema = pa.schema([("id", pa.string())], {"activetune": about})
    pq.write_table(pa.table({"id": ["1.png"]}, schema=schema), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match=told):
        read_annotations(tmp_path / "a.parquet", pool, "multilabel")


# Paths ----------------------------------------------------------------------------------------------------------------


def test_paths_that_hold_no_answers(tmp_path: Path, pool: Pool) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_annotations(tmp_path / "nothing", pool, "detection")
    with pytest.raises(UsageError, match="an empty text is no path"):
        read_annotations("", pool, "detection")
    with pytest.raises(UsageError, match=r"can't be looked for|does not exist"):
        read_annotations("a\0b", pool, "detection")
    with pytest.raises(UsageError, match=r"unknown task 'boxes'; there are: captioning, detection"):
        read_annotations(tmp_path, pool, "boxes")
    with pytest.raises(UsageError, match=r"is no|can't be read as a zip"):
        read_annotations(write(tmp_path / "x.zip", "no zip"), pool, "detection")
    (tmp_path / "empty").mkdir()
    with pytest.raises(
        UsageError,
        match=r"no answers for detection in a format that is known: it is no file\. Give one of these: box tables, "
        r"COCO, .*YOLO \('activetune list formats'",
    ):
        read_annotations(tmp_path / "empty", pool, "detection")
    write(tmp_path / "notes" / "readme.txt", "hello")
    write(tmp_path / "notes" / "1.doc", "hello")
    with pytest.raises(UsageError, match=r"it is 2 files \('\.doc', '\.txt'\)\. Give one of these"):
        read_annotations(tmp_path / "notes", pool, "segmentation")
    with pytest.raises(UsageError, match=r"it is a file ending in \.doc"):
        read_annotations(tmp_path / "notes" / "1.doc", pool, "detection")


def test_several_formats_at_a_path_are_asked_about(tmp_path: Path, pool: Pool) -> None:
    coco(tmp_path / "set" / "c.json", {"1.png": []})
    write(tmp_path / "set" / "1.xml", "<annotation/>")
    with pytest.raises(UsageError, match=r"in several formats \(coco, voc\); give the file or folder of one"):
        read_annotations(tmp_path / "set", pool, "detection")


# Real data ------------------------------------------------------------------------------------------------------------


def data(shared: Path, name: str) -> Path:
    path = shared / "data" / name
    if not path.exists():
        pytest.skip(f"needs {name} in ../shared/data, which is not here")
    return path


def test_blood_cells(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data(shared, "bccd.zip")
    pool = open_pool(path, quiet=True)
    labels = read_annotations(path, pool, "detection")
    assert (len(labels), labels.classes) == (364, ["Platelets", "RBC", "WBC"])
    assert sum(map(len, labels.answers)) == 4886
    found = answers(labels)["bccd/JPEGImages/BloodImage_00117.jpg"]
    assert found.xyxy_K4[:2].tolist() == [[506, 62, 609, 180], [425, 382, 528, 480]]
    assert found.names.count("Platelets") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and "boxes without area, left out: 2" in told


def test_street_scenes(shared: Path, tmp_path: Path) -> None:
    path = data(shared, "camvid.zip")
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.startswith("camvid/val/")][:40]
        archive.extractall(tmp_path, names)
    folder = tmp_path / "camvid" / "val"
    pool = open_pool(folder / "images", quiet=True)
    write(folder / "masks" / "classes.txt", "\n".join([*(f"class {number}" for number in range(11)), "void"]))
    labels = read_annotations(folder / "masks", pool, "segmentation")
    assert len(labels) == len(pool) == len(names) // 2
    assert len(labels.classes) == 11
    for item, mask in list(answers(labels).items())[:3]:
        values = np.asarray(Image.open(folder / "masks" / f"{Path(item).stem}.png")).astype(int)
        assert mask.pixels().tolist() == np.where(values == 11, VOID, values).tolist()


def test_photos_with_boxes_polygons_and_sentences(shared: Path) -> None:
    path = data(shared, "coco_small.zip")
    pool = open_pool(path, quiet=True)
    with zipfile.ZipFile(path) as archive:
        written = json.loads(archive.read("instances.json"))
    boxes = read_annotations(path, pool, "detection", quiet=True)
    assert len(boxes) == 412 and len(boxes.classes) == 80
    assert sum(map(len, boxes.answers)) == 3159
    item = "images/000000000009.jpg"
    first = next(entry for entry in written["annotations"] if entry["image_id"] == 9)
    x, y, width, height = first["bbox"]
    assert np.allclose(answers(boxes)[item].xyxy_K4[0], [x, y, x + width, y + height], atol=1e-3)
    masks = read_annotations(path, pool, "segmentation", quiet=True)
    assert len(masks) == 357 and masks.classes[:2] == ["background", "person"]
    spoken = read_annotations(path, pool, "captioning")
    assert len(spoken) == 284 and sum(len(said.texts) for said in spoken.answers) == 1421
    named = read_annotations(path, pool, "multilabel")
    assert set(answers(named)[item].names) == set(answers(boxes)[item].names)


def test_polygons_of_photos_are_nearly_those_of_pycocotools(shared: Path) -> None:
    coco_mask = pytest.importorskip("pycocotools.mask")
    path = data(shared, "coco_small.zip")
    with zipfile.ZipFile(path) as archive:
        written = json.loads(archive.read("instances.json"))
    sizes = {image["id"]: (image["height"], image["width"]) for image in written["images"]}
    shared_pixels, all_pixels = 0, 0
    for entry in [entry for entry in written["annotations"] if entry["segmentation"]][:150]:
        height, width = sizes[entry["image_id"]]
        parts = [part for part in entry["segmentation"] if len(part) >= 6]
        theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(parts, height, width))) == 1
        ours = np.zeros((height, width), dtype=np.int32)
        Polygons(tuple(polygon(part) for part in parts)).paint(ours, 1)  # type: ignore[arg-type]
        shared_pixels += int((theirs & (ours == 1)).sum())
        all_pixels += int((theirs | (ours == 1)).sum())
    assert shared_pixels / all_pixels > 0.98


GROUND: Any = np.zeros((4, 6), dtype=np.int32)


@pytest.mark.parametrize(
    ("task", "answer", "names", "asked", "told"),
    [
        ("segmentation", ArrayMask(GROUND), ["road"], ["road"], ""),
        ("segmentation", ArrayMask(GROUND - 1), ["road"], None, ""),
        ("segmentation", ArrayMask(GROUND.T), ["road"], None, r"the mask of 1\.png has 6 x 4 pixels, its image 4 x 6"),
        (
            "segmentation",
            ArrayMask(GROUND + 255),
            ["road"],
            None,
            r"of 1\.png holds 255, .* 1 class.*-1 is void",
        ),
        ("segmentation", ArrayMask(GROUND - 2), ["road"], None, "holds -2"),  # which would count from the end
        ("segmentation", ArrayMask(GROUND + 0.5), ["road"], None, "float64"),
        ("segmentation", ArrayMask(GROUND[None]), ["road"], None, r"\(1, 4, 6\)"),
        ("segmentation", ArrayMask(GROUND), ["road", "sky"], ["sky", "road"], "hold positions"),
        ("detection", Boxes.of([[0, 0, 9, 3]], ["cat"]), ["cat"], ["dog", "cat"], ""),
        ("detection", Boxes.of([[0, 0, np.nan, 3]], ["cat"]), ["cat"], None, r"a box of 1\.png .*nan"),
        ("detection", Boxes.of([[0, 0, np.inf, 3]], ["cat"]), ["cat"], None, r"a box of 1\.png .*inf"),
        ("detection", Boxes.of([[3, 3, 1, 1]], ["cat"]), ["cat"], None, r"a box of 1\.png .*3, 3, 1, 1"),
        ("detection", Boxes.of([[0, 0, 1, 1]], ["cat"]), ["dog"], None, "hold 'cat', which the classes do not"),
        ("detection", Boxes.of([[0, 0, 1, 1]], ["cat"]), ["cat"], ["dog"], "hold 'cat', which the classes do not"),
        ("detection", Boxes.of([[0, 0, 1, 1]], ["cat"]), ["cat", "cat"], None, "classes must be distinct"),
        ("multilabel", Names(("cat",)), ["dog"], None, "hold 'cat', which the classes do not"),
    ],
)
def test_answers_in_memory_are_as_their_kind_says(
    task: str, answer: Any, names: list[str], asked: list[str] | None, told: str, tmp_path: Path
) -> None:
    """They come through no reader, which would have left out or refused what no training can use."""
    Image.new("RGB", (6, 4)).save(tmp_path / "1.png")
    pool = open_pool(tmp_path, quiet=True)
    labels = Labels(["1.png"], [answer], names)
    if not told:
        assert annotations_of(labels, pool, task, asked) == Labels(["1.png"], [answer], asked or names)
        return
    with pytest.raises(UsageError, match=told):
        annotations_of(labels, pool, task, asked)


@pytest.mark.parametrize("given", [GROUND.astype(np.uint8), GROUND == 1, np.asfortranarray(GROUND)[::-1]])
def test_a_mask_in_memory_may_be_of_any_whole_numbers(given: np.ndarray) -> None:
    """-1 is void where a view is filled up, which an unsigned mask would hold as 255."""
    pixels = ArrayMask(given).pixels()
    assert pixels.dtype == np.int32 and pixels.flags["C_CONTIGUOUS"] and (pixels == given).all()


@pytest.mark.parametrize(
    ("task", "plain", "kind"),
    [
        ("multilabel", ["dog", "cat", "dog"], Names(("cat", "dog"))),
        ("multilabel", set(), Names()),
        ("captioning", "a cat", Sentences(("a cat",))),
        ("captioning", ["a cat", "it sleeps"], Sentences(("a cat", "it sleeps"))),
    ],
)
def test_answers_in_plain_python_are_of_their_kind(task: str, plain: Any, kind: Any, digits: Path) -> None:
    pool = open_pool(digits)
    found = annotations_of({pool.ids[0]: plain, pool.ids[1]: None}, pool, task)
    assert list(found.answers) == [kind] and found.unanswered == 1


def test_a_mask_in_an_array_is_a_mask(digits: Path) -> None:
    pool = open_pool(digits)
    mask = np.zeros(pool.size(0), dtype=np.int64)
    found = annotations_of({pool.ids[0]: mask}, pool, "segmentation", ["ground"])
    np.testing.assert_array_equal(found.answers[0].pixels(), mask)
    truth = make_task("segmentation").truth_of({pool.ids[0]: mask}, pool, ["ground", "sky"])
    assert truth.classes == ["ground", "sky"]  # a model's own, whose positions the array holds


@pytest.mark.parametrize(("task", "plain"), [("multilabel", "dog"), ("captioning", []), ("detection", ["cat"])])
def test_answers_of_another_kind_are_refused(task: str, plain: Any, digits: Path) -> None:
    pool = open_pool(digits)
    with pytest.raises(UsageError, match=f"{task} needs answers of the kind"):
        annotations_of({pool.ids[0]: plain}, pool, task)


@pytest.mark.parametrize("name", ["../precious", "/precious", "..", "", 7])
def test_an_exports_manifest_names_nothing_outside_its_folder(name: object, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "precious").mkdir()
    (out / "manifest.json").write_text(json.dumps({"kind": KIND, "folders": {"x": name}}))
    with pytest.raises(UsageError, match="is no folder of an export"):
        _earlier_parts(out, [])
    (out / "manifest.json").write_text(json.dumps({"kind": KIND, "folders": {"x": "cat, dog"}}))
    assert _earlier_parts(out, []) == ["cat, dog"]
