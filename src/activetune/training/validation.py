"""Validation: how good a network is on held-out items, and which epoch is the best by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from activetune.base.memory import Portions
from activetune.base.ranks import gathered, rank_and_world, together
from activetune.base.runtime import Runtime
from activetune.evaluation.metrics import Measured
from activetune.evaluation.statistics import share_error
from activetune.networks.backbones import ImageSettings
from activetune.tasks import Batch
from activetune.training.finite import refuse_outputs
from activetune.training.streams import Stream, held_out_batches

BATCH = 64


def validated(
    network: nn.Module,
    stream: Stream,
    settings: ImageSettings,
    runtime: Runtime,
    *,
    about: tuple[str, str],
    advance: Callable[[int], None] | None = None,
) -> Measured:
    """Score a network on the held-out items of a stream, as they are evaluated later (no augmentation).

    Several processes share the items out, and each gets the result of all.

    Args:
        about: where the training is, and what to change, for outputs that are not finite.
        advance: is told how many items each batch has had.
    """
    network.eval()
    metric = stream.task.metric(stream.labels, settings)
    rank, world = rank_and_world()

    portions = Portions(runtime.device, quiet=True)

    def measure() -> None:
        for batch in held_out_batches(stream, settings, size=BATCH, rank=rank, world=world):
            for part, outputs in portions.of(len(batch.images), partial(_outputs, network, stream, runtime, batch)):
                refuse_outputs(outputs, "the outputs", *about)
                metric.update(outputs, batch.some(part).to(runtime.device))
                if advance is not None:
                    advance(part.stop - part.start)

    together(measure)
    return metric.measured(gathered(metric.state()))


def _outputs(network: nn.Module, stream: Stream, runtime: Runtime, batch: Batch, part: slice) -> Any:
    with torch.inference_mode(), runtime.autocast():
        return network(batch.images[part].to(runtime.device), stream.head)


def is_better(found: Measured, best: Mapping[str, Any] | None) -> bool:
    """Whether an epoch is better than the best so far: by more than one standard error, or else by its loss.

    Args:
        best: ``value`` and ``loss`` of the best epoch; None before the first.
    """
    if best is None:
        return True
    gain, highest = found.value - best["value"], max(found.value, best["value"])
    error = share_error(highest, found.n)
    return bool(gain > error or (gain >= -error and found.loss < best["loss"]))


def has_stalled(history: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Whether the validation loss has not fallen for ``patience`` epochs; never where ``patience`` is 0."""
    losses = [row["val_loss"] for row in history if "val_loss" in row]
    return bool(patience) and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])
