"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from activetune.base.config import read_config
from activetune.cli._app import commands


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """``--config``: the file's values become the defaults of this command; what is typed wins."""
    if path is None:
        return None
    command = context.command
    options = {(parameter.name or "").rstrip("_"): parameter.name for parameter in command.params}
    values = read_config(path, command.name or "", options.keys() - {"config", "help"}, commands())
    named = {options[name]: value for name, value in values.items()}
    context.default_map = {**(context.default_map or {}), **named}
    return path


PoolArgument = Annotated[
    str, typer.Argument(metavar="POOL", help="Folder of images, CSV/Parquet manifest, Hugging Face Parquet, or .zip.")
]
Out = Annotated[Path, typer.Option(help="Where the result goes.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.", min=0)]
Config = Annotated[
    Path | None,
    typer.Option(help="TOML file with this command's options.", callback=load_config, is_eager=True),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")]
PrecisionOption = Annotated[str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.")]
Workers = Annotated[int, typer.Option(help="Decoding processes; -1 chooses.", min=-1)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what the output holds.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither use nor fill the cache of embeddings.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; can be repeated.")]
Preset = Annotated[str | None, typer.Option(help="Named settings, for instance: paper.")]
Backbone = Annotated[str, typer.Option(help="bundled, or timm/NAME.")]
Weights = Annotated[Path | None, typer.Option(help="Local .safetensors or .pth weights for the backbone.")]
LabelsOption = Annotated[Path | None, typer.Option("--labels", help="CSV or Parquet with id and label.")]
