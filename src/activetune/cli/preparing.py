"""``caption`` and ``corrupt``: what else can be made of a pool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from activetune.base.errors import UsageError
from activetune.base.printing import counted, say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import FollowLinks, Out, PoolArgument, opened, with_run_options


@app.command()
@with_run_options(idle=("seed", "precision"))
def caption(
    pool: PoolArgument,
    out: Out,
    with_: Annotated[
        str, typer.Option("--with", metavar="NAME", help="template, hf/MODEL, or a file with id and caption.")
    ] = "template",
    labels: Annotated[
        Path | None, typer.Option(help="CSV, Parquet or JSON lines with id and label, for the class name in --prompt.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Replaces the captioner's own; may hold {class_name}.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images a forward pass.", min=1)] = 8,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Neither use nor fill the cache of captions.")] = False,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Describe every image of a pool in a sentence."""
    from activetune.features.text.captioning import caption as run

    found = run(
        opened(pool, follow_links, run_options),
        captioner=with_,
        labels=labels,
        prompt=prompt,
        out=out,
        batch_size=batch_size,
        use_cache=not no_cache,
        **run_options,
    )
    say(f"{out}: {counted(len(found), 'caption')}, {len(set(found.values())):,} of them different")


@app.command()
@with_run_options(idle=("device", "precision"))
def corrupt(
    pool: PoolArgument,
    out: Out,
    kinds: Annotated[str, typer.Option(help="fog,snow,… or all.")] = "all",
    severity: Annotated[str, typer.Option(help="1 to 5: 3, 1,3,5 or 1-5.")] = "1-5",
    benchmark: Annotated[
        str, typer.Option(help="Whose severities: imagenet_c, or cifar10_c for images of 32 pixels.")
    ] = "imagenet_c",
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Write corrupted copies of a pool. Each kind and severity is one Parquet file."""
    from activetune.data.corruption import KINDS, KINDS_OF
    from activetune.data.corruption import corrupt as run

    names = (
        list(KINDS_OF.get(benchmark, KINDS))
        if kinds == "all"
        else [name.strip() for name in kinds.split(",") if name.strip()]
    )
    paths = run(
        opened(pool, follow_links, run_options),
        kinds=names,
        severities=_severities(severity),
        benchmark=benchmark,  # type: ignore[arg-type]
        out=out,
        **run_options,
    )
    first_and_last = paths[0].name if len(paths) == 1 else f"{paths[0].name} to {paths[-1].name}"
    say(f"{out}: {counted(len(paths), 'pool')}, {first_and_last}")


def _severities(text: str) -> list[int]:
    from activetune.data.corruption import SEVERITIES

    try:
        found: list[int] = []
        for part in text.split(","):
            first, _, last = part.partition("-")
            lowest, highest = int(first), int(last or first)
            if not 1 <= lowest <= highest <= len(SEVERITIES):
                raise ValueError(part)
            found += range(lowest, highest + 1)
        return found
    except ValueError:
        raise UsageError(f"severity can't be {text!r}; give 1 to 5, for instance 3, 1,3,5 or 1-5") from None
