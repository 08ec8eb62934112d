"""What a model has learned from, as its figures tell it: labelled images, and others where it reads the pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from activetune.base.printing import counted


def told_lessons(figures: Mapping[str, Any]) -> str:
    """``60 labelled images``, or ``20 labelled images and 76 without a label``.

    Args:
        figures: of a model's manifest.

    >>> told_lessons({"n_train": 20, "phases": {"pool": {"images": 96}}, "stage": "pool"})
    '20 labelled images and 76 without a label'
    >>> told_lessons({"n_train": 20, "phases": {"pool": {"images": 96}}, "stage": "full"})
    '20 labelled images'
    >>> told_lessons({"n_train": 48, "n_validation": 12, "pool": {"images": 90, "unlabelled": 25, "used": True}})
    '48 labelled images and 25 without a label'
    """
    labelled = figures.get("n_train", 0)
    pool = figures.get("pool") or figures.get("phases", {}).get("pool", {})
    used = pool.get("used", True) and figures.get("stage") != "full"
    others = pool.get("images", 0) - labelled - figures.get("n_validation", 0)  # as models of earlier versions tell it
    others = pool.get("unlabelled", others) if used else 0
    told = counted(labelled, "labelled image")
    return f"{told} and {others:,} without a label" if others > 0 else told


def told_recipe(recipe: str | None, figures: Mapping[str, Any]) -> str:
    """A recipe's name, and the one that it chose.

    >>> told_recipe("auto", {"recipe": "fact"}), told_recipe("lora", {})
    ('auto (fact)', 'lora')
    """
    taken = figures.get("recipe")
    name = recipe or "not told"
    return f"{name} ({taken})" if taken and taken != name else name
