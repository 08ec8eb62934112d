"""Every test can fail: it asserts something, expects an error, or calls a helper that does."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

FILES = sorted(Path(__file__).parents[1].rglob("*.py"))
EXPECTING = frozenset({"raises", "warns", "fail"})  # of pytest


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def called(node: ast.AST) -> set[str]:
    """The names of what is called anywhere in a piece of code."""
    calls = [call.func for call in ast.walk(node) if isinstance(call, ast.Call)]
    return {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls}


def can_fail(node: ast.AST, helpers: frozenset[str] = frozenset()) -> bool:
    """Whether it holds an assertion that is not true of itself, or calls what does."""
    asserted = [one.test for one in ast.walk(node) if isinstance(one, ast.Assert)]
    if any(not isinstance(test, ast.Constant) for test in asserted):
        return True
    return any(name in EXPECTING | helpers or name.startswith("assert_") for name in called(node))


def asserting(tree: ast.AST) -> frozenset[str]:
    """The functions of a module, other than tests, that assert something."""
    return frozenset(found.name for found in functions(tree) if not found.name.startswith("test_") and can_fail(found))


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def own_tests(path: Path) -> list[ast.FunctionDef]:
    return [found for found in functions(parsed(path)) if found.name.startswith("test_")]


def test_the_tests_are_found() -> None:
    found = [one.name for path in FILES for one in own_tests(path)]
    assert len(found) > 1000
    assert {"test_every_test_can_fail", "test_the_tests_are_found"} <= set(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_test_can_fail(path: Path) -> None:
    helpers = asserting(parsed(path)) - {"imports_of"}  # what that one asserts is of no interest to its callers
    idle = [found.name for found in own_tests(path) if not can_fail(found, helpers)]
    assert not idle, f"nothing can make {', '.join(idle)} fail"


def test_a_test_that_asserts_nothing_is_found() -> None:
    idle, true, fine = ast.parse("def a(): f()\ndef b(): assert True\ndef c(): check(1)").body
    assert [can_fail(node, frozenset({"check"})) for node in (idle, true, fine)] == [False, False, True]
