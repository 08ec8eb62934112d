"""Two processes that train one network end where one process does: gloo on the processor, started as torchrun does."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from activetune import open_pool
from activetune.tasks import tasks
from activetune.training import validation
from activetune.training.batches import Batches
from activetune.training.settings import Training
from activetune.training.streams import Draws
from tests.conftest import write_digits
from tests.training.training_rank import CASES, FEW, a_job, run_case, two_streams, validate


@pytest.fixture(scope="module")
def digits_of_17(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("pool") / "digits", 17)


@pytest.fixture(scope="module")
def by_two(digits_of_17: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes leave for every case."""
    out = tmp_path_factory.mktemp("ranks")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.training_rank", str(digits_of_17), str(out)],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=900)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0], "\n".join(told)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_to_the_weights_of_one(case: str, by_two: Path, digits_of_17: Path, tmp_path: Path) -> None:
    run_case(case, open_pool(digits_of_17), tmp_path)
    alone = load_file(tmp_path / "weights-0.safetensors")
    start = a_job(open_pool(digits_of_17), tmp_path / "start", held_out=[]).network.state_dict()
    moved = max(float((value - start[name]).abs().max()) for name, value in alone.items())
    assert moved > 1e-3
    for rank in range(2):
        together = load_file(by_two / case / f"weights-{rank}.safetensors")
        for name, value in alone.items():
            torch.testing.assert_close(together[name], value, rtol=0, atol=0.02 * moved, msg=name)
    told = [json.loads((folder / "history-0.json").read_text()) for folder in (by_two / case, tmp_path)]
    assert [row["epoch"] for row in told[0]] == [row["epoch"] for row in told[1]]
    for ours, theirs in zip(*told, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=2e-3)
        assert ours.get("val_loss", 0) == pytest.approx(theirs.get("val_loss", 0), rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("task", sorted(tasks()))
def test_two_processes_count_each_held_out_item_once(
    task: str, by_two: Path, digits_of_17: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(validation, "BATCH", FEW)
    validate(task, open_pool(digits_of_17), tmp_path)
    alone, first, other = (
        json.loads(path.read_text())
        for path in (tmp_path / "told-0.json", *(by_two / "validation" / task / f"told-{rank}.json" for rank in (0, 1)))
    )
    assert [found.pop("counts") for found in (alone, first, other)] == [[3, 2, 2], [3, 2], [2]]
    assert first == other
    assert first.pop("beside") == pytest.approx(alone.pop("beside"), rel=1e-5, nan_ok=True)
    assert first == pytest.approx(alone, rel=1e-5, nan_ok=True)


@pytest.mark.slow
def test_the_first_process_alone_writes(by_two: Path) -> None:
    for case in CASES:
        names = {path.name for path in (by_two / case).iterdir()}
        assert names == {"full.pt", *(f"{kind}-{rank}.{end}" for rank in range(2) for kind, end in FILES)}


FILES = (("weights", "safetensors"), ("history", "json"))


def test_processes_share_each_batch_out() -> None:
    shares = []
    for rank in range(3):
        batches = Batches(np.arange(11), np.zeros(11, np.int64), 4, seed=0, accumulation=2)
        batches.share = rank, 3
        shares.append(list(batches))
    alone = Batches(np.arange(11), np.zeros(11, np.int64), 4, seed=0, accumulation=2)
    for number, (part, size) in enumerate(zip(alone, [size for parts in alone.sizes() for size in parts], strict=True)):
        found = [share[number] for rank, share in enumerate(shares) if not _empty(rank, size)]
        assert sorted(turn.position for turns in found for turn in turns) == sorted(turn.position for turn in part)
        assert all(share[number] for share in shares)  # every process has something to run forward


def _empty(rank: int, size: int) -> bool:
    batches = Batches(np.arange(size), np.zeros(size, np.int64), size, seed=0)
    batches.share = rank, 3
    return batches.empty(size)


def test_a_steps_stream_follows_from_seed_and_step_alone(digits_of_17: Path, tmp_path: Path) -> None:
    streams = two_streams(a_job(open_pool(digits_of_17), tmp_path, held_out=[]), Training(batch_size=4))
    long, short = Draws(streams, 300, seed=1), Draws(streams, 100, seed=1)
    np.testing.assert_array_equal(long.stream_of_step[:100], short.stream_of_step)
    assert abs(long.stream_of_step.mean() - 2 / 3) < 0.1  # weights 1 and 2
    assert (Draws(streams, 100, seed=2).stream_of_step != short.stream_of_step).any()


def test_a_stream_goes_on_where_the_epoch_before_left_it(digits_of_17: Path, tmp_path: Path) -> None:
    streams = two_streams(a_job(open_pool(digits_of_17), tmp_path, held_out=[]), Training(batch_size=4))
    draws = Draws(streams, 40, seed=1)
    whole: list[list[int]] = [[], []]
    draws.begin(streams, 0, 40)
    for number, stream in enumerate(streams):
        whole[number] = [turn.position for part in stream.batches for turn in part]
    parts: list[list[int]] = [[], []]
    for first in (0, 13, 20):
        draws.begin(streams, first, {0: 13, 13: 7, 20: 20}[first])
        for number, stream in enumerate(streams):
            if stream.batches.count:
                parts[number] += [turn.position for part in stream.batches for turn in part]
    assert parts == whole
