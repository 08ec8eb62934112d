"""``export`` and ``import``: answers to and from the tools that people annotate with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from activetune.base.printing import counted, say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import FollowLinks, Out, class_list, opened, with_run_options

IDLE = ("seed", "device", "precision", "workers")
PoolOption = Annotated[str, typer.Option("--pool", metavar="POOL", help="The images.", show_default=False)]
Task = Annotated[str | None, typer.Option(help="What is answered; default: as the answers tell.", show_default=False)]
Classes = Annotated[
    str | None, typer.Option(help="All class names: a,b,c or a file with one per line.", show_default=False)
]


@app.command("export")
@with_run_options(idle=IDLE)
def export(
    labels: Annotated[
        str, typer.Argument(metavar="LABELS|SEL|PREDICTIONS", help="Answers, a folder of 'select', or of 'predict'.")
    ],
    pool: PoolOption,
    to: Annotated[str, typer.Option("--to", help="See 'activetune list formats'.", show_default=False)],
    out: Out,
    task: Task = None,
    classes: Classes = None,
    suggestions: Annotated[
        Path | None, typer.Option(help="Predictions that Label Studio shows first.", show_default=False)
    ] = None,
    image_url: Annotated[
        str | None,
        typer.Option(help="In front of an id in Label Studio; default: its local files.", show_default=False),
    ] = None,
    link: Annotated[bool, typer.Option("--link", help="Link image files in place of copies.")] = False,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Write answers, a selection or predictions for another tool."""
    from activetune.handover.exchange import Asked
    from activetune.handover.exchange import export as run

    asked = Asked(task, class_list(classes, task), suggestions, image_url, link)
    written, sheet = run(labels, asked, pool=opened(pool, follow_links, run_options), format=to, out=out, **run_options)
    answered = sum(sheet.answers.get(item) is not None for item in sheet.ids)
    by_whom = "" if sheet.scores is None else " by a model"
    say(f"{written}: {counted(len(sheet.ids), 'image')}, {answered:,} answered{by_whom}, for {to}")


@app.command("import")
@with_run_options(idle=IDLE)
def import_(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A file, folder or zip as the tool exports it.")],
    pool: PoolOption,
    out: Out,
    from_: Annotated[
        str | None,
        typer.Option("--from", help="See 'activetune list formats'; default: by its content.", show_default=False),
    ] = None,
    task: Task = None,
    classes: Classes = None,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Read answers from another tool into labels.csv or annotations.parquet."""
    from activetune.handover.exchange import import_labels

    labels = import_labels(
        path,
        pool=opened(pool, follow_links, run_options),
        format=from_,
        out=out,
        task=task,
        classes=class_list(classes, task),
        **run_options,
    )
    waiting = f", {counted(labels.unanswered, 'image')} not answered" if labels.unanswered else ""
    say(f"{out}: {counted(len(labels), 'answer')}, {counted(len(labels.classes), 'class', 'classes')}{waiting}")
