"""The confusion matrix, with the pictures behind each cell."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from activetune.evaluation.metrics import Counts
from activetune.evaluation.scores import Confusion as Cells
from activetune.report.page import Page
from activetune.report.panels._base import Panel
from activetune.report.pictures import picture
from activetune.report.subject import MODEL, Subject

MOST_CLASSES = 30  # of a matrix; of more classes the pairs are listed that are confused most
PAIRS = 40  # that are listed
A_CELL, IN_ALL = 10, 240  # pictures behind a cell, and behind all
SIDE = 96


class Confusion(Panel):
    """See the module."""

    kinds = (MODEL,)
    needs = ("scores",)
    order = 52

    def stands(self, subject: Subject) -> bool:
        """See :class:`Panel`: where it was counted which class was taken for which."""
        return super().stands(subject) and "confusion" in (subject.scores or {})

    def draw(self, subject: Subject, page: Page) -> None:
        """See :class:`Panel`."""
        assert subject.scores is not None
        cells = Cells.from_dict(subject.scores["confusion"])
        behind = _behind(subject, cells)
        pixels = subject.scores["primary"] != "top1"
        page.heading("Confusion")
        if len(cells.classes) <= MOST_CLASSES:
            page.add(_matrix(cells, behind, pixels))
            what = "pixels of the class, in percent" if pixels else "items"
            page.note(
                f"A row per true class, a column per answer: {what}. The stronger a colour, the larger the share."
                + (" A click shows the pictures behind a cell, the surest first." if behind else "")
            )
        else:
            page.note(f"Of {len(cells.classes):,} classes the {PAIRS} pairs that are confused most.")
        wrong = sorted((cell for cell in cells.cells if cell[0] != cell[1]), key=lambda cell: -cell[2])[:PAIRS]
        if len(cells.classes) > MOST_CLASSES:
            page.add(_pairs(cells, wrong, behind))


def _behind(subject: Subject, cells: Cells) -> Mapping[tuple[int, int], str]:
    """Pictures of the items in each cell as a strip, the surest first; mistakes come before what is right."""
    answers = subject.by_class
    if answers is None or answers.truth_N is None or subject.pool is None:
        return {}
    rows_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    predicted_N, sure_N = answers.predicted_N, answers.sure_N
    for row in np.argsort(-sure_N, kind="stable").tolist():
        rows_of[int(answers.truth_N[row]), int(predicted_N[row])].append(row)
    number = {name: place for place, name in enumerate(cells.classes)}
    order = sorted(rows_of, key=lambda pair: (pair[0] == pair[1], -len(rows_of[pair])))
    found, left = {}, IN_ALL
    for truth, predicted in order:
        rows = rows_of[truth, predicted][: min(A_CELL, left)]
        left -= len(rows)
        if not rows:
            break
        strip = "".join(_small(subject, answers.ids[row], float(sure_N[row])) for row in rows)
        found[number[answers.classes[truth]], number[answers.classes[predicted]]] = strip
    return found


def _small(subject: Subject, item: str, sure: float) -> str:
    shown = picture(subject.pool, item, SIDE)
    told = escape(f"{item}: {100 * sure:.0f} % sure")
    image = f'<img src="{shown.uri}" alt="{told}" data-zoom="{told}">' if shown.uri else ""
    return f'<figure title="{told}">{image}{100 * sure:.0f} %</figure>'


def _matrix(cells: Cells, behind: Mapping[tuple[int, int], str], pixels: bool) -> str:
    counts_YY, classes = cells.matrix(), cells.classes
    head = "".join(f'<th title="{escape(name)}"><span>{escape(name)}</span></th>' for name in classes)
    first = _largest_mistake(counts_YY)
    body = "".join(
        f'<tr><th title="{escape(name)}">{escape(name)}</th>'
        + "".join(_cell(counts_YY, (row, column), classes, behind, pixels, first) for column in range(len(classes)))
        + "</tr>"
        for row, name in enumerate(classes)
    )
    table = f'<table class="matrix"><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div data-matrix><div class="wide">{table}</div>{_templates(behind)}</div>'


def _templates(behind: Mapping[tuple[int, int], str]) -> str:
    if not behind:
        return ""
    kept = "".join(
        f'<template data-cell="{row}-{column}"><div class="strip">{strip}</div></template>'
        for (row, column), strip in behind.items()
    )
    return f'<div class="behind"></div>{kept}'


def _largest_mistake(counts_YY: Counts) -> tuple[int, int]:
    wrong_YY = counts_YY - np.diag(np.diagonal(counts_YY))
    row, column = np.unravel_index(int(wrong_YY.argmax()), wrong_YY.shape)
    return int(row), int(column)


def _cell(
    counts_YY: Counts,
    place: tuple[int, int],
    classes: Sequence[str],
    behind: Mapping[tuple[int, int], str],
    pixels: bool,
    first: tuple[int, int],
) -> str:
    count = int(counts_YY[place])
    if not count:
        return "<td></td>"
    row, column = place
    share = count / max(1, int(counts_YY[row].sum()))
    colour = "var(--good)" if row == column else "var(--bad)"
    strength = round(10 + 68 * share)
    style = f"background:color-mix(in srgb, {colour} {strength}%, var(--soft));color:var(--ink)"
    text = f"{100 * share:.0f}" if pixels else f"{count:,}"
    told = escape(f"{classes[row]}, answered {classes[column]}: {count:,} ({100 * share:.1f} % of the class)")
    if place not in behind:
        return f'<td style="{style}" title="{told}">{text}</td>'
    mark = " data-first" if place == first else ""
    button = f'<button type="button" data-cell="{row}-{column}" title="{told}"{mark}>{text}</button>'
    return f'<td style="{style}">{button}</td>'


def _pairs(cells: Cells, wrong: Sequence[tuple[int, int, int]], behind: Mapping[tuple[int, int], str]) -> str:
    """The pairs that are confused most, with their pictures."""
    rows = "".join(
        f'<tr><td>{escape(cells.classes[row])}</td><td class="text">{escape(cells.classes[column])}</td>'
        f'<td>{count:,}</td><td class="text"><div class="strip">{behind.get((row, column), "")}</div></td></tr>'
        for row, column, count in wrong
    )
    head = '<tr><th>true class</th><th class="text">answered</th><th>items</th><th class="text"></th></tr>'
    return f'<div class="wide tall"><table><thead>{head}</thead><tbody>{rows}</tbody></table></div>'
