"""Mean average precision of boxes, against pycocotools and by hand."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activetune import UsageError
from activetune.base.errors import MissingExtra
from activetune.data.kinds import Boxes, Detections
from activetune.evaluation.boxes import BoxScorer

CLASSES = ["ant", "bee", "cow"]
Case = tuple[str, Boxes, Detections]
NONE = Boxes.of([], []), Detections.of([], [], [])


def scored(cases: list[Case], classes: list[str] = CLASSES) -> dict[str, Any]:
    scorer = BoxScorer(classes)
    for case in cases:
        scorer.add(*case)
    return scorer.scores()


def by_pycocotools(cases: list[Case], classes: list[str] = CLASSES) -> dict[str, float]:
    """The same figures, by the evaluation code of COCO itself; -1 where it has none."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, (_, boxes, detections) in enumerate(cases, start=1):
        for side, of in ((truth, boxes), (found, detections.boxes)):
            for place, (x, y, right, bottom) in enumerate(of.xyxy_K4.astype(np.float64).tolist()):
                one = {"image_id": image, "category_id": classes.index(of.names[place]) + 1, "id": len(side) + 1}
                one |= {"bbox": [x, y, right - x, bottom - y], "area": (right - x) * (bottom - y)}
                one |= {"iscrowd": int(of.crowd_K[place])}
                side.append(one if side is truth else one | {"score": float(detections.scores_K[place])})
    with contextlib.redirect_stdout(io.StringIO()):
        sides = []
        for annotations in (truth, found):
            side = COCO()
            side.dataset = {
                "images": [{"id": image} for image in range(1, len(cases) + 1)],
                "categories": [{"id": place + 1} for place in range(len(classes))],
                "annotations": annotations,
            }
            side.createIndex()
            sides.append(side)
        evaluation = COCOeval(*sides, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    figures = {"map": evaluation.stats[0], "map50": evaluation.stats[1], "map75": evaluation.stats[2]}
    precision = evaluation.eval["precision"][:, :, :, 0, -1]
    per_class = {name: float(precision[:, :, place].mean()) for place, name in enumerate(classes)}
    return {**figures, "ar": evaluation.stats[8], **per_class}


def random_cases(seed: int, images: int = 12, scores: int = 1000) -> list[Case]:
    """Images with objects, crowds and detections near them and elsewhere; some have neither."""
    rng = np.random.default_rng(seed)
    cases = []
    for image in range(images):
        objects = int(rng.integers(0, 7))
        corner = rng.uniform(0, 80, (objects, 2))
        boxes = np.hstack([corner, corner + rng.uniform(4, 40, (objects, 2))])
        names = rng.choice(CLASSES[:2] if image % 2 else CLASSES, objects)
        near = np.repeat(boxes, 2, axis=0) + rng.normal(0, 2, (2 * objects, 4))
        stray = rng.uniform(0, 60, (int(rng.integers(0, 5)), 2))
        found = np.vstack([near, np.hstack([stray, stray + 20])])
        said = rng.choice(CLASSES, len(found))
        said[: len(near)] = np.where(rng.random(len(near)) < 0.8, np.repeat(names, 2), said[: len(near)])
        truth = Boxes.of(boxes.tolist(), names.tolist(), (rng.random(objects) < 0.15).tolist())
        sure = rng.integers(1, scores, len(found)) / scores
        cases.append((f"{image:03d}.jpg", truth, Detections.of(found.tolist(), said.tolist(), sure.tolist())))
    return cases


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("scores", [1000, 4])  # of 4 scores many are equal
def test_figures_are_those_of_pycocotools(seed: int, scores: int) -> None:
    cases = random_cases(seed, scores=scores)
    found, expected = scored(cases), by_pycocotools(cases)
    for name in ("map", "map50", "map75", "ar"):
        assert found[name] == pytest.approx(expected[name], abs=1e-12), name
    assert found["per_class"].keys() == {name for name in CLASSES if expected[name] >= 0}
    for name, row in found["per_class"].items():
        assert row["map"] == pytest.approx(expected[name], abs=1e-12)
        assert row["n"] == sum(
            one == name and not crowd
            for _, boxes, _ in cases
            for one, crowd in zip(boxes.names, boxes.crowd_K, strict=True)
        )
    assert found["n"] == len(cases)
    assert 0 < found["map"] < found["map50"] < 1


def test_more_than_a_hundred_detections_of_a_class_count_as_a_hundred() -> None:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 900, (130, 2))
    rows = np.hstack([corner, corner + 30])
    cases = [
        (
            "a",
            Boxes.of(rows.tolist(), ["ant"] * 130),
            Detections.of(rows.tolist(), ["ant"] * 130, rng.random(130).tolist()),
        )
    ]
    found, expected = scored(cases), by_pycocotools(cases)
    assert found["ar"] == pytest.approx(expected["ar"], abs=1e-12) == pytest.approx(100 / 130)
    assert found["map"] == pytest.approx(expected["map"], abs=1e-12)


