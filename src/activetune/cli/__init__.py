"""The command line: one command a stage, with the options of the Python function of the same name.

Results go to stdout, progress and notes to stderr. Exit code 0; 2 for wrong use, 1 for a failure that is explained in
a sentence, 130 on Ctrl-C and 143 on SIGTERM with everything finished so far kept. Nothing heavy is imported here:
signals are answered before the rest is loaded.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from activetune.base.interrupts import Terminated, answer_signals, ignore_signals
from activetune.base.launch import launched, leave
from activetune.base.printing import open_closed_streams, tell

__all__ = ["commands", "main", "run"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code; every failure is one sentence on stderr."""
    try:
        open_closed_streams()
        answer_signals()
        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt as error:
        code = _interrupted(error)
    ignore_signals()
    leave(code)


def run(arguments: list[str]) -> int:
    """Run the command line; returns the exit code."""
    try:
        from activetune.cli._running import run_command

        return run_command(arguments)
    except KeyboardInterrupt as error:
        if os.environ.get("ACTIVETUNE_TRACEBACK"):
            raise
        return _interrupted(error)


def commands() -> dict[str, Any]:
    """The commands by name."""
    from activetune.cli import _running

    return _running.commands()


def _interrupted(error: KeyboardInterrupt) -> int:
    ended, code = ("terminated", 143) if isinstance(error, Terminated) else ("interrupted", 130)
    if launched().rank == 0:  # which speaks for all processes of a launch
        tell(f"{ended}; {str(error) or 'what was finished is kept, --resume goes on'}")
    return code
