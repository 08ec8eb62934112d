"""Running a server on 127.0.0.1 until a signal ends it; its address is the first line on stdout."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.interrupts import raise_if_interrupted
from activetune.base.printing import say

LOOPBACK = "127.0.0.1"
PATIENCE = 3  # seconds that requests have to end in once the server was told to
WAITING = 2048  # connections that wait to be accepted
HEAD_SECONDS = 10.0  # that the head of a request has to arrive in


def bind(port: int = 0) -> socket.socket:
    """A socket that listens on 127.0.0.1; port 0 takes a free one.

    Raises:
        UsageError: no such port, or one that is taken. ActivetuneError: one that this user may not have.
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port} does not exist; give 0 (a free one is taken) or 1 to 65535")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # where it would share the port with another program
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, port))
        listener.listen(WAITING)  # from here on connections wait, so the address may be told
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise UsageError(
                f"port {port} of {LOOPBACK} is taken by another program; choose another --port, or 0 for a free one"
            ) from None
        reason = (error.strerror or str(error)).lower()
        raise ActivetuneError(f"port {port} of {LOOPBACK} can't be used ({reason}); choose another --port") from None
    return listener


def address(listener: socket.socket, token: str, path: str = "/") -> str:
    """The URL of a bound socket, with the token that :class:`activetune.serving.guards.Guards` asks for."""
    return f"http://{LOOPBACK}:{listener.getsockname()[1]}{path}?token={token}"


def run_server(
    app: ASGIApp, listener: socket.socket, url: str, *, kept: str, then: Callable[[str], object] | None = None
) -> None:
    """Print the address, and answer requests until SIGINT or SIGTERM; those that are being answered end first.

    Args:
        app: an ASGI application, behind :class:`activetune.serving.guards.Guards`.
        listener: of :func:`bind`; it is closed at the end.
        url: of :func:`address`.
        kept: what becomes of the work at the end, said behind "the server has ended".
        then: called with the address once it is printed, for instance to open a browser.

    Raises:
        UsageError: an event loop runs in this thread already.
        KeyboardInterrupt: the signal that ended it, where the command line answers signals.
    """
    _refuse_running_loop()
    config = uvicorn.Config(
        app,
        http=_Impatient,
        log_level="critical",  # requests that are cut off at the end are no news
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=PATIENCE,
    )
    try:
        say(url)
        if then is not None:
            then(url)
        _Server(config).run(sockets=[listener])
        raise_if_interrupted()
    except KeyboardInterrupt as error:
        raise type(error)(f"the server has ended; {kept}") from None
    finally:
        listener.close()


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise UsageError("a notebook can't wait for a server; run the command in a terminal")


class _Impatient(H11Protocol):
    """uvicorn's protocol, which waits for the head of a request without an end: whoever sends it in drops is cut off.

    Otherwise a few hundred such connections would take all descriptors that the process may have.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection has come."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Some bytes have come: the head is complete, or is still waited for."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_waiting()
        elif self._waiting is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class _Server(uvicorn.Server):
    """uvicorn's server; a signal that the caller of the program had ignored stays ignored."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the two signals while the server runs, and raise what came once it has ended."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        for captured in self._captured_signals:
            signal.raise_signal(captured)
