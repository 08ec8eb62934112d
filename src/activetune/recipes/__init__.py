"""Recipes by name: how a model is made from a backbone and labels; one module a recipe."""

from __future__ import annotations

from typing import Any

from activetune.config import configure
from activetune.discovery import class_of, modules_of
from activetune.errors import UsageError, unknown_name
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
    known = recipes()
    if name not in known:
        raise unknown_name("recipe", name, known)
    cls = known[name]
    if preset is not None and preset not in cls.presets:
        has = ", ".join(sorted(cls.presets)) or "none"
        raise UsageError(f"the recipe {name} has no preset {preset!r}; it has: {has}")
    return configure(cls, {**(cls.presets[preset] if preset else {}), **(settings or {})}, what=f"recipe {name}")
