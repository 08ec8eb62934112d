"""A turned box is the box around it, whichever tool has written the angle, and however it did."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from activetune import Pool, open_pool, read_annotations
from activetune.data.annotations._shapes import turned
from tests.data.test_annotations import encoded, write

WIDTH, HEIGHT = 200, 100
BOX, AROUND = (80, 40, 120, 60), (90, 30, 110, 70)  # turned by 90 degrees
TOLD = "boxes that their attribute rotation turns, read as the box around them: 1"


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    write(tmp_path / "pool" / "a.png", encoded(np.zeros((HEIGHT, WIDTH, 3), np.uint8)))
    return open_pool(tmp_path / "pool", quiet=True)


def coco(folder: Path, rotation: Any, **more: Any) -> Path:
    left, top, right, bottom = BOX
    box = {"image_id": 1, "category_id": 1, "bbox": [left, top, right - left, bottom - top], **more}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": [box | {"attributes": {"occluded": False, "rotation": rotation}}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    return write(folder / "a.json", json.dumps(content))


def voc(folder: Path, rotation: Any) -> Path:
    left, top, right, bottom = BOX
    corners = f"<xmin>{left + 1}</xmin><ymin>{top + 1}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    attributes = "".join(
        f"<attribute><name>{name}</name><value>{value}</value></attribute>"
        for name, value in (("occluded", "0"), ("rotation", rotation))
    )
    found = f"<object><name>cat</name><attributes>{attributes}</attributes><bndbox>{corners}</bndbox></object>"
    write(folder / "voc" / "a.xml", f"<annotation>{found}</annotation>")
    return folder / "voc"


def cvat(folder: Path, rotation: Any) -> Path:
    sides = " ".join(f'{side}="{value}"' for side, value in zip(("xtl", "ytl", "xbr", "ybr"), BOX, strict=True))
    image = f'<image name="a.png" width="{WIDTH}" height="{HEIGHT}"><box label="cat" {sides} rotation="{rotation}"/>'
    return write(folder / "a.xml", f"<annotations>{image}</image></annotations>")


def label_studio(folder: Path, rotation: Any) -> Path:
    """The same box: it is turned around its upper left corner there."""
    angle, (left, top, right, bottom) = math.radians(float(rotation)), BOX
    middle = np.asarray([(left + right) / 2, (top + bottom) / 2])
    half = np.asarray([(right - left) / 2, (bottom - top) / 2])
    turn = np.asarray([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    x, y = middle - turn @ half
    sides = {"width": 100 * (right - left) / WIDTH, "height": 100 * (bottom - top) / HEIGHT}
    value = {"x": 100 * x / WIDTH, "y": 100 * y / HEIGHT, **sides, "rotation": rotation, "rectanglelabels": ["cat"]}
    result = {"type": "rectanglelabels", "value": value, "original_width": WIDTH, "original_height": HEIGHT}
    return write(folder / "t.json", json.dumps([{"data": {"image": "a.png"}, "annotations": [{"result": [result]}]}]))


def box_of(path: Path, pool: Pool) -> list[float]:
    (answer,) = read_annotations(path, pool, "detection").answers
    return answer.xyxy_K4[0].tolist()


@pytest.mark.parametrize("made", [coco, voc, cvat, label_studio], ids=lambda made: made.__name__)
@pytest.mark.parametrize(("rotation", "want"), [(90.0, AROUND), (180, BOX), (0.0, BOX), (30, None)])
def test_every_format_gives_the_same_box(
    made: Any, rotation: float, want: Any, pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if want is None:  # of 40 x 20 pixels around (100, 50)
        sine, cosine = math.sin(math.radians(rotation)), math.cos(math.radians(rotation))
        half = np.asarray([40 * cosine + 20 * sine, 40 * sine + 20 * cosine]) / 2
        want = [*(np.asarray([100, 50]) - half), *(np.asarray([100, 50]) + half)]
    np.testing.assert_allclose(box_of(made(tmp_path, rotation), pool), want, atol=1e-4)
    told = TOLD in capsys.readouterr().err
    assert told == (made in (coco, voc) and rotation in (90.0, 30))


@pytest.mark.parametrize("rotation", ["90.0", "90"])
def test_an_angle_may_be_a_text(rotation: str, pool: Pool, tmp_path: Path) -> None:
    np.testing.assert_allclose(box_of(coco(tmp_path, rotation), pool), AROUND, atol=1e-4)


@pytest.mark.parametrize("rotation", [None, "left", True, "nan", [90], 10**400])
def test_an_attribute_that_is_no_angle_turns_nothing(rotation: Any, pool: Pool, tmp_path: Path) -> None:
    assert box_of(coco(tmp_path, rotation), pool) == list(BOX)


def test_a_region_lies_where_the_object_does_and_is_not_turned(pool: Pool, tmp_path: Path) -> None:
    region = [[90, 30, 110, 30, 110, 70, 90, 70]]
    assert box_of(coco(tmp_path, 90, segmentation=region), pool) == list(BOX)


def test_the_names_alone_need_no_box(pool: Pool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (coco(tmp_path, 90), voc(tmp_path, 90)):
        assert read_annotations(path, pool, "multilabel").answers[0].names == ("cat",)
    assert TOLD not in capsys.readouterr().err


def test_a_full_turn_is_none() -> None:
    for box in ((0.0, 0.0, 3.0, 1.0), (0.1, 0.2, 0.4, 0.9)):
        np.testing.assert_allclose(turned(box, 360, unit=(WIDTH, HEIGHT)), box, atol=1e-12)
        np.testing.assert_allclose(turned(turned(box, 90), 90), box, atol=1e-12)
    with pytest.raises(ValueError, match="is no box"):
        turned((0, 0, math.inf, 1), 90)
