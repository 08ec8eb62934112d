"""Simulations on real digits: the files, the same result in any way of running, rounds, and what is refused."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import activetune
from activetune import Labels, Simulation, UsageError, evaluate, finetune, open_pool, simulate
from activetune.base.files import file_name
from activetune.base.runtime import limited_threads
from activetune.base.tables import read_table
from activetune.cli import run
from activetune.networks.backbones import bundled
from activetune.report import maps
from activetune.report.panels import map as map_panel
from activetune.report.panels.learning_curves import common_bounds, curves
from activetune.report.simulation_results import Results, best_rows, difference_rows, efficiency_rows, table_rows
from activetune.studies.simulation import cells as cells_module
from activetune.studies.simulation.budgets import Budget, Stock, read_budgets
from activetune.studies.simulation.parts import open_parts
from activetune.studies.simulation.plan import Entry, Plan, Split, read_methods, read_recipes, read_start
from activetune.training.job import Job
from tests.conftest import write_digits

pytestmark = pytest.mark.slow

CONTRACT = ["method", "recipe", "budget", "seed", "top1", "seconds"]
FURTHER = [
    "k",
    "balanced_accuracy",
    "classes_met",
    "emd",
    "radius",
    "select_seconds",
    "train_seconds",
    "started_by",
    "batches",
    "scored",
    "split",
]
CLOCKS = ("seconds", "select_seconds", "train_seconds")
DISTANCES = ("emd", "radius")
METHODS, BUDGETS = ("random", "k_means", "margin"), ("10", "20", "60")
FAST: dict[str, Any] = {"device": "cpu", "precision": "fp32", "workers": 1, "quiet": True}
TYPED = ("--device", "cpu", "--precision", "fp32", "--workers", "1")
ONE_STRENGTH: dict[str, Any] = {"strengths": (100.0,)}  # no cross-validation, which takes most of a probe's time


def simulated(pool: Path, out: Path, **options: Any) -> Simulation:
    """The simulation of this file in this process, saying nothing; options replace its own."""
    grid: dict[str, Any] = {"test": "30%", "methods": METHODS, "budgets": BUDGETS, "seeds": 2}
    settings = {"linear_probe": ONE_STRENGTH, **options.pop("settings", {})}
    return simulate(pool, out=out, settings=settings, **{**grid, **FAST, **options})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 real images and the simulation of three methods on them, once for the tests below."""
    root = tmp_path_factory.mktemp("simulation")
    write_digits(root / "digits", 150)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVETUNE_CACHE", str(root / "cache"))
        simulated(root / "digits", root / "sim")
    return root


def flat(features_MD: np.ndarray, seed: int) -> np.ndarray:
    """A layout in place of t-SNE, which takes time."""
    return np.asarray(features_MD[:, :2], dtype=float)


@pytest.fixture(autouse=True)
def _common_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits are embedded once for the whole file, and mapped by t-SNE only the first time."""
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(root / "cache"))
    monkeypatch.setitem(maps.LAYOUTS, "tsne", flat)


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    """The finished simulation, to be changed."""
    return Path(shutil.copytree(root / "sim", tmp_path / "sim"))


@pytest.fixture
def selected(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The selections that are really made, as the options of each call."""
    calls: list[dict[str, Any]] = []
    real = cells_module.select

    def spy(embeddings: Any, **options: Any) -> Any:
        calls.append({**options, "embeddings": embeddings})
        return real(embeddings, **options)

    monkeypatch.setattr(cells_module, "select", spy)
    yield calls


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def timeless(folder: Path) -> list[dict[str, Any]]:
    """The results without the times that they took; distances as numbers."""
    rows = [{name: value for name, value in row.items() if name not in CLOCKS} for row in rows_of(folder)]
    return [{**row, **{name: float(row[name]) for name in DISTANCES if row[name]}} for row in rows]


