"""What it cost: seconds and memory, as the run measured them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from activetune.base.tables import read_table
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import EMBEDDINGS, MODEL, SELECTION, SIMULATION, VISFT, Subject

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
        page.figures((name, told) for name, told in _measured(subject.manifest))


def _measured(manifest: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Seconds and memory, wherever the manifest's figures have them, by the part that spent them."""
    for name, value in manifest.items() if above else [*manifest.get("figures", {}).items(), *_own(manifest)]:
        if isinstance(value, Mapping):
            yield from _measured(value, f"{above} {name}".strip())
            continue
        for ending, told in ENDINGS.items():
            if name.endswith(ending) and isinstance(value, int | float):
                yield f"{above} {name}".replace("_", " ").replace(" mb", "").strip(), told.format(value)
                break


def _own(manifest: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Entries of the manifest itself."""
    return [(name, value) for name, value in manifest.items() if any(map(name.endswith, ENDINGS))]


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
