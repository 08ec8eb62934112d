"""The map of the pool: a picture under the pointer, colours by what is known, a lasso that gives a list of ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import ActivetuneError
from activetune.base.files import file_name
from activetune.base.fingerprint import digest, digest_array
from activetune.base.numpy_files import read_own_archive, write_archive
from activetune.base.progress import note
from activetune.features.artefact import Embeddings
from activetune.features.clusters import cluster
from activetune.features.distances import distances_from, nearest_centroid, unit_rows
from activetune.report import maps
from activetune.report.maps import Colouring, Places, View, map_element, rows_of_map
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.pictures import sheets
from activetune.report.simulation_results import Results
from activetune.report.subject import DEMO, EMBEDDINGS, MODEL, PROJECT, SELECTION, SIMULATION, Subject
from activetune.selection.artefact import load_selection

KEPT = "map.npz"  # a simulation's t-SNE places, and what they were made from
STUDY_ITEMS, STUDY_VIEWS = 5_000, 60  # on the map of a simulation, whose t-SNE takes time
CLUSTERS = 12


class Map(Panel):
    """See the module."""

    kinds = (EMBEDDINGS, SELECTION, MODEL, SIMULATION, DEMO, PROJECT)
    needs = ("embeddings",)
    order = 35

    def stands(self, subject: Subject) -> bool:
        """See :class:`Panel`; patch tokens have no place, and one item makes no map."""
        if not super().stands(subject):
            return False
        assert subject.embeddings is not None
        enough = 4 if subject.kind in (SIMULATION, DEMO) else 2
        return subject.embeddings.features_ND.ndim == 2 and len(subject.embeddings) >= enough

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.embeddings is not None
        embeddings = subject.embeddings
        views = _views(subject, embeddings)
        if subject.kind == SIMULATION and not views:
            return
        study = subject.kind in (SIMULATION, DEMO)
        wanted = np.concatenate([view.rows for view in views]) if views else np.empty(0, dtype=np.int64)
        rows = rows_of_map(len(embeddings), wanted, STUDY_ITEMS if study else maps.MOST, subject.run.seed)
        placed = [View(view.name, np.searchsorted(rows, view.rows)) for view in views]
        names = _layouts(subject, len(rows))
        layouts = {maps.TOLD[name]: _places(name, subject, embeddings, rows) for name in names}
        ids = [embeddings.ids[row] for row in rows]
        pool = subject.pool
        tiles = None if pool is None else sheets(pool, ids, page.attach, quiet=subject.run.quiet)
        page.heading("Where the picks lie" if views else "Map of the pool")
        page.paragraph(_told(subject, len(rows), len(embeddings), list(layouts)))
        shown = len(views) - 1 if subject.kind == SIMULATION else _first(views)
        colourings = _colourings(subject, embeddings, rows)
        page.add(map_element(layouts, ids, colourings, placed, shown=shown, tiles=tiles), asks="map")
        page.note(
            "The wheel zooms, dragging moves. Lasso (or shift and drag) chooses items, whose ids can be copied or "
            "saved as a list, which activetune select takes by --candidates or --exclude. A click in the legend hides."
        )


def _told(subject: Subject, shown: int, total: int, layouts: Sequence[str]) -> str:
    """What the map shows."""
    some = "all" if shown == total else f"{shown:,} of the"
    marks = {SELECTION: "; rings are the picks", DEMO: "; rings are the picks of one seed"}.get(subject.kind, "")
    if subject.results is not None:
        marks = f"; rings are the picks of seed {subject.results.manifest['seeds'][0]}"
    return (
        f"A {layouts[0]} map of {some} {total:,} items of the pool{marks}. Items that lie near each other look "
        "alike to the backbone; the distances between far ones tell little."
    )


def _first(views: Sequence[View]) -> int:
    """The view that is shown before anyone chooses."""
    return next((number for number, view in enumerate(views) if view.name.startswith("activeft")), 0)


# Places -----------------------------------------------------------------------------------------------------------


def _layouts(subject: Subject, count: int) -> list[str]:
    """The names of the layouts; a study's map is by t-SNE, which takes little beside its own time."""
    names = dict.fromkeys(("tsne",) if subject.kind in (SIMULATION, DEMO) else ())
    names.update(dict.fromkeys(subject.given.layouts))
    return [name for name in names if count >= maps.LEAST[name]] or ["pca"]


