"""``finetune``, ``evaluate`` and ``predict``: from labels to a model, and what it answers."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer

from activetune.base.config import parse_settings
from activetune.base.errors import UsageError
from activetune.base.launch import refuse_company
from activetune.base.printing import counted, say
from activetune.base.progress import note
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import (
    Address,
    EngineOption,
    Exclude,
    FollowLinks,
    LabelsOption,
    NoCache,
    Out,
    PoolArgument,
    Preset,
    RayProcesses,
    Set,
    ShardSize,
    Track,
    Weights,
    class_list,
    opened,
    with_run_options,
)

if TYPE_CHECKING:
    from activetune.data.pool import Pool

TASK = "classification"
STDIN = "-"  # in place of a pool; in place of an output it is stdout


class Format(StrEnum):
    """How ``activetune predict`` writes."""

    auto = "auto"
    jsonl = "jsonl"


@app.command()
@with_run_options()
def finetune(
    pool: PoolArgument,
    out: Out,
    task: Annotated[str, typer.Option(help="What is asked about the images; see 'activetune list tasks'.")] = TASK,
    labels: LabelsOption = None,
    classes: Annotated[
        str | None,
        typer.Option(help="All class names: a,b,c or a file with one per line; default: those that occur."),
    ] = None,
    exclude: Exclude = None,
    head: Annotated[
        str | None,
        typer.Option(
            help="NAME, or NAME:OPTION=VALUE;…: see 'activetune list heads'; default: the task's first.",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            help="As in 'embed'; default: the one that the items of --labels were selected with, otherwise bundled.",
            show_default=False,
        ),
    ] = None,
    weights: Weights = None,
    recipe: Annotated[str, typer.Option(help="See 'activetune list recipes'.")] = "auto",
    preset: Preset = None,
    set_: Set = None,
    track: Track = None,
    no_cache: NoCache = False,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Train a network on the labelled items of a pool."""
    from activetune.base.artefact import read_manifest
    from activetune.evaluation.estimate import short_estimate
    from activetune.training.finetune import finetune as run

    model = run(
        opened(pool, follow_links, run_options),
        out=out,
        task=task,
        labels=labels,
        classes=class_list(classes, task),
        exclude=exclude,
        head=head,
        backbone=backbone,
        weights=weights,
        recipe=recipe,
        preset=preset,
        settings=parse_settings(set_ or ()),
        use_cache=not no_cache,
        track=track,
        **run_options,
    )
    manifest = read_manifest(out, "model")
    figure = short_estimate(manifest["figures"].get("estimate"))
    classes = f", {counted(len(model.classes), 'class', 'classes')}" if model.classes else ""
    say(f"{out}: {recipe} on {manifest['backbone']}{classes}{figure}")


