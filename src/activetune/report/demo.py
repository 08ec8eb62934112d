"""The demo's page: table, learning curves, a map of the pool with the picks on it, and the picked images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.artefact import read_manifest
from activetune.base.tables import read_table
from activetune.evaluation.statistics import mean_and_spread, spread
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.report.demo_model import write_model_section
from activetune.report.maps import View, picks_map, tsne_places
from activetune.report.page import Page
from activetune.selection.artefact import load_selection

COLOURS = ("#4c78a8", "#f58518", "#54a24b", "#e45756", "#9d755d", "#b279a2")


def write_demo_report(folder: Path) -> Path:
    """Make ``report.html`` in a finished folder of ``activetune demo``."""
    manifest = read_manifest(folder, "demo")
    results = read_table(folder / "results.csv")
    rows = summarise(results)
    methods = manifest["methods"]
    page = Page(
        f"activetune demo: {manifest['question']}",
        f"{manifest['about']} {manifest['pool_items']:,} images to choose from, {manifest['test_items']:,} held out, "
        f"{manifest['seeds']} seeds; backbone: bundled, recipe: linear probe.",
    )
    budgets = manifest["budgets"]
    for heading, values in (("Balanced accuracy", "balanced_values"), ("Top-1", "values")):
        page.heading(f"{heading} on held-out images")
        page.table(*_score_table(rows, budgets, values))
    page.paragraph(
        "In percent, mean ± standard deviation over seeds; rows that are best at some budget are set off. Balanced "
        "accuracy is the mean over classes: a rare class counts as much as a frequent one. random_per_class draws as "
        "many of each class, which can only be done where the labels are known before."
    )
    page.heading("Learning curves")
    page.plot(_curves(rows, budgets))
    write_model_section(page, folder, manifest["job"])
    page.heading("Where the picks lie")
    page.paragraph("A t-SNE map of the images' features, coloured by class; crosses are the picks of the first seed.")
    embeddings = load_embeddings(folder / "embeddings")
    page.plot(_map(folder, embeddings, manifest, methods))
    page.heading(f"The first {budgets[0]} picks")
    for method in methods:
        page.paragraph(method)
        selection = load_selection(folder / "selections" / f"{method}-{budgets[0]}-0")
        page.strip((folder / "images" / item, item.split("/")[0]) for item in selection.ids)
    return page.write(folder / "report.html")


def _score_table(
    rows: list[dict[str, Any]], budgets: list[int], values: str
) -> tuple[list[str], list[list[str]], frozenset[int]]:
    """Header, cells and the rows that are best at some budget."""
    best = frozenset(int(np.argmax([np.mean(row[values][budget]) for row in rows])) for budget in budgets)
    cells = [
        [row["name"], *[mean_and_spread(row[values][b], factor=100) for b in budgets], f"{row['seconds']:.3f}"]
        for row in rows
    ]
    return ["selector", *[f"{budget} labels" for budget in budgets], "selection, s"], cells, best


def summarise(results: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Rows of the table, from ``results.csv``: name, {budget: (mean, std)} of both scores, mean seconds."""
    names = ("method", "features", "budget", "top1", "balanced_accuracy", "seconds")
    found: dict[str, dict[str, Any]] = {}
    for method, features, budget, top1, balanced, seconds in zip(*(results[name] for name in names), strict=True):
        name = method if features == "bundled" else f"{method}, raw pixels"
        row = found.setdefault(name, {"name": name, "values": {}, "balanced_values": {}, "times": []})
        row["values"].setdefault(int(budget), []).append(float(top1))
        row["balanced_values"].setdefault(int(budget), []).append(float(balanced))
        row["times"].append(float(seconds))
    return [
        {
            **row,
            "top1": _means(row["values"]),
            "balanced": _means(row["balanced_values"]),
            "seconds": float(np.mean(row["times"])),
        }
        for row in found.values()
    ]


def _means(values: dict[int, list[float]]) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation by budget."""
    return {budget: (float(np.mean(of_seeds)), spread(of_seeds) or 0.0) for budget, of_seeds in values.items()}


def _curves(rows: list[dict[str, Any]], budgets: list[int]) -> Any:
    import plotly.graph_objects as go

    figure = go.Figure()
    for row, colour in zip(rows, COLOURS, strict=False):
        means = [100 * row["balanced"][b][0] for b in budgets]
        spread = [100 * row["balanced"][b][1] for b in budgets]
        figure.add_scatter(
            x=budgets,
            y=means,
            name=row["name"],
            mode="lines+markers",
            line={"color": colour, "dash": "dot" if "pixels" in row["name"] else "solid"},
            error_y={"type": "data", "array": spread, "thickness": 1},
        )
    figure.update_layout(
        template="plotly_white",
        height=420,
        margin={"t": 20, "b": 40},
        xaxis={"title": "labels", "tickvals": budgets},
        yaxis={"title": "balanced accuracy on held-out images, %"},
    )
    return figure


def _map(folder: Path, embeddings: Embeddings, manifest: dict[str, Any], methods: list[str]) -> Any:
    places = tsne_places(embeddings.features_ND)
    wanted = [(method, budget) for method in methods for budget in manifest["budgets"]]
    views = []
    for method, budget in wanted:
        picks = load_selection(folder / "selections" / f"{method}-{budget}-0").ids
        views.append(View(f"{method}, {budget}", np.asarray([embeddings.position[item] for item in picks])))
    classes = [name or "" for name in embeddings.labels or [""] * len(embeddings)]
    first = wanted.index(("activeft", manifest["budgets"][-1]))
    return picks_map(places, embeddings.ids, classes, views, first)
