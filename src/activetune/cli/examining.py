"""``doctor``: what this machine has, and what is missing."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from activetune.base.errors import ActivetuneError
from activetune.base.printing import say
from activetune.cli._app import app
from activetune.cli._options import Config, Quiet


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """Show versions, devices, cache and extras, and try the bundled backbone; exit code 1 where something is broken."""
    from activetune.studies.doctor import doctor as run

    health = run()
    if as_json:
        say(json.dumps(health.as_dict(), indent=2))
    elif not quiet:
        say(health.table())
    if health.faults:
        first = health.faults[0]
        raise ActivetuneError(
            f"{len(health.faults)} of what activetune needs is broken, the first {first.name}: {first.fault}"
            f"{f'; {first.remedy}' if first.remedy else ''}"
        )