def same(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows to compare others with: picks, counts and accuracies exactly, distances up to a rounded digit."""
    return [{**row, **{name: pytest.approx(row[name], abs=2e-6) for name in DISTANCES}} for row in rows]


def picks(folder: Path, method: str, budget: str, seed: int = 0) -> list[str]:
    return list(activetune.load_selection(folder / "selections" / f"{method}-{budget}-{seed}").ids)


def split(folder: Path, part: str) -> list[str]:
    with (folder / "split.csv").open(newline="") as file:
        return [row["id"] for row in csv.DictReader(file) if row["part"] == part]


def label(item: str) -> str:
    return item.split("/")[0]


# Files and figures ------------------------------------------------------------------------------------------------


def test_the_results_hold_to_their_contract(root: Path) -> None:
    found = rows_of(root / "sim")
    assert list(found[0]) == [*CONTRACT, *FURTHER]
    cells = [(row["method"], row["recipe"], row["budget"], row["seed"]) for row in found]
    assert cells == [(m, "linear_probe", b, str(s)) for m in METHODS for b in BUDGETS for s in (0, 1)]
    for row in found:
        assert 0 < float(row["top1"]) <= 1
        assert row["k"] == row["budget"]
        parts = [float(row["select_seconds"]), float(row["train_seconds"])]
        assert float(row["seconds"]) == pytest.approx(sum(parts), abs=1e-3)


def test_classes_are_told_one_by_one(root: Path) -> None:
    rows, classes = read_table(root / "sim" / "results.csv"), read_table(root / "sim" / "per_class.csv")
    assert list(classes) == ["method", "recipe", "budget", "seed", "class", "top1", "n", "balanced_accuracy"]
    right: dict[tuple[str, ...], list[tuple[float, int]]] = {}
    for *cell, top1, n in zip(*(classes[name] for name in ("method", "budget", "seed", "top1", "n")), strict=True):
        right.setdefault(tuple(cell), []).append((float(top1), int(n)))
    for *cell, top1 in zip(*(rows[name] for name in ("method", "budget", "seed", "top1")), strict=True):
        found = right.pop(tuple(cell))
        assert sum(share * n for share, n in found) / sum(n for _, n in found) == pytest.approx(float(top1))
    assert not right


def test_classes_met_are_those_of_the_picks(root: Path) -> None:
    for row in rows_of(root / "sim"):
        chosen = picks(root / "sim", row["method"], row["budget"], int(row["seed"]))
        assert len(chosen) == int(row["k"])
        assert len({label(item) for item in chosen}) == int(row["classes_met"])


def test_more_labels_are_worth_something(root: Path) -> None:
    results = Results.read(root / "sim")
    assert np.mean(results.values("linear_probe", "k_means", "60")) > 0.85  # chance is 0.1
    for method in METHODS:
        first, last = (np.mean(results.values("linear_probe", method, budget)) for budget in ("10", "60"))
        assert last > first


def test_pool_and_test_set_share_no_item(root: Path) -> None:
    pool, test = split(root / "sim", "pool"), split(root / "sim", "test")
    assert (len(pool), len(test)) == (105, 45)
    assert not set(pool) & set(test)
    for method in METHODS:
        assert set(picks(root / "sim", method, "60")) <= set(pool)


def test_what_is_held_out_does_not_depend_on_the_seed(root: Path, tmp_path: Path) -> None:
    simulated(root / "digits", tmp_path / "other", methods="random", budgets=20, seeds=1, seed=7)
    assert split(tmp_path / "other", "test") == split(root / "sim", "test")
    assert [row["seed"] for row in rows_of(tmp_path / "other")] == ["7"]


@pytest.mark.parametrize(("method", "budget"), [("k_means", "20"), ("margin", "60")])
def test_the_score_is_that_of_finetune_and_evaluate(root: Path, tmp_path: Path, method: str, budget: str) -> None:
    pool = open_pool(root / "digits")
    answers = {item: label(item) for item in picks(root / "sim", method, budget, 1)}
    how: dict[str, Any] = {**FAST, "workers": 0}
    model = finetune(
        pool, out=tmp_path / "model", labels=answers, recipe="linear_probe", settings=ONE_STRENGTH, seed=1, **how
    )
    scores = evaluate(model, pool.subset(split(root / "sim", "test")), **how)
    row = next(r for r in rows_of(root / "sim") if (r["method"], r["budget"], r["seed"]) == (method, budget, "1"))
    assert float(row["top1"]) == scores.top1
    assert float(row["balanced_accuracy"]) == pytest.approx(np.mean([c["top1"] for c in scores.per_class.values()]))


def test_a_budget_a_class_and_a_share(root: Path, tmp_path: Path) -> None:
    found = simulated(root / "digits", tmp_path / "out", methods="random", budgets="1/class,20%", seeds=1)
    assert [(row["budget"], row["k"]) for row in found.rows] == [("1/class", 10), ("20%", 21)]
    assert found.rows[0]["classes_met"] == 10


# A split for each seed --------------------------------------------------------------------------------------------


def split_of(folder: Path, seed: int) -> list[str]:
    """The items that a seed holds out."""
    columns = read_table(folder / "split.csv")
    rows = zip(*(columns[name] for name in ("id", "part", "seed")), strict=True)
    return [item for item, part, whose in rows if (part, whose) == ("test", str(seed))]


@pytest.fixture(scope="module")
def own_splits(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The simulation of this file with a split for each seed, of a pool with two images that can't be used."""
    place = tmp_path_factory.mktemp("own_splits")
    shutil.copytree(root / "digits", place / "digits")
    for name in ("1", "2"):
        next((place / "digits" / name).iterdir()).write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACTIVETUNE_CACHE", str(root / "cache"))
        patch.setitem(maps.LAYOUTS, "tsne", flat)
        simulated(place / "digits", place / "sim", splits="per-seed", budgets=("20", "50%"))
    return place


def test_each_seed_has_a_split_of_its_own(own_splits: Path) -> None:
    folder = own_splits / "sim"
    tests = [set(split_of(folder, seed)) for seed in (0, 1)]
    assert [len(test) for test in tests] == [45, 45]
    assert tests[0] != tests[1]
    columns = read_table(folder / "split.csv")
    assert len(columns["id"]) == 2 * 150
    for method in METHODS:
        for seed in (0, 1):
            assert not set(picks(folder, method, "50%", seed)) & tests[seed]
    assert {(row["seed"], row["split"]) for row in rows_of(folder)} == {("0", "0"), ("1", "1")}


def test_a_share_is_of_the_items_that_a_seed_can_use(own_splits: Path) -> None:
    folder = own_splits / "sim"
    usable = set(activetune.load_embeddings(folder / "embeddings" / "whole").ids)
    assert len(usable) == 148
    for row in rows_of(folder):
        if row["budget"] == "50%":
            pool = usable - set(split_of(folder, int(row["seed"])))
            assert int(row["k"]) == max(1, round(0.5 * len(pool)))
    assert not (folder / "embeddings" / "pool").exists()  # all images once, however many seeds there are


def test_a_recipe_that_trains_the_backbone_is_scored_on_its_seeds_test_set(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))
    pool = open_pool(root / "digits")
    grid: dict[str, Any] = {"methods": "k_means", "budgets": 20, "recipes": "probe_then_full:epochs=1;batch_size=16"}
    out = tmp_path / "out"
    found = simulated(pool, out, splits="per-seed", seeds=1, seed=1, keep_models=True, **grid)  # type: ignore[arg-type]
    (model,) = (out / "models").iterdir()
    scores = evaluate(model, pool.subset(split_of(out, 1)), **{**FAST, "workers": 0})
    assert [row["top1"] for row in found.rows] == [scores.top1]


def test_a_recipe_that_learns_from_the_pool_sees_no_image_that_is_held_out(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))
    taught: list[set[str]] = []
    original = Job.teaching.fget  # type: ignore[attr-defined]

    def noted(job: Job) -> Sequence[str]:
        found: Sequence[str] = original(job)
        taught.append(set(found))
        return found

    monkeypatch.setattr(Job, "teaching", property(noted))
    pool, out = open_pool(root / "digits"), tmp_path / "out"
    grid: dict[str, Any] = {"methods": "k_means", "budgets": 20, "recipes": "pool_fact:turns=0;epochs=1;pilot=false"}
    simulated(pool, out, splits="per-seed", seeds=1, seed=1, **grid)  # type: ignore[arg-type]
    assert taught and all(found == set(pool.ids) - set(split_of(out, 1)) for found in taught)


