"""``visft``, ``merge`` and ``compare``: a backbone that tasks have taught, and what that has changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Unpack

import typer

from activetune.base.config import parse_settings
from activetune.base.errors import UsageError
from activetune.base.printing import say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import Backbone, Out, Preset, Set, Track, Weights, with_run_options


@app.command()
@with_run_options()
def visft(
    tasks: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="TOML: backbone, weights, steps, and [[tasks]]; docs/visft.md.")
    ],
    out: Out,
    preset: Preset = None,
    set_: Set = None,
    weights: Annotated[str | None, typer.Option(hidden=True)] = None,
    track: Track = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Neither use nor fill the memory of the images' digests.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train nothing: print the memory that each stage needs.")
    ] = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Finetune a backbone by tasks: train their heads, then low-rank additions (LoRA) to it under these heads."""
    if weights is not None:
        raise UsageError(f'visft reads the file of weights from {tasks}: write weights = "{weights}" below backbone')
    if dry_run:
        say(_costs(tasks, preset, set_ or (), run_options))
        return
    from activetune.supervision.joint import told
    from activetune.supervision.run import visft as run

    found = run(
        tasks,
        out=out,
        preset=preset,
        settings=parse_settings(set_ or ()),
        use_cache=not no_cache,
        track=track,
        **run_options,
    )
    for line in told(found.figures):
        say(line)
    say(f"{out}: a backbone for every command, --backbone {out}")


def _costs(config: Path, preset: str | None, settings: Sequence[str], run_options: RunOptions) -> str:
    """What a run would need, as text; it may be for a device that this machine does not have."""
    from activetune.base.run import check_precision
    from activetune.base.runtime import resolve_runtime
    from activetune.supervision.config import read_config
    from activetune.supervision.cost import costs, told

    precision = run_options.get("precision", "auto")
    check_precision(precision)
    if precision == "auto":
        precision = resolve_runtime(run_options.get("device", "auto"), precision).precision
    return told(*costs(read_config(config, preset, parse_settings(settings)), precision=precision), precision)


@app.command()
@with_run_options(idle=("seed", "device", "precision", "workers"))
def merge(
    additions: Annotated[
        Path,
        typer.Argument(
            metavar="ADDITIONS", help="A folder of peft, such as lora/ of 'visft', or a published file of ViSFT."
        ),
    ],
    backbone: Backbone,
    out: Out,
    weights: Weights = None,
    scale: Annotated[
        float | None,
        typer.Option(help="Factor of the additions; default: what peft's config says.", show_default=False),
    ] = None,
    **run_options: Unpack[RunOptions],
) -> None:
    """Add low-rank additions (LoRA) to the weights of their backbone."""
    from activetune.supervision.merge import merge as run

    run(additions, backbone=backbone, weights=weights, scale=scale, out=out, **run_options)
    say(f"{out}: a backbone for every command, --backbone {out}")


@app.command()
@with_run_options()
def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A backbone's name, or a folder of 'visft', 'merge' or 'finetune'.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    suite: Annotated[Path, typer.Option(help="TOML file of [[probes]]; docs/visft.md.", show_default=False)],
    out: Out,
    weights: Annotated[
        Path | None,
        typer.Option(help="Local file of A's weights; default: a folder's, or fetched.", show_default=False),
    ] = None,
    weights_b: Annotated[Path | None, typer.Option(help="The same of B.", show_default=False)] = None,
    **run_options: Unpack[RunOptions],
) -> None:
    """Measure two frozen backbones on the same probes, with paired intervals of their differences."""
    from activetune.studies.compare.compare import compare as run

    found = run(a, b, suite=suite, out=out, weights=weights, weights_b=weights_b, **run_options)
    say(found.table())
    say(f"report: {out / 'report.html'}")
