"""As many requests as the machine can, from many connections: of the labelling page, and of a model's server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
from PIL import Image

import activetune
from activetune import open_pool
from activetune.base.tables import read_table
from activetune.labelling.journal import JOURNAL
from tests.conftest import tiny_backbone, write_digits
from tests.labelling.conftest import write_selection

ITEMS = 200
READINGS = 9  # for each answer


@dataclass
class Figures:
    """What the load came to.

    Attributes:
        kept: answers that the page said were saved, or images whose classes a model told. lost: answers that are not in
            the page's journal afterwards, or classes that differ from the model's own.
        refused: requests with another status than 200. wanted, connected: connections.
        memory, files: resident bytes and open descriptors of the server, after the first tenth and at the end.
    """

    seconds: float = 0.0
    requests: int = 0
    refused: int = 0
    kept: int = 0
    lost: int = 0
    wanted: int = 0
    connected: int = 0
    memory_before: int = 0
    memory_after: int = 0
    files_before: int = 0
    files_after: int = 0

    def told(self) -> str:
        """A sentence."""
        memory = (self.memory_after - self.memory_before) / 2**20
        return (
            f"{self.requests:,} requests in {self.seconds:.1f} s ({self.requests / self.seconds:,.0f} a second), "
            f"{self.refused} refused; {self.kept:,} answers, {self.lost} lost; memory {memory:+.1f} MiB, "
            f"open files {self.files_after - self.files_before:+d}"
        )


def check(found: Figures) -> None:
    """Nothing lost, nothing refused, nothing that grows."""
    assert found.lost == 0 and found.refused == 0
    assert found.kept > 0
    assert found.files_after <= found.files_before + 2
    assert found.memory_after < found.memory_before + 64 * 2**20


class Connection:
    """A connection that asks one thing after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str, figures: Figures):
        self.reader, self.writer, self.head, self.figures = reader, writer, head, figures

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes | None:
        """The content of an answer; None where the request was refused."""
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{self.head}{length}\r\n".encode() + body)
        status, content = await _response(self.reader)
        self.figures.requests += 1
        self.figures.refused += status != 200
        return content if status == 200 else None


Turn = Callable[[Connection, int, int], Awaitable[None]]  # what a connection asks: its number, and its turn's


def page_under_load(folder: Path, *, seconds: float, connections: int) -> Figures:
    """Start the page of a small selection; of ten requests one is an answer, the others read."""
    pool = folder / "pool"
    pool.mkdir(parents=True)
    ids = [f"{number:03d}.png" for number in range(ITEMS)]
    for item in ids:
        Image.new("RGB", (8, 8)).save(pool / item)
    sel, saved = write_selection(folder / "sel", ids, pool), set[tuple[str, int]]()

    async def turn(connection: Connection, number: int, sequence: int) -> None:
        client = f"client {number}"
        answer = {"sequence": sequence, "id": ids[(number + sequence) % len(ids)], "label": "ab"[sequence % 2]}
        body = json.dumps({"client": client, "answers": [answer]}).encode()
        if content := await connection.ask("POST", "/api/answers", body):
            saved.update((client, one) for one in json.loads(content)["saved"])
        for start in range(1, READINGS + 1):
            await connection.ask("GET", f"/api/items?start={start}&count=2")

    with _server("label", str(sel), "--classes", "a,b", "--no-browser") as (process, port, token):
        figures = asyncio.run(_ask(process, port, token, turn, seconds, connections))
    with sqlite3.connect(sel / JOURNAL) as journal:
        known = set(journal.execute("SELECT client, sequence FROM events"))
    figures.kept, figures.lost = len(saved), len(saved - known)
    return figures


def model_under_load(folder: Path, *, seconds: float, connections: int) -> Figures:
    """Serve a small model; of ten requests one brings an image, the others ask whether the server is there."""
    pool = open_pool(write_digits(folder / "digits", ITEMS))
    backbone, weights = tiny_backbone()
    given: dict[str, Any] = {"workers": 0, "quiet": True, "device": "cpu", "precision": "fp32"}
    activetune.finetune(pool, out=folder / "m", recipe="linear_probe", backbone=backbone, weights=weights, **given)
    activetune.predict(folder / "m", pool, out=folder / "known.csv", **given)
    known = read_table(folder / "known.csv")
    files = [(folder / "digits" / item).read_bytes() for item in known["id"]]
    told: list[bool] = []

    async def turn(connection: Connection, number: int, sequence: int) -> None:
        row = (31 * number + sequence) % len(files)
        if content := await connection.ask("POST", "/predict", files[row]):
            told.append(json.loads(content)["label"] == known["label"][row])
        for _ in range(READINGS):
            await connection.ask("GET", "/health")

    with _server("serve", str(folder / "m"), "--device", "cpu", "--precision", "fp32") as (process, port, token):
        figures = asyncio.run(_ask(process, port, token, turn, seconds, connections))
    figures.kept, figures.lost = len(told), told.count(False)
    return figures


@contextlib.contextmanager
def _server(*command: str) -> Iterator[tuple[psutil.Process, int, str]]:
    """A server of a command, its port and its token."""
    words = [sys.executable, "-m", "activetune", *command, "--quiet"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = urlsplit(process.stdout.readline().strip())
        yield psutil.Process(process.pid), url.port or 0, parse_qs(url.query)["token"][0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


async def _ask(server: psutil.Process, port: int, token: str, turn: Turn, seconds: float, connections: int) -> Figures:
    figures = Figures(wanted=connections)
    started = time.monotonic()
    end = started + seconds
    clients = [_client(port, token, turn, number, end, figures) for number in range(connections)]

    async def measured() -> None:
        while figures.connected < connections:
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds / 10)
        figures.memory_before, figures.files_before = server.memory_info().rss, server.num_fds()
        await asyncio.sleep(max(0, end - time.monotonic()) * 0.9)
        figures.memory_after, figures.files_after = server.memory_info().rss, server.num_fds()

    await asyncio.gather(*clients, measured())
    figures.seconds = time.monotonic() - started
    return figures


async def _client(port: int, token: str, turn: Turn, number: int, end: float, figures: Figures) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    figures.connected += 1
    connection, sequence = Connection(reader, writer, f"Host: 127.0.0.1:{port}\r\nX-Token: {token}\r\n", figures), 0
    while time.monotonic() < end or figures.connected < figures.wanted:
        sequence += 1
        await turn(connection, number, sequence)
    writer.close()


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    size = next(int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length:"))
    return int(lines[0].split()[1]), await reader.readexactly(size)
