"""The connection to a Ray cluster: one that is there, or one that is started on this machine for one run alone.

Ray is told to be quiet, to send nothing to its makers and, alone on this machine, to listen on the loopback interface
with a password of its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from activetune.base.errors import ActivetuneError, MissingExtra, UsageError, first_line
from activetune.base.files import remove
from activetune.base.interrupts import raise_if_interrupted
from activetune.base.runtime import usable_cores

PORT = 6379  # of Ray's head
ANSWER_SECONDS = 10  # for the head to answer
START_SECONDS = 120  # for a cluster on this machine
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}  # to Ray's makers, and on stderr
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_raylet_start_wait_time_s": str(START_SECONDS)}  # on loopback
_token: dict[str, str] = {}  # of the clusters that this process starts, where it has imported Ray here
_LONG = 40  # characters of a temporary folder: Ray's sockets lie below, and may have 107 in all


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; it says nothing of this run to anybody, and nothing to stderr.

    Raises:
        MissingExtra: it is not installed. UsageError: there is no such cluster.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "fatal"}
    with contextlib.ExitStack() as held:
        held.enter_context(_environment({**_QUIET, **(_ALONE | _own_token() if address is None else _known_token())}))
        try:
            import ray
        except ImportError:
            raise MissingExtra("ray", "ray") from None
        if address is None:
            folder = held.enter_context(_short_folder())
            options |= {"address": "local", "num_cpus": usable_cores(), "include_dashboard": False, "_temp_dir": folder}
        else:
            options["address"] = _reached(address)
        try:
            with _silent():
                ray.init(**options)
        except Exception as error:
            ray.shutdown()
            raise _no_cluster(address, error) from None
        try:
            for number, handler in handlers.items():  # Ray answers SIGTERM in its own way
                signal.signal(number, handler)
            yield ray
        except KeyboardInterrupt:
            raise_if_interrupted()  # Ray raises this for SIGTERM too
            raise
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment, which Ray's own processes inherit, for as long as it runs."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _own_token() -> dict[str, str]:
    """A password for clusters of this process alone; without one Ray would write one into the user's home.

    A program that has imported Ray before has also decided how its processes know each other: Ray reads that then.
    """
    if "ray" in sys.modules and not _token:
        return {}
    _token.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray keeps that of its first cluster in this process
    return {"RAY_AUTH_MODE": "token", **_token}


def _known_token() -> dict[str, str]:
    """Have a cluster's password used where ``ray start`` has left one, or the user has given it."""
    known = "RAY_AUTH_TOKEN" in os.environ or (Path.home() / ".ray" / "auth_token").is_file()
    return {"RAY_AUTH_MODE": "token"} if known and "RAY_AUTH_MODE" not in os.environ else {}


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing reaches stderr, into which libraries in C++ write past Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _reached(address: str) -> str:
    """An address as Ray takes it, where somebody answers.

    Raises:
        UsageError: nobody does.
    """
    if address == "auto":
        return address
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port or PORT)), timeout=ANSWER_SECONDS):
            return f"{host}:{port or PORT}"
    except (OSError, ValueError, OverflowError) as error:
        raise _no_cluster(address, error) from None


@contextlib.contextmanager
def _short_folder() -> Iterator[str | None]:
    """A temporary folder for Ray's own files, removed afterwards; None, which is Ray's default, if its name is long."""
    folder = tempfile.mkdtemp(prefix="ray-")
    try:
        yield folder if len(folder) <= _LONG else None
    finally:
        with contextlib.suppress(OSError):
            remove(Path(folder))


def _no_cluster(address: str | None, error: Exception) -> ActivetuneError:
    why = first_line(error)
    if address is None:
        return ActivetuneError(
            f"this machine can't start Ray ({why}); try again when it is less busy, or compute without --engine ray"
        )
    if address == "auto":
        return UsageError(
            "there is no Ray cluster on this machine; start one with 'ray start --head' (and join other machines to it "
            "with 'ray start --address HOST:6379'), or leave --address out to have one for this run alone"
        )
    return UsageError(
        f"there is no Ray cluster at {address} that this machine is part of ({why}); run 'ray start --head' there and "
        f"'ray start --address {address if ':' in address else f'{address}:{PORT}'}' here"
    )
