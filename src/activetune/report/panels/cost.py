"""What it cost: seconds and memory, as the run measured them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from activetune.base.tables import read_table
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import EMBEDDINGS, MODEL, SELECTION, SIMULATION, VISFT, Subject

PHASES = "phases"  # their names say enough
ENDINGS = {"seconds": "{:,.4g} s", "memory_mb": "{:,.0f} MB", "images_per_second": "{:,.1f} images/s"}


class Cost(Panel):
    """See the module."""

    kinds = (EMBEDDINGS, SELECTION, MODEL, VISFT, SIMULATION)
    order = 80

    def stands(self, subject: Subject) -> bool:
        """See :class:`Panel`: where the run measured something."""
        return super().stands(subject) and bool(subject.kind == SIMULATION or list(_measured(subject.manifest)))

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        page.heading("Cost")
        if subject.kind == SIMULATION:
            page.table(["recipe", "selector", "models", "seconds", "seconds per model"], _of_study(subject), texts=2)
            page.note("Seconds of training and scoring the models of a simulation, all budgets and seeds together.")
            return
        parts: dict[str, dict[str, str]] = {}
        for part, name, told in _measured(subject.manifest):
            parts.setdefault(part, {})[name] = told
        page.figures(parts.pop("", {}).items())
        if parts:
            columns = list(dict.fromkeys(name for found in parts.values() for name in found))
            rows = [[part, *(found.get(name, "") for name in columns)] for part, found in parts.items()]
            page.table(["part", *columns], rows, texts=1)


def _measured(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Seconds, memory and speed of the run (its part is ``""``) and of its parts: part, name, value."""
    figures = manifest.get("figures", {})
    own = {name: value for name, value in manifest.items() if not isinstance(value, Mapping)}
    yield from _in(own)
    yield from _in({name: value for name, value in figures.items() if name != PHASES})
    yield from _in(figures.get(PHASES, {}))


def _in(figures: Mapping[str, Any], *above: str) -> Iterator[tuple[str, str, str]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _in(value, *above, re.sub(r"(?<=[a-z])(?=\d)", " ", name.replace("_", " ")))
            continue
        for ending, told in ENDINGS.items():
            if name.endswith(ending) and isinstance(value, int | float):
                yield ", ".join(above), name.replace("_", " ").removesuffix(" mb"), told.format(value)
                break


def _of_study(subject: Subject) -> list[list[str]]:
    """Seconds by recipe and method."""
    assert subject.results is not None
    columns = read_table(subject.folder / "results.csv")
    spent: dict[tuple[str, str], list[float]] = {}
    for recipe, method, seconds in zip(
        columns["recipe"], columns["method"], columns.get("seconds", [""] * len(columns["recipe"])), strict=True
    ):
        spent.setdefault((recipe, method), []).append(float(seconds or 0))
    return [
        [recipe, method, f"{len(values):,}", f"{sum(values):,.1f}", f"{sum(values) / len(values):,.2f}"]
        for (recipe, method), values in spent.items()
    ]
