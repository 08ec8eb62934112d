"""The demo: its images, what it says of selectors, and the job that it does with the picks of one."""

from __future__ import annotations

import csv
import dataclasses
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from activetune.base.errors import MissingExtra, UsageError
from activetune.base.files import read_json
from activetune.base.run import Run
from activetune.cli import run
from activetune.features.artefact import Embeddings
from activetune.selection.artefact import Selection
from activetune.studies.demo import comparison, demo, job
from activetune.studies.demo.pools import DemoPool, cells, demo_pool, demo_pools

FOLDER = cells.FILE.parent


@pytest.fixture(scope="module")
def blood() -> DemoPool:
    return demo_pool("cells", 0)


def few(pool: DemoPool, each: int = 12) -> DemoPool:
    """As many cells of each class on both sides."""
    kept: list[str] = []
    for side in (pool.test, pool.pictures.keys() - pool.test):
        for name in pool.classes:
            kept += sorted(item for item in side if pool.answers[item] == name)[:each]
    pictures = {item: pool.pictures[item] for item in kept}
    return dataclasses.replace(pool, pictures=pictures, test=pool.test & pictures.keys(), budgets=(6, 9))


# The images ---------------------------------------------------------------------------------------------------------


def test_no_smear_has_cells_on_both_sides(blood: DemoPool) -> None:
    smears = [
        {item.partition("/")[2].partition("-")[0] for item in side}
        for side in (blood.test, blood.pictures.keys() - blood.test)
    ]
    assert not smears[0] & smears[1]
    assert [len(side) for side in smears] == [72, 205]


def test_the_readme_counts_the_cells(blood: DemoPool) -> None:
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    for side in (blood.pictures.keys() - blood.test, blood.test):
        counts = Counter(blood.answers[item] for item in side)
        assert f"| {counts['red']:,} | {counts['white']:,} | {counts['platelet']:,} |" in told
    assert f"{len(blood.pictures):,} pictures" in told


