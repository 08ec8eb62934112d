"""The command line: one command a stage, with the options of the Python function of the same name.

Results go to stdout, progress and notes to stderr. Exit code 0; 2 for wrong use, 1 for a failure that is explained in
a sentence, 130 on Ctrl-C with everything finished so far kept.
"""

from __future__ import annotations

import os
import sys

import typer

from activetune.cli import selecting, models, simulating, preparing, showing  # isort: skip  (this is their order in --help)
from activetune.base.errors import ActivetuneError, is_disk_full
from activetune.cli._app import app, commands

__all__ = ["app", "commands", "main", "models", "preparing", "run", "selecting", "showing", "simulating"]

# typer brings its own copy of click along, so the base class of wrong use is asked of typer.
_WrongUse: type[typer.BadParameter] = typer.BadParameter.__bases__[0]  # type: ignore[assignment]


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
        return _say(f"error: {message.rstrip('.')} (see 'activetune {_command_of(arguments)}--help')", 2)
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


def _command_of(arguments: list[str]) -> str:
    """The command's name and a space, if the arguments begin with one."""
    return f"{arguments[0]} " if arguments and arguments[0] in commands() else ""


def _say(text: str, code: int) -> int:
    print(text, file=sys.stderr, flush=True)
    return code