def test_what_a_recipe_was_taught_by_is_part_of_its_cells_key() -> None:
    plan = replace(plan_of("k_means", ["10"]), recipes=read_recipes("linear_probe,pool_probe,auto", {}))
    split = replace(plan.splits[0], held_out=True)
    ((one,), (other,)) = (
        [[cell.key for cell in round_.cells] for chain in each.chains() for round_ in chain.rounds]
        for each in (plan, replace(plan, splits={0: split}))
    )
    assert [key == again for key, again in zip(one, other, strict=True)] == [True, False, False]


@pytest.mark.parametrize(("method", "budget"), [("k_means", "20"), ("margin", "50%")])
def test_a_seed_is_scored_on_its_own_test_set(own_splits: Path, tmp_path: Path, method: str, budget: str) -> None:
    pool, folder = open_pool(own_splits / "digits"), own_splits / "sim"
    answers = {item: label(item) for item in picks(folder, method, budget, 1)}
    how: dict[str, Any] = {**FAST, "workers": 0}
    model = finetune(
        pool, out=tmp_path / "model", labels=answers, recipe="linear_probe", settings=ONE_STRENGTH, seed=1, **how
    )
    scores = evaluate(model, pool.subset(split_of(folder, 1)), **how)
    (row,) = (r for r in rows_of(folder) if (r["method"], r["budget"], r["seed"]) == (method, budget, "1"))
    assert float(row["top1"]) == scores.top1


def test_a_seed_does_not_depend_on_the_others(own_splits: Path, tmp_path: Path, selected: list[dict[str, Any]]) -> None:
    grid: dict[str, Any] = {"splits": "per-seed", "budgets": ("20", "50%"), "seeds": 1}
    simulated(own_splits / "digits", tmp_path / "sim", seed=1, **grid)
    wanted = timeless(own_splits / "sim")
    assert timeless(tmp_path / "sim") == same([row for row in wanted if row["seed"] == "1"])
    selected.clear()
    simulated(own_splits / "digits", tmp_path / "sim", resume=True, **grid)  # seed 0 comes beside it
    assert {call["seed"] for call in selected} == {0}
    assert timeless(tmp_path / "sim") == same(wanted)
    assert read_table(tmp_path / "sim" / "split.csv") == read_table(own_splits / "sim" / "split.csv")


@pytest.mark.thorough
def test_two_processes_find_the_same_with_own_splits(own_splits: Path, tmp_path: Path) -> None:
    grid: dict[str, Any] = {"splits": "per-seed", "budgets": ("20", "50%"), "methods": "k_means,margin"}
    simulated(own_splits / "digits", tmp_path / "sim", workers=2, **grid)
    wanted = [row for row in timeless(own_splits / "sim") if row["method"] != "random"]
    assert timeless(tmp_path / "sim") == same(wanted)


