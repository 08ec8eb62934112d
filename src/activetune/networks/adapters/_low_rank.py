"""Low-rank additions to the layers of a network (LoRA): put on, trained and merged.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022. Most vision transformers compute query, key
and value in one layer ``qkv``, whose rows are all queries, then all keys, then all values; :class:`Fused` adds to some
of the three, each with A and B of its own. Every other layer gets peft's additions, also a ``qkv`` whose rows are
sorted by heads. With B = 0 the network gives the same bits as without additions.
Shape legend: D features into a layer, O out of it, R rank.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from activetune.base.config import check_settings
from activetune.base.errors import MissingExtra, UsageError, some
from activetune.base.runtime import seeded
from activetune.base.settings import Settings
from activetune.networks.adapters._additions import is_plain

PARTS = ("q", "k", "v")
USUAL = (  # for targets=auto, the first that is there
    ("q", "v"),
    ("q_proj", "v_proj"),
    ("query", "value"),
    ("qkv",),
    ("fc1", "fc2"),
    ("proj_up", "proj_down"),
    ("c_fc", "c_proj"),
    ("pwconv1", "pwconv2"),
    ("conv1", "conv2"),
    ("convolution",),
)


@dataclass(frozen=True)
class LowRank(Settings):
    """Which layers get additions, and of what kind.

    Attributes:
        targets: last parts of the names of the layers (linear, or convolutions) that get one: ``q``, ``k``, ``v``
            (also where they are one layer, unless its rows are sorted by heads), ``proj``, ``fc1``, …; ``auto`` takes
            queries and values, or ``qkv`` where they can't be told apart, or, where no layer has such a name, ``fc1``
            and ``fc2``, ``proj_up`` and ``proj_down``, ``conv1`` and ``conv2``, or others that usually come in pairs.
        rank, alpha: R, and alpha / R scales the addition. dropout: on its input.
    """

    targets: tuple[str, ...] = ("auto",)
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_settings(
            "lora",
            ("rank", self.rank, 1, 4096),
            ("alpha", self.alpha, 0, np.inf),
            ("dropout", self.dropout, 0, 0.99),
        )
        if not self.targets:
            raise UsageError("lora: targets is empty; give the names of layers, for instance q,v")


class Fused(nn.Module):
    """A layer ``qkv`` (O = 3 x O / 3) with an addition B A x, scaled, to some of its three parts.

    Attributes:
        layer: the pretrained one. lora_A, lora_B: linear layers (D to R, R to O / 3) by part.
    """

    def __init__(self, layer: nn.Linear, parts: Sequence[str], options: LowRank):
        super().__init__()
        inside, size, device = layer.in_features, layer.out_features // len(PARTS), layer.weight.device
        self.layer, self.size, self.scale = layer, size, options.alpha / options.rank
        self.dropout = nn.Dropout(options.dropout)
        plain: dict[str, Any] = {"bias": False, "device": device}
        self.lora_A = nn.ModuleDict({part: nn.Linear(inside, options.rank, **plain) for part in parts})
        self.lora_B = nn.ModuleDict({part: nn.Linear(options.rank, size, **plain) for part in parts})
        for part in parts:
            nn.init.kaiming_uniform_(self.lora_A[part].weight, a=math.sqrt(5))  # type: ignore[arg-type]
            nn.init.zeros_(self.lora_B[part].weight)  # type: ignore[arg-type]

    def forward(self, tokens: Tensor) -> Tensor:
        """Queries, keys and values (…, O)."""
        found: Tensor = self.layer(tokens)
        dropped = self.dropout(tokens)
        for part, lower in self.lora_A.items():
            added = self.lora_B[part](lower(dropped)) * self.scale
            found.narrow(-1, PARTS.index(part) * self.size, self.size).add_(added)
        return found

    @property
    def weight(self) -> Tensor:
        """(O, D) with the additions, for networks that compute with it and do not call the layer (EVA)."""
        return self.layer.weight + self.change()

    @property
    def bias(self) -> Tensor | None:
        """(O,) of the pretrained layer."""
        return self.layer.bias

    def change(self) -> Tensor:
        """(O, D) what the additions add to the pretrained weight."""
        lowered, raised = self.joined()
        return raised @ lowered * self.scale

    def joined(self) -> tuple[Tensor, Tensor]:
        """All additions as one: A (R parts, D) and B (O, R parts), each part in rows and columns of its own."""
        lowered = torch.cat([self.lora_A[part].weight for part in self.lora_A])  # type: ignore[misc]
        blocks = []
        for part in self.lora_A:
            weight: Any = self.lora_B[part].weight
            above = PARTS.index(part) * self.size
            blocks.append(functional.pad(weight, (0, 0, above, len(PARTS) * self.size - above - self.size)))
        return lowered, torch.cat(blocks, dim=1)

    def merged(self) -> nn.Linear:
        """One plain layer that gives the same, up to rounding."""
        with torch.no_grad():
            self.layer.weight += self.change()
        return self.layer


def check_additions(network: nn.Module, options: LowRank) -> None:
    """Refuse at once what :func:`inject` would refuse later.

    Raises:
        UsageError: a target that no layer has as the last part of its name.
        MissingExtra: peft is not installed.
    """
    _peft()
    _resolve(network, options.targets)


def _peft() -> Any:
    try:
        import peft
    except ImportError:
        raise MissingExtra("peft", "lora") from None
    return peft


def inject(network: nn.Module, options: LowRank, *, seed: int) -> None:
    """Put additions on a network, whose own weights no longer want a gradient; B is zero, A drawn from the seed.

    Raises:
        UsageError, MissingExtra: see :func:`check_additions`.
    """
    peft = _peft()
    fused, single = _resolve(network, options.targets)
    network.requires_grad_(False)
    with seeded(seed):
        for name, parts in fused.items():
            layer = network.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            network.set_submodule(name, Fused(layer, parts, options))
        if single:
            config = peft.LoraConfig(
                r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=list(single)
            )
            peft.inject_adapter_in_model(config, network)


def _layers(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The linear layers and convolutions by name, but for convolutions in groups and those that are not plain.

    Torch's own attention computes with the weights of its layers and never calls them: an addition would do nothing.
    """
    uncalled = {
        part for layer in network.modules() if isinstance(layer, nn.MultiheadAttention) for part in layer.modules()
    }
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        and is_plain(layer)
        and layer not in uncalled
        and getattr(layer, "groups", 1) == 1
    }