def test_rights_and_source_lie_beside_the_cells_and_all_is_small() -> None:
    assert (FOLDER / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")
    assert "github.com/Shenggan/BCCD_Dataset" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 3e6


def test_the_script_cuts_the_same_cells(shared: Path, tmp_path: Path) -> None:
    cut = load_script("experiments/blood_cells/cut.py")
    with zipfile.ZipFile(shared / "data/bccd.zip") as bccd, zipfile.ZipFile(cells.FILE) as shipped:
        names = shipped.namelist()
        found = cut.cells(bccd)
        for name, content in (next(found) for _ in range(40)):
            assert name in names
            assert content == shipped.read(name)


def load_script(path: str) -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("cut", Path(__file__).parents[2] / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", demo_pools())
def test_every_set_has_a_file_per_item_and_budgets_that_the_classes_divide(name: str) -> None:
    pool = demo_pool(name, 3)
    assert pool.test
    assert pool.test < pool.pictures.keys()
    assert all(pool.pictures.values())
    assert not any(budget % len(pool.classes) for budget in pool.budgets)


# What is measured ---------------------------------------------------------------------------------------------------


def test_picks_of_one_class_are_scored_as_a_model_that_knows_no_other() -> None:
    features = np.eye(4, dtype=np.float32)
    pool = Embeddings.from_numpy(features, list("abcd"), ["red", "red", "red", "white"])
    scores = comparison._probed(pool, Selection(["a", "b"], [0, 0], ["", ""], {}), pool, 0)
    assert scores.top1 == 0.75
    assert scores.balanced_accuracy == 0.5


# The command --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_goes_from_images_to_a_model_and_a_page(
    blood: DemoPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(demo, "demo_pool", lambda name, seed: few(blood))
    monkeypatch.setattr(comparison, "CELLS", (("random_per_class", "bundled"), ("activeft", "bundled")))
    monkeypatch.setattr(demo, "METHODS", ("random_per_class", "activeft"))
    out = tmp_path / "demo"
    line = ["demo", "--out", str(out), "--seeds", "2", "--workers", "0"]
    assert run(line) == 0
    told = capsys.readouterr().out
    assert "balanced accuracy, %" in told
    with (out / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 2
    assert {row["classes"] for row in rows if row["method"] == "random_per_class"} == {"3"}
    with (out / "selections/activeft-9-0/labels.csv").open(encoding="utf-8") as file:
        assert all(row["id"].startswith(f"{row['label']}/") for row in csv.DictReader(file))
    scores = read_json(out / "model/scores.json")
    assert scores["n"] == 36
    assert read_json(out / "manifest.json")["job"]["scores"]["top1"] == scores["top1"]
    exported = read_json(out / "model.onnx.report.json")
    assert exported["scores"]["exported"]["top1"] == pytest.approx(scores["top1"], abs=1 / 36)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "which blood cells should be labelled?" in page
    assert "programs that know nothing of activetune" in page
    assert not {item for item in blood.test if (out / "model").joinpath(item).exists()}

    before = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    assert run([*line, "--resume", "--quiet"]) == 0
    assert capsys.readouterr().out == told
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == before
    assert run([*line, "--data", "digits"]) == 2
    assert (
        "holds the demo on cells, not on digits; choose another --out, or give --overwrite" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("method", "given", "refused"),
    [
        ("activeft", "id,label\nred/1.png,white\n", ("cells", "digits")),  # which is no answer of the demo's
        ("activeft", "id,label,state\nred/1.png,red,labelled\n", ("cells", "digits")),  # of the page
        ("k_means", "id,label\nred/1.png,white\n", ("digits",)),  # which the demo on the same data leaves alone
        ("activeft", "id,label\nred/1.png,red\n", ()),
    ],
)
def test_answers_that_a_person_has_given_are_not_written_over(
    method: str, given: str, refused: tuple[str, ...], blood: DemoPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "demo_pool", lambda name, seed: few(blood))
    for data in ("cells", "digits"):
        out = tmp_path / data
        file = out / f"selections/{method}-9-0/labels.csv"
        file.parent.mkdir(parents=True)
        file.write_text(given)
        for name, content in (("demo.json", '{"data": "cells"}'), ("manifest.json", '{"kind": "demo"}')):
            (out / name).write_text(content)
        if data in refused:
            with pytest.raises(UsageError, match=r"labels\.csv holds answers .*; choose another --out, or move"):
                demo.demo(out, data=data, overwrite=True, quiet=True)
            assert file.read_text() == given and (out / "manifest.json").is_file()
        else:
            demo._open(job.JobPlace(out, 9), data, overwrite=True)


@pytest.mark.parametrize("seeds", [0, -1])
def test_a_demo_without_a_seed_is_refused_at_once(seeds: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"seeds can't be {seeds}; give 1 or more"):
        demo.demo(tmp_path / "demo", seeds=seeds, quiet=True)
    assert not list(tmp_path.glob("demo/*.*"))


def test_the_job_goes_without_the_packages_of_onnx(
    blood: DemoPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def missing(*args: Any, **options: Any) -> None:
        raise MissingExtra("onnxruntime", "onnx")

    monkeypatch.setattr(job, "export_model", missing)
    place = job.JobPlace(tmp_path, 9)
    demo._write_images(tmp_path / "images", few(blood))
    assert job.export(place, Run()) is None
    assert "pip install 'activetune[onnx]'" in capsys.readouterr().err


def test_data_that_there_is_not_is_a_sentence(tmp_path: Path, capsys: Any) -> None:
    assert run(["demo", "--out", str(tmp_path / "demo"), "--data", "cats"]) == 2
    assert "unknown data of the demo 'cats'; there are: cells, digits" in capsys.readouterr().err
    assert not list((tmp_path / "demo").glob("*.html"))
