"""How many labels are enough: how near the pool lies to the first K picks, against K.

Distances are Euclidean between features of unit length (0 to 2). Beside the picks stand as many items drawn at random.
Shape legend: N items, D feature size, K picks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from activetune.base.arrays import IntArray
from activetune.features.distances import Float32, distances_from, pieces, unit_rows
from activetune.report.charts import Axis, Line, line_chart, wide_apart
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.subject import SELECTION, Subject

STEPS = 28  # numbers of picks at which it is measured
ENOUGH = 0.9  # of what all picks bring
LATE = 0.5  # from which share of the picks on the last ones are said to bring much


class Coverage(Panel):
    """See the module."""

    kinds = (SELECTION,)
    needs = ("selection", "embeddings")
    order = 40

    def stands(self, subject: Subject) -> bool:
        """See :class:`Panel`; patch tokens have no place that could lie near another, and one pick makes no curve."""
        if not super().stands(subject):
            return False
        assert subject.embeddings is not None and subject.selection is not None
        return subject.embeddings.features_ND.ndim == 2 and len(subject.selection) > 1

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.embeddings is not None and subject.selection is not None
        embeddings = subject.embeddings
        units_ND = unit_rows(embeddings.features_ND)
        picks = np.asarray([embeddings.position[item] for item in subject.selection.ids])
        counts = _counts(len(picks))
        drawn = np.random.default_rng(subject.run.seed).permutation(len(embeddings))[: len(picks)]
        ours, random = mean_distances(units_ND, picks, counts), mean_distances(units_ND, drawn, counts)
        page.heading("How many labels are enough?")
        axis = Axis("picks", logarithmic=wide_apart(counts), told=lambda count: f"{count:,.0f}")
        lines = [
            Line("picks in the order of rank", list(zip(counts, ours, strict=True)), colour=0),
            Line("as many drawn at random", list(zip(counts, random, strict=True)), colour=7, style=1),
        ]
        height = Axis("mean distance to the nearest one", told=lambda value: f"{value:.3g}")
        page.add(line_chart(lines, axis, height))
        page.paragraph(_advice(counts, ours))
        page.note(
            "The distance of an item to the nearest of the first K picks, on average over the pool. It tells "
            "how well the picks stand for the pool, not how good a model of their labels is: the curve of a model's "
            "scores does, once there are some (activetune simulate, or labels of a few rounds)."
        )
        if (known := subject.known) is not None and all(item in known for item in subject.selection.ids):
            page.add(_classes(subject.selection.ids, known, counts))


def _counts(total: int) -> list[int]:
    """Numbers of picks from 1 to all of them, denser among the few."""
    return sorted({round(float(count)) for count in np.geomspace(1, total, min(STEPS, total))} | {total})


def mean_distances(units_ND: Float32, picks: IntArray, counts: Sequence[int]) -> list[float]:
    """The mean distance of all items to the nearest of the first picks, for each of ascending numbers of picks.

    Cost: N K D operations, O(N) memory beside the features.
    """
    nearest_N = np.full(len(units_ND), -1.0, dtype=np.float32)
    found, before = [], 0
    for count in counts:
        chosen_KD = units_ND[picks[before:count]]
        for part in pieces(len(units_ND), max(len(chosen_KD), units_ND.shape[1])):
            nearest_N[part] = np.maximum(nearest_N[part], (units_ND[part] @ chosen_KD.T).max(axis=1))
        found.append(float(distances_from(nearest_N).mean(dtype=np.float64)))
        before = count
    return found


def _advice(counts: Sequence[int], distances: Sequence[float]) -> str:
    """From which pick on the others bring little, if there is one."""
    gain = distances[0] - distances[-1]
    if gain <= 0:
        return "No pick after the first brings the pool nearer."
    reached = next(
        count for count, distance in zip(counts, distances, strict=True) if distances[0] - distance >= ENOUGH * gain
    )
    share = reached / counts[-1]
    told = (
        f"The first {reached:,} of {counts[-1]:,} picks achieve {100 * ENOUGH:.0f} % of the fall in mean distance "
        f"from the first pick to the last ({distances[0]:.3f} to {distances[-1]:.3f}). "
    )
    if share <= LATE:
        return (
            told
            + f"If labels are dear, label these first, look at a model's scores, and go on from pick {reached + 1:,}."
        )
    return told + "Late picks bring much of it: more labels may stand for parts of the pool that have none yet."


def _classes(ids: Sequence[str], known: Mapping[str, str], counts: Sequence[int]) -> str:
    """How many classes the first K picks meet."""
    met = [len({known[item] for item in ids[:count]}) for count in counts]
    axis = Axis("picks", logarithmic=wide_apart(counts), told=lambda count: f"{count:,.0f}")
    total = len(set(known.values()))
    line = Line("classes met", list(zip(counts, map(float, met), strict=True)), colour=2)
    height = Axis("classes met", told=lambda value: f"{value:,.10g}")
    return line_chart([line], axis, height, rule=(float(total), f"all {total:,} classes"))
