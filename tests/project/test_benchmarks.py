"""The scripts behind the benchmarks' pages run, and the pages are what they write."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import activetune
from activetune.tasks import make_task
from tests.conftest import load_script, tiny_backbone, write_digits
from tests.contract.test_tasks import ANSWERS

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks/accuracy"


SCRIPTS = sorted(path for folder in ("benchmarks", "experiments") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_script_imports_is_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        module = load_script(path, monkeypatch)
    except ModuleNotFoundError as error:
        beside = {script.stem for script in SCRIPTS} | {"activetune"}
        assert str(error.name).partition(".")[0] not in beside, error
        pytest.skip(f"needs {error.name}, which is not installed")
    assert module.__doc__


def test_scripts_that_share_a_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    imported = []
    for path in ("benchmarks/accuracy/run.py", "experiments/pool/ensembles.py"):  # each imports a ``peers`` of its own
        load_script(ROOT / path, monkeypatch)
        imported.append(Path(str(sys.modules["peers"].__file__)))
    assert imported == [ROOT / "benchmarks/peers.py", ROOT / "experiments/pool/peers.py"]


def test_a_listing_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, out = load_script(ROOT / "benchmarks/listing.py", monkeypatch), tmp_path / "listing.json"
    for words in (["--files", "40"], ["--files", "40", "--no-suffix"], ["--files", "40"]):
        monkeypatch.setattr(sys, "argv", ["listing.py", *words, "--folders", "4", "--out", str(out)])
        script.main()
    rows = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert [(row["files"], row["suffix"]) for row in rows] == [(40, False), (40, True)]
    assert all(row["machine"] and row["peak_mb"] > 0 for row in rows)


@pytest.mark.slow
def test_a_report_at_size_is_measured_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("playwright", reason="needs the package playwright")
    script, out = load_script(ROOT / "benchmarks/report.py", monkeypatch), tmp_path / "report.json"
    if not Path(script.CHROMIUM).is_file():
        pytest.skip(f"needs the browser {script.CHROMIUM}")
    monkeypatch.setattr(script, "ROUNDS", 1)
    monkeypatch.setattr(sys, "argv", ["report.py", "--items", "40", "--out", str(out)])
    script.main()
    (row,) = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert row["items"] == 40 and row["machine"] and row["said"] == []
    assert row["page_mb"] > 0.1 and row["tiles_mb"] == 0 and row["first_paint_ms"] > 0 and row["map_ms"] > 0


@pytest.fixture
def accuracy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """``benchmarks/accuracy/run.py``, without the other packages, whose rows need them installed."""
    script = load_script(FOLDER / "run.py", monkeypatch)
    monkeypatch.setattr(script, "PEERS", {})
    monkeypatch.setattr(script, "ALONE", ("random", "k_means"))
    monkeypatch.setattr(script, "ROUNDS", ("margin",))
    return script


@pytest.mark.slow
def test_the_accuracy_benchmark_runs_with_a_split_for_each_seed(
    accuracy: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(tmp_path / "cache"))
    pool = activetune.open_pool(write_digits(tmp_path / "digits", 90))

    def sides(_: Path, seed: int) -> tuple[Any, ...]:
        order = np.random.default_rng(seed).permutation(sorted(pool.ids)).tolist()
        return pool, order[:60], pool, order[60:]

    task = accuracy.Task(sides, "bundled", ("10", "20"), drawn=True)
    options = argparse.Namespace(
        **{"data": tmp_path, "weights": None, "out": tmp_path / "out", "work": tmp_path / "work"},
        **{"methods": None, "limit": 60.0},
    )
    options.out.mkdir()
    rows: list[Any] = []
    sizes: list[int] = []
    for seeds in task.runs(2):
        run = accuracy.Run.prepare("digits", task, seeds, rows, sizes, options)
        assert run.go(np.inf)
    with (tmp_path / "out" / "digits.csv").open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    cells = {(row["method"], row["budget"], row["seed"], row["split"]) for row in found}
    assert cells == {(m, b, s, s) for m in ("random", "k_means", "margin") for b in ("10", "20") for s in "01"}
    top1 = [float(row["top1"]) for row in found if (row["method"], row["budget"]) == ("k_means", "20")]
    assert np.mean(top1) > 0.3  # chance is 0.1
    about = json.loads((tmp_path / "out" / "digits.json").read_text(encoding="utf-8"))
    assert (about["drawn"], about["skipped"], about["rounds"]) == (True, [], ["margin"])
    assert (about["pool_items"], about["test_items"]) == (60, 30)
    places = [tmp_path / "work" / "digits" / f"pool-{seed}" / "embeddings" / "pool" for seed in (0, 1)]
    first, second = (set(activetune.load_embeddings(place).ids) for place in places)
    assert first != second


def test_the_page_is_what_its_script_makes_of_the_stored_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = load_script(FOLDER / "summary.py", monkeypatch)
    assert summary.PAGE.read_text(encoding="utf-8") == summary.page_of(summary.read_tables())


def test_tables_with_one_split_for_all_seeds_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    summary = load_script(FOLDER / "summary.py", monkeypatch)
    for table in summary.read_tables():
        told = " ".join(" ".join(summary.section(table)).split())
        one = table.name.startswith("caltech101") and not table.about["drawn"]
        assert ("have one split for all seeds" in told) is one


def test_every_seed_of_caltech_101_has_a_split_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = load_script(FOLDER / "tasks.py", monkeypatch)
    pool = argparse.Namespace(ids=[str(number) for number in range(10)])
    monkeypatch.setattr(tasks.activetune, "open_pool", lambda _: pool)
    zero, again, one = (tasks.caltech101(Path(), seed) for seed in (0, 0, 1))
    assert zero == again
    assert set(zero[3]) != set(one[3])
    assert sorted([*one[1], *one[3]]) == pool.ids and len(one[1]) == 7
    assert all(tasks.TASKS[name].drawn for name in ("caltech101-vit", "caltech101-bundled"))


@pytest.mark.slow
@pytest.mark.parametrize("task", ANSWERS)
def test_training_on_cached_features_is_measured_for_each_task(
    task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_digits(tmp_path / "digits", 12)
    pool = activetune.open_pool(folder)
    script = load_script(ROOT / "benchmarks/cached_training.py", monkeypatch)
    assert sorted(script.CASES) == sorted(ANSWERS), "benchmarks/cached_training.py measures every task"
    small = {"mask2former": "mask2former:width=32;layers=1;queries=4;attention_heads=2;hidden=32;points=64"}
    cases = {name: (small.get(kind, kind), steps, 4, 1) for name, (kind, steps, *_) in script.CASES[task].items()}
    monkeypatch.setitem(script.CASES, task, cases)
    name, weights = tiny_backbone()
    out = tmp_path / "rates.json"
    given: dict[str, object] = {"pool": folder, "backbone": name, "weights": weights, "rounds": 1, "out": out}
    if task != "classification":  # whose labels the pool has
        labels = make_task(task).labels_of(ANSWERS[task](pool, tmp_path), pool)
        given["labels"] = activetune.save_annotations(labels, tmp_path / "annotations.parquet", task=task)
    words = [word for option, value in given.items() for word in (f"--{option}", str(value))]
    monkeypatch.setattr(sys, "argv", ["cached_training.py", "--task", task, *words])
    script.main()
    row = json.loads(out.read_text(encoding="utf-8"))[task]
    assert set(row["heads"]) >= set(cases) and row["images"] == 12
    assert all(head["images_per_second"] > 0 and head["times_plain"] > 0 for head in row["heads"].values())
