"""How this process was started: alone, or by ``torchrun`` or ``accelerate launch`` as one of several.

Both set the same variables of the environment. Nothing but the standard library is loaded here: the command line asks
before all else.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

from activetune.base.errors import ActivetuneError, UsageError

SHARED = ("embed", "finetune", "predict", "select", "visft")  # the stages that several processes can run together
_VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Place:
    """A process among those of a launch.

    Attributes:
        rank: its number; the first one, 0, leads. world: how many there are. local_rank: its number on its machine.
        local_world: how many there are on its machine.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1


class OthersEnded(ActivetuneError):
    """Another process of the launch ended the run, so this one can't go on."""

    everywhere = True


class OthersLost(OthersEnded):
    """Another process of the launch has gone without a word, which a launcher on this machine may not know."""

    everywhere = False


def launched() -> Place:
    """The place of this process; alone where no launcher has set its variables."""
    if not all(os.environ.get(name) for name in _VARIABLES):
        return Place()
    try:
        rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        local_rank = int(os.environ.get("LOCAL_RANK", rank))
        return Place(rank, world, local_rank, int(os.environ.get("LOCAL_WORLD_SIZE", world)))
    except ValueError:
        return Place()


def leave(code: int) -> NoReturn:
    """End this process with an exit code.

    One of several takes its leave of the others, and is then gone at once: while Python is taken apart at its end, a
    thread of torch's that is left over may abort the process, as one run in some dozens did.
    """
    if launched().world == 1:
        sys.exit(code)
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):  # the reader has gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def shared(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for a stage that several processes can run together."""
    return bool(arguments) and arguments[0] in SHARED


def refuse_company(stage: str) -> None:
    """Refuse a stage that several processes can't share, where several were started.

    Raises:
        UsageError: it is so.
    """
    world = launched().world
    if world > 1:
        raise UsageError(
            f"{stage} runs in one process, and {world} were started; start it without torchrun or accelerate launch, "
            f"which are for {', '.join(SHARED[:-1])} and {SHARED[-1]} alone"
        )
