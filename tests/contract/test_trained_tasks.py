"""What every recipe promises under every task that it trains: a model that is saved, loaded, scored and predicts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import activetune
from activetune import UsageError, open_pool
from activetune.base.config import field_types
from activetune.data.labels import Labels, keep
from activetune.data.pool import Pool
from activetune.tasks import make_task, tasks
from activetune.training.head_training import train_head
from activetune.training.output import Checkpoint
from activetune.training.recipe import recipes
from activetune.training.views import Views, embed_views
from tests.conftest import tiny_backbone, write_digits
from tests.contract.test_recipes import QUICK
from tests.contract.test_tasks import ANSWERS

pytestmark = pytest.mark.slow

TASKS = sorted(set(tasks()) - {"classification"})  # test_recipes.py is about that one
SLOW = {("captioning", recipe) for recipe in ("fact", "full", "bitfit", "probe_then_full")}  # those of lora remain
PAIRS = [
    (task, recipe) for task in TASKS for recipe, cls in sorted(recipes().items()) if task in (cls.only_tasks or tasks())
]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return open_pool(write_digits(tmp_path_factory.mktemp("pool") / "digits", 40))


@pytest.fixture(scope="module")
def labels(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Labels]:
    folder = tmp_path_factory.mktemp("labels")
    return {name: make_task(name).labels_of(ANSWERS[name](pool, folder), pool) for name in TASKS}


def fit(task: str, recipe: str, pool: Pool, labels: Labels, out: Path, **options: Any) -> activetune.Model:
    fields = field_types(recipes()[recipe])
    settings = {name: value for name, value in {**QUICK, **options.pop("settings", {})}.items() if name in fields}
    name, weights = tiny_backbone()
    given: dict[str, Any] = {"backbone": name, "weights": weights, "workers": 0, "device": "cpu", "quiet": True}
    return activetune.finetune(
        pool, task=task, labels=labels, out=out, recipe=recipe, settings=settings, precision="fp32", **given, **options
    )


def reported(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in ("model.safetensors", "config.json")]


@pytest.mark.parametrize(
    ("task", "recipe"),
    [pytest.param(*pair, marks=pytest.mark.thorough if pair in SLOW else ()) for pair in PAIRS],
)
def test_it_trains_and_its_model_is_used(
    task: str, recipe: str, pool: Pool, labels: dict[str, Labels], tmp_path: Path
) -> None:
    taught = keep(labels[task], pool.ids[:24])
    model = fit(task, recipe, pool, taught, tmp_path / "m")
    assert json.loads((tmp_path / "m/config.json").read_text())["task"] == task
    again = activetune.load(tmp_path / "m")
    assert again.fingerprint == model.fingerprint
    scores = activetune.evaluate(again, pool, labels=labels[task], out=tmp_path / "s.json", device="cpu", quiet=True)
    assert scores.n == len(pool)
    assert 0 <= scores.value <= (10 if task == "captioning" else 1)
    assert json.loads((tmp_path / "s.json").read_text())[make_task(task).primary] == scores.value
    told = scores.table()
    kept = activetune.evaluate(
        again, pool, labels=labels[task], out=tmp_path / "s.json", device="cpu", quiet=True, resume=True
    )
    assert kept.table() == told


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_model_and_a_run_goes_on(
    task: str, pool: Pool, labels: dict[str, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught = keep(labels[task], pool.ids[:24])
    fit(task, "probe_then_full", pool, taught, tmp_path / "a")
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("activetune.training.steps.Steps.epoch", interrupted)
        fit(task, "probe_then_full", pool, taught, tmp_path / "b")
    fit(task, "probe_then_full", pool, taught, tmp_path / "b", resume=True)
    assert reported(tmp_path / "a") == reported(tmp_path / "b")
    assert not (tmp_path / "b/.unfinished").exists()


@pytest.mark.parametrize("task", TASKS)
def test_a_head_starts_by_the_seed_and_not_by_the_global_random_state(
    task: str, pool: Pool, labels: dict[str, Labels], tmp_path: Path
) -> None:
    heads = make_task(task).head_kinds()
    kind = "map" if task == "multilabel" else heads[0]
    for number in range(2):
        torch.manual_seed(number)
        fit(task, "full", pool, keep(labels[task], pool.ids[:12]), tmp_path / str(number), head=kind)
    assert reported(tmp_path / "0") == reported(tmp_path / "1")


def test_settings_that_change_nothing_are_told(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changed = {"head_smoothing": 0.3, "head_weight_decay": 0.5, "folds": 3}
    for task, settings, told in (
        ("detection", changed, ("strengths, folds", "weights of fcos do not decay", "head_smoothing change nothing")),
        ("captioning", {"head_smoothing": 0.3}, ("head_smoothing change nothing here: captioning",)),
        ("captioning", {}, ()),
    ):
        taught = keep(labels[task], pool.ids[:8])
        name, weights = tiny_backbone()
        activetune.finetune(
            *(pool,), task=task, labels=taught, out=tmp_path / "m", recipe="linear_probe", overwrite=True,
            settings={"head_steps": 2, **settings}, backbone=name, weights=weights, workers=0, device="cpu",
        )  # fmt: skip
        said = capsys.readouterr().err
        assert all(part in said for part in told), said
        assert told or "change nothing" not in said


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def rounded(value: Any) -> Any:
    """As a table has it."""
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return f"{value:.6f}" if isinstance(value, float) else value


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("head", [None, "another"])
def test_predictions_are_kept_and_gone_on_with(
    task: str, head: str | None, pool: Pool, labels: dict[str, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = "fcos" if task == "detection" else make_task(task).head_kinds()[-1]  # detr takes half a minute
    model = fit(task, "linear_probe", pool, labels[task], tmp_path / "m", head=another if head else None)
    place = {"segmentation": "out", "detection": "out.json"}.get(task, "out.csv")
    given: dict[str, Any] = {"workers": 0, "device": "cpu", "quiet": True}
    rows = activetune.predict(model, pool, out=tmp_path / "whole" / place, draw=tmp_path / "pictures", **given)
    with Image.open(tmp_path / "pictures" / pool.ids[0]) as picture:
        assert picture.mode == "RGB"
    assert len(list((tmp_path / "pictures").rglob("*.png"))) == len(pool)
    with pytest.raises(UsageError, match="give out beside draw"):
        activetune.predict(model, pool, draw=tmp_path / "pictures", **given)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("activetune.evaluation.predict.check_complete", interrupted)
        activetune.predict(model, pool, out=tmp_path / "cut" / place, **given)
    for _ in range(2):
        again = activetune.predict(model, pool, out=tmp_path / "cut" / place, resume=True, **given)
        assert rounded(again) == rounded(rows)
    with pytest.raises(UsageError, match="exist"):
        activetune.predict(model, pool, out=tmp_path / "cut" / place, **given)
    names = sorted(str(path.relative_to(tmp_path / "whole")) for path in (tmp_path / "whole").rglob("*"))
    assert names == sorted(str(path.relative_to(tmp_path / "cut")) for path in (tmp_path / "cut").rglob("*"))
    for name in names:
        if (tmp_path / "whole" / name).is_file():
            assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
    shutil.rmtree(tmp_path / "cut")


@pytest.mark.parametrize("task", TASKS)
def test_wrong_use_is_a_sentence(task: str, pool: Pool, labels: dict[str, Labels], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"unknown head of {task} 'nothing'"):
        fit(task, "linear_probe", pool, labels[task], tmp_path / "m", head="nothing")
    with pytest.raises(UsageError, match=f"the recipe vecaf trains for classification, not for {task}"):
        fit(task, "vecaf", pool, labels[task], tmp_path / "m")
    foreign = Labels(["nowhere.png"], [labels[task].answers[0]], labels[task].classes)
    with pytest.raises(UsageError, match=r"nowhere\.png"):
        fit(task, "linear_probe", pool, foreign, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_an_unknown_task_is_a_sentence(pool: Pool, labels: dict[str, Labels], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown task 'depth'"):
        fit("depth", "linear_probe", pool, labels[TASKS[0]], tmp_path / "m")


def test_targets_of_different_shapes_stay_as_they_are(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence of an image is not made two by another image that has two."""
    seen: list[Any] = []

    def watched(*given: Any, **options: Any) -> Any:
        seen.append(views := embed_views(*given, **options))
        return views

    monkeypatch.setattr("activetune.training.frozen_head.embed_views", watched)
    fit("captioning", "linear_probe", pool, labels["captioning"], tmp_path / "m")
    counts = [len(answer.texts) for answer in labels["captioning"].answers]
    assert {1, 2} == set(counts)
    assert [len(target) for target in seen[0].targets[: len(pool)]] == counts


