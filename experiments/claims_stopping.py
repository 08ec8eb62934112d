"""The sentences of the page on what more labels bring."""

# Pieces of pages stand in one line, however long.
# ruff: noqa: E501

from __future__ import annotations

from claims import Claim
from stopping_tables import cells, held, off

from activetune.evaluation.learning_curve import LEVEL

PAGE = "experiments/stopping/README.md"


def told(by: str, role: str) -> tuple[str, str, str]:
    """How far off, and how many intervals of how many hold."""
    found = cells(by, role=role)
    return f"{off(found):.1f}", f"{held(found)}", f"{len(found)}"


def later(by: str) -> tuple[str, str]:
    """How far off with at least 300 labels, and how much was gained there."""
    found = cells(by, from_labels=300)
    return f"{off(found):.1f}", f"{sum(one['real'] for one in found) / len(found):.1f}"


def chosen() -> tuple[str, str]:
    """Of labels that a selector chose: how far off without an audit and with one."""
    return f"{off(cells('alone', method='auto')):.1f}", f"{off(cells('audited', method='auto')):.1f}"


def width() -> tuple[str, str]:
    """The mean width of the intervals, without an audit and with one."""
    return tuple(  # type: ignore[return-value]
        f"{sum(one['high'] - one['low'] for one in found) / len(found):.1f}"
        for found in (cells("alone"), cells("audited"))
    )


CLAIMS = {
    PAGE: [
        Claim(
            "On the pools that nothing was chosen on, what was said with an audit was {} points off on average, and {} of {} intervals held what came.",
            lambda: told("audited", "confirm"),
        ),
        Claim("The intervals claim {} %.", lambda: (f"{100 * LEVEL:.0f}",)),
        Claim(
            "From the labels alone it was {} points off, and {} of {} held.",
            lambda: told("alone", "confirm"),
        ),
        Claim(
            "On the pools that the width was chosen on: {} points with an audit, {} of {} held;",
            lambda: told("audited", "design"),
        ),
        Claim(
            "from 300 labels on, on all four pools, {} points with an audit, where a round brought {} on average.",
            lambda: later("audited"),
        ),
        Claim(
            "For labels that a selector has chosen it was {} points off from the labels alone and {} with an audit.",
            chosen,
        ),
        Claim("The intervals are wide: {} points on average from the labels alone and {} with an audit.", width),
    ],
}
GIVEN: dict[str, list[str]] = {PAGE: []}