SQUARE = [0.0, 0.0, 10.0, 10.0]
AWAY = [50.0, 50.0, 60.0, 60.0]


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        (Boxes.of([SQUARE], ["ant"]), Detections.of([SQUARE], ["ant"], [0.1]), (1.0, 1.0, 1.0)),
        (Boxes.of([SQUARE], ["ant"]), Detections.of([[0, 0, 10, 7.2]], ["ant"], [0.1]), (0.5, 1.0, 0.5)),  # IoU 0.72
        (Boxes.of([SQUARE], ["ant"]), Detections.of([SQUARE], ["bee"], [0.9]), (0.0, 0.0, 0.0)),
        (Boxes.of([SQUARE], ["ant"]), Detections.of([], [], []), (0.0, 0.0, 0.0)),
        (Boxes.of([SQUARE], ["ant"]), Detections.of([SQUARE, AWAY], ["ant", "ant"], [0.9, 0.8]), (1.0, 1.0, 1.0)),
        (Boxes.of([SQUARE], ["ant"]), Detections.of([SQUARE, AWAY], ["ant", "ant"], [0.8, 0.9]), (0.5, 0.5, 1.0)),
        (Boxes.of([SQUARE, AWAY], ["ant", "ant"]), Detections.of([AWAY], ["ant"], [0.9]), (51 / 101, 51 / 101, 0.5)),
        (Boxes.of([SQUARE, AWAY], ["ant", "bee"]), Detections.of([AWAY], ["bee"], [0.9]), (0.5, 0.5, 0.5)),
        # a crowd takes what lies in it, which then neither helps nor harms
        (
            Boxes.of([SQUARE, [40, 40, 90, 90]], ["ant", "ant"], [False, True]),
            Detections.of([AWAY, SQUARE], ["ant", "ant"], [0.9, 0.8]),
            (1.0, 1.0, 1.0),
        ),
    ],
)
def test_known_answers(truth: Boxes, found: Detections, expected: tuple[float, float, float]) -> None:
    scores = scored([("a", truth, found)])
    assert (scores["map"], scores["map50"], scores["ar"]) == pytest.approx(expected)


def test_an_empty_image_counts_what_is_found_in_it_as_wrong() -> None:
    right = ("a", Boxes.of([SQUARE], ["ant"]), Detections.of([SQUARE], ["ant"], [0.8]))
    silent, loud = ("b", *NONE), ("b", NONE[0], Detections.of([AWAY], ["ant"], [0.9]))
    assert scored([right, silent])["map"] == 1
    assert scored([right, loud])["map"] == pytest.approx(0.5)
    assert scored([right, silent])["n"] == 2


@pytest.mark.parametrize(
    "cases",
    [
        [],
        [("a", *NONE)],
        [("a", NONE[0], Detections.of([SQUARE], ["ant"], [0.5]))],
        [("a", Boxes.of([SQUARE], ["ant"], [True]), Detections.of([SQUARE], ["ant"], [0.5]))],
    ],
)
def test_without_an_object_there_are_no_classes_and_no_nan(cases: list[Case]) -> None:
    found = scored(cases)
    assert found == {
        **dict.fromkeys(("map", "map50", "map75", "ar"), 0.0),
        "n": len(cases),
        "objects": 0,
        "per_class": {},
    }


def test_a_class_without_an_object_is_left_out_and_an_unknown_one_counts_as_not_found() -> None:
    cases = [("a", Boxes.of([SQUARE, AWAY], ["ant", "yak"]), Detections.of([SQUARE, AWAY], ["ant", "bee"], [0.5, 0.5]))]
    found = scored(cases)
    assert found["per_class"] == {"ant": {"map": 1, "map50": 1, "n": 1}, "yak": {"map": 0, "map50": 0, "n": 1}}
    assert (found["map"], found["objects"]) == (0.5, 2)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), parts=st.lists(st.integers(0, 2), min_size=12, max_size=12))
def test_scorers_of_parts_are_one_of_the_whole_in_any_order(seed: int, parts: list[int]) -> None:
    cases = random_cases(seed, scores=3)
    scorers = [BoxScorer(CLASSES if part else ["yak", *CLASSES[::-1]]) for part in range(3)]
    for case, part in zip(cases[::-1], parts, strict=True):
        scorers[part].add(*case)
    states = [pickle.loads(pickle.dumps(scorer.state())) for scorer in scorers]
    whole = scored(cases)
    for given_states in (states, states[::-1]):
        assert BoxScorer.of(given_states).scores() == whole


def test_what_can_not_be_scored_is_refused() -> None:
    scorer = BoxScorer(CLASSES)
    scorer.add("a", *NONE)
    with pytest.raises(UsageError, match="'a' was scored before"):
        scorer.add("a", *NONE)
    with pytest.raises(UsageError, match="'a' was scored twice"):
        BoxScorer.of([scorer.state(), scorer.state()])
    with pytest.raises(UsageError, match="of 'b' is not a finite number"):
        scorer.add("b", NONE[0], Detections.of([SQUARE], ["ant"], [float("nan")]))
    with pytest.raises(UsageError, match="give one each"):
        Detections.of([SQUARE], ["ant"], [0.5, 0.6])


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(MissingExtra, match=r"pip install 'activetune\[dense\]'"):
        scored([("a", Boxes.of([SQUARE], ["ant"]), Detections.of([SQUARE], ["ant"], [0.5]))])
