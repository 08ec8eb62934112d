"""Processes of a Ray cluster that work through shards; why Ray is used in this way: decision 19.

The command leads: it plans, starts processes on the cluster's machines, watches the seals of the shards appear, and
makes the result. Nothing but the work goes to the processes, nothing but figures comes back: images and shards are
files, which all machines see under the same names. A process that dies costs the shard that it was making; the others
go on, and what is left is made in another round.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from activetune.base.connection import connected
from activetune.base.errors import ActivetuneError, UsageError, first_line
from activetune.base.interrupts import raise_if_interrupted
from activetune.base.launch import launched
from activetune.base.progress import note
from activetune.base.runtime import resolve_runtime
from activetune.base.shards import Shards
from activetune.base.torchvision_ import import_torchvision

ENGINES = ("ray",)
LOOK_SECONDS = 0.5
ROUNDS = 3  # in which processes die and not one shard is finished, before that is an error
WAIT_SECONDS = 30  # for the first shard to be taken, before a note says what is waited for


class Task(Protocol):
    """What is sent to the processes."""

    @property
    def shards(self) -> Shards: ...  # noqa: D102

    def run(self, pending: Sequence[int], *, device: str = "", beside: int = 1) -> dict[str, Any]:
        """Work through the shards that nobody else takes."""


@dataclass(frozen=True)
class Engine:
    """How the processes are started that work together.

    Attributes:
        name: ``ray``; None: this process alone, or the launch that it is part of.
        address: of the cluster; ``auto``: the one on this machine that ``ray start`` has begun or joined; None: one is
            started for this run alone.
        processes: of the cluster; None: one per GPU, or one per machine where there are none.
    """

    name: str | None = None
    address: str | None = None
    processes: int | None = None

    def __post_init__(self) -> None:
        if self.name is None and (self.address is not None or self.processes is not None):
            given = "address" if self.address is not None else "processes"
            raise UsageError(f"{given} says where or how Ray works; give --engine ray too, or leave --{given} out")
        if self.name is not None and self.name not in ENGINES:
            raise UsageError(f"unknown engine {self.name!r}; there is: {', '.join(ENGINES)}")
        if self.processes is not None and self.processes < 1:
            raise UsageError(f"processes must be at least 1, not {self.processes}")
        if self.address is not None and (not self.address.strip() or "://" in self.address):
            raise UsageError(
                f"address {self.address!r} is not possible; run the command on a machine of the cluster, and give "
                "auto, or the head's HOST or HOST:PORT"
            )
        if self.name is not None and launched().world > 1:
            raise UsageError(f"--engine ray starts processes itself, and {launched().world} were started; give either")

    @contextlib.contextmanager
    def cluster(self, device: str) -> Iterator[Cluster | None]:
        """The cluster, for as long as it is needed; None without an engine.

        Args:
            device: that was asked for.
        """
        if self.name is None:
            yield None
            return
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(f"the processes of Ray compute on cuda, each on its own GPU, or on cpu, not on {device!r}")
        with connected(self.address) as ray:
            yield Cluster(ray, self.processes, gpus=device != "cpu")


class Cluster:
    """Machines that Ray has joined, and the processes that work there.

    Args:
        ray: the package, connected. processes: how many; None: one per GPU, or one per machine where there are none.
        gpus: compute on GPUs where the cluster has some.
    """

    def __init__(self, ray: Any, processes: int | None = None, *, gpus: bool = True):
        self._ray = ray
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        found = sum(int(one.get("GPU", 0)) for one in machines) if gpus else 0
        self.gpus = 1 if found else 0
        self.processes = processes or found or len(machines)
        if found and self.processes > found:
            raise UsageError(f"{self.processes} processes need a GPU each, and the cluster has {found}; give fewer")
        self.beside = -(-self.processes // len(machines))
        cores = min((int(one.get("CPU", 1)) for one in machines), default=1)
        self.cores = max(1, cores // self.beside)

    def precision(self, device: str, precision: str) -> str:
        """The precision in which the processes compute; ``auto`` is that of the first one.

        Raises:
            UsageError: a device that it has not.
        """
        if precision != "auto":
            return precision
        asked = self._ray.remote(_precision).options(num_cpus=1, num_gpus=self.gpus)
        with self._explained():
            found: str = self._ray.get(asked.remote(device, precision))
        return found

    def run(self, work: Task, pending: Sequence[int], look: Callable[[], None], *, quiet: bool) -> list[dict[str, Any]]:
        """Have the shards made; returns the figures of the processes that came to their end.

        Args:
            look: is called again and again, to see how far they are.

        Raises:
            ActivetuneError: what a process has met, or that they die again and again.
        """
        figures, idle, left = list[dict[str, Any]](), 0, list(pending)
        given = self._ray.put(work)
        while left:
            found, died = self._round(given, work.shards, left, look, quiet)
            figures += found
            work.shards.free()
            still = [shard for shard in left if not work.shards.is_sealed(shard)]
            idle = idle + 1 if len(still) == len(left) else 0
            if still and (idle >= ROUNDS or not died):
                raise ActivetuneError(
                    f"Ray's processes ended {idle + 1} times without finishing a shard, most often for want of memory; "
                    "what was finished is kept: go on with --resume and fewer --processes"
                )
            if still:
                note(f"{died} of Ray's processes died; {len(still):,} shards are left and made by new ones", quiet)
            left = still
        return figures

    def _round(
        self, work: Any, shards: Shards, pending: Sequence[int], look: Callable[[], None], quiet: bool
    ) -> tuple[list[dict[str, Any]], int]:
        """Start the processes and wait until they have ended, or nothing is left; figures, and how many died."""
        options = {"num_cpus": self.cores, "num_gpus": self.gpus, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
        given = ([work], str(Path.cwd()), list(pending), "cuda" if self.gpus else "", self.beside)
        workers = [self._ray.remote(_Worker).options(**options).remote() for _ in range(self.processes)]
        running = [worker.run.remote(given) for worker in workers]
        figures, died, faults = list[dict[str, Any]](), 0, list[ActivetuneError]()
        started, told = time.monotonic(), quiet
        try:
            while running and not all(map(shards.is_sealed, pending)):
                ended, running = self._ray.wait(running, num_returns=1, timeout=LOOK_SECONDS)
                for one in ended:
                    try:
                        with self._explained():
                            figures.append(self._ray.get(one))
                    except _Died:
                        died += 1
                    except ActivetuneError as fault:
                        faults.append(fault)
                raise_if_interrupted()
                look()
                if not told and time.monotonic() - started > WAIT_SECONDS and not shards.claimed():
                    told = True
                    note(f"waiting for Ray to find room for {self.processes} processes of {self.cores} cores each")
            ended, _ = self._ray.wait(running, num_returns=len(running), timeout=LOOK_SECONDS) if running else ([], [])
            figures += [self._ray.get(one) for one in ended]
        finally:
            for worker in workers:
                self._ray.kill(worker)
        look()
        if faults:
            raise faults[0]
        return figures, died

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """What Ray raises, as what the process has met.

        Raises:
            ActivetuneError, UsageError: its own. _Died: it has died.
        """
        errors = self._ray.exceptions
        try:
            yield
        except errors.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, ActivetuneError):
                raise cause from None
            raise ActivetuneError(
                f"a process of Ray ended in {type(cause).__name__}: {first_line(cause)}; what was finished is kept: go "
                "on with --resume"
            ) from None
        except (errors.RayActorError, errors.WorkerCrashedError, errors.NodeDiedError) as error:
            raise _Died(first_line(error)) from None
        except errors.RayError as error:
            raise ActivetuneError(
                f"Ray: {first_line(error)}; what was finished is kept: go on with --resume (is the same version of "
                "activetune installed on all machines?)"
            ) from None


class _Died(ActivetuneError):
    """A process of the cluster died, or its machine."""


class _Worker:
    """A process of the cluster; it lives as long as its round."""

    def run(self, given: tuple[list[Any], str, list[int], str, int]) -> dict[str, Any]:
        """Work through the shards that nobody else takes; returns its figures."""
        import ray

        (sent,), folder, pending, device, beside = given
        import_torchvision()  # before what needs it is unpacked
        _go_to(folder)
        work: Task = ray.get(sent)
        work.shards.check_seen()
        return {"host": socket.gethostname(), **work.run(pending, device=device, beside=beside)}


def _go_to(folder: str) -> None:
    """Stand where the command was started, so that the same names mean the same files.

    Raises:
        ActivetuneError: there is no such folder on this machine.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise ActivetuneError(
            f"{socket.gethostname()} has no folder {folder} ({error.strerror}); all machines of the cluster must see "
            "the pool and the output under the same names, for instance on NFS"
        ) from None


def _precision(device: str, precision: str) -> str:
    """The precision in which this process computes."""
    return resolve_runtime(device, precision).precision