def test_a_head_of_masks_is_trained_anew_on_a_backbone_that_has_changed(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FACT's phases share a folder: the last one must not take up the head of the first."""
    learned: dict[Path, set[bytes]] = {}

    def noted(head: Any, views: Views, *given: Any, checkpoint: Checkpoint, **options: Any) -> Any:
        learned.setdefault(checkpoint.path, set()).add(views.features.numpy().tobytes())
        return train_head(head, views, *given, checkpoint=checkpoint, **options)

    monkeypatch.setattr("activetune.training.dense_heads.train_head", noted)
    taught, settings = keep(labels["segmentation"], pool.ids[:24]), {"head": "linear", "frofa": "none", "pilot": False}
    fit("segmentation", "fact", pool, taught, tmp_path / "m", settings=settings)
    assert len(set.union(*learned.values())) == 2  # the backbone before and after it was trained
    assert all(len(features) == 1 for features in learned.values())


def test_masks_are_learnt(pool: Pool, labels: dict[str, Labels], tmp_path: Path) -> None:
    """Ink and paper: a linear layer on the bundled backbone's map of 6 x 6 places tells most pixels of a digit."""
    from activetune.evaluation.pixels import PixelCounts

    truth = labels["segmentation"]
    where: dict[str, Any] = {"device": "cpu", "precision": "fp32", "quiet": True}
    out = tmp_path / "m"
    model = activetune.finetune(
        pool, task="segmentation", labels=truth, out=out, recipe="linear_probe", backbone="bundled@192", **where
    )
    scores = activetune.evaluate(model, pool, labels=truth, **where)
    always = PixelCounts(2, 2)
    for answer in truth.answers:
        always.add(answer.pixels(), np.zeros_like(answer.pixels()))
    assert scores.as_dict()["pixel_accuracy"] > always.ratios.accuracy + 0.2
    assert scores.value > always.ratios.miou + 0.3
