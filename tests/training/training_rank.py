"""One of several processes that train one network; ``test_ranks.py`` starts them, and runs the same alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from activetune import load_backbone, open_pool
from activetune.base.launch import leave
from activetune.base.ranks import joined, rank_and_world
from activetune.base.runtime import resolve_runtime
from activetune.data.labels import pool_labels
from activetune.data.pool import Pool
from activetune.networks.network import Network
from activetune.tasks import make_task, tasks
from activetune.training import validation
from activetune.training.batches import Batches
from activetune.training.job import Job
from activetune.training.loop import fit, train
from activetune.training.settings import Training
from activetune.training.streams import Course, Stream, stream_of
from activetune.training.validation import validated
from tests.contract.test_tasks import ANSWERS

FEW = 3  # items of a batch that is validated on: uneven ones, and some for each process
COMMON: dict[str, Any] = {"epochs": 2, "lr": 1e-3, "clip": 1.0}
CASES: dict[str, dict[str, Any]] = {
    "an odd last batch": {"batch_size": 6},  # 17 items: batches of 6, 6 and 5
    "accumulation": {"batch_size": 9, "accumulation": 3, "optimizer": "sgd", "lr": 1e-2},
    "fewer items than processes": {"batch_size": 1, "epochs": 1, "optimizer": "sgd", "lr": 1e-2},
    "validation, average and pull": {"batch_size": 5, "ema": 0.8, "l2sp": 0.1, "layer_decay": 0.7},
    "resume": {"batch_size": 6},
    "two streams": {"batch_size": 4, "optimizer": "sgd", "lr": 1e-2},
}


def run_case(name: str, pool: Pool, out: Path) -> None:
    """Train for a case, and write weights and history."""
    settings = Training(**{**COMMON, **CASES[name]})
    out.mkdir(parents=True, exist_ok=True)
    job = a_job(pool, out, held_out=[0, 5, 9, 14] if "validation" in name else [])
    if name == "two streams":
        outcome = fit(job, two_streams(job, settings), Course(7, 2, warmup=0), settings, phase="full")
    elif name == "resume":
        train(job, settings, phase="full", stop_after=1)
        again = a_job(pool, out, held_out=[], resume=True)
        job, outcome = again, train(again, settings, phase="full")
    else:
        outcome = train(job, settings, phase="full")
    rank, _ = rank_and_world()
    state = {key: value.contiguous() for key, value in job.network.state_dict().items()}
    save_file(state, out / f"weights-{rank}.safetensors")
    (out / f"history-{rank}.json").write_text(json.dumps(list(outcome.history)))


def a_job(pool: Pool, out: Path, *, held_out: list[int], resume: bool = False) -> Job:
    """A small transformer: it has no batch norms, which need a GPU to be the same in several processes."""
    torch.manual_seed(0)
    network = Network(load_backbone("timm/test_vit", pretrained=False))
    torch.nn.init.normal_(network.add_head("linear", len(pool_labels(pool).classes)).classifier.weight, std=0.05)
    labels, held = pool_labels(pool), torch.tensor(held_out, dtype=torch.int64).numpy()
    runtime = resolve_runtime("cpu", "fp32")
    return Job(pool, labels, held, pool, network, runtime, 0, out, resume=resume, workers=0, quiet=True)


def two_streams(job: Job, settings: Training) -> list[Stream]:
    """The two halves of the items; the second is drawn from twice as often."""
    whole = stream_of(job, settings)
    halves = [job.not_held_out[::2], job.not_held_out[1::2]]
    batches = [Batches(half, job.labels.indices, settings.batch_size, job.seed) for half in halves]
    return [Stream(whole.task, job.pool, job.labels, batches[n], weight=float(n + 1)) for n in range(2)]


def validate(name: str, pool: Pool, out: Path) -> None:
    """Score a task's fresh head on seven held-out items, three at a time at most, and write how good it is."""
    rank, _ = rank_and_world()
    task, own = make_task(name), out / f"answers-{rank}"
    own.mkdir(parents=True)
    labels = task.labels_of(ANSWERS[name](pool, own), pool)
    torch.manual_seed(0)
    network = Network(load_backbone("timm/test_vit", pretrained=False))
    head = network.put_head(task.head(network.backbone, labels), name)
    with torch.no_grad():
        for value in head.parameters():
            value.add_(torch.randn(value.shape) * 0.1)
    held_out, runtime = np.arange(0, 14, 2), resolve_runtime("cpu", "fp32")
    stream = Stream(task, pool, labels, Batches(held_out + 1, np.zeros(7, np.int64), 2, seed=0), held_out)
    counts: list[int] = []
    settings = network.backbone.settings
    found = validated(network, stream, settings, runtime, about=("", ""), advance=counts.append)
    told = {"value": found.value, "loss": found.loss, "n": found.n, "beside": dict(found.beside), "counts": counts}
    (out / f"told-{rank}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    folder, results = map(Path, sys.argv[1:3])
    validation.BATCH = FEW
    with joined():
        for case in CASES:
            run_case(case, open_pool(folder), results / case)
        for task in tasks():
            validate(task, open_pool(folder), results / "validation" / task)
    leave(0)
