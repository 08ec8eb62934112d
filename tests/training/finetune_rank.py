"""One of several processes that finetune; ``test_finetune_ranks.py`` starts them, and runs the same alone."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import activetune
from activetune.base import interrupts
from activetune.base.launch import OthersEnded, launched, leave
from activetune.cli import run
from activetune.data.pool import NO_PATIENCE, Pool
from activetune.training.loop import _Run
from activetune.training.steps import Steps

STEPS = {"optimizer": "sgd", "lr": 0.05}  # Adam makes whole steps of gradients that are rounding alone
COMMON: dict[str, Any] = {**STEPS, "epochs": 2, "batch_size": 20}
HEAD: dict[str, Any] = {"trials": 3, "views": 2, "head_steps": 10, "head_batch": 16}
RECIPES: dict[str, dict[str, Any]] = {
    "linear_probe": {},
    "full": {**COMMON, "validation_least": 8, "ema": 0.5},
    "probe_then_full": {**COMMON, "interpolation": (0.0, 0.5, 1.0), "validation_least": 8},
    "lora": COMMON,
    "bitfit": COMMON,
    "fact": {**COMMON, **HEAD, "validation_least": 8},
    "frozen_map": HEAD,
    "pool_probe": {},
    "pool_fact": {**COMMON, "student_epochs": 1, "student_lr": 0.05, "pseudo_labels": 40},
    "vecaf": {
        **STEPS,
        **{
            "batches": 2,
            "loops": 2,
            "measurements": 1,
            "batch_size": 12,
            "budget": 12,
            "warm_up": "selected",
            "scoring": "noted",
        },
    },
    "auto": {"minutes": 1e-6},
}
SMALL = "timm/test_vit@48"  # 9 patches
ON = {"device": "cpu", "precision": "fp32", "workers": 0}


def finetuned(recipe: str, pool: Path | Pool, out: Path, weights: Path, **more: Any) -> activetune.Model:
    """Finetune the bundled network by the linear probe, or a small one by another recipe."""
    of = {"backbone": "bundled"} if recipe == "linear_probe" else {"backbone": SMALL, "weights": weights}
    return activetune.finetune(pool, out=out, recipe=recipe, settings=RECIPES[recipe], **of, **ON, **more)


def error_of(work: Callable[[], object]) -> list[str]:
    """The kind of error that something ends in, and what it says."""
    try:
        work()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return []


class Gone:
    """The source of a pool whose images can't be read any more."""

    parallel = False

    def read(self, index: int) -> bytes:
        raise OSError(5, "Input/output error")

    def place(self, index: int) -> None:
        return None


def seen_by_the_first_alone(pool: Path) -> Pool:
    """A pool of which the other processes can't read the images."""
    opened = activetune.open_pool(pool)
    return replace(opened, source=Gone(), patience=NO_PATIENCE) if launched().rank else opened


def cut_off(pool: Path, out: Path, weights: Path) -> None:
    """Finetune until the state of the first epoch is kept; a signal ends all processes there."""
    save = _Run.save

    def last(run: _Run) -> None:
        save(run)
        raise KeyboardInterrupt

    _Run.save = last  # type: ignore[method-assign]
    with contextlib.suppress(KeyboardInterrupt):
        finetuned("full", pool, out, weights)
    _Run.save = save  # type: ignore[method-assign]


def told_to_end(pool: Path, out: Path, weights: Path) -> None:
    """Finetune, and send the second process alone a signal in the first step, which ends both."""
    update = Steps._update

    def last(steps: Steps, number: int) -> None:
        if launched().rank and not number:
            interrupts._raise(signal.SIGTERM, None)
        update(steps, number)

    Steps._update = last  # type: ignore[method-assign]
    with contextlib.suppress(interrupts.Terminated, OthersEnded):
        finetuned("full", pool, out, weights)
    Steps._update = update  # type: ignore[method-assign]
    interrupts._received.clear()


if __name__ == "__main__":
    digits, weights, results = map(Path, sys.argv[1:4])
    told: dict[str, Any] = {}
    for name in sys.argv[4:]:
        finetuned(name, digits, results / name, weights)
    told["occupied"] = error_of(lambda: finetuned("linear_probe", digits, results / "linear_probe", weights))
    told["finished"] = list(finetuned("full", digits, results / "full", weights, resume=True).classes)
    told["unreadable"] = error_of(
        lambda: finetuned("full", seen_by_the_first_alone(digits), results / "unreadable", weights)
    )
    cut_off(digits, results / "cut_off", weights)
    told_to_end(digits, results / "told_to_end", weights)
    told["codes"] = [
        run(["finetune", str(digits), "--out", str(results / "linear_probe"), "--recipe", "linear_probe"]),
        run(["finetune", str(digits), "--out", str(results / "new"), "--nonsense", "1"]),
        run(["finetune", str(digits), "--out", str(results / "new"), "--device", "mps"]),
        run(["evaluate", str(results / "linear_probe"), str(digits)]),
        run(["finetune", str(digits), "--out", str(results / "new"), "--recipe", "linear_probe"]),
    ]
    (results / f"told-{launched().rank}.json").write_text(json.dumps(told))
    leave(0)