def test_what_is_missing_is_made_again_on_its_own_split(
    own_splits: Path, tmp_path: Path, selected: list[dict[str, Any]]
) -> None:
    folder = Path(shutil.copytree(own_splits / "sim", tmp_path / "sim"))
    for name in ("manifest.json", "split.csv", "report.html", "cells/random-linear_probe-20-1.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "selections" / "random-20-1")
    shutil.rmtree(folder / "embeddings")
    simulated(own_splits / "digits", folder, splits="per-seed", budgets=("20", "50%"), resume=True)
    assert [(call["method"], call["seed"]) for call in selected] == [("random", 1)]
    assert timeless(folder) == same(timeless(own_splits / "sim"))


def test_simulations_with_one_split_and_with_several_are_not_mixed(copy: Path, root: Path, own_splits: Path) -> None:
    with pytest.raises(UsageError, match="with --splits one, whose results can't stand beside those of --splits per-s"):
        simulated(root / "digits", copy, splits="per-seed", resume=True)
    with pytest.raises(UsageError, match="give --splits per-seed to go on"):
        simulated(own_splits / "digits", own_splits / "sim", resume=True)


def test_a_simulation_of_an_earlier_version_goes_on_with_its_one_split(
    copy: Path, root: Path, selected: list[dict[str, Any]]
) -> None:
    for path in (copy / "manifest.json", *(copy / "cells").iterdir()):
        content = json.loads(path.read_text())
        path.write_text(json.dumps({name: value for name, value in content.items() if name not in ("splits", "split")}))
    simulated(root / "digits", copy, resume=True)
    assert selected == []
    assert timeless(copy) == same(timeless(root / "sim"))
    assert {row["split"] for row in rows_of(copy)} == {"one"}


def test_the_page_says_whose_split_it_is(root: Path, own_splits: Path) -> None:
    one, own = ((place / "sim" / "report.html").read_text() for place in (root, own_splits))
    assert "45 held out (a share of the pool)" in one
    assert "a share of the pool, others for each seed" in own
    assert "how much another one would change is not in them" in one
    assert "they hold the difference between splits" in own
    assert "all 148 items of the pool" in own  # of which every seed picks from another part


def test_a_class_that_the_split_of_a_seed_leaves_out_of_its_pool_is_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = open_pool(root / "digits")
    rare = [item for item in pool.ids if label(item) == "9"][1:]
    pool = pool.subset([item for item in pool.ids if item not in rare])  # type: ignore[assignment]
    parts = open_parts(pool, "30%", "per-seed", range(8), False)  # type: ignore[arg-type]
    told = [line for line in capsys.readouterr().err.splitlines() if "has no item of '9'" in line]
    alone = [seed for seed in range(8) if "9" in map(label, parts.sides(seed)[1].ids)]
    assert 0 < len(alone) < 8
    assert [f"of seed {seed} " in line for seed, line in zip(alone, told, strict=True)] == [True] * len(alone)


def test_methods_are_compared_seed_by_seed(tmp_path: Path) -> None:
    cells = {
        ("r", "random", "5"): {"seed": [0.0, 1.0, 2.0], "top1": [0.5, 0.7, 0.9]},
        ("r", "a", "5"): {"seed": [0.0, 2.0], "top1": [0.52, 0.94]},
    }
    manifest = {"methods": ["a", "random"], "recipes": ["r"], "budgets": [{"text": "5", "k": 5}], "seeds": [0, 1, 2]}
    found = difference_rows(Results(tmp_path, {**manifest, "pool_items": 10}, cells, {}), "r")
    assert found == (["selector", "5"], [["a", "+3.0 ± 1.4"]])  # 2 and 4 points: the seed that failed has no pair


def test_a_score_that_is_no_share_is_told_as_it_is(tmp_path: Path) -> None:
    cells = {("r", "random", "5"): {"seed": [0.0], "cider": [0.21]}, ("r", "a", "5"): {"seed": [0.0], "cider": [0.252]}}
    manifest = {"methods": ["a", "random"], "recipes": ["r"], "budgets": [{"text": "5", "k": 5}], "seeds": [0]}
    score = {"name": "cider", "told": "CIDEr-D"}
    results = Results(tmp_path, {**manifest, "pool_items": 10, "score": score}, cells, {})
    assert results.told("r", "random", "5") == "0.210"
    assert difference_rows(results, "r") == (["selector", "5"], [["a", "+0.042"]])
    chart = curves(results, "r", common_bounds(results))
    assert "CIDEr-D on the test set, of 10" in chart
    assert '"told":["0.252 ± 0.000"]' in chart and '"told":["0.210 ± 0.000"]' in chart


# Rounds -----------------------------------------------------------------------------------------------------------


def test_a_method_that_learns_from_labels_goes_through_the_budgets_in_rounds(root: Path) -> None:
    folder = root / "sim"
    assert picks(folder, "margin", "10") == picks(folder, "random", "10")
    assert picks(folder, "margin", "20")[:10] == picks(folder, "margin", "10")
    assert picks(folder, "margin", "60")[:20] == picks(folder, "margin", "20")
    assert picks(folder, "margin", "20") != picks(folder, "random", "20")
    assert {(row["method"], row["started_by"]) for row in rows_of(folder)} == {
        ("random", ""),
        ("k_means", ""),
        ("margin", "random"),
    }


def test_only_the_labels_of_picked_items_are_revealed(
    root: Path, tmp_path: Path, selected: list[dict[str, Any]]
) -> None:
    simulated(root / "digits", tmp_path / "out", methods="margin", budgets="10,20", seeds=1, rounds_start="k_means")
    assert [call["method"] for call in selected] == ["k_means", "margin"]
    assert all(call["embeddings"].labels is None for call in selected)
    assert selected[0].get("labelled") is None
    assert list(selected[1]["labelled"].ids) == picks(tmp_path / "out", "margin", "10")
    assert list(selected[1]["labelled"].names) == [label(item) for item in selected[1]["labelled"].ids]


def test_rounds_a_class_add_what_is_missing(root: Path, tmp_path: Path, selected: list[dict[str, Any]]) -> None:
    found = simulated(root / "digits", tmp_path / "out", methods="margin", budgets=["1/class", "3/class"], seeds=1)
    assert [call["budget"] for call in selected] == ["1/class", "2/class"]
    assert [row["k"] for row in found.rows] == [10, 30]


# In any way of running --------------------------------------------------------------------------------------------


def test_two_processes_find_the_same(root: Path, tmp_path: Path) -> None:
    simulated(root / "digits", tmp_path / "out", workers=2, methods="k_means,margin", budgets="10,20", seeds=2)
    wanted = [row for row in timeless(root / "sim") if row["method"] != "random" and row["budget"] != "60"]
    assert timeless(tmp_path / "out") == same(wanted)
    assert picks(tmp_path / "out", "margin", "20", 1) == picks(root / "sim", "margin", "20", 1)


def test_another_number_of_threads_finds_the_same(root: Path, tmp_path: Path) -> None:
    grid: dict[str, Any] = {"methods": "k_means,margin", "budgets": "10,20", "seeds": 1}
    with limited_threads(2 if torch.get_num_threads() == 1 else 1):
        simulated(root / "digits", tmp_path / "out", **grid)
    wanted = [row for row in timeless(root / "sim") if row["method"] != "random" and row["budget"] != "60"]
    assert timeless(tmp_path / "out") == same([row for row in wanted if row["seed"] == "0"])


def test_what_is_missing_or_damaged_is_made_again(copy: Path, root: Path, selected: list[dict[str, Any]]) -> None:
    for name in ("manifest.json", "results.csv", "report.html", "cells/random-linear_probe-20-1.json"):
        (copy / name).unlink()
    damaged = copy / "cells" / "margin-linear_probe-60-0.json"
    damaged.write_text(damaged.read_text()[:40])
    shutil.rmtree(copy / "selections" / "random-20-1")
    (copy / "cells" / ".k_means-linear_probe-20-1.json.1.partial").write_text("{")
    kept = (copy / "cells" / "k_means-linear_probe-20-0.json").stat().st_mtime_ns
    simulated(root / "digits", copy, resume=True)
    assert timeless(copy) == same(timeless(root / "sim"))
    assert [(call["method"], call["seed"]) for call in selected] == [("random", 1)]
    assert (copy / "cells" / "k_means-linear_probe-20-0.json").stat().st_mtime_ns == kept
    assert not list(copy.rglob("*.partial"))
    assert (copy / "report.html").is_file()


@pytest.mark.parametrize("splits", ["one", "per-seed"])
def test_ctrl_c_keeps_what_is_finished(
    root: Path,
    own_splits: Path,
    tmp_path: Path,
    splits: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place, budgets = (root, "10,20,60") if splits == "one" else (own_splits, "20,50%")
    real, out = cells_module.select, tmp_path / "out"
    calls: list[str] = []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(options["method"])
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    typed = ["--test", "30%", "--methods", "random,k_means", "--budgets", budgets, "--seeds", "2", *TYPED]
    typed += ["--settings", "linear_probe.strengths=100", "--splits", splits]
    command = ["simulate", str(place / "digits"), "--out", str(out), *typed]
    with monkeypatch.context() as patch:
        patch.setattr(cells_module, "select", interrupted)
        assert run(command) == 130
    assert "--resume" in capsys.readouterr().err
    assert len(rows_of(out)) == 3
    assert not (out / "manifest.json").exists()
    assert run(command) == 2  # not without --resume
    assert run([*command, "--resume"]) == 0
    assert f"3 of {4 * (1 + budgets.count(',')):,} cells are finished already" in capsys.readouterr().err
    assert timeless(out) == same([row for row in timeless(place / "sim") if row["method"] != "margin"])


def test_a_simulation_can_be_extended(copy: Path, root: Path, selected: list[dict[str, Any]]) -> None:
    simulated(root / "digits", copy, methods="k_center", budgets="10", seeds=1, resume=True)
    assert {(call["method"], call["seed"]) for call in selected} == {("k_center", 0), ("k_center", 1)}
    assert [row for row in timeless(copy) if row["method"] != "k_center"] == same(timeless(root / "sim"))
    assert len(rows_of(copy)) == 24
    selected.clear()
    simulated(root / "digits", copy, methods="random", budgets="15", seeds=1, resume=True)
    again = [call["budget"] for call in selected if call["method"] == "margin" and call["seed"] == 0]
    assert again == ["5", "5", "40"]  # rounds after the new budget start from other picks
    kept = [row for row in timeless(copy) if row["method"] == "k_means" and row["budget"] != "15"]
    assert kept == same([row for row in timeless(root / "sim") if row["method"] == "k_means"])


def test_other_settings_under_the_same_name_are_computed_anew(
    copy: Path, root: Path, selected: list[dict[str, Any]]
) -> None:
    simulated(root / "digits", copy, settings={"k_means": {"iterations": 1}}, resume=True)
    assert {call["method"] for call in selected} == {"k_means"}
    assert len(selected) == 6


def test_overwriting_begins_again(copy: Path, root: Path) -> None:
    (copy / "notes.txt").write_text("mine")
    simulated(root / "digits", copy, methods="random", budgets="10", seeds=1, overwrite=True)
    assert len(rows_of(copy)) == len(list((copy / "cells").iterdir())) == 1
    assert (copy / "notes.txt").read_text() == "mine"


# Recipes that train the backbone ----------------------------------------------------------------------------------


def test_a_recipe_that_trains_the_backbone(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))
    pool, test, out = root / "digits", write_digits(tmp_path / "test", 30), tmp_path / "out"
    (test / "0").rename(test / "none")  # a class that the pool does not have counts as wrong
    grid: dict[str, Any] = {"test": test, "methods": "k_means", "budgets": 20, "seeds": 1}
    recipes = ["linear_probe", "probe_then_full:epochs=1;batch_size=16"]
    simulated(pool, out, recipes=recipes, **grid)
    assert [row["recipe"] for row in rows_of(out)] == recipes
    assert not (out / "models").exists()
    simulated(pool, out, recipes=recipes[1], keep_models=True, overwrite=True, **grid)
    (model,) = (out / "models").iterdir()
    scores = evaluate(model, test, **{**FAST, "workers": 0})
    assert float(rows_of(out)[0]["top1"]) == scores.top1
    assert scores.per_class["none"]["top1"] == 0


# Failures ---------------------------------------------------------------------------------------------------------


def test_items_of_a_recipe_that_selects_itself_are_those_that_its_loops_took(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"seconds": 3.0, "loops": [{"k": 7, "seconds": 1.0}, {"k": 8, "seconds": 1.0}, {"k": 9, "seconds": 0.5}]}
    figures |= {"batches": 4, "scored_items": 0}
    bench: Any = object.__new__(cells_module.Bench)
    bench.answers = Labels.of({"a": "cat", "b": "dog"})
    bench.setup = SimpleNamespace(parts=SimpleNamespace(task=None))
    monkeypatch.setattr(bench, "_finetuned", lambda *asked: (None, figures, []))
    monkeypatch.setattr(cells_module, "scored_row", lambda *_: {})
    (method,), (recipe,) = read_methods("random", {}), read_recipes("vecaf", {})
    cell: Any = SimpleNamespace(recipe=recipe)
    row = bench._score_selecting(method, Budget("10%", 10), cell, 0)
    assert row["k"] == 8 and row["select_seconds"] == 2.5


@pytest.mark.thorough
def test_a_recipe_that_selects_itself(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled, "SETTINGS", replace(bundled.SETTINGS, size=(32, 32)))
    loops = {"batches": 4, "loops": 2, "measurements": 1, "batch_size": 8, "captions": "none", "validation_least": 1}
    made = simulated(
        open_pool(root / "digits"),
        tmp_path / "sim",
        methods="random,ods:ensemble=2",
        budgets="20%,100%",
        recipes="vecaf",
        settings={"vecaf": loops},
        seeds=2,
        workers=0,
    )
    assert not made.failures
    rows = rows_of(tmp_path / "sim")
    assert len(rows) == 8
    assert {row["batches"] for row in rows} == {"4"}
    scored = {(row["method"], row["budget"]): int(row["scored"]) for row in rows}
    probe = scored["random", "100%"]  # one pass, for the features of the first head
    assert scored == {
        ("random", "20%"): probe,
        ("ods:ensemble=2", "20%"): 2 * probe,  # the second loop's losses
        ("random", "100%"): probe,
        ("ods:ensemble=2", "100%"): probe,
    }
    assert 0 < probe < 100  # the items to learn from, without those for validation
    assert {row["budget"]: int(row["k"]) for row in rows} == {"20%": round(0.2 * probe), "100%": probe}
    curves = read_table(tmp_path / "sim" / "curves.csv")
    assert curves["batches"] == ["2", "4"] * 8
    page = (tmp_path / "sim" / "report.html").read_text()
    assert "Batches to an accuracy: vecaf" in page
    assert "In rounds:" not in page and "Time to select" not in page  # loops are neither
    kept = [path.name for path in (tmp_path / "sim" / "selections").iterdir()]
    assert len(kept) == 6  # training on everything is the same for both methods
    assert len(list((tmp_path / "sim" / "cells").iterdir())) == 6
    whole = [tuple(row[name] for name in ("seed", "top1", "seconds")) for row in rows if row["budget"] == "100%"]
    assert whole[:2] == whole[2:]
    assert {row["started_by"] for row in rows} == {""}
    again = simulated(
        open_pool(root / "digits"),
        tmp_path / "sim",
        methods="random",
        budgets="20%",
        recipes="vecaf",
        settings={"vecaf": loops},
        seeds=2,
        workers=0,
        resume=True,
    )
    assert len(again.rows) == 8


def test_the_first_time_of_an_accuracy_is_told(root: Path, tmp_path: Path) -> None:
    budgets = [{"text": "5%", "k": 5}, {"text": "100%", "k": 100}]
    manifest = {"methods": ["a", "b"], "recipes": ["vecaf"], "budgets": budgets, "pool_items": 100, "seeds": [0, 1]}

    def curve(*values: float) -> list[dict[str, float]]:
        return [
            {"batches": 10.0 * n, "scored": 0.0, "seconds": 2.0 * n, "val_top1": value}
            for n, value in enumerate(values, start=1)
        ]

    curves = {
        ("vecaf", "a", "5%"): [curve(0.2, 0.55), curve(0.51, 0.61)],
        ("vecaf", "b", "5%"): [curve(0.1), curve(0.52)],
        ("vecaf", "a", "100%"): [curve(0.3, 0.4), curve(0.3, 0.4)],
    }
    header, rows = efficiency_rows(Results(tmp_path, manifest, {}, {}, curves), "vecaf", "5%")
    assert header == ["selector", "to 30 %", "to 40 %", "to 50 %"]
    assert rows[0] == ["a", "15 batches, 3 s", "15 batches, 3 s", "15 batches, 3 s"]
    assert rows[1] == ["b", *["10 batches, 2 s (1 of 2)"] * 3]
    assert rows[2] == ["everything", "10 batches, 2 s", "20 batches, 4 s", "never"]


def test_training_on_everything_is_a_row_of_recipes_that_select_themselves(tmp_path: Path) -> None:
    budgets = [{"text": "5%", "k": 5}, {"text": "100%", "k": 100}]
    manifest = {"methods": ["a", "b"], "recipes": ["vecaf", "linear_probe"], "budgets": budgets, "pool_items": 100}
    top1 = {("a", "5%"): 0.5, ("b", "5%"): 0.7, ("a", "100%"): 0.6, ("b", "100%"): 0.6}
    cells = {
        (recipe, *key): {"top1": [value], "select_seconds": [1.0]}
        for recipe in manifest["recipes"]
        for key, value in top1.items()
    }
    curves = {("vecaf", method, budget): [[]] for method, budget in top1}
    results = Results(tmp_path, {**manifest, "seeds": [0]}, cells, {}, curves)
    header, rows = table_rows(results, "vecaf")
    assert header == ["selector", "5% (5)", "rank", "select, s"]
    assert [row[:2] for row in rows] == [["a", "50.0"], ["b", "70.0"], ["everything", "60.0"]]
    assert best_rows(results, "vecaf") == {1}
    assert [len(row) for row in table_rows(results, "linear_probe")[1]] == [5, 5]  # labels, as ever


def test_a_failing_cell_does_not_stop_the_others(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["simulate", str(root / "digits"), "--test", "30%", "--methods", "random,margin", "--budgets", "1,20"]
    assert run([*command, "--seeds", "1", "--out", str(out), *TYPED, "--quiet"]) == 1
    printed = capsys.readouterr()
    assert "3 of 4 cells failed" in printed.err
    assert "at least two classes" in printed.err
    assert "failed" in printed.out
    assert [(row["method"], row["budget"]) for row in rows_of(out)] == [("random", "20")]
    with (out / "failed.csv").open(newline="") as file:
        errors = {(row["method"], row["budget"]): row["error"] for row in csv.DictReader(file)}
    assert errors.keys() == {("random", "1"), ("margin", "1"), ("margin", "20")}
    assert "margin learns from labels of at least two classes" in errors["margin", "20"]
    assert "at least two classes" in (out / "report.html").read_text()


def test_an_unexpected_error_is_kept_as_a_sentence(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, selected: list[dict[str, Any]]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("boom")

    with monkeypatch.context() as patch:
        patch.setattr(cells_module, "fit_head", broken)
        found = simulated(root / "digits", tmp_path / "out", methods="random", budgets="10,20", seeds=1)
    assert [row["error"] for row in found.failures] == ["unexpected ZeroDivisionError: boom"] * 2
    selected.clear()
    again = simulated(root / "digits", tmp_path / "out", methods="random", budgets="10,20", seeds=1, resume=True)
    assert (len(again.rows), len(again.failures), selected) == (2, 0, [])  # failed cells are tried again


# Wrong use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("--methods nonsense", "unknown selector 'nonsense'"),
        ("--methods k_means:best", "k_means has no preset 'best'"),
        ("--methods k_means:iterations=many", "iterations can't be 'many'"),
        ("--methods k_means:a;b", "'k_means:a;b' is not understood"),
        ("--methods k_means:=5", "'k_means:=5' is not understood"),
        ("--methods ,", "at least one method"),
        ("--recipes nonsense", "unknown recipe 'nonsense'"),
        ("--budgets 500", "the budget 500 is over the pool: 105 items"),
        ("--budgets 20/class", "the budget 20/class is over what class"),
        ("--budgets many", "the budget 'many' is not understood"),
        ("--budgets 21,20%", "the budgets '21', '20%' are all 21 items"),
        ("--budgets coverage:0.9", "budgets of a known size"),
        ("--methods margin --budgets 5,2/class", "so they must be of one kind"),
        ("--start margin", "margin learns from labels, so it can't make the first selection"),
        ("--seeds 0", "seeds"),
        ("--test 0%", "--test 0% is not possible"),
        ("--test 100%", "leaves nothing"),
        ("--test gone", "the pool gone does not exist"),
        ("--test POOL", "the test set is the pool itself"),
        ("--splits several", "--splits can't be 'several'; give one"),
        ("--splits per-seed --test POOL", "digits is a test set of its own; give a share (--test 30%)"),
        ("--splits per-seed --budgets 120", "over the pool: 105 items can be picked (in the split of seed 0)"),
        ("--backbone resnet50", "do you mean 'timm/resnet50'?"),
        ("--device nonsense", "device 'nonsense' is not known; allowed: auto, cpu, cuda, cuda:1, mps"),
        ("--methods random --start k_means", "--start k_means changes nothing: no method here learns from labels"),
        ("--settings k_mean.iterations=1", "'k_mean': there is no such method or recipe; the nearest is 'k_means'"),
        ("--settings loss=released", "not of the form NAME.SETTING=VALUE"),
        ("--settings k_means.nonsense=1 --methods k_means", "has no setting 'nonsense'"),
    ],
)
def test_wrong_use_is_a_sentence_before_anything_is_written(
    root: Path, tmp_path: Path, typed: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    options = {"--methods": "random", "--budgets": "10", "--test": "30%", "--out": str(out)}
    words = typed.replace("POOL", str(root / "digits")).split()
    options.update(zip(words[::2], words[1::2], strict=True))
    pairs = [word for pair in options.items() for word in pair]
    assert run(["simulate", str(root / "digits"), *pairs, "--quiet"]) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert told.count("\n") == 1
    assert not out.exists()


def test_a_pool_without_labels_is_refused(root: Path, tmp_path: Path) -> None:
    pool = replace(open_pool(root / "digits"), labels=None)
    with pytest.raises(UsageError, match="has no labels of its own; give a file with --labels"):
        simulated(pool, tmp_path / "out")  # type: ignore[arg-type]


def test_items_without_a_label_are_left_out(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = open_pool(root / "digits")
    some = replace(pool, labels=[name if number % 3 else None for number, name in enumerate(pool.labels or ())])
    grid: dict[str, Any] = {"methods": "random", "budgets": 20, "seeds": 1, "quiet": False}
    simulated(some, tmp_path / "out", **grid)  # type: ignore[arg-type]
    assert "50 of 150 items" in capsys.readouterr().err
    assert len(split(tmp_path / "out", "pool")) == 70


def test_classes_that_the_pool_does_not_have_are_told(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = open_pool(root / "digits")
    known = pool.subset([item for item in pool.ids if label(item) not in "89"])
    test = pool.subset([item for item in pool.ids if label(item) in "789"])
    grid: dict[str, Any] = {"test": test, "methods": "random", "budgets": 20, "seeds": 1, "quiet": False}
    simulated(known, tmp_path / "out", **grid)  # type: ignore[arg-type]
    assert "the pool has no item of '8', '9'" in capsys.readouterr().err
    with pytest.raises(UsageError, match="have no class in common"):
        simulated(
            known,  # type: ignore[arg-type]
            tmp_path / "none",
            **{**grid, "test": test.subset([item for item in test.ids if label(item) != "7"])},
        )


def test_another_pool_is_not_mixed_in(copy: Path, root: Path) -> None:
    before = (copy / "results.csv").read_bytes()
    pool = open_pool(root / "digits")
    with pytest.raises(UsageError, match="made from another pool and test set"):
        simulated(pool.subset(pool.ids[:140]), copy, resume=True)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="holds a simulation; add to it with --resume"):
        simulated(root / "digits", copy)
    assert (copy / "results.csv").read_bytes() == before


def test_a_folder_of_something_else_is_left_alone(root: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.csv").write_text("mine")
    with pytest.raises(UsageError, match="is not empty"):
        simulated(root / "digits", tmp_path / "out")
    assert (tmp_path / "out" / "results.csv").read_text() == "mine"


# Table, page and config -------------------------------------------------------------------------------------------


def test_the_command_prints_the_table(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        '[simulate]\nmethods = ["k_means", "k_means:iterations=5"]\nbudgets = [10, "20%"]\nseeds = 2\ntest = "30%"\n'
        "[simulate.settings.k_means]\niterations = 7\n[simulate.settings.linear_probe]\nstrengths = [1, 10]\n"
    )
    out = tmp_path / "out"
    assert run(["simulate", str(root / "digits"), "--out", str(out), "--config", str(config), *TYPED, "--quiet"]) == 0
    header, first, second, last = capsys.readouterr().out.splitlines()
    assert header.split() == ["linear_probe", "10", "20%", "(21)", "rank", "select,", "s"]
    assert (first.split()[0], second.split()[0]) == ("k_means", "k_means:iterations=5")
    assert "±" in first
    assert last == f"report: {out / 'report.html'}"
    settings = json.loads((out / "manifest.json").read_text())["settings"]
    assert [settings[name]["iterations"] for name in ("k_means", "k_means:iterations=5")] == [7, 5]
    assert settings["linear_probe"]["strengths"] == [1, 10]


def test_the_page_is_made_again_without_a_new_map(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise AssertionError("the places are known")

    monkeypatch.setitem(maps.LAYOUTS, "tsne", refused)
    (copy / "report.html").unlink()
    assert run(["report", str(copy)]) == 0
    page = (copy / "report.html").read_text()
    for text in ("Learning curves: linear_probe", "Time to select", "In rounds: margin", "t-SNE map", "k_means, 60"):
        assert text in page
    assert run(["report", str(copy)]) == 2
    assert run(["report", str(copy), "--overwrite"]) == 0
    with pytest.raises(AssertionError, match="the places are known"):  # of another seed there are others
        activetune.write_report(copy, seed=1, overwrite=True, quiet=True)


def test_the_map_holds_all_picks_that_are_shown(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_panel, "STUDY_ITEMS", 40)
    embeddings = activetune.load_embeddings(copy / "embeddings/pool")
    views = map_panel.views_of(Results.read(copy), embeddings)
    rows = maps.rows_of_map(len(embeddings), np.concatenate([view.rows for view in views]), 40, seed=0)
    assert len(rows) == 40
    assert [view.name for view in views][:3] == ["random, 10", "k_means, 10", "margin, 10"]
    assert not any("60" in view.name for view in views)
    assert all(set(view.rows.tolist()) <= set(rows.tolist()) for view in views)
    assert run(["report", str(copy), "--overwrite"]) == 0
    assert "40 of the 105 items" in (copy / "report.html").read_text()


def test_balanced_accuracy_is_shown_for_an_unbalanced_pool_alone(copy: Path) -> None:
    assert "Balanced accuracy" not in (copy / "report.html").read_text()
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "largest_class": 60}))
    assert run(["report", str(copy), "--overwrite"]) == 0
    assert "Balanced accuracy" in (copy / "report.html").read_text()


def test_ranks_share_ties_and_leave_failed_methods_out(tmp_path: Path) -> None:
    top1 = {("a", "1"): 0.5, ("a", "2"): 0.5, ("b", "1"): 0.5, ("b", "2"): 0.7, ("c", "1"): 0.9}
    cells = {("r", method, budget): {"top1": [value]} for (method, budget), value in top1.items()}
    manifest = {"methods": list("abc"), "recipes": ["r"], "budgets": [{"text": b, "k": 1} for b in "12"], "seeds": [0]}
    results = Results(tmp_path, manifest, cells, {})
    assert results.ranks() == {"a": 1.75, "b": 1.25}
    assert (results.told("r", "c", "2"), results.told("r", "c", "1")) == ("failed", "90.0")


def test_the_ranks_in_a_recipes_table_are_of_that_recipe(tmp_path: Path) -> None:
    top1 = {("r", "a"): 0.9, ("r", "b"): 0.1, ("s", "a"): 0.2, ("s", "b"): 0.3}
    cells = {(recipe, method, "1"): {"top1": [value]} for (recipe, method), value in top1.items()}
    manifest = {"methods": ["a", "b"], "recipes": ["r", "s"], "budgets": [{"text": "1", "k": 1}], "seeds": [0]}
    results = Results(tmp_path, manifest, cells, {})
    assert results.ranks() == {"a": 1.5, "b": 1.5}
    ranks = {recipe: [row[2] for row in table_rows(results, recipe)[1]] for recipe in "rs"}
    assert ranks == {"r": ["1.0", "2.0"], "s": ["2.0", "1.0"]}


# The plan ---------------------------------------------------------------------------------------------------------


def plan_of(methods: str, budgets: list[str], seeds: int = 1, made_from: str = "pool") -> Plan:
    recipe = Entry("linear_probe", "linear_probe", None, {})
    split = Split(read_budgets(budgets, Stock.of(["a"] * 60 + ["b"] * 40)), made_from)
    return Plan(read_methods(methods, {}), [recipe], dict.fromkeys(range(seeds), split), read_start("random", {}))


def test_budgets_are_counted_out_and_put_in_order() -> None:
    found = read_budgets(["50", "2/class", "10%"], Stock.of(["a"] * 60 + ["b"] * 40))
    assert [(budget.text, budget.count) for budget in found] == [("2/class", 4), ("10%", 10), ("50", 50)]


def test_rounds_are_one_chain_and_the_others_one_each() -> None:
    chains = plan_of("random,margin", ["10", "20"], seeds=3).chains()
    assert [(chain.method.name, len(chain.rounds)) for chain in chains] == [("margin", 2)] * 3 + [("random", 1)] * 6
    assert [(round_.by.name, round_.more) for round_ in chains[0].rounds] == [("random", "10"), ("margin", "10")]


def test_the_chains_of_a_seed_stand_together() -> None:
    chains = plan_of("random,margin,k_means,entropy", ["10", "20"], seeds=2).chains()
    order = [(chain.method.in_rounds, chain.seed) for chain in chains]
    assert order == [(True, 0)] * 2 + [(True, 1)] * 2 + [(False, 0)] * 4 + [(False, 1)] * 4


def test_keys_depend_on_what_a_cell_is_made_from() -> None:
    def keys(plan: Plan) -> list[str]:
        return [cell.key for chain in plan.chains() for round_ in chain.rounds for cell in round_.cells]

    base = keys(plan_of("k_means,margin", ["10", "20"]))
    assert len(set(base)) == 4
    assert keys(plan_of("k_means,margin", ["10%", "20"])) == base  # the same ten items
    more = keys(plan_of("k_means,margin", ["10", "15", "20"]))
    assert set(base) - set(more) == {base[1]}  # margin's last round alone
    assert not set(keys(plan_of("k_means:iterations=5", ["10", "20"]))) & set(base)
    assert not set(keys(plan_of("k_means,margin", ["10", "20"], made_from="other"))) & set(base)


def test_a_loop_over_the_whole_pool_is_one_cell_for_all_methods() -> None:
    plan = replace(plan_of("margin,random", ["10", "100"]), recipes=read_recipes("linear_probe,vecaf", {}))
    cells = [
        (chain.method.name, round_.budget.count, cell.recipe.name)
        for chain in plan.chains()
        for round_ in chain.rounds
        for cell in round_.cells
    ]
    assert sorted(cell for cell in cells if cell[2] == "vecaf") == [
        ("margin", 10, "vecaf"),
        ("margin", 100, "vecaf"),
        ("random", 10, "vecaf"),
    ]
    assert len([cell for cell in cells if cell[2] == "linear_probe"]) == 4
    row = {"method": "margin", "recipe": "vecaf", "budget": "100", "seed": 0, "top1": 0.5}
    others = [{**row, "budget": "10"}, {**row, "recipe": "linear_probe"}]
    assert plan.shared([row, *others]) == [{**row, "method": "random"}]


def test_file_names_can_be_read_and_stay_distinct() -> None:
    assert file_name("k_means", "1%", 0) == "k_means-1%-0"
    names = {file_name(text) for text in ("2/class", "2:class", "2_class", "x" * 300, "x" * 301)}
    assert len(names) == 5
    assert all("/" not in name and len(name) < 140 for name in names)


@pytest.mark.thorough
def test_going_on_keeps_the_recipes_and_the_start_that_nobody_names_anew(root: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"budgets": ("10", "20"), "seeds": 1}
    given = {"recipes": "frozen_map:head_steps=5", "rounds_start": "k_means"}
    first = simulated(root / "digits", tmp_path / "out", methods="margin", **asked, **given)
    again = simulated(root / "digits", tmp_path / "out", methods="margin,random", resume=True, **asked)
    assert {row["recipe"] for row in again.rows} == {"frozen_map:head_steps=5"}
    assert [row["started_by"] for row in again.rows if row["method"] == "margin"] == ["k_means"] * 2
    kept = [row for row in again.rows if row["method"] == "margin"]
    assert [row["seconds"] for row in kept] == [row["seconds"] for row in first.rows]
