"""Stores for tests: an S3 server in this process, a proxy before it that fails when it is told to, pools in memory."""

from __future__ import annotations

import contextlib
import http.client
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

HOST = "127.0.0.1"
SIGNED = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"


@dataclass(frozen=True)
class Status:
    """An answer of this status in place of the store's."""

    code: int


@dataclass(frozen=True)
class Cut:
    """The store's answer, whose connection is cut after so many bytes."""

    after: int


@dataclass(frozen=True)
class Silence:
    """The store's answer, once ``over`` is set."""

    over: threading.Event


Fault = Status | Cut | Silence


@dataclass
class Proxy:
    """Before a store: notes every request, and asks ``fault`` what to do with it (None: nothing).

    Attributes:
        asked: method and path with query of each request, in their order. given_up: silences that nobody ended.
    """

    store: int
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    given_up: int = 0
    fault: Callable[[str, str], Fault | None] = lambda method, path: None

    def objects(self, suffix: str = "") -> list[str]:
        """The paths of the objects that were read, in their order."""
        return [
            path for method, path in self.asked if method == "GET" and "list-type" not in path and path.endswith(suffix)
        ]

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Write an object, past the faults."""
        self._ask("PUT", f"/{bucket}/{quote(key)}", content)

    def remove(self, bucket: str, key: str) -> None:
        """Remove an object, past the faults."""
        self._ask("DELETE", f"/{bucket}/{quote(key)}")

    def fill(self, bucket: str, folder: Path, below: str = "") -> str:
        """Copy a folder into a new bucket; returns its address."""
        self._ask("PUT", f"/{bucket}")
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                self.put(bucket, f"{below}{file.relative_to(folder).as_posix()}", file.read_bytes())
        return f"s3://{bucket}/{below}".rstrip("/")

    def _ask(self, method: str, path: str, content: bytes = b"") -> None:
        connection = http.client.HTTPConnection(HOST, self.store)
        connection.request(method, path, content, {"Authorization": SIGNED})
        answer = connection.getresponse()
        answer.read()
        assert answer.status < 300, answer.status
        connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    proxy: Proxy

    def do_GET(self) -> None:
        self.proxy.asked.append((self.command, self.path))
        fault = self.proxy.fault(self.command, unquote(self.path))
        if isinstance(fault, Silence):
            self.proxy.given_up += not fault.over.wait(20)
        if isinstance(fault, Status):
            body = b"<Error><Code>InternalError</Code><Message>no</Message></Error>"
            self._answer(fault.code, [("Content-Type", "application/xml")], body, len(body))
            return
        connection = http.client.HTTPConnection(HOST, self.proxy.store)
        connection.request(self.command, self.path, headers=dict(self.headers.items()))
        answer = connection.getresponse()
        body = answer.read()
        size = int(answer.headers.get("Content-Length") or len(body))
        kept = [one for one in answer.getheaders() if one[0].lower() not in ("content-length", "connection", "date")]
        if isinstance(fault, Cut):
            body = body[: fault.after]
            self.close_connection = True
        self._answer(answer.status, kept, body, size)
        connection.close()

    do_HEAD = do_GET

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, size: int) -> None:
        self.send_response_only(status)
        for name, value in (*headers, ("Content-Length", str(size))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(BrokenPipeError):  # whoever asked has given up
                self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def listening(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """A server in threads of this process; its port."""
    server = ThreadingHTTPServer((HOST, 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def s3_store() -> Iterator[Proxy]:
    """An S3 server, empty, behind a proxy."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(HOST, port=0, verbose=False)
    server.start()
    proxy = Proxy(server.get_host_and_port()[1])
    try:
        with listening(type("Handler", (_Handler,), {"proxy": proxy})) as proxy.port:
            yield proxy
    finally:
        server.stop()


def in_memory(folder: Path, made: Path) -> str:
    """Copy a folder into fsspec's memory, in place of what was copied before; returns the address of ``made`` in it."""
    import fsspec

    memory = fsspec.filesystem("memory")
    if memory.exists(str(folder)):
        memory.rm(str(folder), recursive=True)
    memory.makedirs(str(folder), exist_ok=True)
    for file in folder.rglob("*"):
        if file.is_file():
            memory.pipe_file(str(file), file.read_bytes())
    return f"memory://{str(made).lstrip('/')}"
