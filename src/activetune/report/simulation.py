"""A simulation's page: learning curves, tables, ranks, selection times, and a map of the pool with the picks on it.

Everything is made from ``results.csv``, ``failed.csv``, the selections and the embeddings in the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.errors import ActivetuneError
from activetune.base.files import file_name
from activetune.base.numpy_files import write_array
from activetune.evaluation.metrics import SHARE
from activetune.evaluation.statistics import spread, spreads
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.report.maps import View, picks_map, tsne_places
from activetune.report.page import Page
from activetune.report.simulation_results import (
    EVERYTHING,
    Results,
    best_rows,
    difference_rows,
    efficiency_rows,
    table_rows,
)
from activetune.selection.artefact import load_selection

MAP = "map.npy"
UNBALANCED = 3  # largest over smallest class, from which balanced accuracy is shown
MAP_ITEMS, MAP_VIEWS = 5_000, 60
COLOURS = (
    *("#4c78a8", "#f58518", "#54a24b", "#e45756", "#9d755d", "#b279a2"),
    *("#439894", "#d6a5c9", "#79706e", "#83bcb6", "#eeca3b", "#2f4b7c"),
)
ALL_ON_ONE = "all on one test set: how much another one would change is not in them"
DASHES = ("solid", "dash", "dot")


def write_simulation_report(folder: Path) -> Path:
    """Make ``report.html`` in a finished folder of ``activetune simulate``."""
    results = Results.read(folder)
    manifest = results.manifest
    seeds, own = len(manifest["seeds"]), results.split_per_seed
    page = Page(
        f"activetune simulate: {manifest['pool_name']}",
        f"{manifest['pool_items']:,} images of {manifest['classes']:,} classes to choose from, "
        f"{manifest['test_items']:,} held out ({manifest['test_name']}{', others for each seed' if own else ''}), "
        f"{seeds} seed{'s' if seeds > 1 else ''}; "
        f"backbone: {manifest['made_from']['backbone']}.",
    )
    if seeds == 1:
        page.warning(
            "One seed shows nothing for sure: without a second there is no telling a better method from a lucky draw. "
            "Add some with --seeds 3 --resume."
        )
    common = _common_range(results)
    for recipe in results.recipes:
        page.heading(f"Learning curves: {recipe}")
        page.plot(_curves(results, recipe, common))
    page.paragraph(
        f"Mean {results.score_told} on the test set; bands are ± one sample standard deviation over the seeds, "
        + ("each with a split of its own: they hold the difference between splits" if own else ALL_ON_ONE)
        + ". A click in the legend hides a method, a double click shows it alone."
    )
    _tables(page, results)
    _efficiency(page, results)
    if results.unlooped:
        page.heading("Time to select")
        page.plot(_times(results))
        page.paragraph(
            "Seconds that a selection of K items takes, both axes logarithmic; a method that learns from labels counts "
            "all rounds that led there."
        )
    _add_map(page, results)
    _failures(page, results)
    return page.write(folder / "report.html")


# Tables -----------------------------------------------------------------------------------------------------------


def _tables(page: Page, results: Results) -> None:
    page.heading(f"{_capital(results.score_told)} on the test set")
    for recipe in results.recipes:
        page.paragraph(recipe)
        header, rows = table_rows(results, recipe)
        page.table([*header[:-2], header[-1]], [[*row[:-2], row[-1]] for row in rows], best_rows(results, recipe))
    page.paragraph(
        "Percent, mean ± sample standard deviation over the seeds; rows that are best at some budget are set off. "
        "Select: mean seconds of a selection."
    )
    if len(results.methods) > 1 and len(results.manifest["seeds"]) > 1:
        _differences(page, results)
    ranks = results.ranks()
    if len(ranks) > 1:
        page.heading("Ranks")
        ordered = sorted(ranks.items(), key=lambda pair: pair[1])
        page.table(["selector", "mean rank"], [[name, f"{rank:.1f}"] for name, rank in ordered])
        page.paragraph(
            f"In every recipe and budget the methods are ranked by mean {results.score_told}, 1 being the best, equal "
            "ones sharing theirs; shown is the mean over recipes and budgets, for methods that finished all of them."
        )
    manifest = results.manifest
    if manifest["rounds"] and results.unlooped:
        page.paragraph(
            f"In rounds: {', '.join(manifest['rounds'])}. These learn from labels: {manifest['start']} chooses "
            "the first budget, and each further one adds to the picks before, with all their labels known."
        )
    uneven = manifest["largest_class"] >= UNBALANCED * manifest["smallest_class"]
    if uneven and results.score == "top1":
        page.heading("Balanced accuracy")
        for recipe in results.recipes:
            page.paragraph(recipe)
            header, rows = table_rows(results, recipe, "balanced_accuracy")
            page.table(header[:-2], [row[:-2] for row in rows], best_rows(results, recipe, "balanced_accuracy"))
        page.paragraph(
            "The mean over the test set's classes of the share that is right, in percent. The pool's classes have "
            f"{manifest['smallest_class']:,} to {manifest['largest_class']:,} items, so top-1 speaks for the large "
            "ones."
        )


def _differences(page: Page, results: Results) -> None:
    page.heading(f"{_capital(results.score_told)} against {results.reference}")
    for recipe in results.recipes:
        page.paragraph(recipe)
        page.table(*difference_rows(results, recipe))
    points = "Points" if results.scale == SHARE else _capital(results.score_told)
    hard = "seed (and its split)" if results.split_per_seed else "seed"
    page.paragraph(
        f"{points} more than {results.reference} has, mean ± sample standard deviation of the differences seed by "
        f"seed. A {hard} that is hard for both methods does not widen it, so it tells methods apart more sharply "
        "than the tables above."
    )


def _efficiency(page: Page, results: Results) -> None:
    """Training curves and B2A of recipes that select themselves and count batches."""
    for recipe in (recipe for recipe in results.recipes if recipe in results.looped):
        page.heading(f"Batches to an accuracy: {recipe}")
        for budget, _ in results.budgets_of(recipe):
            if any((recipe, method, budget) in results.curves for method in results.methods):
                page.paragraph(f"{budget} a loop")
                page.plot(_training_curves(results, recipe, budget))
                page.table(*efficiency_rows(results, recipe, budget))
        page.paragraph(
            "Accuracy on the held-out part of the pool as training goes on, mean over the seeds. The table has the "
            "batches and seconds until it first reached a value. Seconds hold scoring the pool and selecting, not "
            "validation."
        )


def _failures(page: Page, results: Results) -> None:
    failed = results.failed
    if not failed["error"]:
        return
    page.heading("Failed")
    names = ("method", "recipe", "budget", "seed", "error")
    page.table(names, zip(*(failed[name] for name in names), strict=True))


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# Figures ----------------------------------------------------------------------------------------------------------


def _line(number: int) -> dict[str, str]:
    return {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number // len(COLOURS) % len(DASHES)]}


def _common_range(results: Results) -> list[float]:
    """Bounds of all recipes' scores with their bands: curves beside each other have one axis."""
    scale = results.scale
    cells = [scale.factor * np.asarray(cell[results.score]) for cell in results.cells.values()]
    widths = [spread(values) or 0.0 for values in cells]
    low = min((float(values.mean()) - width for values, width in zip(cells, widths, strict=True)), default=0.0)
    high = max(
        (float(values.mean()) + width for values, width in zip(cells, widths, strict=True)), default=scale.factor
    )
    room = max(0.05 * (high - low), 0.005 * scale.factor)
    return [max(low - room, 0.0), min(high + room, 1.005 * max(scale.factor, high))]


