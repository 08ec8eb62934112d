"""Masks inside other tools' datasets: arrays in FiftyOne's JSON and files beside it, Pascal VOC's palettes."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as hypothesis_arrays
from PIL import Image

from activetune import Pool, UsageError, read_annotations
from activetune.data.annotations import Sheet, format_called, formats, tasks_at, write_sheet
from activetune.data.annotations._shapes import Inset
from activetune.data.annotations.voc import colour_of
from activetune.data.kinds import VOID, ArrayMask
from tests.contract.test_annotation_formats import packed
from tests.data.test_annotations import HEIGHT, WIDTH, answers, encoded, make_pool, write

VALUES = np.zeros((HEIGHT, WIDTH), np.uint8)
VALUES[0], VALUES[1] = 7, 255


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return make_pool(tmp_path / "pool")


def dataset(folder: Path, label: dict[str, Any], field: str = "ground_truth", **about: Any) -> Path:
    """A dataset of one image, with a label of a mask."""
    sample = {"filepath": "data/1.png", field: {"_cls": "Segmentation", **label}}
    write(folder / "samples.json", json.dumps({"samples": [sample]}))
    write(folder / "metadata.json", json.dumps(about))
    return folder


def rows(labels: Any) -> list[int]:
    return [int(value) for value in answers(labels)["1.png"].pixels()[:3, 0]]


def test_arrays_are_read_in_both_layouts_of_fiftyone(tmp_path: Path, pool: Pool) -> None:
    old = dataset(tmp_path / "old", {"mask": packed(VALUES)}, default_mask_targets={"7": "road"})
    labels = read_annotations(old, pool, "segmentation")
    assert labels.classes == ["background", "road"] and rows(labels) == [1, VOID, 0]
    binary = {"$binary": {"base64": packed(VALUES.astype(np.int64)), "subType": "00"}}
    targets = {"parts": {"7": "road", "0": "ground"}, "other": {"7": "car"}}
    new = dataset(tmp_path / "new", {"mask": binary}, "parts", mask_targets=targets, version="1.0")
    labels = read_annotations(new, pool, "segmentation")
    assert labels.classes == ["ground", "road"] and rows(labels) == [1, VOID, 0]


def test_colours_that_mask_targets_name_are_read(tmp_path: Path, pool: Pool) -> None:
    colours = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colours[0], colours[1] = (255, 0, 16), (9, 9, 9)
    targets = {"#ff0010": {"label": "road", "intTarget": 1}, "#000000": "ground", "#090909": "void"}
    made = dataset(tmp_path / "set", {"mask": packed(colours)}, default_mask_targets=targets)
    labels = read_annotations(made, pool, "segmentation")
    assert labels.classes == ["ground", "road"] and rows(labels) == [1, VOID, 0]


@pytest.mark.parametrize(
    "path", ["fields/parts/1.png", "/home/else/set/fields/parts/1.png", "D:\\set\\fields\\parts\\1.png"]
)
def test_files_of_masks_are_found_wherever_the_dataset_was_written(tmp_path: Path, pool: Pool, path: str) -> None:
    made = dataset(tmp_path / "set", {"mask_path": path}, "parts", default_mask_targets={"7": "road"})
    write(made / "fields" / "parts" / "1.png", encoded(VALUES))
    assert rows(read_annotations(made, pool, "segmentation")) == [1, VOID, 0]


class Harmful:
    def __reduce__(self) -> Any:
        raise AssertionError("was unpickled")


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ({"mask": packed(VALUES)[:-8]}, "its mask can't be unpacked|its mask is cut off"),
        ({"mask": base64.b64encode(zlib.compress(b"\x93NUMPY\x01\x00")).decode()}, "EOF: reading array header"),
        ({"mask": packed(np.zeros((2, 2), complex))}, "stand for no class; give whole numbers"),
        ({"mask": packed(np.zeros((2, 2), "m8[s]"))}, "stand for no class; give whole numbers"),
        ({"mask": packed(np.array([None]), allow_pickle=True)}, "Python objects, which are never unpickled"),
        ({"mask": packed(np.full((2, 2), -1))}, "whole numbers from 0 to 65,535"),
        ({"mask": packed(np.full((2, 2), 0.5))}, "whole numbers from 0 to 65,535"),
        ({"mask": packed(np.zeros((2, 2), "S3"))}, "stand for no class; give whole numbers"),
        ({"mask": packed(np.zeros(5, np.uint8))}, r"shape \(5,\) is no mask"),
        ({"mask": 5}, "no text that holds an array"),
        ({}, "neither a mask nor a mask_path"),
        ({"mask_path": "../pool/1.png"}, "'../pool/1.png' is not in the folder"),
        ({"mask_path": "/etc/passwd"}, "'/etc/passwd' is not in the folder"),
        ({"mask_path": "/x/data/1.png"}, "'/x/data/1.png' is not in the folder"),
    ],
)
def test_masks_that_can_not_be_used_are_told(label: dict[str, Any], told: str, tmp_path: Path, pool: Pool) -> None:
    made = dataset(tmp_path / "set", label, default_mask_targets={"7": "road"})
    with pytest.raises(UsageError, match=rf"holds no answer for segmentation: .*({told})"):
        read_annotations(made, pool, "segmentation")


def test_a_folder_of_masks_is_fiftyones_where_it_has_samples(tmp_path: Path, pool: Pool) -> None:
    path = "fields/ground_truth/1.png"
    made = dataset(tmp_path / "set", {"mask_path": path}, default_mask_targets={"7": "road", "255": "void"})
    write(made / path, encoded(VALUES))
    labels = read_annotations(made, pool, "segmentation")
    assert labels.classes == ["background", "road"] and rows(labels) == [1, VOID, 0]


def test_of_an_image_that_is_listed_twice_the_first_mask_counts(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    made = dataset(tmp_path / "set", {"mask": packed(VALUES)}, default_mask_targets={"7": "road"})
    content = json.loads((made / "samples.json").read_text())
    first = content["samples"][0]
    second = {**first, "ground_truth": {"_cls": "Segmentation", "mask": packed(VALUES[::-1].copy())}}
    boxes = {"filepath": "data/2.png", "ground_truth": {"_cls": "Detections", "detections": []}}
    content["samples"] += [second, {**first, "ground_truth": None}, boxes]
    write(made / "samples.json", json.dumps(content))
    assert rows(read_annotations(made, pool, "segmentation")) == [1, VOID, 0]
    told = capsys.readouterr().err
    assert "images listed twice, the first mask counts: 1 (the first: '1.png', samples.json, sample 2)" in told
    assert "samples with other labels than Segmentation, left out: 1 (the first: samples.json, sample 4)" in told


def test_an_array_that_unpacks_to_gigabytes_is_cut_off(
    tmp_path: Path, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activetune.data.annotations._fiftyone_masks.MOST", 1_000)
    made = dataset(tmp_path / "set", {"mask": packed(np.zeros((500, 500), np.uint8))})
    with pytest.raises(UsageError, match="unpacks to more than 1,000 bytes"):
        read_annotations(made, pool, "segmentation")


def test_boxes_beside_masks_are_read_by_the_task(tmp_path: Path, pool: Pool) -> None:
    made = dataset(tmp_path / "set", {"mask": packed(VALUES)}, "parts", default_mask_targets={"7": "road"})
    content = json.loads((made / "samples.json").read_text())
    box = {"_cls": "Detection", "label": "cat", "bounding_box": [0, 0, 0.5, 0.5]}
    content["samples"][0]["things"] = {"_cls": "Detections", "detections": [box]}
    write(made / "samples.json", json.dumps(content))
    assert rows(read_annotations(made, pool, "segmentation")) == [1, VOID, 0]
    assert answers(read_annotations(made, pool, "detection"))["1.png"].names == ("cat",)


def instances(folder: Path, *entries: list[dict[str, Any]], **about: Any) -> Path:
    """A dataset of the pool's images, each with boxes."""
    samples = [
        {
            "filepath": f"data/{number}.png",
            "ground_truth": {
                "_cls": "Detections",
                "detections": [{"label": "cat", "bounding_box": [0.0, 0.0, 1.0, 1.0], **entry} for entry in several],
            },
        }
        for number, several in enumerate(entries, start=1)
    ]
    write(folder / "samples.json", json.dumps({"samples": samples}))
    write(folder / "metadata.json", json.dumps(about))
    return folder


