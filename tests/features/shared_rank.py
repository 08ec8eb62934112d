"""One of several processes that embed and predict together; ``test_shared_runs.py`` starts them."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.launch import launched, leave
from activetune.cli import run
from activetune.features import computing
from tests.conftest import TINY

OPTIONS = ["--device=cpu", "--precision=fp32", "--workers=0"]


def embedding(place: Path, out: Path, *more: str) -> list[str]:
    """A command that embeds 60 images and a broken one in 4 shards."""
    small = ["--backbone", TINY, "--weights", str(place / "tiny.safetensors"), "--no-cache"]
    return [
        "embed",
        str(place / "digits"),
        "--out",
        str(out),
        *small,
        "--batch-size=4",
        "--shard-size=16",
        *OPTIONS,
        *more,
    ]


def lines(place: Path, out: Path) -> list[list[str]]:
    """What one process and several do alike."""
    predict = ["predict", str(place / "classes"), str(place / "digits"), "--shard-size=1", *OPTIONS]
    masks = ["predict", str(place / "masks"), str(place / "digits"), "--shard-size=1", *OPTIONS]
    return [
        embedding(place, out / "pooled"),
        embedding(place, out / "tokens", "--tokens", "--quiet"),
        embedding(place, out / "pooled", "--resume", "--quiet"),
        [*predict, "--out", str(out / "p.csv"), "--quiet"],
        [*predict, "--out", str(out / "p.jsonl"), "--quiet"],
        [*masks, "--out", str(out / "m"), "--draw", str(out / "drawn"), "--quiet"],
    ]


def dying(pipe: str) -> Any:
    """What computes a batch, where the second process is killed at its second one, and the first waits for that."""
    forward, calls = computing._forward, iter(range(100))

    def at(*given: Any) -> np.ndarray:
        number = next(calls)
        if launched().rank == 0 and number == 0:
            with open(pipe) as told:  # noqa: PTH123
                told.read()  # until its writer is dead
        if launched().rank == 1 and number == 1:
            with open(pipe, "w"):  # noqa: PTH123
                os.kill(os.getpid(), signal.SIGKILL)
        return forward(*given)

    return at


if __name__ == "__main__":
    if "KILLED" in os.environ:
        computing._forward = dying(os.environ["KILLED"])
    place, out = map(Path, sys.argv[1:3])
    if len(sys.argv) > 3:
        leave(run(embedding(place, out, *sys.argv[3:])))
    codes = [run(line) for line in lines(place, out)]
    (out / f"codes-{launched().rank}.json").write_text(json.dumps(codes))
    leave(0)
