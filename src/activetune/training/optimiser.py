"""What accelerate and timm give a training: the accelerator, the wrapped network, the optimiser and its rates."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import Parameter

from activetune.base.launch import launched
from activetune.base.runtime import Runtime
from activetune.networks.network import Network
from activetune.tasks import Batch
from activetune.training.settings import Optimisation
from activetune.training.streams import Course, Stream

FUSED = {"cpu", "cuda"}  # devices on which one kernel steps through all weights: the same bits, 5 times as fast on cpu


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

    # They keep one precision and one device per process, and this run may want others.
    AcceleratorState._reset_state(reset_partial_state=launched().world == 1)
    if runtime.device.type == "cuda" and runtime.device.index is not None:
        torch.cuda.set_device(runtime.device)  # of several GPUs accelerate takes the present one
    return Accelerator(
        mixed_precision="no" if runtime.precision == "fp32" else runtime.precision,
        cpu=runtime.device.type == "cpu",
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=several)],
    )


def make_optimizer(network: Network, options: Optimisation) -> Any:
    """The optimiser of the weights that want a gradient; timm's ``sgd`` is Nesterov's, which needs a momentum."""
    from timm.optim import create_optimizer_v2

    plain = "sgd" if options.momentum else "momentum"
    devices = {value.device.type for value in network.parameters()}
    return create_optimizer_v2(
        parameter_groups(network, options.weight_decay, options.layer_decay),
        opt="adamw" if options.optimizer == "adamw" else plain,
        lr=options.lr,
        weight_decay=options.weight_decay,
        momentum=options.momentum,
        fused=devices <= FUSED or None,
    )


def make_schedule(optimizer: Any, *, steps: int, warmup: int) -> Any:
    """The schedule: a linear rise over ``warmup`` steps, then a cosine that reaches zero one step after the last."""
    from timm.scheduler import CosineLRScheduler

    return CosineLRScheduler(optimizer, t_initial=steps + 1, warmup_t=warmup, warmup_lr_init=0.0, t_in_epochs=False)


def parameter_groups(network: Network, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Groups of weights with their rates: no decay on norms and biases, and with ``layer_decay`` a lower rate below.

    Args:
        layer_decay: factor on the learning rate from each layer to the one below it; 1 is off. The heads are the
            topmost layer.
    """
    from timm.optim import param_groups_layer_decay, param_groups_weight_decay

    flat = _Flat(network)
    spared = network.backbone.reader.without_decay(network.backbone.network)
    if layer_decay < 1:
        groups = param_groups_layer_decay(flat, weight_decay, spared, layer_decay=layer_decay)
    else:
        groups = param_groups_weight_decay(flat, weight_decay, no_weight_decay_list=spared)
    found: list[dict[str, Any]] = list(groups)
    return found


class _Flat:
    """A network as timm groups its weights: the backbone's under their own names, the heads' above them."""

    pretrained_cfg: ClassVar[dict[str, str]] = {"classifier": "heads."}  # for networks that do not tell their layers

    def __init__(self, network: Network):
        self.network = network
        layers = network.backbone.reader.layers(network.backbone.network)
        if layers is not None:
            self.group_matcher = lambda coarse=False: layers

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """All weights by name."""
        heads = ((f"heads.{name}", value) for name, value in self.network.heads.named_parameters())
        return itertools.chain(self.network.backbone.network.named_parameters(), heads)

    def parameters(self) -> Iterator[Parameter]:
        """All weights."""
        return (value for _, value in self.named_parameters())
