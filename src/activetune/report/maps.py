"""A t-SNE map of a pool with picks on it, and a drop-down to choose whose picks are shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.features.distances import unit_rows

IN_LEGEND = 20  # more classes than this are told apart by hovering


@dataclass(frozen=True)
class View:
    """One entry of the drop-down: the picks of a selection, as rows of the map."""

    name: str
    rows: IntArray


def tsne_places(features_MD: FloatArray) -> npt.NDArray[np.float64]:
    """(M, 2) places of at least four items: 50 principal components of the unit rows, then t-SNE."""
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    unit_MD = unit_rows(features_MD)
    parts = PCA(min(50, *unit_MD.shape), random_state=0).fit_transform(unit_MD)
    perplexity = min(30.0, (len(parts) - 1) / 3)
    places = TSNE(init="pca", random_state=0, max_iter=500, perplexity=perplexity).fit_transform(parts)
    return np.asarray(places, dtype=np.float64)


def picks_map(
    places_M2: FloatArray, ids: Sequence[str], classes: Sequence[str], views: Sequence[View], first: int
) -> Any:
    """A plotly figure: items coloured by class, crosses for the picks of the chosen view.

    Args:
        ids, classes: M of each. first: the view that is shown before anyone chooses.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for trace in _items(places_M2, ids, classes):
        figure.add_scattergl(mode="markers", **trace)
    shown = len(figure.data)
    for number, view in enumerate(views):
        figure.add_scattergl(
            **_points(places_M2, ids, view.rows),
            mode="markers",
            name="picks",
            visible=number == first,
            marker={"size": 9, "symbol": "x", "color": "black"},
            meta="ink",
        )
    visible = [[True] * shown + [number == chosen for number in range(len(views))] for chosen in range(len(views))]
    buttons = [
        {"label": view.name, "method": "update", "args": [{"visible": seen}]}
        for view, seen in zip(views, visible, strict=True)
    ]
    figure.update_layout(
        template="plotly_white",
        height=600,
        margin={"t": 50, "b": 20},
        updatemenus=[{"buttons": buttons, "active": first, "x": 0, "y": 1.1, "xanchor": "left"}],
        xaxis={"visible": False},
        yaxis={"visible": False, "scaleanchor": "x"},
    )
    return figure


def _items(places_M2: FloatArray, ids: Sequence[str], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The items as traces: one per class, with a legend, or a single one where the classes are many."""
    known = sorted(set(classes))
    rows_of = {name: np.flatnonzero(np.asarray(classes) == name) for name in known}
    if len(known) <= IN_LEGEND:
        marker: dict[str, Any] = {"size": 4, "opacity": 0.45}
        return [{**_points(places_M2, ids, rows), "name": name, "marker": marker} for name, rows in rows_of.items()]
    shade = {name: round(number * 0.618 % 1, 3) for number, name in enumerate(known)}  # neighbours in the list differ
    marker = {"size": 4, "opacity": 0.45, "color": [shade[name] for name in classes], "colorscale": "Turbo"}
    points = _points(places_M2, ids, np.arange(len(ids)))
    points["text"] = [f"{name}: {item}" for item, name in zip(ids, classes, strict=True)]
    return [{**points, "name": f"{len(known):,} classes", "marker": marker}]


def _points(places_M2: FloatArray, ids: Sequence[str], rows: IntArray) -> dict[str, Any]:
    x, y = places_M2[rows].round(2).T
    return {"x": x, "y": y, "text": [ids[row] for row in rows]}