def test_masks_inside_boxes_make_the_mask_of_the_image(tmp_path: Path, pool: Pool) -> None:
    """One in the list, of another size than its box; one in a file, whose smaller region lies on top."""
    left = np.asarray([[True, False]])
    half = {"bounding_box": [0.0, 0.0, 1.0, 0.5], "mask": packed(left)}
    top = {"label": "dog", "bounding_box": [0.0, 0.0, 1.0, 1.0], "mask_path": "fields/ground_truth/dog.png"}
    made = instances(tmp_path / "set", [half, top], [], default_classes=["dog", "cat"])
    write(made / "fields/ground_truth/dog.png", encoded((np.indices((HEIGHT, WIDTH))[1] == 0).astype(np.uint8) * 255))
    labels = read_annotations(made, pool, "segmentation")
    assert labels.classes == ["background", "dog", "cat"]
    expected = np.zeros((HEIGHT, WIDTH), np.int32)
    expected[: HEIGHT // 2, : WIDTH // 2] = 2
    expected[:, 0] = 1
    assert np.array_equal(answers(labels)["1.png"].pixels(), expected)
    assert not answers(labels)["2.png"].pixels().any()  # looked at, and nothing is there
    assert tasks_at(made) == ["detection", "segmentation", "multilabel"]
    assert answers(read_annotations(made, pool, "detection"))["1.png"].names == ("cat", "dog")


def test_a_damaged_mask_inside_a_box_leaves_the_box_void(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"bounding_box": [0.0, 0.0, 0.5, 0.5], "mask": packed(np.ones((2, 2)))}
    bad = [
        {"mask": "no array"},
        {"mask_path": "gone.png"},
        {"mask": packed(np.ones(3))},
        {"mask": packed(np.ones((0, 2)))},
    ]
    made = instances(tmp_path / "set", [good, *bad])
    mask = answers(read_annotations(made, pool, "segmentation"))["1.png"].pixels()
    assert mask[0, 0] == 1 and mask[-1, -1] == VOID
    assert "masks of objects that can't be used, their box is void: 4" in capsys.readouterr().err


def test_boxes_without_masks_are_no_masks(tmp_path: Path, pool: Pool) -> None:
    made = instances(tmp_path / "set", [{}])
    with pytest.raises(UsageError, match="segmentation"):
        read_annotations(made, pool, "segmentation")


@given(
    inside=hypothesis_arrays(np.bool_, st.tuples(st.integers(1, 6), st.integers(1, 6))),
    left=st.integers(0, 3),
    top=st.integers(0, 3),
    times=st.integers(1, 3),
)
def test_a_mask_inside_a_box_is_repeated_where_its_pixels_are_whole(
    inside: npt.NDArray[np.bool_], left: int, top: int, times: int
) -> None:
    """Against numpy's own repetition."""
    height, width = inside.shape[0] * times, inside.shape[1] * times
    shape = Inset.of(inside, (left, top, left + width, top + height))
    mask = np.zeros((top + height + 2, left + width + 2), np.int32)
    shape.paint(mask, 1)
    expected = np.zeros_like(mask)
    expected[top : top + height, left : left + width] = inside.repeat(times, axis=0).repeat(times, axis=1)
    assert np.array_equal(mask, expected)
    assert shape.area == pytest.approx(expected.sum())


def test_the_palette_is_pascal_vocs(tmp_path: Path, pool: Pool) -> None:
    """The first colours of the devkit's map, and that of its border."""
    published = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert [colour_of(value) for value in range(5)] == published and colour_of(255) == (224, 224, 192)
    pixels = np.zeros((HEIGHT, WIDTH), np.int32)
    pixels[0], pixels[1] = 1, VOID
    sheet = Sheet("segmentation", pool, ["1.png"], {"1.png": ArrayMask(pixels)}, ["background", "car"], quiet=True)
    out = write_sheet(sheet, format_called("voc", formats(), written=True), "voc", tmp_path / "voc")
    with Image.open(out / "SegmentationClass" / "1.png") as written:
        assert written.mode == "P"
        assert np.asarray(written)[:3, 0].tolist() == [1, 255, 0]
        assert np.asarray(written.convert("RGB"))[:3, 0].tolist() == [[128, 0, 0], [224, 224, 192], [0, 0, 0]]
    assert "car:128,0,0::" in (out / "labelmap.txt").read_text()
    listed = out / "ImageSets" / "Segmentation" / "default.txt"
    assert read_annotations(listed, pool, "segmentation").classes == ["background", "car"]
    (out / "labelmap.txt").unlink()
    write(out / "classes.txt", "ground\nwheels\n")
    assert read_annotations(listed, pool, "segmentation").classes == ["ground", "wheels"]


def test_pascal_voc_without_an_answer_or_a_class_is_images_to_label(tmp_path: Path, pool: Pool) -> None:
    sheet = Sheet("segmentation", pool, ["1.png"], {}, [], quiet=True)
    out = write_sheet(sheet, format_called("voc", formats(), written=True), "voc", tmp_path / "voc")
    assert [path.name for path in (out / "JPEGImages").iterdir()] == ["1.png"]
    with pytest.raises(UsageError, match=r"labelmap\.txt of .* names no class"):
        read_annotations(out, pool, "segmentation")


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (["a:b"], "labelmap.txt can't hold the class 'a:b'; rename it, or give another format, such as --to masks"),
        (["#1"], "labelmap.txt can't hold the class '#1'"),
        ([str(number) for number in range(256)], "room for 254 classes beside background and void, and these are 256"),
    ],
)
def test_classes_that_a_palette_can_not_hold_are_refused(
    classes: list[str], told: str, tmp_path: Path, pool: Pool
) -> None:
    sheet = Sheet("segmentation", pool, ["1.png"], {}, classes, quiet=True)
    with pytest.raises(UsageError, match=told):
        write_sheet(sheet, format_called("voc", formats(), written=True), "voc", tmp_path / "voc")


