"""A training step that needs more memory than there is: how many images it suffices for, and the settings for that."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from activetune.base.errors import ActivetuneError
from activetune.base.memory import fitting, release_memory


def too_large(
    device: torch.device, count: int, batch_size: int, train: Callable[[int], object] | None
) -> ActivetuneError:
    """The error for a step that memory did not suffice for.

    Args:
        count: images that went through the network at a time. batch_size: of a step.
        train: takes so many of them through the network and back; None: it can't be tried.
    """
    fits = count // 2
    release_memory(device)
    while train is not None and fits and fitting(partial(train, fits)) is None:
        fits //= 2
        release_memory(device)
    if not fits:
        return ActivetuneError(
            f"training needs more memory for a single image than {device.type} has; give --set checkpointing=true, a "
            "smaller backbone or image size, or another --device"
        )
    parts = -(-batch_size // fits)
    sure = f"{fits} fit" if train is not None else f"{fits} may fit"
    return ActivetuneError(
        f"training needs more memory for {count} images at a time than {device.type} has; {sure}: give "
        f"--set accumulation={parts}, which takes a batch through the network in {parts} parts and gives the same "
        "gradients, or --set checkpointing=true, with --overwrite"
    )
