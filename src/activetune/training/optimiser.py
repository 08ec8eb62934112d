"""What accelerate and timm give a training: the accelerator, the optimiser, the schedule, the wrapped network."""

from __future__ import annotations

from typing import Any

from torch import nn

from activetune.base.runtime import Runtime
from activetune.networks.network import Network
from activetune.tasks import Batch
from activetune.training.course import Course
from activetune.training.parameter_groups import parameter_groups
from activetune.training.settings import Optimisation
from activetune.training.streams import Stream


class Forward(nn.Module):
    """A network under a course as one module, so that every forward pass of training goes through what wraps it."""

    def __init__(self, network: Network, course: Course):
        super().__init__()
        self.network, self.course = network, course

    def forward(self, batch: Batch, stream: Stream) -> Any:
        """The outputs for a batch."""
        return self.course.outputs(self.network, batch, stream)


def make_accelerator(runtime: Runtime, *, several: bool) -> Any:
    """Accelerate's view of the device, the precision, and the other processes.

    Args:
        several: whether there are several streams: a step of one leaves the heads of the others out.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()  # it keeps one precision a process, and this run may want another
    return Accelerator(
        mixed_precision="no" if runtime.precision == "fp32" else runtime.precision,
        cpu=runtime.device.type == "cpu",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=several)],
    )


def make_optimizer(network: Network, options: Optimisation) -> Any:
    """The optimiser of the weights that want a gradient; timm's ``sgd`` is Nesterov's, which needs a momentum."""
    from timm.optim import create_optimizer_v2

    plain = "sgd" if options.momentum else "momentum"
    return create_optimizer_v2(
        parameter_groups(network, options.weight_decay, options.layer_decay),
        opt="adamw" if options.optimizer == "adamw" else plain,
        lr=options.lr,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
    )


def make_schedule(optimizer: Any, *, steps: int, warmup: int) -> Any:
    """A linear rise over ``warmup`` steps, then a cosine that reaches zero after the last step, not in it."""
    from timm.scheduler import CosineLRScheduler

    return CosineLRScheduler(optimizer, t_initial=steps + 1, warmup_t=warmup, warmup_lr_init=0.0, t_in_epochs=False)