def grey_masks(folder: Path, pool: Pool, *values: int) -> Path:
    """A mask per image whose columns hold these values."""
    folder.mkdir()
    for item in pool.ids:
        height, width = 8, 8
        pixels = np.repeat(np.asarray(values, dtype=np.uint8), -(-width // len(values)))[:width]
        Image.fromarray(np.tile(pixels, (height, 1))).resize(pool.size(pool.position[item])[::-1], 0).save(
            folder / f"{Path(item).stem}.png"
        )
    return folder


def test_of_two_classes_255_is_the_second_with_a_list_and_without(tmp_path: Path, pool: Pool) -> None:
    masks = grey_masks(tmp_path / "masks", pool, 0, 255)
    without = read_annotations(masks, task="segmentation", pool=pool)
    (masks / "classes.txt").write_text("ground\nwheels\n")
    listed = read_annotations(masks, task="segmentation", pool=pool)
    assert listed.classes == ["ground", "wheels"]
    for one, other in zip(without.answers, listed.answers, strict=True):
        assert np.array_equal(one.pixels(), other.pixels())
        assert set(np.unique(other.pixels()).tolist()) == {0, 1}
    (masks / "classes.txt").unlink()
    (masks / "classes.csv").write_text("value,name\n0,ground\n1,wheels\n255,void\n")
    named = read_annotations(masks, task="segmentation", pool=pool)
    assert set(np.unique(named.answers[0].pixels()).tolist()) == {0, VOID}


def test_a_listed_class_that_never_occurs_beside_much_void_is_told(
    tmp_path: Path, pool: Pool, capsys: pytest.CaptureFixture[str]
) -> None:
    masks = grey_masks(tmp_path / "masks", pool, 0, 1, 255, 255)
    (masks / "classes.txt").write_text("ground\nwheels\nsky\n")
    read_annotations(masks, task="segmentation", pool=pool)
    assert "50 % of the pixels are void, and no mask that was looked at shows 'sky'" in capsys.readouterr().err
