"""Selecting by a finetuned model: what it is asked, what is picked, what is refused, and that it is found again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

import activetune
from activetune import Embeddings, UsageError, embed, open_pool, select
from activetune.base.run import Run
from activetune.cli import run
from activetune.data.pool import Pool
from activetune.selection.model_doubt import doubt_of, reads_model
from activetune.selection.selectors import selectors
from activetune.tasks import make_task
from tests.conftest import tiny_backbone, write_digits
from tests.contract.test_tasks import ANSWERS

TASKS = ("classification", "detection", "multilabel", "segmentation")
ON: dict[str, Any] = {"device": "cpu", "quiet": True}


class Bench:
    """A pool, its embeddings, and a model of each task."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pool = open_pool(write_digits(folder / "digits", 40))
        self.embeddings = embed(self.pool, out=folder / "emb", precision="fp32", workers=0, **ON)
        self.models = {task: self.fit(task, folder) for task in TASKS}

    def fit(self, task: str, folder: Path) -> activetune.Model:
        name, weights = tiny_backbone()
        return activetune.finetune(
            self.pool,
            task=task,
            labels=make_task(task).labels_of(ANSWERS[task](self.pool, folder), self.pool),
            out=folder / task,
            recipe="linear_probe",
            settings={"head_steps": 20} if task != "classification" else {},
            backbone=name,
            weights=weights,
            precision="fp32",
            workers=0,
            **ON,
        )


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVETUNE_CACHE", str(folder / "cache"))
        return Bench(folder)


@pytest.mark.parametrize("task", TASKS)
def test_doubt_is_a_distribution_and_a_loss_for_every_item(task: str, bench: Bench) -> None:
    model = bench.models[task]
    doubt = doubt_of(model, bench.embeddings, Run(precision="fp32", workers=0, **ON))
    assert doubt.shares_NC.shape == (40, len(model.classes)) and doubt.losses_N.shape == (40,)
    np.testing.assert_allclose(doubt.shares_NC.sum(axis=1), 1, atol=1e-5)
    assert doubt.shares_NC.min() >= 0 and doubt.losses_N.min() >= 0 and np.isfinite(doubt.losses_N).all()


def test_the_margin_of_a_classifier_is_that_of_its_predictions(bench: Bench) -> None:
    model = bench.models["classification"]
    chosen = select(bench.embeddings, budget=5, method="least_confidence", model=model, **ON)
    rows = activetune.predict(model, bench.pool, workers=0, **ON)  # in the precision of this machine, as select
    doubtful = sorted(rows, key=lambda row: row[2])[:5]
    assert set(chosen.ids) == {item for item, _, _ in doubtful}


@pytest.mark.parametrize("task", TASKS)
def test_a_model_of_any_task_selects(task: str, bench: Bench) -> None:
    readers = sorted(name for name, cls in selectors().items() if reads_model(cls))
    assert {"auto", "margin", "entropy", "badge", "ods", "top_loss"} <= set(readers)
    for method in readers:
        chosen = select(bench.embeddings, budget=4, method=method, model=bench.models[task], **ON)
        assert len(set(chosen.ids)) == 4 and chosen.manifest["model"] == bench.models[task].fingerprint


def test_answers_are_read_for_the_models_own_task(bench: Bench, tmp_path: Path) -> None:
    """Whoever gives a model need not say again what its answers are about."""
    path = tmp_path / "names.csv"
    names = [";".join(sorted({"even" if row % 2 else "odd", "low" if row < 20 else "high"})) for row in range(40)]
    path.write_text(
        "id,labels\n" + "".join(f"{item},{cell}\n" for item, cell in zip(bench.pool.ids, names, strict=True))
    )
    given: dict[str, Any] = {"budget": "2/class", "method": "margin", "labels": path, **ON}
    for model in (bench.models["multilabel"], bench.folder / "multilabel"):
        chosen = select(bench.embeddings, model=model, **given)
        assert list(chosen.ids) == list(select(bench.embeddings, model=model, task="multilabel", **given).ids)
        assert {"even", "odd", "low", "high"} == set(chosen.manifest["balance"])


def test_without_a_method_the_model_is_followed(bench: Bench) -> None:
    found = [
        select(bench.embeddings, budget=5, method=method, model=bench.models["multilabel"], **ON)
        for method in ("auto", "uncertainty_medoids")
    ]
    assert list(found[0].ids) == list(found[1].ids)
    assert "a finetuned model is given" in found[0].manifest["notes"]["auto"]


