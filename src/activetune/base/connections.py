"""Connections between hosts that end where the other host can't be reached any more.

A process that is killed closes its connections, so whoever waits for it finds out at once. A host that loses power or
its network closes nothing: without more, the others would wait for as long as they are told to, which is days, since
the first process may compute for hours while they wait. So the system is asked to look after each connection: it sends
a sign of life where nothing else is sent, the other host's system answers whatever its processes are doing, and where
nothing has been answered for :func:`host_timeout` the connection is closed, and the wait for it ends in an error.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from activetune.base.errors import UsageError

HOST_TIMEOUT = "ACTIVETUNE_HOST_TIMEOUT"  # the variable of the environment
_SECONDS = 120  # where it is not set
_SIGNS = 4  # of life that are sent in that time
_OPEN_FILES = (Path("/proc/self/fd"), Path("/dev/fd"))  # of Linux; of other systems with POSIX


def host_timeout() -> int:
    """Seconds for which a host may be silent, at least 4: ``$ACTIVETUNE_HOST_TIMEOUT``, or 120.

    Raises:
        UsageError: the variable holds something else.
    """
    given = os.environ.get(HOST_TIMEOUT) or str(_SECONDS)
    if not given.isascii() or not given.isdigit() or not _SIGNS <= int(given) <= 86_400:
        raise UsageError(f"{HOST_TIMEOUT} is {given!r}; give whole seconds from {_SIGNS} to 86400, or leave it out")
    return int(given)


@contextlib.contextmanager
def looked_after() -> Iterator[None]:
    """Have the system look after each connection to another process that is made inside."""
    seconds, before = host_timeout(), _open_files()
    yield
    for number in _open_files() - before:
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as connection:
            if connection.family in (socket.AF_INET, socket.AF_INET6) and connection.getpeername():
                _look_after(connection, seconds)


def _open_files() -> set[int]:
    """The numbers of this process's open files; none where the system does not list them."""
    for folder in _OPEN_FILES:
        with contextlib.suppress(OSError):
            return {number for number in map(int, os.listdir(folder)) if _is_open(number)}
    return set()


def _is_open(number: int) -> bool:
    """Whether a number is that of an open file; the listing itself was one."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _look_after(connection: socket.socket, seconds: int) -> None:
    """Close a connection once the other host has answered nothing for so long, neither signs of life nor data."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", seconds // _SIGNS),
        ("TCP_KEEPINTVL", seconds // _SIGNS),
        ("TCP_KEEPCNT", _SIGNS),
        ("TCP_USER_TIMEOUT", 1000 * seconds),  # of data on its way; milliseconds
    ):
        if hasattr(socket, name):  # not all are everywhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
