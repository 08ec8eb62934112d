"""Answers come back from every format as they went out, under the ids that they had, whatever these look like."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from activetune.base.names import comparable
from activetune.data.annotations import Sheet, formats, read_annotations, write_sheet
from activetune.data.annotations._legend import is_void
from activetune.data.answers import class_name, lost_in_csv
from activetune.data.kinds import ArrayMask, Boxes, Names, Sentences
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.handover.given import one_name

HEIGHT, WIDTH = 12, 18
WRITTEN = [(name, task) for name, module in formats().items() for task in getattr(module, "WRITES", ())]
SIGNS = st.characters(exclude_categories=("C", "Zl", "Zp"), exclude_characters="/\\")
NASTY = [
    "a b",
    "ü",
    "日本",
    "classes",
    "train",
    "..",
    "a.b.jpg",
    "=1+1",
    '"q"',
    "<b>&amp;",
    "%20",
    "x;y|z",
    "CON",
    ".h",
    "A",
    "a",
]
PARTS = st.one_of(st.text(SIGNS, min_size=1, max_size=6), st.sampled_from(NASTY))
IDS = st.builds(
    lambda folders, stem, suffix: "/".join([*folders, stem + suffix]),
    st.lists(PARTS, max_size=3),
    PARTS,
    st.sampled_from([".jpg", ".png", ".JPG", "", ".png"]),
)
CLASS_NAMES = st.text(SIGNS, min_size=1, max_size=8).filter(
    lambda name: (
        name == comparable(name).strip() == class_name(name) and name.casefold() != "void" and name != "background"
    )
)
FEW = settings(
    max_examples=5,
    phases=[Phase.explicit, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


def _picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(file, "PNG")
    return file.getvalue()


@dataclass(frozen=True)
class OnePicture:
    """A source whose items are all the same image."""

    content: bytes = _picture()
    parallel: bool = True

    def read(self, index: int) -> bytes:
        return self.content

    def place(self, index: int) -> None:
        return None


def answers(task: str, classes: Sequence[str], draw: Any) -> Any:
    """An answer of a task."""
    if task == "classification":
        return draw(st.sampled_from(classes))
    if task == "multilabel":
        return Names.of(draw(st.lists(st.sampled_from(classes), max_size=3)))
    if task == "captioning":
        texts = st.text(SIGNS, min_size=1, max_size=12).map(str.strip).filter(bool)
        return Sentences(tuple(draw(st.lists(texts, min_size=1, max_size=2))))
    if task == "segmentation":
        values = st.integers(-1, len(classes) - 1)
        flat = draw(st.lists(values, min_size=6, max_size=6))
        return ArrayMask(np.asarray(flat, dtype=np.int32).reshape(2, 3).repeat(6, axis=0).repeat(6, axis=1))
    number = st.floats(0, 1, width=32)
    boxes = []
    for a, b, c, d in draw(st.lists(st.tuples(number, number, number, number), max_size=3)):
        left, right, top, bottom = min(a, b) * WIDTH, max(a, b) * WIDTH, min(c, d) * HEIGHT, max(c, d) * HEIGHT
        if right - left > 0.01 and bottom - top > 0.01:
            boxes.append([left, top, right, bottom])
    names = draw(st.lists(st.sampled_from(classes), min_size=len(boxes), max_size=len(boxes)))
    return Boxes.of(boxes, names)


def plain(answer: Any, classes: Sequence[str]) -> Any:
    """An answer as what can be compared; positions of a mask as names."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Names):
        return answer.names
    if isinstance(answer, Sentences):
        return answer.texts
    if isinstance(answer, Boxes):
        return answer.names, tuple(answer.crowd_K.tolist())
    return np.asarray([*classes, None], dtype=object)[answer.pixels()].tolist()


def by_id(labels: Labels) -> Mapping[str, Any]:
    return {item: plain(answer, labels.classes) for item, answer in zip(labels.ids, labels.answers, strict=True)}


@pytest.mark.parametrize(("name", "task"), WRITTEN)
@given(data=st.data())
@FEW
def test_ids_and_answers_survive_the_round_trip(name: str, task: str, data: st.DataObject) -> None:
    ids = data.draw(st.lists(IDS, min_size=1, max_size=5, unique_by=comparable))
    assume(not any(part == "" for item in ids for part in item.split("/")))
    classes = sorted(data.draw(st.lists(CLASS_NAMES, min_size=2, max_size=4, unique_by=str.casefold)))
    if task == "segmentation":
        classes = ["background", *classes]
    pool = Pool("memory", ids, None, OnePicture())
    known = {item: answers(task, classes, data.draw) for item in ids}
    assume((name, task) != ("table", "classification") or not lost_in_csv(known.values()))  # which is told
    assume(not any(is_void(one, task) for one in classes))  # refused in masks: they would be read back as void
    if (name, task) == ("voc", "segmentation"):
        assume(not any(":" in name or name.startswith("#") for name in classes))  # refused: its list can't hold them
    sheet = Sheet(task, pool, ids, known, classes, quiet=True)
    folder = Path(tempfile.mkdtemp())
    try:
        out = write_sheet(sheet, formats()[name], name, folder / "out", overwrite=False)
        assert not [path for path in folder.rglob("*") if not path.resolve().is_relative_to(folder.resolve())]
        read = "multilabel" if task == "classification" else task
        labels = read_annotations(out, pool, read, format=name, quiet=True)
        labels = one_name(labels, out, name) if task == "classification" else labels
        for item, answer in zip(labels.ids, labels.answers, strict=True):
            if isinstance(answer, Boxes):
                np.testing.assert_allclose(answer.xyxy_K4, known[item].xyxy_K4, atol=1e-4)
        assert by_id(labels) == {item: plain(answer, classes) for item, answer in known.items()}
        if task != "captioning":
            assert set(classes) <= set(labels.classes)
    finally:
        shutil.rmtree(folder)
