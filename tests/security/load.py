"""As many requests as the machine can: answers and readings of the labelling page, from many connections at once."""

from __future__ import annotations

import asyncio
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
from PIL import Image

from activetune.labelling.journal import JOURNAL
from tests.labelling.test_labelling import write_selection

ITEMS = 200
READINGS = 9  # for each answer


@dataclass
class Figures:
    """What the load came to.

    Attributes:
        saved: answers that the page said were saved. lost: those of them that are not in its journal afterwards.
        refused: requests with another status than 200. wanted, connected: connections.
        memory, files: resident bytes and open descriptors of the server, after the first tenth and at the end.
    """

    seconds: float = 0.0
    requests: int = 0
    refused: int = 0
    saved: int = 0
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
            f"{self.refused} refused; {self.saved:,} answers saved, {self.lost} lost; memory {memory:+.1f} MiB, "
            f"open files {self.files_after - self.files_before:+d}"
        )


def put_under_load(folder: Path, *, seconds: float, connections: int) -> Figures:
    """Start the page of a small selection, and ask it from so many connections without a pause."""
    pool = folder / "pool"
    pool.mkdir(parents=True)
    ids = [f"{number:03d}.png" for number in range(ITEMS)]
    for item in ids:
        Image.new("RGB", (8, 8)).save(pool / item)
    sel = write_selection(folder / "sel", ids, pool)
    command = [sys.executable, "-m", "activetune", "label", str(sel), "--classes", "a,b", "--no-browser", "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = urlsplit(process.stdout.readline().strip())
        token, port = parse_qs(url.query)["token"][0], url.port or 0
        figures, saved = asyncio.run(_ask(psutil.Process(process.pid), port, token, ids, seconds, connections))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    with sqlite3.connect(sel / JOURNAL) as journal:
        kept = set(journal.execute("SELECT client, sequence FROM events"))
    figures.lost = len(saved - kept)
    return figures


async def _ask(
    server: psutil.Process, port: int, token: str, ids: Sequence[str], seconds: float, connections: int
) -> tuple[Figures, set[tuple[str, int]]]:
    figures, saved = Figures(wanted=connections), set[tuple[str, int]]()
    started = time.monotonic()
    end = started + seconds
    clients = [_client(port, token, ids, number, end, figures, saved) for number in range(connections)]

    async def measured() -> None:
        while figures.connected < connections:
            await asyncio.sleep(0.01)
        await asyncio.sleep(seconds / 10)
        figures.memory_before, figures.files_before = server.memory_info().rss, server.num_fds()
        await asyncio.sleep(max(0, end - time.monotonic()) * 0.9)
        figures.memory_after, figures.files_after = server.memory_info().rss, server.num_fds()

    await asyncio.gather(*clients, measured())
    figures.seconds, figures.saved = time.monotonic() - started, len(saved)
    return figures, saved


async def _client(
    port: int, token: str, ids: Sequence[str], number: int, end: float, figures: Figures, saved: set[tuple[str, int]]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    figures.connected += 1
    head = f"Host: 127.0.0.1:{port}\r\nX-Token: {token}\r\n"
    client, sequence = f"client {number}", 0
    while time.monotonic() < end or figures.connected < figures.wanted:
        for turn in range(READINGS + 1):
            if turn:
                writer.write(f"GET /api/items?start={turn}&count=2 HTTP/1.1\r\n{head}\r\n".encode())
            else:
                sequence += 1
                answer = {"sequence": sequence, "id": ids[(number + sequence) % len(ids)], "label": "ab"[sequence % 2]}
                body = json.dumps({"client": client, "answers": [answer]})
                writer.write(f"POST /api/answers HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            status, content = await _response(reader)
            figures.requests += 1
            figures.refused += status != 200
            if not turn and status == 200:
                saved.update((client, one) for one in json.loads(content)["saved"])
    writer.close()


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    lines = head.split("\r\n")
    size = next(int(line.partition(":")[2]) for line in lines if line.lower().startswith("content-length:"))
    return int(lines[0].split()[1]), await reader.readexactly(size)
