"""A study's tables: scores by method and budget, what each has more than the reference, ranks, balanced accuracy."""

from __future__ import annotations

import numpy as np

from activetune.base.tables import read_table
from activetune.evaluation.metrics import SHARE, capital
from activetune.evaluation.statistics import mean_and_spread
from activetune.report.demo_results import SCORES, summarise
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.simulation_results import Results, best_rows, difference_rows, table_rows
from activetune.report.subject import DEMO, SIMULATION, Subject

UNBALANCED = 3  # largest over smallest class, from which balanced accuracy is shown


class ScoreTables(Panel):
    """See the module."""

    kinds = (SIMULATION, DEMO)
    order = 22

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        if subject.results is None:
            _of_demo(subject, page)
            return
        results = subject.results
        _scores(results, page)
        if len(results.methods) > 1 and len(results.manifest["seeds"]) > 1:
            _differences(results, page)
        _ranks(results, page)
        _balanced(results, page)


def _scores(results: Results, page: Page) -> None:
    page.heading(f"{capital(results.score_told)} on the test set")
    for recipe in results.recipes:
        page.subheading(recipe)
        header, rows = table_rows(results, recipe)
        page.table([*header[:-2], header[-1]], [[*row[:-2], row[-1]] for row in rows], best_rows(results, recipe))
    unit = "Percent" if results.scale == SHARE else f"{capital(results.score_told)}, {results.scale.unit}"
    page.note(
        f"{unit}; mean ± sample standard deviation over the seeds; rows that are best at some budget are set off. "
        "Select: mean seconds of a selection."
    )
    manifest = results.manifest
    if manifest["rounds"] and results.unlooped:
        page.note(
            f"In rounds: {', '.join(manifest['rounds'])}. These learn from labels: {manifest['start']} chooses "
            "the first budget, and each further one adds to the picks before, with all their labels known."
        )


def _differences(results: Results, page: Page) -> None:
    page.heading(f"{capital(results.score_told)} against {results.reference}")
    for recipe in results.recipes:
        page.subheading(recipe)
        page.table(*difference_rows(results, recipe))
    points = "Points" if results.scale == SHARE else capital(results.score_told)
    hard = "seed (and its split)" if results.split_per_seed else "seed"
    page.note(
        f"{points} more than {results.reference} has, mean ± sample standard deviation of the differences seed by "
        f"seed. A {hard} that is hard for both methods does not widen it, so it tells methods apart more sharply "
        "than the tables above."
    )


def _ranks(results: Results, page: Page) -> None:
    ranks = results.ranks()
    if len(ranks) < 2:
        return
    page.heading("Ranks")
    ordered = sorted(ranks.items(), key=lambda pair: pair[1])
    page.table(["selector", "mean rank"], [[name, f"{rank:.1f}"] for name, rank in ordered])
    page.note(
        f"In every recipe and budget the methods are ranked by {results.score_told}, the mean over the seeds; 1 is the "
        "best, equal ones share theirs. Shown is the mean over recipes and budgets, of methods that finished all."
    )


def _balanced(results: Results, page: Page) -> None:
    manifest = results.manifest
    if manifest["largest_class"] < UNBALANCED * manifest["smallest_class"] or results.score != "top1":
        return
    page.heading("Balanced accuracy")
    for recipe in results.recipes:
        page.subheading(recipe)
        header, rows = table_rows(results, recipe, "balanced_accuracy")
        page.table(header[:-2], [row[:-2] for row in rows], best_rows(results, recipe, "balanced_accuracy"))
    page.note(
        "The mean over the test set's classes of the share that is right, in percent. The pool's classes have "
        f"{manifest['smallest_class']:,} to {manifest['largest_class']:,} items, so top-1 speaks for the large ones."
    )


def _of_demo(subject: Subject, page: Page) -> None:
    rows, budgets = summarise(read_table(subject.folder / "results.csv")), subject.manifest["budgets"]
    for score, name in SCORES.items():
        page.heading(f"{capital(name)} on held-out images")
        page.table(
            ["selector", *[f"{budget} labels" for budget in budgets], "selection, s"],
            [
                [row["name"], *[mean_and_spread(row[score][b], factor=100) for b in budgets], f"{row['seconds']:.3f}"]
                for row in rows
            ],
            frozenset(int(np.argmax([np.mean(row[score][budget]) for row in rows])) for budget in budgets),
        )
    page.note(
        "Percent, mean ± sample standard deviation over seeds; rows that are best at some budget are set off. Balanced "
        "accuracy is the mean over classes: a rare class counts as much as a frequent one. random_per_class draws as "
        "many of each class, which can only be done where the labels are known before."
    )
