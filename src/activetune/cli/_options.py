"""Options that several commands have."""

from __future__ import annotations

import csv
import inspect
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from activetune.base.config import read_config
from activetune.base.errors import UsageError
from activetune.base.run import Run, RunOptions
from activetune.cli._app import commands

if TYPE_CHECKING:
    from activetune.data.pool import Pool

Command = Callable[..., None]
ConfigLoader = Callable[[typer.Context, Path | None], Path | None]


LISTS = frozenset({"set", "settings"})  # options that are repeated; the others are one text, with commas where a list


def typed(value: Any) -> str:
    """A value of a config file as the text that is typed: ``a,b`` for a list, ``"a, b",c`` where a text holds a comma.

    click converts text for every option, and tells in a sentence what it can't read; of a number or a truth value
    where it awaits something else its versions differ, down to a traceback.
    """
    if isinstance(value, list):
        from activetune.base.tables import csv_line

        return csv_line([typed(one) for one in value]).rstrip("\n")
    return str(value).lower() if isinstance(value, bool) else str(value)


def load_config(context: typer.Context, path: Path | None) -> Path | None:
    """``--config``: the file's values become the defaults of this command; what is typed wins."""
    if path is None:
        return None
    command = context.command
    options = {(parameter.name or "").rstrip("_"): parameter.name for parameter in command.params}
    values = read_config(path, command.name or "", options.keys() - {"config", "help"}, commands())
    named = {options[name]: value if name in LISTS else typed(value) for name, value in values.items()}
    context.default_map = {**(context.default_map or {}), **named}
    return path


def with_run_options(
    config: ConfigLoader = load_config, *, idle: Sequence[str] = (), workers: str | None = None
) -> Callable[[Command], Command]:
    """Give a command ``--config`` and the options of every stage, which it gets as ``**run_options``.

    Args:
        config: what reads the file of ``--config``, where the command has lists or tables of its own.
        idle: options that can't change anything here. Their use is refused in a sentence; ``--help`` leaves them out.
        workers: what ``--workers`` means here, where that is something else.
    """

    def decorate(command: Command) -> Command:
        hints = get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name])
            for name, parameter in inspect.signature(command).parameters.items()
            if parameter.kind is not inspect.Parameter.VAR_KEYWORD
        ]
        reader = typer.Option(help="TOML file with this command's options.", callback=config, is_eager=True)
        changed = {name: _changed(name, hidden=True) for name in idle}
        changed |= {} if workers is None else {"workers": _changed("workers", help=workers)}
        shared = {"config": (Annotated[Path | None, reader], None), **_RUN_OPTIONS, **changed}
        keyword = inspect.Parameter.KEYWORD_ONLY
        added = [
            inspect.Parameter(name, keyword, annotation=hint, default=default)
            for name, (hint, default) in shared.items()
        ]

        def run(**values: Any) -> None:
            values.pop("config")  # its callback has read it already
            command(**values)

        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *added)}
        return run

    return decorate


def _changed(name: str, **attributes: object) -> tuple[Any, object]:
    """An option of every stage with some of its attributes changed."""
    hint, default = _RUN_OPTIONS[name]
    kind, option = get_args(hint)
    other = copy(option)
    vars(other).update(attributes)
    return Annotated[kind, other], default


