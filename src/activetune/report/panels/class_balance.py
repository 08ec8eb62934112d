"""How many items there are of each class: in the pool, among the picks, among a model's answers."""

from __future__ import annotations

from collections import Counter

from activetune.report.page import Cell, Page, Share
from activetune.report.panels._base import Panel
from activetune.report.subject import EMBEDDINGS, MODEL, PROJECT, SELECTION, Subject


class ClassBalance(Panel):
    """See the module."""

    kinds = (EMBEDDINGS, SELECTION, MODEL, PROJECT)
    order = 51

    def stands(self, subject: Subject) -> bool:
        """See :class:`Panel`: where some class is known."""
        known = subject.by_class if subject.kind == MODEL else subject.known
        return super().stands(subject) and known is not None

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        page.heading("Class balance")
        columns = _columns(subject)
        first = next(iter(columns.values()))
        names = sorted(set().union(*columns.values()), key=lambda name: (-first[name], name))
        most = max(max(column.values(), default=1) / max(1, column.total()) for column in columns.values())
        rows: list[list[Cell]] = []
        for name in names:
            row: list[Cell] = [name]
            for column in columns.values():
                share = column[name] / max(1, column.total())
                row += [f"{column[name]:,}", f"{100 * share:.1f}", Share(share / most)]
            rows.append(row)
        header = [part for name in columns for part in (name, "%", "")]
        page.table(["class", *header], rows)
        sizes = [count for count in first.values() if count]
        page.note(
            f"{len(names):,} classes; the largest has {max(sizes):,} items, the smallest {min(sizes):,}."
            + (" Classes are those that are known: labels.csv, --labels or the pool's own." if len(columns) > 1 else "")
        )


def _columns(subject: Subject) -> dict[str, Counter[str]]:
    """Items by class, for each set of items."""
    if (answers := subject.by_class) is not None:
        assert answers.truth_N is not None
        names = answers.classes
        return {
            "items": Counter(names[row] for row in answers.truth_N.tolist()),
            "answered": Counter(names[row] for row in answers.predicted_N.tolist()),
        }
    known = subject.known or {}
    found = {"pool": Counter(known.values())}
    if subject.selection is not None:
        found["picks"] = Counter(known[item] for item in subject.selection.ids if item in known)
    return found
