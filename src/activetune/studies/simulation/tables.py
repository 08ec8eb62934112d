"""The tables that a simulation writes: a row per cell, per class of a cell, and per point of a training curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from activetune.base.tables import write_csv
from activetune.report.simulation_results import CURVES, PER_CLASS, RESULTS
from activetune.studies.simulation.kept import Row
from activetune.tasks import Task

CELL = ("method", "recipe", "budget", "seed")
FURTHER = ("emd", "radius", "select_seconds", "train_seconds", "started_by", "batches", "scored", "split")
CURVE_HEADER = (*CELL, "batches", "scored", "seconds", "val_top1")  # of recipes that select, which classify


def told_scores(task: Task) -> tuple[str, ...]:
    """The scores of a task's models that are told: the primary one first."""
    return task.primary, *([name for name in task.shown if name != task.primary] or ["balanced_accuracy"])


def results_header(task: Task) -> tuple[str, ...]:
    """The columns of ``results.csv``: the task's primary score, and its others, among those that all tasks have."""
    primary, *further = told_scores(task)
    return (*CELL, primary, "seconds", "k", *further, "classes_met", *FURTHER)


def write_tables(folder: Path, rows: Sequence[Row], task: Task) -> None:
    """Write the tables of the cells, of their classes, and of the points of their training curves."""
    classes = [{**row, "class": name, **found} for row in rows for name, found in row.get("per_class", {}).items()]
    points = [{**row, **point} for row in rows for point in row.get("curve", ())]
    of_a_class = dict.fromkeys(name for row in rows for found in row.get("per_class", {}).values() for name in found)
    class_header = (*CELL, "class", *of_a_class)
    tables = ((RESULTS, results_header(task), rows), (PER_CLASS, class_header, classes), (CURVES, CURVE_HEADER, points))
    for name, header, lines in tables:
        if lines or name == RESULTS:
            write_csv(folder / name, header, [[line.get(column, "") for column in header] for line in lines])
