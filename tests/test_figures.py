"""The figures that the pages tell are those of the values stored beside them."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from activetune.evaluation.statistics import mean_and_spread
from activetune.selection.selectors import selectors
from activetune.studies.simulation.plan import split_list

ROOT = Path(__file__).parents[1]


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "experiments/figures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["figures"] = module
    spec.loader.exec_module(module)
    return module


figures = _load()
REFERENCE = "experiments/caltech101/README.md"  # has rows of another script, whose single values are not known


@pytest.mark.parametrize("page", sorted(figures.PAGES))
def test_every_mean_and_spread_on_a_page_is_that_of_stored_values(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == REFERENCE:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("| | reference"))
    assert len(figures.FIGURE.findall(text)) >= 3
    assert figures.unfounded(text, figures.stored(ROOT / figures.PAGES[page])) == []


@pytest.mark.parametrize("page", sorted(figures.TABLES))
def test_the_tables_that_are_made_are_what_their_page_has(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert figures.with_tables(text, figures.TABLES[page]()) == text


def test_a_figure_without_values_is_found() -> None:
    assert figures.unfounded("it is 80.0 ± 1.4 or 80.0 ± 1.0", [[0.79, 0.81]]) == ["80.0 ± 1.0"]


# README.md --------------------------------------------------------------------------------------------------------


def readme() -> str:
    return re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_readmes_count_of_selectors_is_todays() -> None:
    assert f"{len(selectors().keys() - {'auto'})} methods" in readme()


def test_the_readmes_count_of_images_is_the_demos() -> None:
    from sklearn.datasets import load_digits

    assert f"{len(load_digits().target):,} real images" in readme()


def test_the_readmes_gain_by_selecting_is_the_measured_one() -> None:
    assert "120 labels on Caltech-101, the choice of selector is worth over 20 points of accuracy" in readme()
    rows = json.loads((ROOT / "experiments/caltech101/selectors.json").read_text(encoding="utf-8"))
    rows = rows["rows"] if isinstance(rows, dict) else rows
    means = {row["selector"]: np.mean(row["top1"]) for row in rows if int(row["budget"]) == 120}
    assert means["activeft"] - means["random"] > 20


def test_the_commands_gain_of_fact_is_the_measured_one() -> None:
    text = re.sub(r"\s+", " ", (ROOT / "docs/finetune.md").read_text(encoding="utf-8"))
    told = re.search(
        r"`full` on random images (\d+) %, on selected ones (\d+), `linear_probe` (\d+), "
        r"`probe_then_full` (\d+), `lora` and `fact` (\d+)",
        text,
    )
    assert told is not None
    rows = json.loads((ROOT / "experiments/fact/results/caltech101-120.json").read_text(encoding="utf-8"))["rows"]
    mean = {name: 100 * np.mean([one["top1"] for one in found]) for name, found in rows.items()}
    wanted = (mean["full, random labels"], mean["full"], mean["linear_probe"], mean["probe_then_full"], mean["lora"])
    assert [int(number) for number in told.groups()] == [round(value) for value in wanted]
    assert round(mean["fact"]) == int(told[5])


# Tables of experiments ----------------------------------------------------------------------------------------------

MEASURED = sorted(
    path
    for path in ROOT.glob("experiments/*/*.toml")
    if any(row.get("measured") for run in tomllib.loads(path.read_text("utf-8"))["runs"] for row in run.get("rows", ()))
)


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_the_measured_figures_of_a_table_are_those_of_its_results(path: Path) -> None:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    factor = 100 if table["column"] in ("top1", "classes") else 1
    checked = 0
    for number, run in enumerate(table["runs"], start=1):
        suffix = f"-{number}" if len(table["runs"]) > 1 else ""
        stored = json.loads((path.parent / "results" / f"{path.stem}{suffix}.json").read_text(encoding="utf-8"))["rows"]
        for row in run["rows"]:
            for budget, told in row.get("measured", {}).items():
                (cell,) = (
                    cell
                    for cell in stored
                    if (cell["method"], cell["budget"]) == (row["method"], budget)
                    and row.get("recipe") in (None, cell.get("recipe"))
                )
                values = cell[table["column"]]
                values = np.mean(list(values.values()), axis=0) if isinstance(values, dict) else values
                assert f"{told[0]:.1f} ± {told[1]:.1f}" == mean_and_spread(values, factor=factor), (row["name"], budget)
                checked += 1
    assert checked


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_the_command_of_a_table_makes_the_rows_that_it_has(path: Path) -> None:
    for run in tomllib.loads(path.read_text(encoding="utf-8"))["runs"]:
        words = shlex.split(run["command"])
        asked = {name: split_list(words[words.index(f"--{name}") + 1]) for name in ("methods", "recipes", "budgets")}
        for row in run["rows"]:
            assert row["method"] in asked["methods"]
            assert row.get("recipe", asked["recipes"][0]) in asked["recipes"]
            assert set(row.get("measured", ())) <= set(asked["budgets"])