def _resolve(network: nn.Module, targets: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The full names of the layers meant: those of three parts, with the parts, and the others.

    Raises:
        UsageError: a target that no layer has as the last part of its name.
    """
    layers = _layers(network)
    threefold = [
        name
        for name, layer in layers.items()
        if _last(name) == "qkv"
        and isinstance(layer, nn.Linear)
        and not layer.out_features % len(PARTS)
        and not _sorted_otherwise(network.get_submodule(name.rpartition(".")[0]))
    ]
    known = {_last(name) for name in layers} | (set(PARTS) if threefold else set())
    if "auto" in targets:
        found = next((usual for usual in USUAL if set(usual) <= known), ())
        targets = [*found, *(target for target in targets if target != "auto")]
    missing = sorted(set(targets) - known)
    if missing or not targets:
        if not known:
            raise UsageError(
                f"lora: {type(network).__name__} has no layer that an addition fits: no linear one, and no convolution "
                "that uses its weights as they are; choose another recipe, for instance probe_then_full"
            )
        raise UsageError(
            f"lora: {type(network).__name__} has no layer named {some(missing or USUAL[0])} that an addition fits; "
            f"give some of these with --set targets=…: {', '.join(sorted(known))}"
        )
    parts = [part for part in PARTS if part in targets]
    if parts and threefold and "qkv" in targets:
        raise UsageError(f"lora: targets name qkv and {some(parts)}, which is a part of it; give one of them")
    fused = dict.fromkeys(threefold, parts) if parts else {}
    return fused, [name for name in layers if _last(name) in targets and name not in fused]


def _sorted_otherwise(attention: nn.Module) -> bool:
    """Whether the rows of an attention's ``qkv`` are not a third queries, a third keys and a third values.

    MaxViT and CoAtNet say that they sort them by heads, networks with keys and values of sizes of their own (TinyViT,
    EfficientFormer) do so too, and GC ViT's global blocks have keys and values alone.
    """
    by_heads = getattr(attention, "head_first", False) or hasattr(attention, "key_dim")
    return bool(by_heads or getattr(attention, "use_global", False))


def _last(name: str) -> str:
    return name.rpartition(".")[2]


# What has been put on -----------------------------------------------------------------------------------------------


def adapted(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """The layers with additions: :class:`Fused` and peft's, by name."""
    from peft.tuners.lora import LoraLayer

    for name, layer in network.named_modules():
        if isinstance(layer, Fused | LoraLayer):
            yield name, layer


def changes(network: nn.Module) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, pretrained weight, and what the additions add to it, of each layer with additions."""
    for name, layer in adapted(network):
        if isinstance(layer, Fused):
            yield name, layer.layer.weight.detach(), layer.change().detach()
        else:
            yield name, layer.get_base_layer().weight.detach(), layer.get_delta_weight("default").detach()


def merge(network: nn.Module) -> None:
    """Add the additions to the weights, which leaves a plain network."""
    for name, layer in list(adapted(network)):
        if isinstance(layer, Fused):
            network.set_submodule(name, layer.merged())
        else:
            layer.merge()
            network.set_submodule(name, layer.get_base_layer())
