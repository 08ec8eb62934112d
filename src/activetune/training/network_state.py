"""What training does to a network beside its steps: modes, kernels, and states between two others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.errors import UsageError
from activetune.networks.backbones import Backbone
from activetune.networks.network import Network

SHORT = 600  # tokens up to which attention is computed plainly on a processor


def weights_below_heads(network: Network) -> list[tuple[Tensor, Tensor]]:
    """The trained weights of the backbone, each with a copy of what it is now."""
    return [(value, value.detach().clone()) for value in network.backbone.parameters() if value.requires_grad]


def trained_state(network: nn.Module, like: nn.Module | None = None) -> dict[str, Tensor]:
    """The tensors of a network that its training changes: all but the weights that want no gradient.

    Args:
        like: the network whose weights tell, where ``network`` is an average of it.
    """
    fixed = {name for name, value in (like or network).named_parameters() if not value.requires_grad}
    return {name: value for name, value in network.state_dict().items() if name not in fixed}


def take_up(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put what :func:`trained_state` has told back into the network, or into one like it."""
    left = network.load_state_dict(state, strict=False)
    assert not left.unexpected_keys, left.unexpected_keys


def copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state that training no longer changes."""
    return {name: value.clone() for name, value in state.items()}


def between(start: Mapping[str, Tensor], end: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """The state at ``share`` of the way; counters are the end's."""
    return {
        name: torch.lerp(start[name], value, share) if value.is_floating_point() else value
        for name, value in end.items()
    }


def fused_attention(backbone: Backbone) -> list[Any]:
    """The attention layers whose fused kernel is better left alone: on a processor its backward pass is slow.

    With 197 tokens a training step of ViT-Tiny takes four fifths of the time without it. Its memory grows with the
    square of the tokens, so long sequences keep it.
    """
    layers = [layer for layer in backbone.network.modules() if getattr(layer, "fused_attn", False)]
    return layers if layers and backbone.grid.tokens <= SHORT else []


def to_training(network: nn.Module) -> None:
    """Training mode, but for batch norms whose weights stay: these keep their statistics too."""
    network.train()
    for layer in network.modules():
        weights = list(layer.parameters(recurse=False))
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and not any(value.requires_grad for value in weights):
            layer.eval()


def norm_over_all(network: Network) -> None:
    """Let batch norms, those of heads too, see the whole batch that several processes share; on GPUs alone."""
    from timm.layers import convert_sync_batchnorm

    network.backbone.network = convert_sync_batchnorm(network.backbone.network)
    for head in network.heads.values():
        convert_sync_batchnorm(head)


def compute_activations_again(backbone: Backbone) -> None:
    """Gradient checkpointing.

    Raises:
        UsageError: an architecture without it.
    """
    try:
        backbone.reader.compute_activations_again(backbone.network, True)
    except (AttributeError, AssertionError, TypeError, ValueError):
        raise UsageError(
            f"{type(backbone.network).__name__} can't compute its activations again; leave --set checkpointing=… out"
        ) from None
