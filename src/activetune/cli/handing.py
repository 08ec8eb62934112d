"""``export-model`` and ``serve``: a model for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

import typer

from activetune.base.printing import counted, say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import LabelsOption, Out, with_run_options


@app.command("export-model")
@with_run_options(idle=("seed", "device", "precision"))
def export_model(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    to: Annotated[str, typer.Option(help="onnx, torch-export, or hub: timm's layout.", show_default=False)],
    out: Out,
    pool: Annotated[
        str | None, typer.Option(help="Labelled images to score the model and the exported one on.")
    ] = None,
    labels: LabelsOption = None,
    int8: Annotated[bool, typer.Option("--int8", help="Weights of 8 bits (onnx alone); needs --pool.")] = False,
    int8_limit: Annotated[
        float, typer.Option(help="What the primary score may lose by --int8; 0.01 is a point.", min=0)
    ] = 0.01,
    **run_options: Unpack[RunOptions],
) -> None:
    """Export a model as ONNX, torch.export or timm's layout, checked against PyTorch in numbers and accuracy."""
    from activetune.evaluation.metrics import told, told_value
    from activetune.handover.export_model import export_model as run

    report = run(model, to=to, out=out, pool=pool, labels=labels, int8=int8, int8_limit=int8_limit, **run_options)
    worst = max(report["differences"].values())
    batches = ", ".join(report["differences"])
    *beside, holds = report["files"]
    say(f"largest difference from PyTorch at batches of {batches}: {worst:.1e}")
    if scores := report["scores"]:
        primary = scores["primary"]
        for name, told_as in (("pytorch", "PyTorch"), ("exported", f"{to} int8" if report["int8"] else to)):
            value, items = told_value(primary, scores[name][primary]), counted(scores["n"], "item")
            say(f"{told(primary)} of {told_as}: {value} on {items}")
    folder = out if out.is_dir() else out.parent
    say(f"{folder / holds}: {to}, with {', '.join(beside)} beside it")


@app.command()
@with_run_options(idle=("seed", "workers", "overwrite", "resume"))
def serve(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    max_body: Annotated[int, typer.Option(help="Bytes of a request.", min=1)] = 32 * 2**20,
    max_pixels: Annotated[
        int, typer.Option(help="Most pixels of an image; it can only be lowered.", min=1)
    ] = 89_478_485,
    **run_options: Unpack[RunOptions],
) -> None:
    """Answer images over HTTP on this machine. The first line says the address, with the token that requests need."""
    from activetune.serving.predictions import serve as run

    run(model, port=port, max_body=max_body, max_pixels=max_pixels, **run_options)