@app.command()
@with_run_options(idle=("seed",))
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    pool: PoolArgument,
    labels: LabelsOption = None,
    only: Annotated[
        Path | None, typer.Option(help="File with the ids to score on, such as the audit.csv of a selection.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The scores' file; default: MODEL/scores.json.")] = None,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Score a model on labelled images. POOL may be a folder of 'corrupt': each pool in it is scored."""
    from activetune.data.corruption import is_shifted
    from activetune.evaluation.evaluate import evaluate as run
    from activetune.evaluation.metrics import told_score

    if is_shifted(Path(pool)):
        if labels is not None:
            raise UsageError("shifted pools carry their own labels; leave --labels out")
        if only is not None:
            raise UsageError("shifted pools are scored as they are; leave --only out")
        path = out or model / "shifts.json"
        say(_shifts(model, Path(pool), path, run_options))
        return
    path = out or model / "scores.json"
    scores = run(
        model,
        opened(pool, follow_links, run_options),
        labels=labels,
        only=only,
        out=path,
        **run_options,
    )
    if not run_options.get("quiet"):
        say(scores.table())
    say(f"{path}: {told_score(scores.primary, scores.value)} on {counted(scores.n, 'item')}")


def _shifts(model: Path, folder: Path, path: Path, run_options: RunOptions) -> str:
    """Top-1 by kind (rows) and severity (columns), in percent."""
    from activetune.evaluation.evaluate import evaluate_shifts

    found = evaluate_shifts(model, folder, out=path, **run_options)
    severities = sorted({severity for row in found.values() for severity in row})
    width = max(len("mean"), *map(len, found))
    lines = [" ".join([f"{'top-1, %':<{width}}", *(f"{severity:>6}" for severity in severities), "  mean"])]
    for kind, row in found.items():
        cells = [f"{100 * row[severity]:6.1f}" if severity in row else "     -" for severity in severities]
        lines.append(" ".join([f"{kind:<{width}}", *cells, f"{100 * sum(row.values()) / len(row):6.1f}"]))
    everything = [value for row in found.values() for value in row.values()]
    return "\n".join(
        [
            *lines,
            f"{path}: mean top-1 {100 * sum(everything) / len(everything):.2f} % on {len(everything)} shifted pools",
        ]
    )


@app.command()
@with_run_options(idle=("seed",))
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    pool: Annotated[
        str,
        typer.Argument(metavar="POOL", help="As in 'finetune'; or - for ids on stdin, one per line: see --pool."),
    ],
    out: Annotated[
        Path, typer.Option(help="Where the result goes; - writes JSON lines to stdout.", show_default=False)
    ],
    format_: Annotated[
        Format, typer.Option("--format", help="jsonl: a JSON object per image; auto: by task and the name of --out.")
    ] = Format.auto,
    ids_of: Annotated[
        str | None,
        typer.Option("--pool", help="The pool whose ids come on stdin; without it they are paths.", metavar="POOL"),
    ] = None,
    draw: Annotated[
        Path | None,
        typer.Option(
            help="A folder for pictures of the images with their answers drawn in; boxes from a score of 0.3 on."
        ),
    ] = None,
    shard_size: ShardSize = None,
    engine: EngineOption = None,
    address: Address = None,
    processes: RayProcesses = None,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Predict the answer to every image of a pool, or of those that are named on stdin."""
    if ids_of is not None and pool != STDIN:
        raise UsageError(f"--pool says whose ids come on stdin; give - in place of {pool!r}, or leave --pool out")
    shares = {"shard_size": shard_size, "engine": engine, "address": address, "processes": processes}
    lines = format_ is Format.jsonl or out.suffix.lower() == ".jsonl"
    if str(out) == STDIN or (lines and pool == STDIN):
        if draw is not None:
            raise UsageError("pictures are not drawn of JSON lines; leave --draw out, or give --out another name")
        _refuse_sharing(shares)
        _stream(model, pool, ids_of, out, follow_links, run_options)
        return
    from activetune.data.listed import pool_of_names
    from activetune.evaluation.predict import predict as run

    given: Pool | str
    if pool == STDIN:
        refuse_company("predict of names on stdin")
        given = pool_of_names(_stdin(), _whose(ids_of, follow_links, run_options))
    else:
        given = opened(pool, follow_links, run_options)
    rows = run(model, given, out=out, format=format_.value, draw=draw, **shares, **run_options)  # type: ignore[arg-type]
    errors = sum("error" in row[1] for row in rows) if lines else 0
    say(f"{out}: {_told(len(rows) - errors, errors)}")


def _refuse_sharing(shares: Mapping[str, object]) -> None:
    """Refuse to share out answers that are given as they come.

    Raises:
        UsageError: it is asked for.
    """
    refuse_company("predict that streams")
    for name, value in shares.items():
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is for a pool whose answers go to a file, and these are given one by one; "
                "leave it out, or give --out a file"
            )


def _told(count: int, errors: int) -> str:
    return counted(count, "prediction") + (f", {counted(errors, 'image')} without one" if errors else "")


def _stream(model: Path, pool: str, ids_of: str | None, out: Path, follow_links: bool, run_options: RunOptions) -> None:
    """Write a line of JSON per image."""
    from activetune.evaluation.streaming import stream_predictions, write_lines, write_lines_file

    to_stdout = str(out) == STDIN
    given = RunOptions(**run_options)
    overwrite = given.get("overwrite", False)
    if not to_stdout:
        given["overwrite"] = False  # this one is asked of the file, below
    of_stdin = pool == STDIN
    source = _whose(ids_of, follow_links, run_options) if of_stdin else opened(pool, follow_links, run_options)
    records = stream_predictions(model, source, ids=_stdin() if of_stdin else None, **given)
    if to_stdout:
        count, errors = write_lines(records, sys.stdout.buffer)
    else:
        count, errors = write_lines_file(records, out, overwrite=overwrite)
    told = _told(count - errors, errors)
    if to_stdout:
        note(told, run_options.get("quiet", False))
    else:
        say(f"{out}: {told}")


def _whose(ids_of: str | None, follow_links: bool, run_options: RunOptions) -> Pool | None:
    """The pool whose ids come on stdin."""
    from activetune.data.opening import open_pool

    return (
        None if ids_of is None else open_pool(ids_of, follow_links=follow_links, quiet=run_options.get("quiet", False))
    )


def _stdin() -> Iterator[str]:
    """The names on stdin, as they come."""
    from activetune.data.listed import named_lines

    return named_lines(sys.stdin.buffer)
