"""Parsing a command line, running its command, and every failure in one sentence."""

from __future__ import annotations

import contextlib
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import typer

from activetune.base.command import typed

# isort: off
# This is their order in --help.
from activetune.cli import (
    checking,
    selecting,
    labelling,
    exchanging,
    models,
    handing,
    rounds,
    simulating,
    supervising,
    preparing,
    showing,
    examining,
)

# isort: on
from activetune.base.config import FREE_TEXT
from activetune.base.errors import ActivetuneError, UsageError, explain_system_error, is_out_of_memory
from activetune.base.interrupts import raise_if_interrupted
from activetune.base.launch import OthersLost, Place, launched, refuse_company, shared
from activetune.base.printing import tell
from activetune.cli import completing
from activetune.cli._app import app, commands

__all__ = [
    "checking",
    "commands",
    "examining",
    "exchanging",
    "handing",
    "labelling",
    "models",
    "preparing",
    "rounds",
    "run_command",
    "selecting",
    "showing",
    "simulating",
    "supervising",
]

# typer brings its own copy of click along, so the base class of wrong use is asked of typer.
_WrongUse: type[typer.BadParameter] = typer.BadParameter.__bases__[0]  # type: ignore[assignment]


def run_command(arguments: list[str]) -> int:
    """Run the command line; returns the exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM.
    """
    place = launched()
    if place.rank and not shared(arguments):
        return 0  # the first process says what there is to say
    if os.environ.get("ACTIVETUNE_TRACEBACK"):
        return _start(arguments, place)
    try:
        return _start(arguments, place)
    except typer.Abort:
        raise KeyboardInterrupt from None
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123  (the reader has gone; Python flushes at exit)
        return 0
    except Exception as error:
        raise_if_interrupted()  # an import that was interrupted may end in another error
        if place.rank and (isinstance(error, _WrongUse) or getattr(error, "everywhere", False)):
            return 0  # the first process meets it too, and says so
        if place.local_rank and isinstance(error, OthersLost):
            return 1  # one sentence per machine is enough
        return _explain(error, arguments)


def _start(arguments: list[str], place: Place) -> int:
    """Run the command in one process, or as one of several, of which the first one alone speaks."""
    if place.world == 1:
        return _invoke(arguments)
    if not shared(arguments):
        if _command_of(arguments):
            refuse_company(arguments[0])
        return _invoke(arguments)
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # it warns of how it was told to add up gradients
    from activetune.base.ranks import joined

    with joined(), Path(os.devnull).open("w") as nowhere, contextlib.ExitStack() as silence:
        if place.rank:
            silence.enter_context(contextlib.redirect_stdout(nowhere))
            silence.enter_context(contextlib.redirect_stderr(nowhere))
        return _invoke(arguments)


def _explain(error: Exception, arguments: list[str]) -> int:
    """Say what happened; returns the exit code."""
    if isinstance(error, _WrongUse):
        message = " ".join(error.format_message().split())
        return _say(f"error: {message.rstrip('.')} (see 'activetune {_command_of(arguments)}--help')", 2)
    if isinstance(error, ActivetuneError):
        return _say(f"error: {error}", error.exit_code)
    if is_out_of_memory(error):
        return _say(
            "error: not enough memory; what was finished is kept: give a smaller backbone, --batch-size or budget, or "
            "fewer --workers",
            1,
        )
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
    _refuse_empty(arguments)
    command = typer.main.get_command(app)
    if completing.asked():
        return completing.complete(command)
    if (script := completing.asked_for_script(arguments)) is not None:
        return completing.write_script(command, *script)
    try:
        with typed(arguments), command.make_context("activetune", list(arguments) or ["--help"]) as context:
            _refuse_twice(arguments, context)
            command.invoke(context)
    except typer.Exit as ended:
        return ended.exit_code if arguments else 2
    sys.stdout.flush()
    return 0


def _refuse_twice(arguments: list[str], parent: Any) -> None:
    """Refuse an option with two values where one counts: click would take the last without a word."""
    command = commands().get(arguments[0]) if arguments else None
    if command is None:
        return
    context = command.context_class(command, parent=parent, info_name=arguments[0])
    _, _, given = command.make_parser(context).parse_args(list(arguments[1:]))
    taken = [one for one in given if one.param_type_name == "option" and not (one.multiple or one.is_flag)]
    for option, times in Counter(taken).items():
        if times > 1:
            raise UsageError(f"{option.opts[0]} is given {times} times, and takes one value; give it once")


def _refuse_empty(arguments: list[str]) -> None:
    """Refuse an argument without a character, which is mostly a variable of the shell that was never set.

    As a path it would be the folder that the command was started in.

    Raises:
        UsageError: there is one.
    """
    for before, argument in zip(["", *arguments], arguments, strict=False):
        name = argument.partition("=")[0]
        option = name if name.startswith("--") and name != argument else before
        empty = not argument or (argument.startswith("--") and argument == f"{name}=")
        if empty and option.removeprefix("--") not in FREE_TEXT:
            where = f"{option} is empty" if option.startswith("--") else "an argument is empty"
            raise UsageError(f"{where}; give a value (is a variable of the shell not set?)")


def _command_of(arguments: list[str]) -> str:
    """The command's name and a space, if the arguments begin with one."""
    return f"{arguments[0]} " if arguments and arguments[0] in commands() else ""


def _say(text: str, code: int) -> int:
    tell(text)
    return code