def _places(name: str, subject: Subject, embeddings: Embeddings, rows: IntArray) -> Places:
    """Places of the rows on the map; a simulation's are kept, so that its page is quickly made again."""
    path, key = subject.folder / KEPT, digest(embeddings.fingerprint, digest_array(rows), str(subject.run.seed))
    keeps = subject.kind == SIMULATION and name == "tsne"
    if keeps and (kept := _kept(path, key, len(rows))) is not None:
        return kept
    if name != "pca":
        note(f"{maps.TOLD[name]} of {len(rows):,} items", subject.run.quiet)
    places = maps.LAYOUTS[name](np.asarray(embeddings.features_ND[rows]), subject.run.seed)
    if keeps:
        write_archive(path, {"places": places, "key": np.asarray(key)})
    return places


def _kept(path: Path, key: str, count: int) -> Places | None:
    """The places in a file, if they are those of this key."""
    found = read_own_archive(path)
    if found is None or found.keys() != {"places", "key"} or str(found["key"]) != key:
        return None
    places = found["places"]
    return places if places.shape == (count, 2) and bool(np.isfinite(places).all()) else None


# Colours ----------------------------------------------------------------------------------------------------------


def _colourings(subject: Subject, embeddings: Embeddings, rows: IntArray) -> list[Colouring]:
    """What the items can be coloured by, the most telling first; there is always one."""
    ids = [embeddings.ids[row] for row in rows]
    if subject.by_class is not None:
        return _of_model(subject, ids)
    found = []
    if (known := subject.known) is not None:
        found.append(Colouring.by_class("label", [known.get(item) for item in ids]))
    for name, values in subject.remarks.items():
        found.append(Colouring.by_class(name, [values.get(item) for item in ids]))
    if subject.selection is not None:
        picks = unit_rows(embeddings.features_ND[[embeddings.position[item] for item in subject.selection.ids]])
        _, similarity = nearest_centroid(unit_rows(embeddings.features_ND[rows]), picks)
        found.append(Colouring.by_number("distance to the nearest pick", distances_from(similarity), "{:.2f}".format))
    if subject.answered is not None:
        place = {item: row for row, item in enumerate(subject.answered.ids)}
        agreement_M = subject.answered.agreement_N[[place[item] for item in ids]]
        found.append(Colouring.by_number("agreement with the known answer", agreement_M, "{:.2f}".format))
    if subject.kind not in (SIMULATION, DEMO) or not found:
        found.append(_clusters(embeddings.features_ND[rows], subject.run.seed))
    return found


def _of_model(subject: Subject, ids: Sequence[str]) -> list[Colouring]:
    """Right or wrong, known class, answered class, how sure."""
    answers = subject.by_class
    assert answers is not None and answers.truth_N is not None
    place = {item: row for row, item in enumerate(answers.ids)}
    rows = np.asarray([place[item] for item in ids])
    wrong = (answers.agreement_N[rows] < 1).astype(np.int64)
    classes = answers.classes
    truths = [classes[number] for number in answers.truth_N[rows]]
    predicted = [classes[number] for number in answers.predicted_N[rows]]
    return [
        Colouring("mistake", ["right", "wrong"], wrong, "verdict"),
        Colouring.by_class("label", truths, classes),
        Colouring.by_class("prediction", predicted, classes),
        Colouring.by_number("how sure the model is", answers.sure_N[rows], "{:.0%}".format),
    ]


def _clusters(features_MD: FloatArray, seed: int) -> Colouring:
    """Twelve clusters of like items, the largest first."""
    units_MD = unit_rows(features_MD)
    count = min(CLUSTERS, len(units_MD))
    _, group_M, _ = cluster(units_MD, count, np.random.default_rng(seed), iterations=20)
    order = np.argsort(-np.bincount(group_M, minlength=count), kind="stable")
    rank = np.empty(count, dtype=np.int64)
    rank[order] = np.arange(count)
    return Colouring("cluster", [f"cluster {number + 1}" for number in range(count)], rank[group_M])


# Picks ------------------------------------------------------------------------------------------------------------


def _views(subject: Subject, embeddings: Embeddings) -> list[View]:
    """The picks that can be marked."""
    if subject.selection is not None:
        rows = np.asarray([embeddings.position[item] for item in subject.selection.ids])
        return [View("picks", rows)]
    if subject.results is not None:
        return views_of(subject.results, embeddings)
    if subject.kind == DEMO:
        return [
            View(f"{method}, {budget}", np.asarray([embeddings.position[item] for item in picks.ids]))
            for budget in reversed(subject.manifest["budgets"])
            for method in subject.manifest["methods"]
            for picks in [load_selection(subject.folder / "selections" / f"{method}-{budget}-0")]
        ]
    return []


def views_of(results: Results, embeddings: Embeddings) -> list[View]:
    """The picks of a simulation's first seed, small budgets first, as many as the map has room for."""
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
            if len(found) < STUDY_VIEWS and len(shown | set(rows.tolist())) <= STUDY_ITEMS:
                found.append(View(name, rows))
                shown |= set(rows.tolist())
    return found
