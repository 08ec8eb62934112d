"""Which learning rate and weight decay each weight gets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any, ClassVar

from torch.nn import Parameter

from activetune.networks.network import Network


def parameter_groups(network: Network, weight_decay: float, layer_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: no decay on norms and biases, and with ``layer_decay`` a lower rate for lower layers.

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
