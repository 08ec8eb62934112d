"""The command line's application, to which the modules beside this one add their commands."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from activetune import __version__
from activetune.base.printing import say

app = typer.Typer(
    name="activetune",
    help="Finetune pretrained vision models under a budget: select, label, finetune, evaluate.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        say(f"activetune {__version__}")
        raise typer.Exit


def commands() -> dict[str, Any]:
    """The commands by name."""
    return dict(typer.main.get_group(app).commands)
