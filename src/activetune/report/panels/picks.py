"""The picked images: large on a click, each with rank, reason and the nearest image that was not picked."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from activetune.features.distances import distances_from, pieces, unit_rows
from activetune.report.page import Card, Page
from activetune.report.panels._base import Panel
from activetune.report.pictures import picture
from activetune.report.subject import SELECTION, Subject

MOST, AT_ONCE = 96, 24  # picks that are shown, the first by rank; those that nothing has to be unfolded for
SIDE, SMALL = 288, 64  # pixels of a pick's longer side, of its neighbour's


class Picks(Panel):
    """See the module."""

    kinds = (SELECTION,)
    needs = ("selection",)
    order = 30

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.selection is not None
        selection, (_, problem) = subject.selection, subject.found_pool
        page.heading("Picked images")
        if problem:
            page.warning(f"The images can't be shown: {problem}. Where they are at hand, give --pool POOL.")
        page.figures(_figures(subject))
        cards = list(_cards(subject))
        page.cards(cards[:AT_ONCE])
        if len(cards) > AT_ONCE:
            page.cards(cards[AT_ONCE:], folded=f"{len(cards) - AT_ONCE} more pictures")
        if len(selection) > MOST:
            rows = zip(selection.ids, selection.scores, selection.reasons, strict=True)
            table = [(str(rank), item, why, f"{score:.4g}") for rank, (item, score, why) in enumerate(rows, 1)]
            page.table(
                ["rank", "id", "reason", "score"],
                table,
                texts=3,
                folded=f"All {len(selection):,} picks; pictures are those of the first {MOST}",
            )


def _figures(subject: Subject) -> Iterator[tuple[str, str]]:
    """How well the picks stand for the pool."""
    figures = subject.manifest["figures"]
    yield "picks", f"{len(subject.selection or ()):,}"
    yield "mean distance of an item to its nearest pick, 0 to 2", f"{figures['emd']:.4f}"
    yield "the largest such distance", f"{figures['radius']:.4f}"
    if figures.get("classes_known"):
        yield "classes met", f"{figures['classes_met']:,} of {figures['classes_known']:,}"


def _cards(subject: Subject) -> Iterator[Card]:
    assert subject.selection is not None
    selection, pool, known = subject.selection, subject.pool, subject.known or {}
    near = _nearest_unpicked(subject)
    columns = zip(selection.ids, selection.scores, selection.reasons, strict=True)
    for rank, (item, score, reason) in enumerate(columns, start=1):
        if rank > MOST:
            return
        shown = picture(pool, item, SIDE)
        lines = [*([known[item]] if item in known else []), f"score {score:.4g}", reason]
        beside = None
        if item in near:
            other, distance = near[item]
            told = f"nearest not picked, {distance:.3f} away"
            beside = (picture(pool, other, SMALL).uri, told)
        lines += [shown.problem] if shown.problem else []
        yield Card(shown.uri, f"{rank}. {item}", lines, beside=beside, small=shown.small)


def _nearest_unpicked(subject: Subject) -> dict[str, tuple[str, float]]:
    """For each pick that is shown the most similar item that was not picked, and its distance (0 to 2)."""
    assert subject.selection is not None
    embeddings = subject.embeddings
    if embeddings is None or embeddings.features_ND.ndim != 2:
        return {}
    picked = [embeddings.position[item] for item in subject.selection.ids if item in embeddings.position]
    others = np.setdiff1d(np.arange(len(embeddings)), picked)
    shown = picked[:MOST]
    if not len(others) or not shown:
        return {}
    units_ND = unit_rows(embeddings.features_ND)
    chosen_KD = units_ND[shown]
    best_K, row_K = np.full(len(shown), -2.0, dtype=np.float32), np.zeros(len(shown), dtype=np.int64)
    for part in pieces(len(others), units_ND.shape[1]):
        similarity_KM = chosen_KD @ units_ND[others[part]].T
        place_K = similarity_KM.argmax(axis=1)
        here_K = similarity_KM[np.arange(len(shown)), place_K]
        better = here_K > best_K
        best_K[better], row_K[better] = here_K[better], others[part][place_K[better]]
    distance_K = distances_from(best_K)
    return {
        embeddings.ids[pick]: (embeddings.ids[row], float(distance))
        for pick, row, distance in zip(shown, row_K.tolist(), distance_K.tolist(), strict=True)
    }
