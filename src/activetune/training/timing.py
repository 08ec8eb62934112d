"""How long a training takes on this machine, told by a few of its steps."""

from __future__ import annotations

import time

import torch

from activetune.networks.outputs import tensors_in
from activetune.training.job import Job

TIMED, STEPS = 8, 5  # images in each timed step; timed steps
FORWARD = 1 / 3  # of a training step: the backward pass costs two more


def seconds_an_image(job: Job) -> float:
    """The time that one image takes forth and back through the network: the shortest of a few steps.

    Others may be at work on the machine for a moment, and the first step is never the usual one.
    """
    network = job.network
    job.new_head()
    images = torch.zeros((TIMED, 3, *network.backbone.settings.size), dtype=torch.uint8, device=job.runtime.device)
    seconds = []
    for _ in range(STEPS):
        started = time.perf_counter()
        with job.runtime.autocast():
            outputs = network(images)
        found = [part.float().square().mean() for part in tensors_in(outputs) if part.requires_grad]
        torch.stack(found).sum().backward()  # type: ignore[no-untyped-call]
        if job.runtime.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    network.zero_grad(set_to_none=True)
    network.remove_heads()
    return min(seconds) / TIMED
