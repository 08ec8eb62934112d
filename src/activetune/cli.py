"""The command line: one command a stage, with the options of the Python function of the same name.

Results go to stdout, progress and notes to stderr. Exit code 0; 2 for wrong use, 1 for a failure that is explained in
a sentence, 130 on Ctrl-C with everything finished so far kept.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from activetune import __version__
from activetune.config import parse_settings, read_config
from activetune.errors import ActivetuneError, UsageError, is_disk_full

# typer brings its own copy of click along, so the base class of wrong use is asked of typer.
_WrongUse: type[typer.BadParameter] = typer.BadParameter.__bases__[0]  # type: ignore[assignment]

app = typer.Typer(
    name="activetune",
    help="Finetune pretrained vision models under a budget: select, label, finetune, evaluate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _load_config(context: typer.Context, path: Path | None) -> Path | None:
    """``--config``: the file's values become the defaults of this command; what is typed wins."""
    if path is None:
        return None
    command = context.command
    options = {(parameter.name or "").rstrip("_"): parameter.name for parameter in command.params}
    values = read_config(path, command.name or "", options.keys() - {"config", "help"}, commands())
    named = {options[name]: value for name, value in values.items()}
    context.default_map = {**(context.default_map or {}), **named}
    return path


class Listing(StrEnum):
    """What ``activetune list`` can list."""

    selectors = "selectors"
    recipes = "recipes"
    backbones = "backbones"
    formats = "formats"


