"""The picks of finished simulations, for what trains on the same items with another package."""

from __future__ import annotations

from pathlib import Path

from activetune.selection.artefact import load_selection


def random_picks(folder: Path, budget: str) -> list[list[str]]:
    """What ``random`` picked in a simulation's folder at a budget, seed by seed."""
    found = {}
    for path in (folder / "selections").glob("random-*"):
        selection = load_selection(path)
        if selection.manifest["budget"] == budget:
            found[selection.manifest["seed"]] = list(selection.ids)
    if not found:
        raise SystemExit(f"{folder} has no picks of {budget} by random; run run.py first")
    return [found[seed] for seed in sorted(found)]