def _curves(results: Results, recipe: str, common: Sequence[float]) -> Any:
    """Mean score against labels, a line and a band a method, on the bounds that all recipes have."""
    import plotly.graph_objects as go

    figure = go.Figure()
    scale = results.scale
    budgets, whole = results.budgets_of(recipe), results.whole_of(recipe)
    counts_shown = [count for _, count in budgets]
    for number, method in enumerate(results.methods):
        found = [
            (count, scale.factor * float(np.mean(values)), scale.factor * (spread(values) or 0.0))
            for budget, count in budgets
            if (values := results.values(recipe, method, budget))
        ]
        if found:
            _add_curve(figure, number, method, found, digits=1 + scale.digits)
    if whole is not None and (values := results.values(recipe, results.methods[0], whole)):
        figure.add_hline(
            y=scale.factor * np.mean(values), line={"dash": "dash", "width": 1}, annotation_text=EVERYTHING
        )
    wide = max(counts_shown) > 8 * min(counts_shown)
    figure.update_layout(
        template="plotly_white",
        height=440,
        margin={"t": 20, "b": 40},
        hovermode="x unified",
        xaxis={
            "title": "items per loop" if recipe in results.looped else "labels",
            "tickvals": counts_shown,
            "ticktext": [f"{count:,}" for count in counts_shown],
            "type": "log" if wide else "linear",
        },
        yaxis={"title": f"{results.score_told} on the test set, {scale.unit}", "range": list(common)},
    )
    return figure


def _add_curve(
    figure: Any, number: int, method: str, points: Sequence[tuple[int, float, float]], *, digits: int
) -> None:
    """A method's line with its band.

    Args:
        points: labels, mean score and its spread, as they are told with so many digits.
    """
    counts, means, width = (np.asarray(column, dtype=float) for column in zip(*points, strict=True))
    figure.add_scatter(
        x=[*counts, *counts[::-1]],
        y=[*(means + width), *(means - width)[::-1]],
        fill="toself",
        fillcolor=COLOURS[number % len(COLOURS)],
        opacity=0.15,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=method,
    )
    figure.add_scatter(
        x=counts,
        y=means,
        name=method,
        mode="lines+markers",
        line=_line(number),
        legendgroup=method,
        customdata=width,
        hovertemplate=f"%{{y:.{digits}f}} ± %{{customdata:.{digits}f}}",
    )


