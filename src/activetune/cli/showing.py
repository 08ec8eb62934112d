"""``demo``, ``list`` and ``report``: what there is, and what came out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Unpack

import typer

from activetune.base.printing import say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import Config, LabelsOption, Out, Quiet, with_run_options


class Listing(StrEnum):
    """What ``activetune list`` can list."""

    selectors = "selectors"
    recipes = "recipes"
    tasks = "tasks"
    heads = "heads"
    backbones = "backbones"
    formats = "formats"
    probes = "probes"
    checks = "checks"


@app.command()
@with_run_options()
def demo(
    out: Out = Path("activetune-demo"),
    data: Annotated[str, typer.Option(help="cells (blood cells of three classes) or digits.")] = "cells",
    seeds: Annotated[int, typer.Option(help="Repetitions.", min=1)] = 3,
    **run_options: Unpack[RunOptions],
) -> None:
    """Run the whole loop on blood cells, offline. Prints tables, and writes report.html and a model."""
    from activetune.studies.demo.demo import demo as run

    table = run(
        out,
        data=data,
        seeds=seeds,
        **run_options,
    )
    say(table)
    say(f"report: {out / 'report.html'}")


@app.command("list")
def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """List what can be chosen by name. Selectors, recipes, probes and checks come with their settings."""
    from activetune.cli.catalogue import catalogue

    for line in catalogue(what.value):
        say(line)


@app.command()
@with_run_options()
def report(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A finished folder of embed, select, finetune, check, simulate, compare, visft or demo, or a project.",
        ),
    ],
    pool: Annotated[
        str | None, typer.Option(help="Where the images are; default: where DIR says. Of a model: what it answers.")
    ] = None,
    labels: LabelsOption = None,
    embeddings: Annotated[
        Path | None, typer.Option(metavar="EMB", help="Features for the map; default: those that DIR names.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(help="Layout of the map: pca (the default), tsne, umap, or several with commas between."),
    ] = None,
    **run_options: Unpack[RunOptions],
) -> None:
    """Make report.html of a finished folder: pictures, a map, curves, mistakes, whatever it holds."""
    from activetune.report import write_report

    layouts = None if layout is None else [name.strip() for name in layout.split(",")]
    path = write_report(folder, pool=pool, labels=labels, embeddings=embeddings, layouts=layouts, **run_options)
    say(f"report: {path}")