PoolArgument = Annotated[
    str, typer.Argument(metavar="POOL", help="Folder of images, CSV/Parquet manifest, Hugging Face Parquet, or .zip.")
]
Out = Annotated[Path, typer.Option(help="Where the result goes.", show_default=False)]
Seed = Annotated[int, typer.Option(help="Seed of every random choice.", min=0)]
Config = Annotated[
    Path | None,
    typer.Option(help="TOML file with this command's options.", callback=_load_config, is_eager=True),
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


@app.command()
def demo(
    out: Out = Path("activetune-demo"),
    seeds: Annotated[int, typer.Option(help="Repetitions.", min=1)] = 3,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole loop on real handwritten digits, offline: a table here and report.html."""
    from activetune.digits_demo import demo as run

    table = run(
        out,
        seeds=seeds,
        seed=seed,
        device=device,
        precision=precision,
        workers=workers,
        overwrite=overwrite or resume,
        quiet=quiet,
    )
    typer.echo(table)
    typer.echo(f"report: {out / 'report.html'}")


@app.command()
def embed(
    pool: PoolArgument,
    out: Out,
    backbone: Backbone = "bundled",
    weights: Weights = None,
    tokens: Annotated[bool, typer.Option("--tokens", help="Patch tokens instead of pooled features.")] = False,
    dtype: Annotated[str, typer.Option(help="float16 or float32 on disk.")] = "float16",
    batch_size: Annotated[int, typer.Option(help="Images a forward pass.", min=1)] = 32,
    no_cache: NoCache = False,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Compute the features of every image of a pool."""
    from activetune.embedding import EmbedOptions
    from activetune.embedding import embed as run

    options = EmbedOptions(
        tokens=tokens, dtype=dtype, batch_size=batch_size, workers=workers, device=device, precision=precision
    )
    embeddings = run(
        pool,
        backbone=backbone,
        weights=weights,
        out=out,
        options=options,
        use_cache=not no_cache,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    shape = " x ".join(f"{size:,}" for size in embeddings.features_ND.shape)
    rejected = embeddings.manifest.get("rejected", 0)
    typer.echo(f"{out}: {shape} features, {rejected:,} images rejected")


@app.command()
def select(
    embeddings: Annotated[str, typer.Argument(metavar="EMB", help="Embeddings: a folder of 'embed', .npy or .npz.")],
    budget: Annotated[str, typer.Option(help="500, 5%, 2/class or coverage:0.95.", show_default=False)],
    out: Out,
    method: Annotated[str, typer.Option(help="See 'activetune list selectors'.")] = "auto",
    preset: Preset = None,
    set_: Set = None,
    labelled: Annotated[
        Path | None, typer.Option(help="File with the ids (and, where known, labels) of what is labelled already.")
    ] = None,
    exclude: Annotated[Path | None, typer.Option(help="File with ids to treat as if they were not there.")] = None,
    candidates: Annotated[Path | None, typer.Option(help="File with the only ids that may be picked.")] = None,
    min_distance: Annotated[float | None, typer.Option(help="Least distance between picks, 0 to 2.")] = None,
    balance: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Equal shares for its values: label, predicted, …")
    ] = None,
    metadata: Annotated[Path | None, typer.Option(help="CSV or Parquet with id and columns to balance.")] = None,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Choose which items to label."""
    from activetune.selection import select as run

    selection = run(
        embeddings,
        budget=budget,
        method=method,
        seed=seed,
        preset=preset,
        settings=parse_settings(set_ or ()),
        labelled=labelled,
        exclude=exclude,
        candidates=candidates,
        min_distance=min_distance,
        balance=balance,
        metadata=metadata,
        out=out,
        device=device,
        precision=precision,
        threads=workers,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    figures = selection.manifest["figures"]
    covered = ""
    if "coverage" in figures:
        covered = f"{100 * figures['coverage']:.1f} % within {figures['coverage_radius']:.3f}, "
    typer.echo(
        f"{out / 'selection.csv'}: {len(selection):,} of {selection.manifest['n']:,} items by {method}, {covered}"
        f"EMD {figures['emd']:.4f}, radius {figures['radius']:.4f}, {figures['seconds']:.2f} s"
    )


@app.command()
def finetune(
    pool: PoolArgument,
    out: Out,
    labels: LabelsOption = None,
    classes: Annotated[
        str | None,
        typer.Option(help="All class names: a,b,c or a file with one a line; default: those that occur."),
    ] = None,
    backbone: Backbone = "bundled",
    weights: Weights = None,
    recipe: Annotated[str, typer.Option(help="See 'activetune list recipes'.")] = "linear_probe",
    preset: Preset = None,
    set_: Set = None,
    no_cache: NoCache = False,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Train a classifier on the labelled items of a pool."""
    from activetune.finetuning import finetune as run

    model = run(
        pool,
        out=out,
        labels=labels,
        classes=_class_names(classes),
        backbone=backbone,
        weights=weights,
        recipe=recipe,
        preset=preset,
        settings=parse_settings(set_ or ()),
        seed=seed,
        device=device,
        precision=precision,
        workers=workers,
        use_cache=not no_cache,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    typer.echo(f"{out}: {recipe} on {backbone}, {len(model.classes):,} classes")


def _class_names(text: str | None) -> list[str] | None:
    """``a,b,c``, or the lines of a file."""
    if text is None:
        return None
    a_file = "," not in text and Path(text).is_file()
    names = Path(text).read_text(encoding="utf-8").splitlines() if a_file else text.split(",")
    return [name.strip() for name in names if name.strip()]


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    pool: PoolArgument,
    labels: LabelsOption = None,
    out: Annotated[Path | None, typer.Option(help="The scores' file; default: MODEL/scores.json.")] = None,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Score a model on the labelled items of a pool."""
    from activetune.evaluation import evaluate as run

    path = out or model / "scores.json"
    scores = run(
        model,
        pool,
        labels=labels,
        out=path,
        device=device,
        precision=precision,
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    typer.echo(f"{path}: top-1 {scores.top1:.4f} on {scores.n:,} items")


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A folder of 'finetune'.")],
    pool: PoolArgument,
    out: Out,
    seed: Seed = 0,
    config: Config = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Workers = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Predict the class of every image of a pool."""
    from activetune.evaluation import predict as run

    rows = run(
        model,
        pool,
        out=out,
        device=device,
        precision=precision,
        workers=workers,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    typer.echo(f"{out}: {len(rows):,} predictions")


def _load_simulation(context: typer.Context, path: Path | None) -> Path | None:
    """``--config`` of simulate: lists may be TOML lists, and settings tables: ``[simulate.settings.activeft]``."""
    _load_config(context, path)
    values = context.default_map or {}
    for name, value in values.items():
        if name == "settings" and isinstance(value, dict):
            pairs = [(f"{method}.{field}", given) for method, table in value.items() for field, given in table.items()]
            values[name] = [f"{field}={_joined(given)}" for field, given in pairs]
        elif name != "settings":
            values[name] = _joined(value)
    return path


def _joined(value: Any) -> Any:
    return ",".join(map(str, value)) if isinstance(value, list) else value


@app.command()
def simulate(
    pool: PoolArgument,
    test: Annotated[str, typer.Option(help="Another pool, or the share to hold out: 30%.", show_default=False)],
    methods: Annotated[str, typer.Option(help="NAME, NAME:PRESET, NAME:set=value;..., by commas.", show_default=False)],
    budgets: Annotated[str, typer.Option(help="500, 5%, 2/class, by commas.", show_default=False)],
    out: Out,
    recipes: Annotated[str, typer.Option(help="Like methods; see 'activetune list recipes'.")] = "linear_probe",
    seeds: Annotated[int, typer.Option(help="Repetitions.", min=1)] = 3,
    backbone: Backbone = "bundled",
    weights: Weights = None,
    start: Annotated[str, typer.Option(help="Makes the first selection of methods that learn from labels.")] = "random",
    settings: Annotated[
        list[str] | None, typer.Option(metavar="NAME.SETTING=VALUE", help="Of a method or recipe; can be repeated.")
    ] = None,
    keep_models: Annotated[bool, typer.Option("--keep-models", help="Keep finetuned models.")] = False,
    no_cache: NoCache = False,
    seed: Seed = 0,
    config: Annotated[
        Path | None,
        typer.Option(help="TOML file with this command's options.", callback=_load_simulation, is_eager=True),
    ] = None,
    device: Device = "auto",
    precision: PrecisionOption = "auto",
    workers: Annotated[int, typer.Option(help="Processes; -1 chooses.", min=-1)] = -1,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
) -> None:
    """Compare selectors and recipes on a pool whose labels are known: results.csv and report.html."""
    from activetune.simulation import simulate as run

    simulation = run(
        pool,
        test=test,
        methods=methods,
        budgets=budgets,
        recipes=recipes,
        seeds=seeds,
        out=out,
        backbone=backbone,
        weights=weights,
        settings=_by_name(settings or []),
        rounds_start=start,
        keep_models=keep_models,
        seed=seed,
        device=device,
        precision=precision,
        workers=workers,
        use_cache=not no_cache,
        overwrite=overwrite,
        resume=resume,
        quiet=quiet,
    )
    typer.echo(simulation.table())
    typer.echo(f"report: {out / 'report.html'}")
    if simulation.failures:
        first = simulation.failures[0]
        raise ActivetuneError(
            f"{len(simulation.failures):,} of {len(simulation.failures) + len(simulation.rows):,} cells failed, the "
            f"first ({first['method']}, {first['budget']}): {first['error']}; {out / 'failed.csv'} lists them"
        )


def _by_name(texts: list[str]) -> dict[str, dict[str, str]]:
    """``["activeft.loss=released"]`` to ``{"activeft": {"loss": "released"}}``."""
    found: dict[str, dict[str, str]] = {}
    for text in texts:
        place, equals, value = text.partition("=")
        name, dot, field = place.strip().rpartition(".")
        if not (equals and dot and name and field):
            raise UsageError(f"--settings {text!r} is not of the form NAME.SETTING=VALUE")
        found.setdefault(name, {})[field] = value.strip()
    return found


@app.command("list")
def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")],
    config: Config = None,
    quiet: Quiet = False,
) -> None:
    """List what can be named: selectors, recipes, backbones, formats."""
    from activetune.catalogue import catalogue

    for line in catalogue(what.value):
        typer.echo(line)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder made by 'demo' or 'simulate'.")],
    config: Config = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Make report.html from the results in a folder."""
    from activetune.report import write_report

    typer.echo(f"report: {write_report(folder, overwrite=overwrite)}")


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    if version:
        typer.echo(f"activetune {__version__}")
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; every failure is one sentence on stderr."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    if os.environ.get("ACTIVETUNE_TRACEBACK"):
        return _invoke(arguments)
    try:
        return _invoke(arguments)
    except (typer.Abort, KeyboardInterrupt):
        return _say("interrupted; what was finished is kept, --resume goes on", 130)
    except _WrongUse as error:
        message = " ".join(error.format_message().split())
        return _say(f"error: {message} See 'activetune {_command_of(arguments)}--help'.", 2)
    except ActivetuneError as error:
        return _say(f"error: {error}", error.exit_code)
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (the reader has gone; Python flushes at exit)
        return 0
    except MemoryError:
        return _say("error: not enough memory; try a smaller --batch-size or budget, or fewer --workers", 1)
    except Exception as error:
        if is_disk_full(error):
            where = getattr(error, "filename", None)
            return _say(
                f"error: the disk is full{f' ({where})' if where else ''}; what was finished is kept: free some "
                "space and run the command again (with --resume where it has one)",
                1,
            )
        if isinstance(error, PermissionError):
            return _say(f"error: {error.filename}: permission denied; choose another --out", 1)
        told = str(error).strip().splitlines() or [""]
        return _say(
            f"error: unexpected {type(error).__name__}: {told[0][:300]} (this is a defect of activetune; "
            "ACTIVETUNE_TRACEBACK=1 shows where it happened)",
            1,
        )


def _invoke(arguments: list[str]) -> int:
    """Parse and run; unlike typer's own ``main`` it turns no error into another one."""
    command = typer.main.get_command(app)
    try:
        with command.make_context("activetune", list(arguments) or ["--help"]) as context:
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code if arguments else 2
    sys.stdout.flush()
    return 0


def commands() -> dict[str, Any]:
    """The commands by name."""
    return dict(typer.main.get_group(app).commands)


def _command_of(arguments: list[str]) -> str:
    """The command's name and a space, if the arguments begin with one."""
    return f"{arguments[0]} " if arguments and arguments[0] in commands() else ""


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr, flush=True)
    return code
