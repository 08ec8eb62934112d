"""A stand-in for Hugging Face's hub: one data set, a folder of this machine, as ``HfFileSystem`` asks for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.data.stores import HOST, listening

NAME = "somebody/photos"
API = f"/api/datasets/{NAME}"
PAGE = 10  # entries of a page of a listing


@dataclass
class Hub:
    """What is there, and what was asked.

    Attributes:
        folder: the data set's files. token: what a request must bring, where it is private.
        failing: how many of the next questions are answered with 503.
    """

    folder: Path
    token: str = ""
    failing: int = 0
    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    def tree(self, below: str, *, recursive: bool) -> list[dict[str, Any]] | None:
        """The entries below a folder of the data set; None where there is none."""
        root = self.folder / below
        if not root.is_dir():
            return None
        return [self.entry(path) for path in sorted(root.rglob("*") if recursive else root.iterdir())]

    def entry(self, path: Path) -> dict[str, Any]:
        """A file or folder as the hub tells of it."""
        name = path.relative_to(self.folder).as_posix()
        if path.is_dir():
            return {"type": "directory", "oid": hashlib.sha1(name.encode()).hexdigest(), "size": 0, "path": name}
        content = path.read_bytes()
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"type": "file", "oid": oid, "size": len(content), "path": name}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self.hub.asked.append(self.path)
        asked = urlsplit(self.path)
        path, options = unquote(asked.path), parse_qs(asked.query)
        if self.hub.failing:
            self.hub.failing -= 1
            self._answer(503, b"{}")
        elif self.hub.token and self.headers.get("Authorization") != f"Bearer {self.hub.token}":
            self._answer(401, b"{}", [("X-Error-Code", "RepoNotFound"), ("X-Error-Message", "Repository not found")])
        elif path in (API, f"{API}/revision/main"):
            self._json({"id": NAME, "sha": "0" * 40, "private": bool(self.hub.token), "tags": []})
        elif path.startswith(f"{API}/tree/main"):
            found = self.hub.tree(
                path.removeprefix(f"{API}/tree/main").strip("/"), recursive=options.get("recursive") == ["true"]
            )
            self._listing(found, int(options.get("cursor", ["0"])[0]), asked.query)
        elif path.startswith(f"/datasets/{NAME}/resolve/main/"):
            self._file(self.hub.folder / path.removeprefix(f"/datasets/{NAME}/resolve/main/"))
        else:
            self._missing()

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.hub.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        names = parse_qs(body.decode()).get("paths") or json.loads(body).get("paths", [])
        paths = [self.hub.folder / name for name in names]
        self._json([self.hub.entry(path) for path in paths if path.exists()])

    def _listing(self, found: list[dict[str, Any]] | None, start: int, query: str) -> None:
        if found is None:
            self._missing()
            return
        further: list[tuple[str, str]] = []
        if start + PAGE < len(found):
            kept = "&".join(part for part in query.split("&") if part and not part.startswith("cursor="))
            address = f"{self.hub.endpoint}{urlsplit(self.path).path}?{kept}&cursor={start + PAGE}"
            further = [("Link", f'<{address}>; rel="next"')]
        self._json(found[start : start + PAGE], further)

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._missing()
            return
        content = path.read_bytes()
        tag = ("ETag", f'"{self.hub.entry(path)["oid"]}"')
        told = self.headers.get("Range")
        if told is None:
            self._answer(200, content, [tag])
            return
        first, _, last = told.removeprefix("bytes=").partition("-")
        start, end = int(first), min(int(last or len(content)), len(content) - 1)
        span = ("Content-Range", f"bytes {start}-{end}/{len(content)}")
        self._answer(206, content[start : end + 1], [tag, span])

    def _missing(self) -> None:
        self._answer(404, b"{}", [("X-Error-Code", "EntryNotFound"), ("X-Error-Message", "Entry not found")])

    def _json(self, content: Any, headers: list[tuple[str, str]] | None = None) -> None:
        self._answer(200, json.dumps(content).encode(), [("Content-Type", "application/json"), *(headers or [])])

    def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]] | None = None) -> None:
        self.send_response_only(status)
        for name, value in (*(headers or []), ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def hub_of(folder: Path) -> Iterator[Hub]:
    """The hub, with a data set that holds what a folder holds."""
    hub = Hub(folder)
    with listening(type("Handler", (_Handler,), {"hub": hub})) as hub.port:
        yield hub
