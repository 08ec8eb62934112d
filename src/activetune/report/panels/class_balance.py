"""How many items there are of each class: in the pool, among the picks, among a model's answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

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
        columns, items = _columns(subject)
        first = next(iter(columns.values()))
        names = sorted(set().union(*columns.values()), key=lambda name: (-first[name], name))
        most = max(max(column.values(), default=1) / max(1, items[name]) for name, column in columns.items())
        rows: list[list[Cell]] = []
        for name in names:
            row: list[Cell] = [name]
            for where, column in columns.items():
                share = column[name] / max(1, items[where])
                row += [f"{column[name]:,}", f"{100 * share:.1f}", Share(share / most)]
            rows.append(row)
        header = [part for name in columns for part in (name, "%", "")]
        page.table(["class", *header], rows)
        sizes = [count for count in first.values() if count]
        page.note(
            f"{len(names):,} classes; the largest has {max(sizes):,} items, the smallest {min(sizes):,}."
            + (" An item may have several classes; % is of the items." if _several(columns, items) else "")
            + (" Classes are those that are known: labels.csv, --labels or the pool's own." if len(columns) > 1 else "")
        )


def _several(columns: Mapping[str, Counter[str]], items: Mapping[str, int]) -> bool:
    return any(column.total() != items[name] for name, column in columns.items())


def _columns(subject: Subject) -> tuple[dict[str, Counter[str]], dict[str, int]]:
    """Items by class for each set of items, and the number of items of each set."""
    if (answers := subject.by_class) is not None:
        assert answers.truth_N is not None
        names = answers.classes
        sets: dict[str, list[Sequence[str]]] = {
            "items": [[names[row]] for row in answers.truth_N.tolist()],
            "answered": [[names[row]] for row in answers.predicted_N.tolist()],
        }
    else:
        known = subject.known_classes
        sets = {"labelled": list(known.values())}
        if subject.selection is not None:
            sets["picks"] = [known[item] for item in subject.selection.ids if item in known]
    columns = {name: Counter(kind for kinds in items for kind in kinds) for name, items in sets.items()}
    return columns, {name: len(items) for name, items in sets.items()}