def test_labelled_items_need_no_answers_and_are_not_picked(bench: Bench) -> None:
    labelled = bench.pool.ids[:30]
    model = bench.folder / "segmentation"
    chosen = select(bench.embeddings, budget=5, method="margin", model=model, labelled=labelled, **ON)
    assert not set(chosen.ids) & set(labelled)


def test_any_method_can_be_balanced_by_the_classes_that_a_model_predicts(bench: Bench) -> None:
    model = bench.models["classification"]
    chosen = select(bench.embeddings, budget=20, method="k_means", balance="predicted", model=model, **ON)
    rows = activetune.predict(model, bench.pool, workers=0, **ON)  # in the precision of this machine, as select
    told = {item: label for item, label, _ in rows}
    counts = {name: [told[item] for item in chosen.ids].count(name) for name in set(told.values())}
    reported = chosen.manifest["balance"]
    assert {name: row["k"] for name, row in reported.items()} == counts


def test_the_same_selection_is_found_again_and_another_models_is_not(bench: Bench, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"budget": 5, "method": "margin", "out": tmp_path / "sel", **ON}
    first = select(bench.embeddings, model=bench.folder / "multilabel", **asked)
    before = (tmp_path / "sel" / "manifest.json").read_bytes()
    again = select(bench.embeddings, model=bench.folder / "multilabel", resume=True, **asked)
    assert list(again.ids) == list(first.ids)
    assert (tmp_path / "sel" / "manifest.json").read_bytes() == before
    with pytest.raises(UsageError, match="overwrite"):
        select(bench.embeddings, model=bench.folder / "detection", resume=True, **asked)


def test_what_can_not_be_selected_by_a_model_is_refused(bench: Bench, tmp_path: Path) -> None:
    model = bench.folder / "segmentation"
    for method, told in (
        ("k_means", "k_means reads no model"),
        ("bald", "bald learns from a classifier of the features"),
    ):
        with pytest.raises(UsageError, match=f"{told}; leave --model out, or choose a method .*: .*margin"):
            select(bench.embeddings, budget=3, method=method, model=model, **ON)
    with pytest.raises(
        UsageError, match="max_herding, which auto takes for a share to cover, reads no model"
    ) as refused:
        select(bench.embeddings, budget="coverage:0.5", model=model, **ON)
    assert "margin" in str(refused.value) and "uncertainty_medoids" not in str(refused.value)  # which is not ordered
    with pytest.raises(UsageError, match="a pool is for a model to look at"):
        select(bench.embeddings, budget=3, method="random", pool=bench.pool, **ON)
    other = open_pool(write_digits(tmp_path / "few", 5))
    with pytest.raises(UsageError, match="35 of 40 items are not in"):
        select(bench.embeddings, budget=3, method="margin", model=model, pool=other, **ON)
    with pytest.raises(UsageError, match="model"):
        select(bench.embeddings, budget=3, method="margin", model=tmp_path / "nothing", **ON)


def test_images_may_have_moved(bench: Bench, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved: Pool = open_pool(write_digits(tmp_path / "moved", 40))
    here = select(bench.embeddings, budget=3, method="margin", model=bench.models["detection"], **ON)
    there = select(bench.embeddings, budget=3, method="margin", model=bench.models["detection"], pool=moved, **ON)
    assert list(here.ids) == list(there.ids)
    words = ["select", str(bench.folder / "emb"), "--budget", "3", "--method", "margin", "--device", "cpu"]
    words += ["--model", str(bench.folder / "detection"), "--pool", str(tmp_path / "moved"), "--quiet"]
    assert run([*words, "--out", str(tmp_path / "sel")]) == 0
    assert "3 of 40 items by margin" in capsys.readouterr().out


def test_a_pool_of_other_images_under_the_same_names_is_refused(bench: Bench, tmp_path: Path) -> None:
    write_digits(tmp_path / "twin", 40)
    for path in (tmp_path / "twin").rglob("*.png"):
        with Image.open(path) as image:
            ImageOps.invert(image).save(path)
    asked: dict[str, Any] = {"budget": 3, "method": "margin", "model": bench.models["detection"], **ON}
    with pytest.raises(UsageError, match="does not hold the images that were embedded"):
        select(bench.embeddings, pool=tmp_path / "twin", **asked)
    features = Embeddings(list(bench.pool.ids), bench.embeddings.features_ND)
    with pytest.raises(UsageError, match="the pool is not known; give --pool"):
        select(features, **asked)
    assert len(select(features, pool=bench.pool, **asked)) == 3
