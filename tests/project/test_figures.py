"""The figures that the pages tell are those of the values stored beside them."""

from __future__ import annotations

import importlib
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
from activetune.studies.compare.compare import read_suite
from activetune.studies.simulation.plan import split_list
from activetune.supervision.config import read_config

ROOT = Path(__file__).parents[2]


def _load(name: str) -> ModuleType:
    """A module of ``experiments``, with those beside it."""
    sys.path.insert(0, str(ROOT / "experiments"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "experiments"))


figures, pages, tables, pool_tables = (_load(name) for name in ("figures", "pages", "tables", "pool_tables"))
REFERENCE = "experiments/caltech101/README.md"  # has rows of another script, whose single values are not known


@pytest.mark.parametrize("page", sorted(figures.PAGES))
def test_every_mean_and_spread_on_a_page_is_that_of_stored_values(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == REFERENCE:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("| | reference"))
    assert len(figures.FIGURE.findall(text)) >= 3
    assert figures.unfounded(text, figures.stored(ROOT / figures.PAGES[page])) == []


def test_the_rows_of_a_set_with_a_trained_network_are_on_the_same_picks() -> None:
    assert pool_tables.on_other_picks() == []


@pytest.mark.parametrize("page", sorted(figures.TABLES))
def test_the_tables_that_are_made_are_what_their_page_has(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert figures.with_tables(text, figures.TABLES[page]()) == text


@pytest.mark.parametrize("page", pages.PAGES)
def test_the_figures_in_sentences_are_those_of_stored_values(page: str) -> None:
    assert pages.differing(page) == []


@pytest.mark.parametrize("page", pages.PAGES)
def test_every_sentence_with_a_figure_has_its_values(page: str) -> None:
    assert pages.uncovered(page) == [], "give it a claim in experiments/claims_*.py, or leave it out"


def test_claims_and_given_pieces_are_of_pages_that_there_are() -> None:
    assert set(pages.CLAIMS) | set(pages.GIVEN) <= set(pages.PAGES)
    for page, pieces in pages.GIVEN.items():
        text = pages.plain((ROOT / page).read_text(encoding="utf-8"))
        assert [piece for piece in pieces if piece not in text] == [], page


def test_a_sentence_that_differs_or_has_no_values_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.md").write_text("It takes **3.2 s**, set by `x` 0.5.\nAlone it is 81 % right.\n\n| 7.5 |\n")
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    claim = pages.Claim("It takes {} s", lambda: [3.2])
    monkeypatch.setattr(pages, "CLAIMS", {"page.md": [claim]})
    assert pages.differing("page.md") == []
    assert pages.uncovered("page.md") == ["Alone it is 81 % right."]
    monkeypatch.setattr(pages, "CLAIMS", {"page.md": [pages.Claim("It takes {} s", lambda: [3.3])]})
    assert pages.differing("page.md") == ["It takes 3.3 s"]


MIXED = {"docs/operations.md", "docs/scaling.md"}  # have tables of options and of what to do, too


@pytest.mark.parametrize("page", sorted(set(figures.TABLES) - MIXED))
def test_every_table_of_a_page_of_figures_is_made(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    made = re.sub(rf"{figures.BEGIN}.*?{figures.END}", "", text, flags=re.DOTALL)
    assert not re.findall(r"^\|.*", made, flags=re.MULTILINE)


def test_a_figure_without_values_is_found() -> None:
    assert figures.unfounded("it is 80.0 ± 1.4 or 80.0 ± 1.0", [[0.79, 0.81]]) == ["80.0 ± 1.0"]


# README.md --------------------------------------------------------------------------------------------------------


def readme() -> str:
    return re.sub(r"\s+", " ", (ROOT / "README.md").read_text(encoding="utf-8"))


def test_the_readmes_count_of_selectors_is_todays() -> None:
    assert f"{len(selectors().keys() - {'auto'})} methods" in readme()


def test_the_readmes_count_of_images_is_the_demos() -> None:
    from activetune.studies.demo.pools import DEFAULT, demo_pool

    assert f"{len(demo_pool(DEFAULT, 0).pictures):,} real images" in readme()


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
    if any(
        row.get("measured")
        for run in tomllib.loads(path.read_text("utf-8")).get("runs", ())
        for row in run.get("rows", ())
    )
)


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: path.stem)
def test_the_measured_figures_of_a_table_are_those_of_its_results(path: Path) -> None:
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    factor = 100 if table["column"] in tables.SHARES else 1
    checked = 0
    for number, run in enumerate(table["runs"], start=1):
        if not any(row.get("measured") for row in run["rows"]):
            continue  # a command that was not run yet
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
                given = " ± ".join(f"{one:.1f}" for one in told)  # of a single seed there is no spread
                assert given == mean_and_spread(values, factor=factor), (row["name"], budget)
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


def test_the_recipe_of_visft_is_one_that_the_commands_take() -> None:
    folder = ROOT / "experiments/visft"
    config = read_config(folder / "paper_config.toml", "paper", {})
    assert [asked.entry.head for asked in config.tasks] == ["detr", "mask2former", "lstm"]
    rows = tomllib.loads((folder / "paper.toml").read_text(encoding="utf-8"))["rows"]
    assert [row["probe"] for row in rows] == [name for name, *_ in read_suite(folder / "paper_suite.toml")]
    assert not any(row["published"] for row in rows)  # no text at hand has a figure


def test_a_cell_that_failed_in_one_seed_has_no_figures_and_a_seed_cut_off_none(tmp_path: Path) -> None:
    head = "method,recipe,budget,seed"
    rows = ["random,probe,6,1,0.5", "k_means,probe,6,0,0.75", "k_means,probe,6,1,0.25", "k_means,probe,6,2,0.9"]
    (tmp_path / "results.csv").write_text("\n".join([f"{head},top1", *rows]) + "\n")
    (tmp_path / "failed.csv").write_text(f"{head},error\nrandom,probe,6,0,one class alone\n")
    assert tables._cells(tmp_path, []) == {("k_means", "probe", "6"): {"top1": [0.75, 0.25]}}
