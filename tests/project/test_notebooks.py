"""The notebooks run from top to bottom, and hold no output that could grow old."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def code_of(path: Path) -> list[str]:
    content = json.loads(path.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells), "clear the outputs before committing"
    return ["".join(cell["source"]) for cell in cells]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns the value of its last line, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "<cell>", "exec"), names)
    return eval(compile(ast.Expression(last.value), "<cell>", "eval"), names) if isinstance(last, ast.Expr) else None


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of features for both, as on a reader's machine."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=() if path.stem == "first_labels" else pytest.mark.thorough) for path in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_from_top_to_bottom(
    path: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACTIVETUNE_CACHE", str(cache))
    names: dict[str, Any] = {}
    shown = [run_cell(source, names) for source in code_of(path)]
    assert shown[0][:2] == (2804, 945)
    if path.stem == "first_labels":
        assert names["scores"]["balanced_accuracy"] > 0.8
        assert (tmp_path / "model" / "report.html").is_file()
    else:
        assert len(names["simulation"].rows) == 3 * 2 * 2 and (tmp_path / "simulation" / "report.html").is_file()


def test_there_are_two() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["first_labels", "which_selector"]
