"""Parsing a command line, running its command, and every failure in one sentence."""

from __future__ import annotations

import os
import sys

import typer

from activetune.cli import selecting, models, simulating, preparing, showing  # isort: skip  (this is their order in --help)
from activetune.base.errors import ActivetuneError, explain_system_error
from activetune.base.interrupts import raise_if_interrupted
from activetune.base.printing import tell
from activetune.cli._app import app, commands

__all__ = ["commands", "models", "preparing", "run_command", "selecting", "showing", "simulating"]

# typer brings its own copy of click along, so the base class of wrong use is asked of typer.
_WrongUse: type[typer.BadParameter] = typer.BadParameter.__bases__[0]  # type: ignore[assignment]


def run_command(arguments: list[str]) -> int:
    """Run the command line; returns the exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    if os.environ.get("ACTIVETUNE_TRACEBACK"):
        return _invoke(arguments)
    try:
        return _invoke(arguments)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (the reader has gone; Python flushes at exit)
        return 0
    except Exception as error:
        raise_if_interrupted()  # an import that was interrupted may end in another error
        return _explain(error, arguments)


def _explain(error: Exception, arguments: list[str]) -> int:
    """Say what happened; returns the exit code."""
    if isinstance(error, _WrongUse):
        message = " ".join(error.format_message().split())
        return _say(f"error: {message.rstrip('.')} (see 'activetune {_command_of(arguments)}--help')", 2)
    if isinstance(error, ActivetuneError):
        return _say(f"error: {error}", error.exit_code)
    if isinstance(error, MemoryError):
        return _say("error: not enough memory; try a smaller --batch-size or budget, or fewer --workers", 1)
    if (sentence := explain_system_error(error)) is not None:
        return _say(f"error: {sentence}", 1)
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
    tell(text)
    return code
