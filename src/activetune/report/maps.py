"""Maps of a pool: places of its items in two dimensions, and the element of the page that shows them.

Places are written as whole numbers of 16 bits, ids and class numbers beside them; ``static/map.js`` draws them by WebGL
(regl-scatterplot), or on a plain canvas where there is none. Ids of many items share folders and beginnings: each is
written as what differs from the one before it in ascending order.
Shape legend: N items, M of them on the map, D feature size.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import MissingExtra
from activetune.features.distances import unit_rows
from activetune.report.page import as_script

MOST = 100_000  # items on a map
BINS = 12  # shades of a colouring by numbers
COMPONENTS = 50  # that t-SNE and UMAP begin with
UNKNOWN = "not known"
SHARED = 30_000  # signs at most that an id takes from the one before: their number is told in 16 bits
Places = npt.NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """Picks to mark on the map: a selection's, as rows of the map."""

    name: str
    rows: IntArray


@dataclass(frozen=True)
class Colouring:
    """What items are coloured by.

    Attributes:
        codes_M: of each item on the map the number of its name. kind: ``classes``, ``scale`` (names ascend) or
            ``verdict`` (the first is right). unknown: the name of what is not known, -1: all are.
    """

    name: str
    names: Sequence[str]
    codes_M: IntArray
    kind: str = "classes"
    unknown: int = -1

    @classmethod
    def by_class(cls, name: str, values: Sequence[str | None], order: Sequence[str] = ()) -> Colouring:
        """By class names, of which some are not known."""
        present = {value for value in values if value}
        names = [*(one for one in order if one in present), *sorted(present - set(order))]
        number = {one: place for place, one in enumerate(names)}
        codes = np.asarray([number.get(value or "", len(names)) for value in values], dtype=np.int64)
        unknown = len(names) if (codes == len(names)).any() else -1
        return cls(name, [*names, UNKNOWN] if unknown >= 0 else names, codes, unknown=unknown)

    @classmethod
    def by_number(cls, name: str, values_M: FloatArray, told: Callable[[float], str]) -> Colouring:
        """By numbers, in shades of as many items each, so far as their limits are told apart."""
        limits = np.unique(np.quantile(values_M, np.linspace(0, 1, BINS + 1)))
        edges = np.asarray(list({told(float(limit)): limit for limit in limits[::-1]}.values()))[::-1]
        codes = np.clip(np.searchsorted(edges, values_M, side="right") - 1, 0, max(0, len(edges) - 2))
        if len(edges) < 2:
            return cls(name, [told(float(edges[0]))], codes, "scale")
        names = [f"{told(float(low))} to {told(float(high))}" for low, high in pairwise(edges)]
        used, codes = np.unique(codes, return_inverse=True)  # of few items, some shades have none
        return cls(name, [names[number] for number in used], codes, "scale")


# Places -----------------------------------------------------------------------------------------------------------


def pca_places(features_MD: FloatArray) -> Places:
    """(M, 2) places: the first two principal components of the unit rows."""
    return _components(unit_rows(features_MD), 2)


def tsne_places(features_MD: FloatArray, seed: int = 0) -> Places:
    """(M, 2) places of at least four items: 50 principal components of the unit rows, then t-SNE."""
    from sklearn.manifold import TSNE

    parts = _components(unit_rows(features_MD), COMPONENTS)
    perplexity = min(30.0, (len(parts) - 1) / 3)
    places = TSNE(init="pca", random_state=seed, max_iter=500, perplexity=perplexity).fit_transform(parts)
    return np.asarray(places, dtype=np.float64)


def umap_places(features_MD: FloatArray, seed: int = 0) -> Places:
    """(M, 2) places: 50 principal components of the unit rows, then UMAP.

    Raises:
        MissingExtra: the package ``umap-learn`` is not there.
    """
    try:
        from umap import UMAP
    except ImportError:
        raise MissingExtra("umap-learn", "umap") from None
    parts = _components(unit_rows(features_MD), COMPONENTS)
    neighbours = min(15, len(parts) - 1)
    return np.asarray(UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1).fit_transform(parts), dtype=np.float64)


def _components(unit_MD: npt.NDArray[np.float32], count: int) -> Places:
    """The first principal components, by the eigenvectors of the features' covariance; missing ones are zero.

    Each is turned so that its largest entry is positive, and so is the same on every machine.
    """
    centred_MD = unit_MD - unit_MD.mean(axis=0, dtype=np.float64).astype(np.float32)
    _, vectors = np.linalg.eigh((centred_MD.T @ centred_MD).astype(np.float64))
    chosen = vectors[:, ::-1][:, :count]
    signs = np.sign(chosen[np.abs(chosen).argmax(axis=0), np.arange(chosen.shape[1])])
    found = centred_MD.astype(np.float64) @ (chosen * np.where(signs == 0, 1, signs))
    return np.pad(found, ((0, 0), (0, count - found.shape[1])))


