"""``simulate``: learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Unpack

import typer

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.printing import say
from activetune.base.run import RunOptions
from activetune.cli._app import app
from activetune.cli._options import (
    Backbone,
    FollowLinks,
    NoCache,
    Out,
    PoolArgument,
    Track,
    Weights,
    load_config,
    opened,
    typed,
    with_run_options,
)


def _load_simulation(context: typer.Context, path: Path | None) -> Path | None:
    """``--config`` of simulate, whose settings may be tables: ``[simulate.settings.activeft]``."""
    load_config(context, path)
    values = context.default_map or {}
    tables = values.get("settings")
    if isinstance(tables, dict):
        if wrong := [name for name, table in tables.items() if not isinstance(table, dict)]:
            raise UsageError(
                f"{path}: settings.{wrong[0]} is no table of settings; write [simulate.settings.{wrong[0]}], and below "
                "it for instance swaps = 2"
            )
        pairs = [(f"{name}.{field}", given) for name, table in tables.items() for field, given in table.items()]
        values["settings"] = [f"{field}={typed(given)}" for field, given in pairs]
    return path


Recipes = Annotated[str | None, typer.Option(help="Like methods; linear_probe by default, or as before.")]
Start = Annotated[
    str | None, typer.Option(help="Makes the first selection of methods that learn from labels; random by default.")
]


@app.command()
@with_run_options(config=_load_simulation)
def simulate(
    pool: PoolArgument,
    test: Annotated[str, typer.Option(help="Another pool, or the share to hold out: 30%.", show_default=False)],
    methods: Annotated[str, typer.Option(help="NAME, NAME:PRESET, NAME:set=value;..., by commas.", show_default=False)],
    budgets: Annotated[str, typer.Option(help="500, 5%, 2/class, by commas.", show_default=False)],
    out: Out,
    recipes: Recipes = None,
    seeds: Annotated[int, typer.Option(help="Repetitions.", min=1)] = 3,
    task: Annotated[str, typer.Option(help="See 'activetune list tasks'.")] = "classification",
    labels: Annotated[Path | None, typer.Option(help="Answers to POOL, where it does not bring them.")] = None,
    test_labels: Annotated[Path | None, typer.Option(help="Answers to the other pool of --test.")] = None,
    head: Annotated[str | None, typer.Option(help="See 'activetune list heads'.")] = None,
    backbone: Backbone = "bundled",
    weights: Weights = None,
    start: Start = None,
    splits: Annotated[
        str, typer.Option(metavar="one|per-seed", help="What a share holds out: the same for all seeds, or not.")
    ] = "one",
    settings: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME.SETTING=VALUE", help="A setting of a method or recipe; can be repeated."),
    ] = None,
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Keep finetuned models.")] = False,
    no_cache: NoCache = False,
    track: Track = None,
    follow_links: FollowLinks = False,
    **run_options: Unpack[RunOptions],
) -> None:
    """Compare selectors and recipes on a labelled pool. Writes results.csv and report.html."""
    from activetune.data.frame_rate import split_rate
    from activetune.studies.simulation.simulate import simulate as run

    simulation = run(
        opened(pool, follow_links, run_options),
        test=opened(test, follow_links and split_rate(test)[0].exists(), run_options),
        methods=methods,
        budgets=budgets,
        recipes=recipes,
        seeds=seeds,
        task=task,
        labels=labels,
        test_labels=test_labels,
        head=head,
        out=out,
        backbone=backbone,
        weights=weights,
        settings=_by_name(settings or []),
        rounds_start=start,
        splits=splits,
        keep_models=keep_models,
        use_cache=not no_cache,
        track=track,
        **run_options,
    )
    say(simulation.table())
    say(f"report: {out / 'report.html'}")
    if simulation.failures:
        raise _failed(simulation.failures, len(simulation.rows), out / "failed.csv")


def _failed(failures: Sequence[Mapping[str, Any]], finished: int, listing: Path) -> ActivetuneError:
    first = failures[0]
    return ActivetuneError(
        f"{len(failures):,} of {len(failures) + finished:,} cells failed, the first ({first['method']}, "
        f"{first['budget']}): {first['error']}; {listing} lists them: mend what they name, and run the command again "
        "with --resume"
    )


def _by_name(texts: list[str]) -> dict[str, dict[str, str]]:
    """``["activeft.loss=released"]`` to ``{"activeft": {"loss": "released"}}``."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        name, dot, field = place.strip().rpartition(".")
        if not (equals and dot and name and field):
            raise UsageError(
                f"--settings {text!r} is not of the form NAME.SETTING=VALUE; write for instance activeft.swaps=2"
            )
        if field in found.setdefault(name, {}):
            raise UsageError(f"--settings {name}.{field} is given twice; give one value")
        found[name][field] = value.strip()
    return found
