"""Several processes that run one stage: who is the first, what they tell each other, and how they end.

``torchrun`` or ``accelerate launch`` starts the processes (ranks). Without either there is one, and each function here
calls what it is given, or gives back what it gets.

The first process leads: it alone locks, reads, decides, writes and speaks. The others take its values
(:func:`from_first`) and share its training steps. An error that any of them can explain is raised in all of them
(:func:`together`), so that nobody waits for a process that has gone. A process that is killed closes its connections:
the others, wherever they wait, find out at once. Of a host that is cut off they find out too (``connections.py``).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from activetune.base.connections import looked_after
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.launch import OthersEnded, OthersLost, launched
from activetune.base.locks import locked_output
from activetune.base.run import Run

Value = TypeVar("Value")

GLOO = "gloo/transport"  # in the path of its source, which its errors name
PATIENCE = timedelta(days=30)  # while the first process computes features the others wait


_together, _alone = 0, 0  # how deep this process is in what it was given to do by together(), or does on its own


def rank_and_world() -> tuple[int, int]:
    """Number of this process, and how many there are; what a process does alone it does as if it were the only one."""
    if not _alone and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def is_first() -> bool:
    """Whether this process leads."""
    return rank_and_world()[0] == 0


# The beginning and the end ----------------------------------------------------------------------------------------


@contextlib.contextmanager
def joined() -> Iterator[None]:
    """Run a block as one of the processes of the launch; the connections that are made stay until the process ends.

    Raises:
        OthersLost: a process that this one waited for has gone, or its host can't be reached.
    """
    if launched().world > 1 and not distributed.is_initialized():
        _join()
    try:
        yield
    except Exception as error:
        if launched().world > 1 and _is_lost(error):
            raise OthersLost(
                f"another of the {launched().world} processes of this run has ended, or its host can't be reached; "
                "what was finished is kept: go on with --resume"
            ) from error
        raise


@contextlib.contextmanager
def shared() -> Iterator[bool]:
    """Run a stage that the processes of the launch share; yields whether they do.

    A stage within another one belongs to the process that has come to it: the others may never come there. It runs as
    in a process alone.
    """
    global _alone
    with joined():
        if rank_and_world()[1] > 1 and not _together:
            yield True
            return
        _alone += 1
        try:
            yield False
        finally:
            _alone -= 1


@contextlib.contextmanager
def shared_run(run: Run, out: str | os.PathLike[str] | None, *, folder: bool) -> Iterator[tuple[Run, ExitStack]]:
    """A stage that is shared, with the lock of its output, which the first process alone holds.

    Yields:
        The run's options, of which the other processes are quiet, and what the first one holds until the stage ends.
    """
    with shared(), ExitStack() as held:
        from_first(lambda: held.enter_context(locked_output(out, folder=folder)))
        yield (run if is_first() else replace(run, quiet=True)), held


def device_of_rank(device: str) -> str:
    """The device of this process, where ``device`` was asked for: of several processes each has a GPU of its own.

    Raises:
        UsageError: a device that several processes can't share, or fewer GPUs than processes.
    """
    place, count = launched(), torch.cuda.device_count()
    if place.world == 1:
        return device
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"several processes compute on cuda, each on its own GPU, or on cpu, not on {device!r}")
    if device == "cpu" or not count:
        return "cpu" if device == "auto" else device
    if place.local_rank >= count:
        gpus = "1 GPU" if count == 1 else f"{count} GPUs"
        raise UsageError(
            f"{place.local_world} processes were started on a machine with {gpus}; start one per GPU, or give "
            "--device cpu"
        )
    return f"cuda:{place.local_rank}"


def _join() -> None:
    """Find the other processes. Values travel by gloo, gradients on GPUs by NCCL."""
    on_gpus = torch.cuda.is_available()
    if on_gpus and launched().local_rank < torch.cuda.device_count():
        torch.cuda.set_device(launched().local_rank)
    # of 1 x 1 convolutions whose numbers lie otherwise in memory; the gradient is the same
    warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
    os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "0")  # all connections are made here, none at its first use
    with looked_after():
        distributed.init_process_group("cpu:gloo,cuda:nccl" if on_gpus else "gloo", timeout=PATIENCE)
    atexit.register(distributed.destroy_process_group)


def _is_lost(error: BaseException) -> bool:
    """Whether an error says that a connection to another process has broken."""
    return isinstance(error, distributed.DistError) or (isinstance(error, RuntimeError) and GLOO in str(error))


# What they tell each other ----------------------------------------------------------------------------------------


def from_first(find: Callable[[], Value]) -> Value:
    """The value that ``find`` gives in the first process, in all of them; the others wait for it.

    Raises:
        OthersEnded: in the others, where it raised an error in the first.
    """
    global _alone
    rank, world = rank_and_world()
    if world == 1:
        return find()
    if rank:
        told: list[Any] = [None, None]
        distributed.broadcast_object_list(told, src=0)
        if told[1] is not None:
            raise OthersEnded(told[1])
        return told[0]  # type: ignore[no-any-return]
    _alone += 1
    try:
        value = find()
    except Exception as error:
        with contextlib.suppress(RuntimeError):
            distributed.broadcast_object_list([None, str(error) or type(error).__name__], src=0)
        raise
    finally:
        _alone -= 1
    distributed.broadcast_object_list([value, None], src=0)
    return value


def together(find: Callable[[], Value]) -> Value:
    """The value that ``find`` gives in each process; an error in one of them is raised in all."""
    global _together
    if rank_and_world()[1] == 1:
        return find()
    value, fault = None, None
    _together += 1
    try:
        value = find()
    except ActivetuneError as error:
        fault = error
    finally:
        _together -= 1
    raise_shared(fault)
    return value  # type: ignore[return-value]


def agreed(value: Value, refusal: str) -> Value:
    """A value that all processes must have found alike.

    Args:
        refusal: what is said where they have not.

    Raises:
        UsageError: they have not.
    """
    if any(other != value for other in gathered(value)):
        raise UsageError(refusal)
    return value


def in_turn(find: Callable[[], Value]) -> Value:
    """The value that ``find`` gives in the first process, then in the others: they find what it has downloaded."""
    found = together(lambda: find() if is_first() else None)
    return together(lambda: found if is_first() else find())  # type: ignore[arg-type, return-value]


def raise_shared(fault: ActivetuneError | None) -> None:
    """Raise the error that this process or another one has met, in all of them; call it in all of them."""
    told = [found for found in gathered(fault and (str(fault), fault.exit_code)) if found is not None]
    if not told:
        return
    if not is_first():
        raise OthersEnded(told[0][0])
    if fault is None:
        fault = ActivetuneError(told[0][0])
        fault.exit_code = told[0][1]
    raise fault


def added_up(value: float, device: torch.device) -> float:
    """The sum of the processes' values; NaN if one of them is."""
    return all_added_up([value], device)[0]


def all_added_up(values: Sequence[float], device: torch.device) -> Sequence[float]:
    """The same of several values."""
    if rank_and_world()[1] == 1:
        return values
    totals: Tensor = torch.tensor(values, dtype=torch.float64 if device.type != "mps" else torch.float32, device=device)
    distributed.all_reduce(totals)
    return totals.tolist()  # type: ignore[no-any-return]


def gathered(value: Any) -> list[Any]:
    """Each process's value, in the order of their numbers."""
    world = rank_and_world()[1]
    if world == 1:
        return [value]
    found: list[Any] = [None] * world
    distributed.all_gather_object(found, value)
    return found


def with_weights_of_first(module: nn.Module) -> None:
    """Give a module the weights that it has in the first process."""
    if rank_and_world()[1] > 1:
        for value in module.state_dict().values():
            sent = value.contiguous()
            distributed.broadcast(sent, src=0)
            value.copy_(sent)
