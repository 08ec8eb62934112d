"""A command that several processes run together, each as a rank of one job."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.conftest import ROOT


def start_two(command: Sequence[str], folder: Path, count: int = 2, **more: str) -> list[subprocess.Popen[str]]:
    """Start a command twice, or more often, as ``torchrun`` does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    cache = {"ACTIVETUNE_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env={**os.environ, **shared, **cache, **more, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        for rank in range(count)
    ]


def ended(started: Sequence[subprocess.Popen[str]]) -> tuple[list[int], list[tuple[str, str]]]:
    """Exit codes, and what each process said on stdout and stderr."""
    try:
        said = [process.communicate(timeout=900) for process in started]
    finally:
        for process in started:
            process.kill()
    return [process.returncode for process in started], said
