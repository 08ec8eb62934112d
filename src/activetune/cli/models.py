"""``finetune``, ``evaluate`` and ``predict``: from labels to a model, and what it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from activetune.cli._app import app
from activetune.cli._options import (
    Backbone,
    Config,
    Device,
    LabelsOption,
    NoCache,
    Out,
    Overwrite,
    PoolArgument,
    PrecisionOption,
    Preset,
    Quiet,
    Resume,
    Seed,
    Set,
    Weights,
    Workers,
)
from activetune.config import parse_settings


@app.command()
def finetune(
    pool: PoolArgument,
    out: Out,
    labels: LabelsOption = None,
    classes: Annotated[
        str | None,
        typer.Option(help="All class names: a,b,c or a file with one a line; default: those that occur."),
    ] = None,
    backbone: Backbone = "bundled",
    weights: Weights = None,
    recipe: Annotated[str, typer.Option(help="See 'activetune list recipes'.")] = "linear_probe",
    preset: Preset = None,
    set_: Set = None,
    no_cache: NoCache = False,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier on the labelled items of a pool."""
    from activetune.finetuning import finetune as run

    model = run(
        pool,
        out=out,
        labels=labels,
        classes=_class_names(classes),
        backbone=backbone,
        weights=weights,
        recipe=recipe,
        preset=preset,
        settings=parse_settings(set_ or ()),
        seed=seed,
        device=device,
        precision=precision,
        workers=workers,
        use_cache=not no_cache,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    typer.echo(f"{out}: {recipe} on {backbone}, {len(model.classes):,} classes")


def _class_names(text: str | None) -> list[str] | None:
    """``a,b,c``, or the lines of a file."""
    if text is None:
        return None
    a_file = "," not in text and Path(text).is_file()
    names = Path(text).read_text(encoding="utf-8").splitlines() if a_file else text.split(",")
    return [name.strip() for name in names if name.strip()]


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    pool: PoolArgument,
    labels: LabelsOption = None,
    out: Annotated[Path | None, typer.Option(help="The scores' file; default: MODEL/scores.json.")] = None,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on the labelled items of a pool."""
    from activetune.evaluation import evaluate as run

    path = out or model / "scores.json"
    scores = run(
        model,
        pool,
        labels=labels,
        out=path,
        device=device,
        precision=precision,
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    typer.echo(f"{path}: top-1 {scores.top1:.4f} on {scores.n:,} items")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    pool: PoolArgument,
    out: Out,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Predict the class of every image of a pool."""
    from activetune.evaluation import predict as run

    rows = run(
        model,
        pool,
        out=out,
        device=device,
        precision=precision,
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    typer.echo(f"{out}: {len(rows):,} predictions")
