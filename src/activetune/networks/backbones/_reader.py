"""How features are read out of a network: timm's way here, other libraries' in the file of their source.

Shape legend: B items, T tokens, D feature size.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Matcher = Mapping[str, Any] | Callable[[str], Any]
PREVIOUS = (99999.0, 99999.0)  # timm's number for a weight that belongs to the layer before it
SPARED = ("position", "cls_token", "class_embedding", "register_tokens", "mask_token", "pos_embed")
EMBEDDING = {
    *("embeddings", "embedder", "pre_layrnorm", "class_embedding", "positional_embedding", "conv1", "ln_pre"),
    *("patch_embed", "cls_token", "pos_embed", "stem", "bn1", "conv2", "bn2", "conv3", "bn3"),
}


class Reader:
    """What :class:`Backbone` asks of a network; it keeps nothing of its own.

    ``last`` and ``pool`` are the network's two halves, and ``pool(last(images))`` is what its own classifier would get.
    """

    def last(self, network: Any, images: Tensor) -> Tensor:
        """What the last layer gives for normalised images (B, 3, H, W): tokens (B, T, D), or a map of a convolution."""
        found: Tensor = network.forward_features(images)
        return found

    def pool(self, network: Any, features: Tensor) -> Tensor:
        """Pooled features (B, D) of what the last layer gives."""
        found: Tensor = network.forward_head(features, pre_logits=True)
        return found

    def token_size(self, network: Any) -> int:
        """D of a token."""
        return int(network.num_features)

    def pooled_size(self, network: Any) -> int:
        """D of a pooled feature; some convolutions widen it when they pool."""
        return int(getattr(network, "head_hidden_size", None) or network.num_features)

    def prefix_tokens(self, network: Any) -> int:
        """Class and register tokens, which come first; a convolution has none."""
        return int(getattr(network, "num_prefix_tokens", 0))

    def has_class_token(self, network: Any) -> bool:
        """Whether the first of these is a class token; registers alone are none."""
        own = getattr(network, "cls_token", True)  # libraries other than timm call it otherwise, and have one
        return self.prefix_tokens(network) > 0 and own is not None

    def grid_size(self, network: Any) -> tuple[int, int] | None:
        """Rows and columns of the patch tokens, where the network knows them."""
        known = getattr(getattr(network, "patch_embed", None), "grid_size", None)
        return None if known is None else (int(known[0]), int(known[1]))

    def compute_activations_again(self, network: Any, on: bool) -> None:
        """Switch gradient checkpointing.

        Raises:
            AttributeError, AssertionError, TypeError, ValueError: a network without it.
        """
        network.set_grad_checkpointing(on)

    def layers(self, network: Any) -> Matcher | None:
        """Patterns that tell the layer of a weight by its name, as timm's ``group_matcher``; None where it has none."""
        found: Matcher | None = network.group_matcher(coarse=False) if hasattr(network, "group_matcher") else None
        return found

    def without_decay(self, network: Any) -> set[str]:
        """Names of weights that weight decay leaves alone, beside norms and biases."""
        return set(network.no_weight_decay()) if hasattr(network, "no_weight_decay") else set()

    def classifier_name(self, network: Any) -> str | None:
        """Where the network's library keeps a linear classifier on the pooled features; None: nowhere."""
        if not hasattr(network, "reset_classifier"):
            return None
        twin = _same_weights(network)
        with torch.random.fork_rng(devices=[]):
            twin.reset_classifier(1)
        layer = twin.get_classifier()
        if not isinstance(layer, nn.Linear) or layer.bias is None or layer.in_features != self.pooled_size(network):
            return None
        return next((name for name, module in twin.named_modules() if module is layer), None)


@dataclass(frozen=True)
class MeasuredReader(Reader):
    """A reader of networks that do not tell their sizes: they were measured on one image.

    Attributes:
        tokens, pooled: D of a token and of a pooled feature. prefix: class and register tokens.
    """

    tokens: int
    pooled: int
    prefix: int

    def token_size(self, network: Any) -> int:
        """See :class:`Reader`."""
        return self.tokens

    def pooled_size(self, network: Any) -> int:
        """See :class:`Reader`."""
        return self.pooled

    def prefix_tokens(self, network: Any) -> int:
        """See :class:`Reader`."""
        return self.prefix

    def layers(self, network: Any) -> Matcher:
        """See :class:`Reader`."""
        return layer_by_numbers

    def without_decay(self, network: Any) -> set[str]:
        """See :class:`Reader`."""
        return {name for name, _ in network.named_parameters() if any(part in name for part in SPARED)}

    def classifier_name(self, network: Any) -> None:
        """See :class:`Reader`: networks that are made for no task have none."""


def layer_by_numbers(name: str) -> tuple[float, ...]:
    """A weight's layer as timm sorts them, by its name: embeddings, blocks by their numbers, what follows, heads.

    >>> layer_by_numbers("encoder.layer.11.norm1.weight")
    (1.0, 11.0)
    """
    parts = name.split(".")
    if parts[0] == "heads":
        return (float("inf"),)
    if set(parts[:2]) & EMBEDDING:
        return (0.0,)
    numbers = [float(part.removeprefix("layer")) for part in parts if part.removeprefix("layer").isdecimal()]
    return (1.0, *numbers) if numbers else PREVIOUS


def _same_weights(network: nn.Module) -> Any:
    """A copy of the modules that holds the same tensors, so that its layers can be replaced."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def as_tokens(features: Tensor, size: int) -> Tensor:
    """Tokens (B, T, D) as they are, or a convolution's map of ``size`` channels row by row."""
    if features.ndim == 3:
        return features
    return features.flatten(2).transpose(1, 2) if channels_first(features.shape, size) else features.flatten(1, 2)


def channels_first(shape: Sequence[int], size: int) -> bool:
    """Whether a map of this shape with ``size`` channels is (B, D, H, W) and not (B, H, W, D)."""
    return shape[1] == size or shape[-1] != size
