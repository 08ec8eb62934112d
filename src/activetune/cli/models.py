"""``finetune``, ``evaluate`` and ``predict``: from labels to a model, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from activetune.base.config import parse_settings
from activetune.base.errors import UsageError
from activetune.base.printing import say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import (
    FollowLinks,
    LabelsOption,
    NoCache,
    Out,
    PoolArgument,
    Preset,
    Set,
    Track,
    Weights,
    opened,
    with_run_options,
)

TASK = "classification"


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
    head: Annotated[str | None, typer.Option(help="See 'activetune list heads'.", show_default=False)] = None,
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
        classes=_class_names(classes),
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
    classes = f", {len(model.classes):,} classes" if model.classes else ""
    say(f"{out}: {recipe} on {manifest['backbone']}{classes}{figure}")


def _class_names(text: str | None) -> list[str] | None:
    """``a,b,c``, or the lines of a file."""
    from activetune.base.tables import decode_text

    if text is None:
        return None
    a_file = "," not in text and Path(text).is_file()
    names = decode_text(Path(text)).splitlines() if a_file else text.split(",")
    return [name.strip() for name in names if name.strip()]


@app.command()
@with_run_options(idle=("seed",))
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    pool: PoolArgument,
    labels: LabelsOption = None,
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
        path = out or model / "shifts.json"
        say(_shifts(model, Path(pool), path, run_options))
        return
    path = out or model / "scores.json"
    scores = run(
        model,
        opened(pool, follow_links, run_options),
        labels=labels,
        out=path,
        **run_options,
    )
    if not run_options.get("quiet"):
        say(scores.table())
    say(f"{path}: {told_score(scores.primary, scores.value)} on {scores.n:,} items")


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
    pool: PoolArgument,
    out: Out,
    draw: Annotated[
        Path | None, typer.Option(help="A folder for pictures of the images with their answers drawn in.")
    ] = None,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Predict the answer to every image of a pool."""
    from activetune.evaluation.predict import predict as run

    rows = run(
        model,
        opened(pool, follow_links, run_options),
        out=out,
        draw=draw,
        **run_options,
    )
    say(f"{out}: {len(rows):,} predictions")
