"""Two hosts, one of which is cut off: both end with a sentence within a bounded time, and the run can be gone on with.

The hosts are two network namespaces joined by a cable (veth); one end is taken down, which closes no connection: what
is sent is lost without a word. ``make test-hosts`` runs this; that test needs root and Linux's ``ip``.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import activetune
from activetune.base.connections import HOST_TIMEOUT, host_timeout, looked_after
from activetune.base.errors import UsageError
from tests.conftest import ROOT, write_digits
from tests.together import ended
from tests.training.finetune_rank import ON, SMALL
from tests.training.test_finetune_ranks import STOPPING, same_weights
from tests.training.test_finetune_ranks import weights as weights  # a fixture

SECONDS = 4  # of silence after which a host is taken for lost
BOUND = 120  # seconds within which each process has ended, on a machine that is busy
NET = "10.213.77"


class Hosts:
    """Two network namespaces, joined by a cable."""

    def __init__(self) -> None:
        self.names = [f"activetune-{os.getpid()}-{number}" for number in range(2)]
        self.ends = [f"at{os.getpid()}n{number}" for number in range(2)]

    def join(self) -> None:
        """Make them.

        Raises:
            subprocess.CalledProcessError: that is not possible here.
        """
        for name in self.names:
            _ip("netns", "add", name)
        _ip("link", "add", self.ends[0], "type", "veth", "peer", "name", self.ends[1])
        for number, (name, end) in enumerate(zip(self.names, self.ends, strict=True), start=1):
            _ip("link", "set", end, "netns", name)
            _ip("-n", name, "addr", "add", f"{NET}.{number}/24", "dev", end)
            _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", name, "link", "set", end, "up")

    def cable(self, state: str) -> None:
        """Take the second host's end of the cable ``up`` or ``down``."""
        _ip("-n", self.names[1], "link", "set", self.ends[1], state)

    def remove(self) -> None:
        """Remove them, whatever was made of them."""
        for name in self.names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def start(self, command: Sequence[str], folder: Path, **more: str) -> list[subprocess.Popen[str]]:
        """Start a command on both, a process each, as a launcher on each would."""
        shared = {"MASTER_ADDR": f"{NET}.1", "MASTER_PORT": "29517", "WORLD_SIZE": "2"}
        here = {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "OMP_NUM_THREADS": "1", HOST_TIMEOUT: str(SECONDS)}
        cache = {"ACTIVETUNE_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
        return [
            subprocess.Popen(
                ["ip", "netns", "exec", name, sys.executable, *command],
                env={**os.environ, **shared, **here, **cache, **more, "RANK": str(rank), "GLOO_SOCKET_IFNAME": end},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=ROOT,
            )
            for rank, (name, end) in enumerate(zip(self.names, self.ends, strict=True))
        ]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@pytest.fixture
def hosts() -> Iterator[Hosts]:
    if sys.platform != "linux" or not shutil.which("ip") or os.geteuid():
        pytest.skip("two network namespaces need Linux, the program ip (iproute2) and root")
    made = Hosts()
    try:
        made.join()
    except subprocess.CalledProcessError as error:
        made.remove()
        pytest.skip(f"network namespaces can't be made here: {error.stderr.decode().strip()}")
    yield made
    made.remove()


@pytest.mark.thorough
@pytest.mark.slow
def test_a_host_that_is_cut_off_ends_the_run_on_both_and_it_can_be_gone_on_with(
    hosts: Hosts, weights: Path, tmp_path: Path
) -> None:
    pool, out = write_digits(tmp_path / "digits", 60), tmp_path / "out"
    (tmp_path / "run.py").write_text(STOPPING)
    stopped, never = tmp_path / "stopped", tmp_path / "never"
    os.mkfifo(stopped)
    os.mkfifo(never)
    settings = {"epochs": 3, "batch_size": 30, "optimizer": "sgd", "lr": 0.05, "validation": 0.0}
    options = [f"--set={name}={value}" for name, value in settings.items()]
    script = [str(tmp_path / "run.py"), "finetune", str(pool), "--out", str(out), "--recipe", "full", *options]
    script += ["--backbone", SMALL, "--weights", str(weights), "--device=cpu", "--precision=fp32", "--workers=0"]
    pipes = {"STOPPED": str(stopped), "NEVER": str(never)}

    two = hosts.start(script, tmp_path, **pipes, STOP_AFTER="2")
    pipe = os.open(stopped, os.O_RDONLY)
    assert os.read(pipe, 100), ended(two)  # the second host is busy now, and the first waits for it
    hosts.cable("down")
    said = two[0].communicate(timeout=BOUND)
    os.close(os.open(never, os.O_WRONLY))  # the second host goes on, and needs the first
    codes, spoken = ended(two[1:])
    os.close(pipe)
    assert [two[0].returncode, *codes] == [1, 1], (said, spoken)
    for _, stderr in (said, *spoken):
        assert stderr.splitlines()[-1] == (
            "error: another of the 2 processes of this run has ended, or its host can't be reached; what was finished "
            "is kept: go on with --resume"
        )
    assert (out / ".unfinished" / "full.pt").is_file()
    assert not (out / ".lock").exists()

    hosts.cable("up")
    two = hosts.start([*script, "--resume"], tmp_path, **pipes, STOP_AFTER="-1")
    pipe = os.open(stopped, os.O_RDONLY)
    codes, spoken = ended(two)
    os.close(pipe)
    assert codes == [0, 0], spoken
    assert "going on after epoch 1" in spoken[0][1]
    given: dict[str, Any] = {"backbone": SMALL, "weights": weights, "recipe": "full", "settings": settings, **ON}
    activetune.finetune(pool, out=tmp_path / "alone", quiet=True, **given)
    same_weights(out, tmp_path / "alone", weights)


def test_connections_made_inside_are_looked_after_and_others_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST_TIMEOUT, "40")
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = socket.create_connection(server.getsockname())
        with looked_after():
            inside = socket.create_connection(server.getsockname())
            idle = socket.socket()  # is connected to nobody
        options = [
            [one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) for one in (before, inside, idle)],
            [inside.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in ("TCP_KEEPINTVL", "TCP_KEEPCNT")],
        ]
        for one in (before, inside, idle):
            one.close()
    assert options == [[0, 1, 0], [10, 4]]


@pytest.mark.parametrize("given", ["soon", "3", "-5", "1e3", "86401"])
def test_a_time_that_is_none_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOST_TIMEOUT, given)
    with pytest.raises(UsageError, match="give whole seconds from 4 to 86400"):
        host_timeout()
