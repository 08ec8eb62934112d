"""``next`` and ``label-errors``: round by round, and which labels are likely wrong."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from activetune.base.printing import counted, one_line, say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import (
    ClassLabels,
    Exclude,
    FollowLinks,
    Out,
    PoolArgument,
    Track,
    Weights,
    class_list,
    opened,
    with_run_options,
)

if TYPE_CHECKING:
    from activetune.studies.rounds.next_round import NextRound

SHOWN = 5  # conflicts; the file lists all


@app.command("next")
@with_run_options(idle=("overwrite",))
def next_(
    project: Annotated[Path, typer.Argument(metavar="PROJECT", help="The project's folder; the first call makes it.")],
    pool: Annotated[str | None, typer.Option(metavar="POOL", help="The images, for the first call.")] = None,
    budget: Annotated[str | None, typer.Option(help="Picks of a round: 100 or 5%, for the first call.")] = None,
    method: Annotated[
        str | None, typer.Option(help="NAME, NAME:PRESET or NAME:setting=value;...; default: auto.", show_default=False)
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Trains each round's model; settings as with --method; default: linear_probe.", show_default=False
        ),
    ] = None,
    backbone: Annotated[str | None, typer.Option(help="As in 'embed'; default: bundled.", show_default=False)] = None,
    weights: Weights = None,
    task: Annotated[
        str | None, typer.Option(help="classification (default) or multilabel.", show_default=False)
    ] = None,
    audit: Annotated[
        int | None,
        typer.Option(help="Random items of round 1 to score models on, never trained on; default: 0."),
    ] = None,
    exclude: Exclude = None,
    classes: Annotated[
        str | None, typer.Option(help="All class names: a,b,c or a file with one per line; default: those that occur.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Answers from elsewhere: CSV, Parquet or JSON lines with id and label.")
    ] = None,
    close: Annotated[
        bool, typer.Option("--close", help="End the round although nobody has looked at some of its items.")
    ] = False,
    track: Track = None,
    **run_options: Unpack[RunOptions],
) -> None:
    """Merge the answers of a round, train, and choose what to label next. The first call needs --pool and --budget."""
    from activetune.studies.rounds.next_round import next_round as run

    found = run(
        project,
        pool=pool,
        budget=budget,
        method=method,
        recipe=recipe,
        backbone=backbone,
        weights=weights,
        task=task,
        audit=audit,
        exclude=exclude,
        classes=class_list(classes, task),
        labels=labels,
        close=close,
        track=track,
        **run_options,
    )
    _tell(found)


def _tell(found: NextRound) -> None:
    """Where the project stands; the last line says what to do."""
    from activetune.report.subject import CONFLICTS
    from activetune.studies.rounds.ledger import told

    if found.merged:
        say(f"{counted(found.merged, 'answer')} taken over; {counted(found.labels, 'label')} to learn from")
    if found.conflicts:
        say(
            f"{counted(len(found.conflicts), 'item')} with different answers ({found.project / CONFLICTS}); the most "
            "given counts, of equals the last; to settle one, correct it in its round or give --labels"
        )
        for one in found.conflicts[:SHOWN]:
            say(f"  {one_line(one)}")
    if found.ledger:
        say(told(found.ledger))
    for sentence in (found.advice.get("sentence"), (found.advice.get("audit") or {}).get("sentence")):
        if sentence:
            say(f"after round {found.advice['round']}: {sentence}")
    if found.new:
        say(f"round {found.round}: {found.project / 'rounds' / f'{found.round:03d}' / 'picks.html'} shows the picks")
    say(f"next: {found.to_do}")


@app.command("label-errors")
@with_run_options()
def label_errors(
    pool: PoolArgument,
    out: Out,
    labels: ClassLabels = None,
    embeddings: Annotated[
        str | None, typer.Option(metavar="EMB", help="The pool's features, where they are there already.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Computes the features, as in 'embed'; default: bundled.", show_default=False)
    ] = None,
    weights: Weights = None,
    folds: Annotated[int, typer.Option(help="Parts of the labels that are told by the others.", min=2)] = 5,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Find labels that are likely wrong, by what the other labels teach. Writes a CSV file, the likeliest first."""
    from activetune.studies.label_errors import label_errors as run

    found = run(
        opened(pool, follow_links, run_options),
        labels=labels,
        embeddings=embeddings,
        backbone=backbone,
        weights=weights,
        folds=folds,
        out=out,
        **run_options,
    )
    for one in found[:10]:
        say(f"{one_line(one.id)}: {one_line(one.label)!r}, perhaps {one_line(one.suggestion)!r} ({one.score:.3f})")
    say(f"{out}: {counted(len(found), 'label that is', 'labels that are')} likely wrong")
