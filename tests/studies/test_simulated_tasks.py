"""Simulations of tasks beyond one class per image: their scores, what they reveal, methods by tokens and in rounds."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import activetune
from activetune import UsageError, open_pool, simulate
from activetune.data.labels import Labels, in_order
from activetune.data.pool import Pool
from activetune.evaluation.metrics import capital
from activetune.selection.artefact import load_selection
from activetune.tasks import make_task
from tests.conftest import tiny_backbone, write_digits
from tests.contract.test_recipes import QUICK
from tests.contract.test_tasks import ANSWERS

pytestmark = pytest.mark.slow

SCORES = {"multilabel": "map", "segmentation": "miou", "detection": "map", "captioning": "cider"}
PROBE = {"linear_probe": {name: QUICK[name] for name in ("head_steps",) if name in QUICK}}


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return open_pool(write_digits(tmp_path_factory.mktemp("pool") / "digits", 40))


@pytest.fixture(scope="module")
def labels(pool: Pool, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Labels]:
    folder = tmp_path_factory.mktemp("labels")
    return {name: make_task(name).labels_of(ANSWERS[name](pool, folder), pool) for name in SCORES}


def simulated(pool: Pool, task: str, labels: Labels | None, out: Path, **options: Any) -> activetune.Simulation:
    name, weights = tiny_backbone()
    grid: dict[str, Any] = {"test": "40%", "methods": "random,k_means", "budgets": "8,16", "seeds": 1}
    given: dict[str, Any] = {"backbone": name, "weights": weights, "workers": 0, "device": "cpu", "quiet": True}
    asked = {"precision": "fp32", "settings": PROBE, **grid, **given, **options}
    return simulate(pool, task=task, labels=labels, out=out, **asked)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("task", SCORES)
def test_each_task_has_its_scores_in_the_table_and_the_report(
    task: str, pool: Pool, labels: dict[str, Labels], tmp_path: Path
) -> None:
    found = simulated(pool, task, labels[task], tmp_path / "out", budgets="8")
    assert not found.failures
    rows = rows_of(tmp_path / "out" / "results.csv")
    assert [row["method"] for row in rows] == ["random", "k_means"]
    assert list(rows[0])[:6] == ["method", "recipe", "budget", "seed", SCORES[task], "seconds"]
    assert set(make_task(task).shown) <= set(rows[0])
    assert all(0 <= float(row[SCORES[task]]) <= 10 for row in rows)
    told = make_task(task).shown[SCORES[task]]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"<h2>{capital(told)} on the test set" in page and "op-1" not in page
    assert found.table().splitlines()[1].split()[0] == "random"


def test_a_cell_is_the_model_that_finetune_makes_of_the_same_answers(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = simulated(pool, "segmentation", labels["segmentation"], out, budgets="8", methods="random")
    (row,) = found.rows
    (folder,) = (out / "selections").iterdir()
    name, weights = tiny_backbone()
    given: dict[str, Any] = {"backbone": name, "weights": weights, "workers": 0, "device": "cpu", "quiet": True}
    model = activetune.finetune(
        pool,
        task="segmentation",
        labels=in_order(labels["segmentation"], load_selection(folder).ids),
        out=tmp_path / "model",
        recipe="linear_probe",
        settings=PROBE["linear_probe"],
        precision="fp32",
        **given,
    )
    held_out = [row["id"] for row in rows_of(out / "split.csv") if row["part"] == "test"]
    truth = in_order(labels["segmentation"], held_out)
    scores = activetune.evaluate(model, pool, labels=truth, device="cpu", precision="fp32", quiet=True)
    assert row["miou"] == pytest.approx(scores.value, abs=1e-6)


@pytest.mark.parametrize(
    ("task", "splits"), [("segmentation", "one"), ("detection", "per-seed"), ("multilabel", "one")]
)
def test_models_on_the_backbone_as_it_came_are_scored_without_running_it_again(
    task: str, splits: str, pool: Pool, labels: dict[str, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activetune.studies.simulation import cells

    called: list[str] = []

    def watched(*given: Any, **options: Any) -> Any:
        called.append(task)
        return activetune.evaluate(*given, **options)

    monkeypatch.setattr(cells, "evaluate", watched)
    given: dict[str, Any] = {"budgets": "8", "methods": "random", "seeds": 2, "splits": splits}
    known = simulated(pool, task, labels[task], tmp_path / "known", **given)
    assert not known.failures and not called
    monkeypatch.setattr(cells, "score_on_features", lambda *_: None)
    looked_at = simulated(pool, task, labels[task], tmp_path / "looked-at", **given)
    assert len(called) == 2
    score = SCORES[task]
    for row, again in zip(known.rows, looked_at.rows, strict=True):
        assert row[score] == pytest.approx(again[score], abs=2e-3)


def test_a_trained_backbone_is_scored_on_the_images(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activetune.studies.simulation import cells

    called: list[str] = []

    def watched(model: Any, *given: Any, **options: Any) -> Any:
        called.append(model.config["recipe"])
        return activetune.evaluate(model, *given, **options)

    monkeypatch.setattr(cells, "evaluate", watched)
    given: dict[str, Any] = {"budgets": "8", "methods": "random", "recipes": "linear_probe,full"}
    settings = {**PROBE, "full": {"epochs": 1}}
    found = simulated(pool, "segmentation", labels["segmentation"], tmp_path / "out", settings=settings, **given)
    assert not found.failures and len(found.rows) == 2 and called == ["full"]


def test_tokens_that_the_disk_has_no_room_for_are_not_kept(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activetune.studies.simulation import features

    monkeypatch.setattr(features, "BYTES", 10**12)
    found = simulated(pool, "segmentation", labels["segmentation"], tmp_path / "out", budgets="8", methods="random")
    assert not found.failures and not (tmp_path / "out" / "embeddings" / "test_tokens").exists()


@pytest.mark.thorough
def test_methods_that_read_doubt_go_on_from_a_model_of_the_task(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from activetune.studies.simulation import cells

    called: list[dict[str, Any]] = []
    original = cells.select

    def watched(embeddings: Any, **given: Any) -> Any:
        called.append(given)
        return original(embeddings, **given)

    monkeypatch.setattr(cells, "select", watched)
    found = simulated(pool, "detection", labels["detection"], tmp_path / "out", methods="margin")
    assert not found.failures and len(found.rows) == 2
    first, second = called
    assert "model" not in first and "labelled" not in first
    assert second["model"].task.name == "detection" and len(second["labelled"]) == 8
    assert not list((tmp_path / "out").rglob("*-guide"))


def test_methods_by_tokens_get_tokens_and_are_measured_as_the_others_are(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = simulated(
        pool, "segmentation", labels["segmentation"], out, methods="random,token_max_herding", budgets="8"
    )
    assert not found.failures
    tokens, pooled = (np.load(out / "embeddings" / name / "features.npy", mmap_mode="r") for name in ("tokens", "pool"))
    assert tokens.ndim == 3 and pooled.ndim == 2 and len(tokens) == len(pooled) == 24
    assert all(0 < row["emd"] < 2 and row["radius"] >= row["emd"] for row in found.rows)


def test_what_a_task_cannot_do_is_refused_before_anything_is_written(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path
) -> None:
    wrong = (
        ({"methods": "badge,vaal"}, "vaal learns from one class per image, which detection does not have"),
        ({"budgets": "1/class"}, "the budget 1/class is no number of images"),
        ({"recipes": "vecaf"}, "the recipe vecaf trains for classification, not for detection"),
        ({"head": "segmenter"}, "segmenter"),
        ({"labels": None}, "brings no answers for detection"),
        ({"test_labels": labels["detection"]}, "--test-labels answer another test set"),
        ({"task": "detektion"}, "detection"),
    )
    for options, told in wrong:
        given = {"task": "detection", "labels": labels["detection"], **options}
        with pytest.raises(UsageError, match=told):
            simulated(pool, given.pop("task"), given.pop("labels"), tmp_path / "out", **given)
        assert not (tmp_path / "out").exists()


def test_captions_name_no_classes_to_learn_from(pool: Pool, labels: dict[str, Labels], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="margin learns from classes, and captioning has none"):
        simulated(pool, "captioning", labels["captioning"], tmp_path / "out", methods="margin")


def test_another_head_is_another_simulation_also_where_it_is_left_out(
    pool: Pool, labels: dict[str, Labels], tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"budgets": "8", "methods": "random"}
    simulated(pool, "segmentation", labels["segmentation"], tmp_path / "out", head="segmenter", **asked)
    for head in (None, "linear"):
        with pytest.raises(UsageError, match="made from another head"):
            simulated(pool, "segmentation", labels["segmentation"], tmp_path / "out", head=head, resume=True, **asked)


def test_a_split_for_each_seed_is_of_its_task_too(pool: Pool, labels: dict[str, Labels], tmp_path: Path) -> None:
    asked: dict[str, Any] = {"budgets": "8", "methods": "random", "splits": "per-seed"}
    simulated(pool, "detection", labels["detection"], tmp_path / "out", **asked)
    with pytest.raises(UsageError, match="made from another"):
        simulated(pool, "multilabel", labels["multilabel"], tmp_path / "out", resume=True, **asked)


def test_a_simulation_of_another_task_is_another_one(pool: Pool, labels: dict[str, Labels], tmp_path: Path) -> None:
    simulated(pool, "detection", labels["detection"], tmp_path / "out", budgets="8", methods="random")
    with pytest.raises(UsageError, match="made from another"):
        simulated(pool, "multilabel", labels["multilabel"], tmp_path / "out", budgets="8", resume=True)
    found = json.loads((tmp_path / "out" / "manifest.json").read_text(encoding="utf-8"))
    assert found["score"] == {"name": "map", "told": "mAP"} and found["made_from"]["task"] == "detection"
