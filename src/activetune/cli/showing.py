"""``demo``, ``list`` and ``report``: what there is, and what came out."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Unpack

import typer

from activetune.base.printing import say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import Config, Out, Quiet, with_run_options


class Listing(StrEnum):
    """What ``activetune list`` can list."""

    selectors = "selectors"
    recipes = "recipes"
    tasks = "tasks"
    heads = "heads"
    backbones = "backbones"
    formats = "formats"
    probes = "probes"


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
    """List what can be chosen by name. Selectors and recipes come with their settings."""
    from activetune.cli.catalogue import catalogue

    for line in catalogue(what.value):
        say(line)


@app.command()
@with_run_options(idle=("seed", "device", "precision", "workers"))
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder made by 'demo', 'simulate' or 'select'.")],
    **run_options: Unpack[RunOptions],
) -> None:
    """Make the page of a finished folder. It is report.html, or picks.html of a selection."""
    from activetune.report import write_report

    say(f"report: {write_report(folder, **run_options)}")
