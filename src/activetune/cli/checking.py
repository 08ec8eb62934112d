"""``check``: what is wrong with a pool."""

from __future__ import annotations

from typing import Annotated, Unpack

import typer

from activetune.base.config import parse_settings
from activetune.base.printing import say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import (
    ClassLabels,
    FollowLinks,
    NoCache,
    Out,
    PoolArgument,
    Weights,
    opened,
    with_run_options,
)

Embeddings = Annotated[
    str | None, typer.Option(metavar="EMB", help="Features of POOL: near duplicates are found by them, too.")
]


@app.command()
@with_run_options(idle=("seed",))
def check(
    pool: PoolArgument,
    out: Out,
    test: Annotated[
        str | None, typer.Option(metavar="POOL", help="What models will be scored on: is any of it in POOL?")
    ] = None,
    labels: ClassLabels = None,
    embeddings: Embeddings = None,
    test_embeddings: Annotated[
        str | None, typer.Option(metavar="EMB", help="The same of --test.", show_default=False)
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Compute these features by it, as in 'embed'.", show_default=False)
    ] = None,
    weights: Weights = None,
    checks: Annotated[
        str | None, typer.Option(help="Those to make, by commas; see 'activetune list checks'. Default: all.")
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(
            help="Checks whose findings exclude.csv lists, by commas, or none. Default: in_test, exact_duplicate, "
            "near_duplicate, blank."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="CHECK.NAME=VALUE", help="A setting; can be repeated.")
    ] = None,
    no_cache: NoCache = False,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Look for copies, test images in the pool, damaged, dark or blurred ones. Writes findings.csv,
    exclude.csv and report.html.
    """
    from activetune.studies.check.check import check as run

    found = run(
        opened(pool, follow_links, run_options),
        test=None if test is None else opened(test, follow_links, run_options),
        labels=labels,
        embeddings=embeddings,
        test_embeddings=test_embeddings,
        backbone=backbone,
        weights=weights,
        checks=_names(checks),
        drop=[] if drop == "none" else _names(drop),
        settings=parse_settings(set_ or ()),
        use_cache=not no_cache,
        out=out,
        **run_options,
    )
    say(found.table())
    say(f"{out / 'exclude.csv'}: {found.excluded:,} of {found.images:,} images, for select and finetune --exclude")
    say(f"report: {out / 'report.html'}")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
