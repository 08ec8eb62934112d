"""Imports go down only, and heavy packages are imported where they are used, not before."""

from __future__ import annotations

import ast
import functools
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import activetune

# The rooms of the house, lowest first. A module may import from the rooms above its own in this list, and from its own
# room as long as no import goes round.
ROOMS = (
    *("base", "data", "networks", "features", "tasks", "evaluation", "selection", "training", "recipes"),
    *("supervision", "report", "handover", "studies", "serving", "labelling", "cli"),
)
LEVEL = {room: level for level, room in enumerate(ROOMS)}
# A setting is chosen by the metric that scores the model, so the rooms below read these; each imports up to its level.
GROUND = {
    "activetune.evaluation": "base",
    **{f"activetune.evaluation.{name}": "base" for name in ("metrics", "statistics", "scores", "dict_scores", "doubt")},
    **{f"activetune.evaluation.{name}": "base" for name in ("pixels", "multilabel")},
    **{f"activetune.evaluation.{name}": "data" for name in ("agreement", "boxes", "sentences")},
}
SOURCE = Path(activetune.__file__).parent


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(("activetune", *(part for part in parts if part != "__init__")))


SCREEN = 60  # lines
FLAT = ("__init__.py", "__main__.py")
MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py")) if path.parent != SOURCE}


def room_of(module: str) -> str:
    """The room that a module stands in."""
    return module.split(".")[1]


def level_of(module: str) -> int:
    """How high a module stands."""
    return LEVEL[GROUND.get(module, room_of(module))]


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, without what only a type checker looks at."""
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        for child in node.orelse:
            yield from executed(child)
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from executed(child)


def imports_of(source: str) -> set[str]:
    """The modules of activetune that a source text imports, anywhere in it; its root package is not one of them."""
    found: set[str] = set()
    for node in executed(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they lead; write the whole name"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {member if member in MODULES else str(node.module) for member in members}
    return {name for name in found if name.startswith("activetune.")}


@functools.cache
def all_imports() -> dict[str, set[str]]:
    """What each module imports."""
    return {module: imports_of(path.read_text(encoding="utf-8")) for module, path in MODULES.items()}


def test_every_module_stands_in_a_room() -> None:
    flat = sorted(path.name for path in SOURCE.glob("*.py") if path.name not in FLAT)
    assert not flat, f"{', '.join(flat)} stand in no room: {' and '.join(FLAT)} are the only flat modules"
    assert {room_of(module) for module in MODULES} == set(ROOMS)


def test_every_function_fits_on_a_screen() -> None:
    long = [
        f"{node.name} of {module}"
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if lines_of(node) - lines_of(docstring_of(node)) >= SCREEN
    ]
    assert not long, f"{', '.join(long)} should be under {SCREEN} lines, beside its docstring"


def docstring_of(node: ast.FunctionDef | ast.AsyncFunctionDef) -> ast.stmt | None:
    return node.body[0] if ast.get_docstring(node) is not None else None


def lines_of(node: ast.stmt | None) -> int:
    return 0 if node is None else (node.end_lineno or node.lineno) - node.lineno + 1


def test_imports_go_down_only() -> None:
    above = {
        module: found
        for module, imported in all_imports().items()
        if (found := sorted(name for name in imported if level_of(name) > level_of(module)))
    }
    assert not above, f"imports from above a module's room: {above}"


def private_of_others(module: str, imported: set[str]) -> set[str]:
    """The modules with a private name that a module imports from other rooms."""
    private = {name for name in imported if any(part.startswith("_") for part in name.split("."))}
    return {name for name in private if room_of(name) != room_of(module)}


def test_private_modules_are_imported_in_their_room_alone() -> None:
    found = {
        module: private for module, names in all_imports().items() if (private := private_of_others(module, names))
    }
    assert not found


def test_an_import_of_a_private_module_is_found() -> None:
    found = private_of_others("activetune.tasks.x", {"activetune.networks.heads._head", "activetune.tasks._base"})
    assert found == {"activetune.networks.heads._head"}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of a circle of imports, in its order; none where there is no circle."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def test_the_package_itself_loads_nothing_and_its_start_the_command_line_alone() -> None:
    found = [imports_of((SOURCE / name).read_text(encoding="utf-8")) for name in FLAT]
    assert found == [set(), {"activetune.cli"}]


def test_no_imports_go_round() -> None:
    assert sum(map(len, all_imports().values())) > len(MODULES)  # they do import each other
    assert circle(all_imports()) == []


def test_a_circle_of_imports_is_found() -> None:
    assert set(circle({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}})) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import activetune.base.files", {"activetune.base.files"}),
        ("from activetune.base.files import write_json", {"activetune.base.files"}),
        ("from activetune.features import cache", {"activetune.features.cache"}),
        ("from activetune import __version__", set()),
        ("from activetune.selection.selectors import _engine", {"activetune.selection.selectors._engine"}),
        ("def f():\n    from activetune.cli import run", {"activetune.cli"}),
        ("if TYPE_CHECKING:\n    from activetune.cli import run", set()),
        ("if typing.TYPE_CHECKING:\n    pass\nelse:\n    import activetune.cli", {"activetune.cli"}),
        ("import os\nimport numpy as np", set()),
    ],
)
def test_imports_are_found_wherever_they_stand(source: str, found: set[str]) -> None:
    assert imports_of(source) == found


# What an import loads ---------------------------------------------------------------------------------------------


def loaded_by(code: str, *names: str) -> set[str]:
    """Which of the named packages a fresh interpreter has loaded after some code."""
    code = f"{code}\nimport sys; sys.stderr.write(' '.join(set({names!r}) & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(ended.stderr.split())


@pytest.mark.slow
def test_importing_every_module_loads_no_package_that_few_commands_need() -> None:
    code = "\n".join(f"import {module}" for module in MODULES)
    names = ("sklearn", "accelerate", "timm", "torchvision", "scipy", "rich")
    assert loaded_by(code, *names, "torch") == {"torch"}


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["select", "--help"], ["nonsense"]])
def test_help_and_wrong_use_answer_without_loading_torch(arguments: list[str]) -> None:
    code = f"import os, sys\nfrom activetune.cli import run\nsys.stderr = open(os.devnull, 'w')\nrun({arguments!r})\n"
    assert loaded_by(f"{code}sys.stderr = sys.__stderr__", "torch", "numpy", "typer") == {"typer"}
