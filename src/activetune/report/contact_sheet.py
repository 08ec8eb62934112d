"""The contact sheet of a selection: ``picks.html``, one page with a small picture of every pick in the order of rank.

``select`` writes it at once, so it holds neither a map nor a script; :func:`activetune.write_report` makes the whole
report.
The images come from the pool that the embeddings were made from. Where it can't be reached the page has the table alone
and says so: a selection is of use without its pictures.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from shlex import quote

from activetune.base.errors import ActivetuneError
from activetune.base.locks import holds_output
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import NO_PATIENCE, Pool
from activetune.report.page import Card, Page
from activetune.report.pictures import picture
from activetune.selection.artefact import CONTACT_SHEET, Selection, explained_figures, load_selection
from activetune.selection.images import pool_of

MOST_SHOWN = 200  # picks on a page
SIDE, DRAWN_SIDE = 112, 224  # pixels of a picture's long side; of one with an answer drawn in


@holds_output("folder", folder=True)
def contact_sheet(
    folder: str | os.PathLike[str],
    *,
    pool: Pool | str | os.PathLike[str] | None = None,
    labels: Labels | None = None,
    most: int = MOST_SHOWN,
) -> Path:
    """Write ``picks.html`` into a folder that ``select`` made, and return its path; an earlier page is replaced.

    Args:
        folder: a selection, ``SEL``.
        pool: where the images are; None: the pool that the embeddings name, if it can be reached from here.
        labels: answers that are known, of any task; they are drawn into the pictures of the picks that have one.
        most: picks that are shown, the first by rank.

    Raises:
        UsageError: the folder is not a selection, or ``pool`` is given and can't be opened.

    Example:
        >>> activetune.contact_sheet("sel")
        PosixPath('sel/picks.html')
    """
    folder = Path(folder)
    selection = load_selection(folder)
    problem = ""
    opened: Pool | None = None
    if pool is not None:
        opened = pool if isinstance(pool, Pool) else open_pool(pool)
    else:
        try:
            opened = pool_of(selection)
        except (ActivetuneError, OSError) as error:
            problem = str(error)
    if opened is not None:
        opened = replace(opened, patience=NO_PATIENCE)  # a picture that is not at hand now is left out
    page = Page(f"{len(selection):,} picks", _lead(selection), bare=True)
    if problem:
        page.paragraph(
            f"The images can't be shown: {problem}. Where they are at hand: "
            f"activetune.contact_sheet({str(folder)!r}, pool=FOLDER) in Python."
        )
    if len(selection) > most:
        page.paragraph(f"The first {most:,} of {len(selection):,} picks by rank; all are in selection.csv.")
    page.cards(_cards(selection, opened, most, labels))
    page.heading("Next")
    for sentence in _next(folder, str(selection.manifest.get("pool") or "POOL")):
        page.paragraph(sentence)
    return page.write(folder / CONTACT_SHEET)


def _next(folder: Path, pool: str) -> list[str]:
    """What to do with the picks: for one class per image, and for every other task."""
    return [
        f"One class per image: activetune label {quote(str(folder))} --classes a,b,c opens a page to label on (or "
        f"write each pick's class into the column label of {folder / 'labels.csv'}), then: "
        f"activetune finetune {quote(pool)} --labels {quote(str(folder / 'labels.csv'))} --out MODEL",
        f"Masks, boxes, several classes or captions: activetune.save_images({str(folder)!r}, out='to_label') in Python "
        "(or --images to_label of activetune select) writes the picks out as image files; label these with any tool, "
        "then: activetune finetune to_label/images --task segmentation --labels MASKS --out MODEL "
        "(or --task detection, multilabel, captioning; docs/tasks.md shows each).",
        f"The picks on a map of the pool, and how much of it they cover: activetune report {quote(str(folder))}.",
    ]


def _lead(selection: Selection) -> str:
    manifest = selection.manifest
    return (
        f"chosen from {manifest['n']:,} items by {manifest['method']}, seed {manifest['seed']}; "
        f"{explained_figures(manifest['figures'])}"
    )


def _cards(selection: Selection, pool: Pool | None, most: int, labels: Labels | None) -> Iterator[Card]:
    known = {} if labels is None else {item: row for row, item in enumerate(labels.ids)}
    columns = zip(selection.ids, selection.scores, selection.reasons, strict=True)
    for rank, (item, score, reason) in enumerate(columns, start=1):
        if rank > most:
            return
        answer = None if labels is None or item not in known else (labels.answers[known[item]], labels.classes)
        shown = picture(pool, item, SIDE if answer is None else DRAWN_SIDE, answer)
        lines = [f"score {score:.4g}", reason, *([shown.problem] if shown.problem else [])]
        yield Card(shown.uri, f"{rank}. {item}", lines, small=shown.small)
