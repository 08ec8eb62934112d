"""What ``--draw`` and pages of picks show: masks with the names of their colours, boxes that are sure enough."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from activetune.base.errors import UsageError
from activetune.data.kinds import VOID, ArrayMask, Boxes, Names
from activetune.tasks._forms import CocoResults, Form, Table
from activetune.tasks._forms.masks import Masks
from activetune.tasks._pictures import PAPER, _ink_on, bright_colours, with_answer, with_boxes

GREY = Image.new("RGB", (400, 300), (120, 120, 120))
CLASSES = ["ground", "car", "tree"]


def shown(page: Image.Image) -> set[tuple[int, ...]]:
    """All colours of a picture."""
    return {tuple(colour) for colour in np.asarray(page).reshape(-1, 3).tolist()}


def test_a_mask_is_a_veil_with_the_names_of_the_classes_that_it_shows() -> None:
    pixels = np.zeros((300, 400), dtype=np.int32)
    pixels[:150, :200] = 2
    page = with_answer(GREY, ArrayMask(pixels), CLASSES)
    car, tree = (tuple(colour) for colour in bright_colours(3)[1:].tolist())
    assert page.width == 400 and page.height > 300
    assert page.getpixel((10, 10)) == tuple(round((120 + part) / 2) for part in tree)
    assert page.getpixel((390, 290)) != (120, 120, 120)
    below = page.crop((0, 300, 400, page.height))
    assert tree in shown(below) and car not in shown(below) and PAPER in shown(below)
    assert with_answer(GREY, ArrayMask(np.full((300, 400), VOID, dtype=np.int32)), CLASSES).size == GREY.size


def test_a_first_class_is_seen_and_a_background_and_void_are_not() -> None:
    pixels = np.zeros((300, 400), dtype=np.int32)
    pixels[:150] = VOID
    for first, seen in (("sky", True), ("background", False), ("__background__", False)):
        page = with_answer(GREY, ArrayMask(pixels), [first, "car", "tree"])
        assert page.getpixel((390, 10)) == GREY.getpixel((0, 0))
        assert (page.getpixel((390, 290)) != GREY.getpixel((0, 0))) is seen
        assert (page.height > GREY.height) is seen


def test_the_colours_of_21_classes_are_told_apart_and_letters_on_them_are_read() -> None:
    colours_C3 = bright_colours(21).astype(int)
    apart_CC = np.abs(colours_C3[:, None] - colours_C3[None]).sum(axis=2) + 1000 * np.eye(21, dtype=int)
    assert apart_CC.min() > 90
    for colour in colours_C3.tolist():
        ink = _ink_on(tuple(colour))
        assert abs(sum(ink) - sum(colour)) > 150 or max(abs(a - b) for a, b in zip(ink, colour, strict=True)) > 120


def test_names_of_boxes_are_not_written_over_each_other() -> None:
    """The surest one, which comes last, has its place; the other is a frame alone."""
    near: list[tuple[str, Sequence[float], int]] = [
        ("one", (50.0, 60.0, 100.0, 80.0), 2),
        ("two", (52.0, 61.0, 100.0, 80.0), 5),
    ]  # both with light letters
    far = [near[0], ("two", (252.0, 200.0, 100.0, 80.0), 5)]

    def letters(boxes: list[tuple[str, Sequence[float], int]]) -> int:
        return int((np.asarray(with_boxes(GREY, boxes)) > 180).all(axis=2).sum())

    assert 0 < letters(near) == letters([near[1]]) < letters(far)


def test_many_classes_take_several_rows_and_stay_within_the_picture() -> None:
    names = ["ground", *(f"a class with a long name, {number}" for number in range(12))]
    pixels = np.arange(400 * 300, dtype=np.int32).reshape(300, 400) % len(names)
    one, many = (with_answer(GREY, ArrayMask(np.minimum(pixels, most)), names) for most in (1, 12))
    assert many.height > one.height + 80 and many.width == one.width == 400
    below = shown(many.crop((0, 300, 400, many.height)))
    for number, colour in enumerate(bright_colours(len(names))[1:].tolist()):
        assert tuple(colour) in below, names[number + 1]


@pytest.mark.parametrize(("name", "taken"), [("run_0.25", True), ("masks", True), ("m.csv", False), ("m.PNG", False)])
def test_masks_go_to_a_folder_whose_name_may_hold_a_dot(name: str, taken: bool) -> None:
    with nullcontext() if taken else pytest.raises(UsageError, match=r"for instance m$"):
        assert Masks(CLASSES).file(Path(name)) == Path(name) / "masks.csv"


@pytest.mark.parametrize("form", [Table(), CocoResults(CLASSES)])
def test_a_name_that_no_predictions_are_written_under_is_told_with_all_that_are(form: Form) -> None:
    with pytest.raises(
        UsageError, match=r"preds\.txt: .* are written as \..* or \.jsonl; give --out such a name, or - for"
    ):
        form.file(Path("preds.txt"))


@pytest.mark.parametrize(("score", "drawn"), [(0.29, False), (0.3, True), (0.9, True)])
def test_boxes_of_a_low_score_are_not_drawn(score: float, drawn: bool, tmp_path: Path) -> None:
    row = ("a.jpg", [["car", score, 50.0, 60.0, 100.0, 80.0]])
    page = CocoResults(CLASSES).picture(GREY, row, tmp_path / "boxes.json")
    assert (len(shown(page)) > 1) is drawn


def test_an_answer_of_any_kind_is_drawn() -> None:
    boxes = with_answer(GREY, Boxes.of([[10, 10, 60, 60]], ["tree"]), CLASSES)
    names = with_answer(GREY, Names.of(["car", "tree"]), CLASSES)
    nothing = with_answer(GREY, Names(), CLASSES)
    assert boxes.size == GREY.size and len(shown(boxes)) > 1
    assert names.height > 300 and nothing.height > 300 and names.tobytes() != nothing.tobytes()