def _training_curves(results: Results, recipe: str, budget: str) -> Any:
    """Mean validation accuracy against batches, a line a method."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, (method, curves) in enumerate(results.training(recipe, budget).items()):
        if curves:
            count = min(map(len, curves))
            top1 = 100 * np.asarray([[point["val_top1"] for point in curve[:count]] for curve in curves])
            seconds = np.mean([[point["seconds"] for point in curve[:count]] for curve in curves], axis=0)
            figure.add_scatter(
                x=[point["batches"] for point in curves[0][:count]],
                y=top1.mean(axis=0),
                name=method,
                mode="lines+markers",
                line=_line(number),
                customdata=np.stack([spreads(top1), seconds], axis=1),
                hovertemplate="%{y:.1f} ± %{customdata[0]:.1f} after %{customdata[1]:.0f} s",
            )
    figure.update_layout(
        template="plotly_white",
        height=380,
        margin={"t": 20, "b": 40},
        hovermode="x unified",
        xaxis={"title": "batches", "rangemode": "tozero"},
        yaxis={"title": "top-1 on the held-out part, %"},
        showlegend=True,
    )
    return figure


def _times(results: Results) -> Any:
    """Seconds of a selection against K, without recipes that select themselves: their tables have these."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for number, method in enumerate(results.methods):
        found = [
            [value for recipe in results.unlooped if (value := results.seconds(recipe, method, budget)) is not None]
            for budget in results.budgets
        ]
        figure.add_scatter(
            x=results.counts,
            y=[max(np.mean(seconds), 1e-4) if seconds else None for seconds in found],
            name=method,
            mode="lines+markers",
            line=_line(number),
        )
    figure.update_layout(
        template="plotly_white",
        height=380,
        margin={"t": 20, "b": 40},
        xaxis={
            "title": "K",
            "type": "log",
            "tickvals": results.counts,
            "ticktext": [f"{count:,}" for count in results.counts],
        },
        yaxis={"title": "seconds", "type": "log"},
        showlegend=True,
    )
    return figure


# Map --------------------------------------------------------------------------------------------------------------


def _add_map(page: Page, results: Results) -> None:
    embeddings = load_embeddings(results.folder / "embeddings" / ("whole" if results.split_per_seed else "pool"))
    views = _views(results, embeddings)
    if not views or len(embeddings) < 4:
        return
    rows = _map_rows(len(embeddings), views)
    places = _places(results.folder / MAP, embeddings, rows)
    names = [str((embeddings.labels or [""] * len(embeddings))[row]) for row in rows]
    placed = [View(view.name, np.searchsorted(rows, view.rows)) for view in views]
    page.heading("Where the picks lie")
    page.paragraph(
        f"A t-SNE map of {'all' if len(rows) == len(embeddings) else f'{len(rows):,} of the'} {len(embeddings):,} "
        f"items of the pool, coloured by class; crosses are the picks of seed {results.manifest['seeds'][0]}."
    )
    page.plot(picks_map(places, [embeddings.ids[row] for row in rows], names, placed, len(views) - 1))


def _views(results: Results, embeddings: Embeddings) -> list[View]:
    """The picks of the first seed, small budgets first, as many as the map has room for."""
    found: list[View] = []
    shown: set[int] = set()
    seed = results.manifest["seeds"][0]
    for budget, count in zip(results.budgets, results.counts, strict=True):
        names = {f"{method}, {count:,}": file_name(method, budget, seed) for method in results.methods}
        for recipe, method, looped in results.curves:
            if looped == budget != results.whole:
                names[f"{recipe}: {method}, last {count:,}"] = file_name(method, recipe, budget, seed)
        for name, place in names.items():
            try:
                picks = load_selection(results.folder / "selections" / place).ids
            except ActivetuneError:  # the selection failed, or no recipe asked for it
                continue
            rows = np.asarray([embeddings.position[item] for item in picks])
            if len(found) < MAP_VIEWS and len(shown | set(rows.tolist())) <= MAP_ITEMS:
                found.append(View(name, rows))
                shown |= set(rows.tolist())
    return found


def _map_rows(total: int, views: Sequence[View]) -> np.ndarray:
    """The rows on the map, ascending: all picks, and others drawn at random up to the limit."""
    if total <= MAP_ITEMS:
        return np.arange(total)
    picks = np.unique(np.concatenate([view.rows for view in views]))
    others = np.setdiff1d(np.random.default_rng(0).permutation(total)[:MAP_ITEMS], picks)
    drawn = np.random.default_rng(0).permutation(others)[: MAP_ITEMS - len(picks)]
    return np.sort(np.concatenate([picks, drawn]))


def _places(path: Path, embeddings: Embeddings, rows: np.ndarray) -> np.ndarray:
    """Places of the rows on the map; kept in ``map.npy`` as (row, x, y), so that the page is quickly made again."""
    if path.is_file():
        try:
            kept = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError):
            kept = np.empty((0, 3))
        if kept.shape == (len(rows), 3) and (kept[:, 0] == rows).all():
            return np.asarray(kept[:, 1:])
    places = tsne_places(np.asarray(embeddings.features_ND[rows]))
    write_array(path, np.column_stack([rows, places]))
    return places
