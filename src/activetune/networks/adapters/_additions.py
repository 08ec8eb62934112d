"""What a file adds to a network, and adding it.

Beside B A, peft's files may hold a bias of B, the norms of DoRA (Liu et al., "DoRA: Weight-Decomposed Low-Rank
Adaptation", ICML 2024), and tensors that were trained as a whole (``bias=``, ``modules_to_save=``). A merged layer is

    W' = m (W + s B A) / ‖W + s B A‖,   b' = b + s b_B,

norms by row, and the fraction only with DoRA.
Shape legend: D features into a layer, O out of it; a convolution's weight has its places behind D.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from activetune.base.errors import UsageError, some

PLAIN = (nn.Conv1d.forward, nn.Conv2d.forward, nn.Conv3d.forward)


@dataclass(frozen=True)
class Addition:
    """What one layer gets.

    Attributes:
        product: s B A, of the shape of the layer's weight (O, D, …).
        bias: (O,) s b_B; None: nothing. magnitude: (O,) m of DoRA; None: plain LoRA.
    """

    product: Tensor
    bias: Tensor | None = None
    magnitude: Tensor | None = None

    def merged(self, weight: Tensor) -> Tensor:
        """W' (O, D, …) in single precision."""
        found: Tensor = weight.float() + self.product.to(weight.device)
        if self.magnitude is None:
            return found
        share: Tensor = self.magnitude.to(weight.device) / found.flatten(1).norm(dim=1)
        return found * share.view(-1, *[1] * (found.ndim - 1))


@dataclass(frozen=True)
class Additions:
    """What a file adds to a network.

    Attributes:
        layers: by the layer's name. whole: tensors that take the place of the network's, by their names.
    """

    layers: Mapping[str, Addition]
    whole: Mapping[str, Tensor] = field(default_factory=dict)

    def tensors(self) -> dict[str, Tensor]:
        """All that is added or replaced, by names that tell them apart."""
        parts = {f"{name} bias": one.bias for name, one in self.layers.items()}
        parts |= {f"{name} magnitude": one.magnitude for name, one in self.layers.items()}
        return {
            **{name: one.product for name, one in self.layers.items()},
            **{name: value for name, value in parts.items() if value is not None},
            **self.whole,
        }


def is_plain(layer: nn.Module) -> bool:
    """Whether a layer answers with its own weights as they are, so that what is added to them adds to its answer.

    Convolutions that bring their weights to mean 0 and variance 1 first (BiT, NFNet), or pad an image by its size, are
    not: an addition beside them and one in their weights would be two different networks.
    """
    return isinstance(layer, nn.Linear) or (isinstance(layer, _ConvNd) and type(layer).forward in PLAIN)


def pair_product(name: str, lowered: Tensor, raised: Tensor, path: Path) -> Tensor:
    """B A (O, D, …) of linear layers and of convolutions, whose B has one place.

    Args:
        lowered: A (R, D, …). raised: B (O, R) or (O, R, 1, …). name, path: whose they are, for the message.

    Raises:
        UsageError: tensors that are no such pair.
    """
    flat = min(lowered.ndim, raised.ndim) >= 2 and raised.shape[1] == raised[0].numel() == len(lowered)
    if not flat:
        raise UsageError(
            f"{path}: {name} has lora_A {tuple(lowered.shape)} and lora_B {tuple(raised.shape)}, which are no pair "
            "(lora_B needs a column for each row of lora_A; convolutions in groups can't be merged)"
        )
    return (raised.flatten(1) @ lowered.flatten(1)).view(len(raised), *lowered.shape[1:])


def add(network: nn.Module, additions: Additions, path: Path, classifier: str | None = None) -> list[str]:
    """Merge what a file adds into a network's weights.

    Args:
        path: the file, for messages.
        classifier: where the network's library keeps the classifier that this network is without.

    Returns:
        Names of what was left out, since it belongs to that classifier.

    Raises:
        UsageError: a layer or tensor that the network does not have, or of another shape, or a result that is not
            finite; the network is left as it was then.
    """
    state = network.state_dict()
    left_out = [name for name in (*additions.layers, *additions.whole) if _is_of(name, classifier, state)]
    layers = {name: one for name, one in additions.layers.items() if name not in left_out}
    whole = {name: one for name, one in additions.whole.items() if name not in left_out}
    _check_fit(network, layers, whole, path)
    found = {name: value.to(state[name]) for name, value in whole.items()}
    for name, one in layers.items():
        found[f"{name}.weight"] = one.merged(found.get(f"{name}.weight", state[f"{name}.weight"]))
        if one.bias is not None:
            bias = found.get(f"{name}.bias", state[f"{name}.bias"])
            found[f"{name}.bias"] = bias.float() + one.bias.to(bias.device)
    if broken := sorted(name for name, value in found.items() if not bool(torch.isfinite(value).all())):
        raise UsageError(
            f"with the additions in {path} these weights are not finite: {some(broken)}; give additions whose training "
            "went well, or a smaller --scale"
        )
    for name, value in found.items():
        state[name].copy_(value)
    return left_out


def _is_of(name: str, classifier: str | None, state: Mapping[str, Tensor]) -> bool:
    """Whether a layer or tensor belongs to a classifier that the network is without."""
    absent = classifier is not None and not any(one.startswith(f"{classifier}.") for one in state)
    return absent and (name == classifier or name.startswith(f"{classifier}."))


def _check_fit(network: nn.Module, layers: Mapping[str, Addition], whole: Mapping[str, Tensor], path: Path) -> None:
    state, modules = network.state_dict(), dict(network.named_modules())
    unknown = [name for name in layers if not isinstance(modules.get(name), nn.Linear | _ConvNd)]
    here = {name: one for name, one in layers.items() if name not in unknown}
    biased = {name: one.bias for name, one in here.items() if one.bias is not None}
    wanted = {f"{name}.weight": one.product for name, one in here.items()} | dict(whole)
    wanted |= {f"{name}.bias": bias for name, bias in biased.items()}
    unknown += [name for name in wanted if name not in state]
    changing = [name for name in here if not is_plain(modules[name])]
    shapes = [name for name, value in wanted.items() if name in state and state[name].shape != value.shape]
    shapes += [
        f"{name} magnitude"
        for name, one in here.items()
        if one.magnitude is not None and one.magnitude.shape != one.product.shape[:1]
    ]
    told = [
        f"{len(names)} {what}: {some(sorted(names))}"
        for what, names in (
            ("unknown", unknown),
            ("of another shape", shapes),
            ("of layers that do not use their weights as they are", changing),
        )
        if names
    ]
    if told:
        raise UsageError(
            f"the additions in {path} do not fit {type(network).__name__} ({'; '.join(told)}); give their backbone"
        )