_RUN_OPTIONS: dict[str, tuple[Any, object]] = {
    "seed": (Annotated[int, typer.Option(help="Seed of every random choice.", min=0)], Run.seed),
    "device": (Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")], Run.device),
    "precision": (Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")], Run.precision),
    "workers": (
        Annotated[int, typer.Option(help="Processes; -1 chooses how many, 0 is none but this one.", min=-1)],
        Run.workers,
    ),
    "overwrite": (Annotated[bool, typer.Option("--overwrite", help="Replace what the output holds.")], Run.overwrite),
    "resume": (Annotated[bool, typer.Option("--resume", help="Go on with a run that was cut off.")], Run.resume),
    "quiet": (Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")], Run.quiet),
}

PoolArgument = Annotated[
    str,
    typer.Argument(
        metavar="POOL",
        help="Folder of images, CSV/Parquet/JSON lines manifest, Hugging Face Parquet files, .zip or .tar, videos, or "
        "the address of one: s3://bucket/photos.",
    ),
]
FollowLinks = Annotated[
    bool, typer.Option("--follow-links", help="Also take linked folders that lead out of the pool.")
]
Out = Annotated[Path, typer.Option(help="Where the result goes.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option(help="TOML file with this command's options.", callback=load_config, is_eager=True),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress and no notes.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither use nor fill the cache of embeddings.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting; can be repeated.")]
Preset = Annotated[str | None, typer.Option(help="Named settings, for instance: paper.")]
Backbone = Annotated[
    str,
    typer.Option(
        help="bundled, timm/NAME, vil/NAME, hf/NAME, open_clip/ARCH#WEIGHTS, or folders; see 'list backbones'."
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="Local .safetensors or .pth file of the backbone's weights; default: they are fetched."),
]
Exclude = Annotated[Path | None, typer.Option(help="File with ids to treat as if they were not there.")]
LabelsOption = Annotated[
    Path | None,
    typer.Option(
        "--labels",
        help="Answers. One class per image: a table (CSV, Parquet or JSON lines) with id and label; from other tools "
        "use 'import' first. Other tasks: also labels, caption or mask, a folder of masks, COCO, Pascal VOC, YOLO. "
        "Default: the pool's own.",
    ),
]
Track = Annotated[
    str | None,
    typer.Option(
        help="Also record in OUT/tracking for tensorboard, wandb, mlflow or trackio; several with commas.",
        show_default=False,
    ),
]
ClassLabels = Annotated[
    Path | None,
    typer.Option("--labels", help="CSV, Parquet or JSON lines with id and label; default: the pool's own."),
]


ShardSize = Annotated[
    int | None, typer.Option(help="Images of a shard, the unit of work; default: 1024.", min=1, show_default=False)
]
EngineOption = Annotated[
    str | None,
    typer.Option("--engine", help="ray: share the work out to the processes of a Ray cluster.", show_default=False),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST",
        help="Address of the Ray cluster: the one of this machine, or its head; default: one is started for this run.",
        show_default=False,
    ),
]
RayProcesses = Annotated[
    int | None,
    typer.Option(help="Ray's; default: one per GPU, without GPUs one per machine.", min=1, show_default=False),
]


MASK_COLUMNS = frozenset({"value", "r", "color", "colour"})  # of a table that says what masks hold


def opened(pool: str, follow_links: bool, run_options: RunOptions) -> Pool | str:
    """What a stage gets as its pool: the path, or the pool itself where it is opened in another way than usual."""
    if not follow_links:
        return pool
    from activetune.data.opening import open_pool

    return open_pool(pool, follow_links=True, quiet=run_options.get("quiet", False))


def _fields(text: str) -> list[str]:
    """``a,b,c`` apart, where quotes hold commas."""
    try:
        return next(csv.reader([text], skipinitialspace=True), [])
    except csv.Error as error:
        raise UsageError(f"--classes {text[:40]!r} can't be read ({error}); give a,b,c, or a file of names") from None


def _names_in(path: Path, task: str | None) -> list[str]:
    """The names in a file: a line each; of a table such as ``classes.csv`` beside masks, its column ``name``."""
    from activetune.base.tables import csv_columns, decode_text
    from activetune.data.annotations import is_void

    text = decode_text(path)
    header = _fields(text.partition("\n")[0]) if path.suffix.lower() == ".csv" else []
    if "name" not in header or len(header) < 2:
        return text.splitlines()
    told = "segmentation" if task is None and MASK_COLUMNS & set(header) else task or ""
    return [name for name in csv_columns(path, text)["name"] if not is_void(str(name), told)]


def class_list(text: str | None, task: str | None = None) -> list[str] | None:
    """``a,b,c``, a name that holds a comma in double quotes (``"tench, Tinca tinca",b``), or the lines of a file.

    Args:
        task: that the classes are for; names such as ``void`` in a table are no classes of masks. None: not known.

    Raises:
        UsageError: a file that is not there, one among names, or no name.
    """
    if text is None:
        return None
    from activetune.base.files import is_file

    path = None if "," in text else Path(text)
    a_file = path is not None and is_file(path)
    if path is not None and path.suffix.lower() in (".txt", ".csv") and not a_file:
        raise UsageError(f"there is no file {text} of class names; give one with a name per line, or --classes a,b,c")
    names = _names_in(Path(text), task) if a_file else _fields(text)
    found = [name.strip() for name in names if name.strip()]
    if not found:
        raise UsageError(
            f"{f'the file {text}' if a_file else f'--classes {text}'} names no class; give --classes a,b,c"
        )
    if not a_file and (files := [name for name in found if is_file(Path(name))]):
        raise UsageError(
            f"--classes lists {files[0]!r}, which is a file; give it alone, or names alone (to call a class so, write "
            "all names into a file, one per line)"
        )
    return found
