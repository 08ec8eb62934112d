"""Recipes by name: how a model is made from a backbone and labels; one module a recipe."""

from __future__ import annotations

from typing import Any

from activetune.config import build
from activetune.discovery import class_of, modules_of
from activetune.recipes._base import Outcome, Recipe, Task

__all__ = ["Outcome", "Recipe", "Task", "make_recipe", "recipes"]


def recipes() -> dict[str, type[Recipe]]:
    """The recipe classes by name."""
    return {name: class_of(module, Recipe) for name, module in modules_of(__name__, __path__).items()}


def make_recipe(name: str, preset: str | None = None, settings: dict[str, Any] | None = None) -> Recipe:
    """Build a recipe from its name, a preset and single settings (these win).

    Raises:
        UsageError: unknown recipe, preset or setting, or a value of the wrong kind.
    """
    return build(recipes(), name, preset, settings or {}, kind="recipe")