LAYOUTS: Mapping[str, Callable[[FloatArray, int], Places]] = {
    "pca": lambda features_MD, _: pca_places(features_MD),
    "tsne": tsne_places,
    "umap": umap_places,
}
TOLD = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
LEAST = {"pca": 2, "tsne": 4, "umap": 4}  # items that a layout needs


def rows_of_map(total: int, wanted: IntArray, most: int, seed: int) -> IntArray:
    """The rows on the map, ascending: all that are wanted, and others drawn at random up to the limit."""
    if total <= most:
        return np.arange(total)
    wanted = np.unique(wanted)
    others = np.setdiff1d(np.random.default_rng(seed).permutation(total)[: most + len(wanted)], wanted)
    drawn = np.random.default_rng(seed).permutation(others)[: max(0, most - len(wanted))]
    return np.sort(np.concatenate([wanted, drawn]))


# The element ------------------------------------------------------------------------------------------------------


def map_element(
    layouts: Mapping[str, Places],
    ids: Sequence[str],
    colourings: Sequence[Colouring],
    views: Sequence[View] = (),
    *,
    shown: int = 0,
    tiles: Mapping[str, object] | None = None,
) -> str:
    """The map as markup, to be added to a page with its script ``map``.

    Args:
        layouts: places (M, 2) by name, the first one is shown. ids: M of them. colourings: at least one.
        views: picks that can be marked; ``shown`` is the one at first. tiles: as :func:`pictures.sheets` makes them.
    """
    content = {
        "ids": _told_apart(ids),
        "layouts": [_layout(places) for places in layouts.values()],
        "colourings": [_colouring(one) for one in colourings],
        "views": [{"rows": _packed(view.rows, "<u4")} for view in views],
        "sprites": tiles,
    }
    chosen = [
        _choice("layout", "Layout", list(layouts), 0) if len(layouts) > 1 else "",
        _choice("colouring", "Colour by", [one.name for one in colourings], 0),
        _choice("view", "Mark", [view.name for view in views], shown, none="nothing") if views else "",
    ]
    return (
        f'<div class="map" data-map><div class="tools">{"".join(chosen)}'
        '<button type="button" data-lasso aria-pressed="false" title="Drag around items to choose them">Lasso</button>'
        '<button type="button" data-reset>Whole map</button></div>'
        '<div class="field" role="img" aria-label="Map of the pool"><canvas class="points"></canvas>'
        '<canvas class="over"></canvas></div><div class="legend"></div>'
        '<div class="chosen" hidden><div class="tools"><b></b><button type="button" data-copy>Copy ids</button>'
        '<button type="button" data-save>Save as CSV</button><button type="button" data-clear>Clear</button></div>'
        f"<ul></ul></div>{as_script(content)}</div>"
    )


def _told_apart(ids: Sequence[str]) -> dict[str, Any]:
    """Ids in ascending order, each by how much of the one before it begins with and its rest.

    Returns:
        ``rows`` (of the map, in that order; None where it is the map's own), ``shared`` (lengths as a browser counts
        them: in halves of UTF-16) and ``rests``.
    """
    rows = sorted(range(len(ids)), key=ids.__getitem__)
    ordered = [ids[row] for row in rows]
    shared = [os.path.commonprefix(pair)[:SHARED] for pair in pairwise(["", *ordered])]  # noqa: RUF071 (sign by sign)
    halves = [len(one) + sum(sign > "\uffff" for sign in one if not one.isascii()) for one in shared]
    return {
        "rows": None if rows == list(range(len(ids))) else _packed(np.asarray(rows), "<u4"),
        "shared": _packed(np.asarray(halves), "<u2"),
        "rests": [item[len(one) :] for one, item in zip(shared, ordered, strict=True)],
    }


def _layout(places_M2: Places) -> dict[str, str]:
    """Places in a square, both axes alike, as numbers of 16 bits."""
    low, high = places_M2.min(axis=0), places_M2.max(axis=0)
    side = 1.06 * float((high - low).max()) or 1.0
    within = (places_M2 - (low + high) / 2) / side + 0.5
    x, y = np.clip(np.rint(65535 * within), 0, 65535).astype(np.int64).T
    return {"x": _packed(x, "<u2"), "y": _packed(y, "<u2")}


def _colouring(one: Colouring) -> dict[str, Any]:
    wide = len(one.names) > 256
    return {
        "name": one.name,
        "names": list(one.names),
        "counts": np.bincount(one.codes_M, minlength=len(one.names)).tolist(),
        "codes": _packed(one.codes_M, "<u2" if wide else "u1"),
        "wide": wide,
        "kind": one.kind,
        "unknown": one.unknown,
    }


def _packed(values: IntArray, kind: str) -> str:
    return base64.b64encode(np.asarray(values).astype(kind).tobytes()).decode()


def _choice(name: str, told: str, options: Sequence[str], chosen: int, none: str = "") -> str:
    entries = "".join(
        f'<option value="{number}"{" selected" if number == chosen else ""}>{escape(option)}</option>'
        for number, option in enumerate(options)
    )
    nothing = f'<option value="">{escape(none)}</option>' if none else ""
    return f'<label>{escape(told)} <select data-choose="{name}">{entries}{nothing}</select></label>'
