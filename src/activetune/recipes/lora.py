"""LoRA: from the probe's head, low-rank additions to some linear layers and the classifier are trained, then merged.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022, by peft. Queries and values are adapted by
default, as there. Most vision transformers compute query, key and value in one layer ``qkv``; for the training it is
taken apart into ``q``, ``k`` and ``v``, so each has a rank-r addition of its own, and put together again.

The model that is saved is merged: a plain network, no slower than before. Beside it lie ``adapter_model.safetensors``
and ``adapter_config.json``, which ``peft.PeftModel.from_pretrained`` puts on the pretrained timm network; there the
additions to ``qkv`` are one of a larger rank, which is the same function.
Shape legend: D feature size, R rank.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from activetune.base.config import check_settings
from activetune.base.errors import MissingExtra, UsageError, some
from activetune.evaluation.model import ADAPTER_FILES
from activetune.networks.heads import CLASSES
from activetune.networks.network import Network
from activetune.recipes._from_probe import FromProbe
from activetune.training.batches import derive
from activetune.training.job import Job
from activetune.training.settings import Training

PARTS = ("q", "k", "v")
USUAL = (  # for targets=auto, the first that is there
    ("q", "v"),
    ("q_proj", "v_proj"),
    ("query", "value"),
    ("fc1", "fc2"),
    ("proj_up", "proj_down"),
    ("c_fc", "c_proj"),
    ("pwconv1", "pwconv2"),
    ("conv1", "conv2"),
    ("convolution",),
)


@dataclass(frozen=True)
class Lora(FromProbe):
    """Low-rank additions to linear layers.

    Attributes:
        targets: last parts of the names of the layers (linear, or convolutions) that get one: ``q``, ``k``, ``v``
            (also where they are one layer), ``proj``, ``fc1``, …; ``auto`` takes queries and values, or, in a network
            without attention, ``fc1`` and ``fc2``, ``proj_up`` and ``proj_down``, or ``conv1`` and ``conv2``.
        rank, alpha: R, and alpha / R scales the addition. dropout: on its input.
    """

    phase: ClassVar[str] = "lora"

    training: Training = Training(lr=1e-3)
    targets: tuple[str, ...] = ("auto",)
    rank: int = 8
    alpha: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            "lora",
            ("rank", self.rank, 1, 4096),
            ("alpha", self.alpha, 0, np.inf),
            ("dropout", self.dropout, 0, 0.99),
        )
        if not self.targets:
            raise UsageError("lora: targets is empty; give the names of layers, for instance q,v")

    @contextlib.contextmanager
    def prepared(self, job: Job) -> Iterator[dict[str, bytes]]:
        """See :class:`FromProbe`; ends with the merged network and the adapter's files."""
        network = job.backbone.network
        files: dict[str, bytes] = {}
        if set(self.targets) & {*PARTS, "auto"}:
            _take_apart(network)
        layers = _resolve(network, self.targets)
        network.requires_grad_(False)
        _inject(network, layers, self, seed=derive(job.seed, 0, -1))
        yield files
        files |= _adapter_files(job.network, self)
        _merge(network)
        _put_together(network)
        network.requires_grad_(True)


class _Apart(nn.Module):
    """A layer ``qkv`` as three, each with its own share of the weights."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        weights = layer.weight.detach().chunk(3)
        biases = (None,) * 3 if layer.bias is None else layer.bias.detach().chunk(3)
        for name, weight, bias in zip(PARTS, weights, biases, strict=True):
            part = nn.Linear(layer.in_features, len(weight), bias=bias is not None, device=weight.device)
            part.load_state_dict({"weight": weight, **({} if bias is None else {"bias": bias})})
            self.add_module(name, part)

    def forward(self, tokens: Tensor) -> Tensor:
        return torch.cat([part(tokens) for part in self.children()], -1)

    def together(self) -> nn.Linear:
        """The one layer again."""
        parts = [part for part in self.children() if isinstance(part, nn.Linear)]
        weight = torch.cat([part.weight.detach() for part in parts])
        layer = nn.Linear(weight.shape[1], len(weight), bias=parts[0].bias is not None, device=weight.device)
        layer.weight.data.copy_(weight)
        if layer.bias is not None:
            layer.bias.data.copy_(torch.cat([part.bias.detach() for part in parts]))
        return layer


def _take_apart(network: nn.Module) -> None:
    for name, layer in _layers(network).items():
        if name.split(".")[-1] == "qkv" and isinstance(layer, nn.Linear) and layer.out_features % 3 == 0:
            network.set_submodule(name, _Apart(layer))


def _put_together(network: nn.Module) -> None:
    for name, layer in list(network.named_modules()):
        if isinstance(layer, _Apart):
            network.set_submodule(name, layer.together())


def _layers(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The linear layers and convolutions by name, without convolutions in groups.

    Torch's own attention computes with the weights of its layers and never calls them: an addition would do nothing.
    """
    uncalled = {
        part for layer in network.modules() if isinstance(layer, nn.MultiheadAttention) for part in layer.modules()
    }
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv2d) and layer not in uncalled and getattr(layer, "groups", 1) == 1
    }


def _resolve(network: nn.Module, targets: Sequence[str]) -> list[str]:
    """The full names of the layers meant.

    Raises:
        UsageError: a target that no layer has as the last part of its name.
    """
    layers = _layers(network)
    known = {name.split(".")[-1] for name in layers}
    if "auto" in targets:
        found = next((usual for usual in USUAL if set(usual) <= known), ())
        targets = [*found, *(target for target in targets if target != "auto")]
    missing = sorted(set(targets) - known)
    if missing or not targets:
        raise UsageError(
            f"lora: {type(network).__name__} has no layer named {some(missing or USUAL[0])}; "
            f"give some of these with --set targets=…: {', '.join(sorted(known)) or 'it has none'}"
        )
    return [name for name in layers if name.split(".")[-1] in targets]


def _inject(network: nn.Module, layers: Sequence[str], options: Lora, *, seed: int) -> None:
    try:
        import peft
    except ImportError:
        raise MissingExtra("peft", "lora") from None
    config = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout, target_modules=list(layers)
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, network)


def _adapted(network: nn.Module) -> dict[str, Any]:
    """The layers that peft has put additions on, by name."""
    from peft.tuners.lora import LoraLayer

    return {name: layer for name, layer in network.named_modules() if isinstance(layer, LoraLayer)}


def _merge(network: nn.Module) -> None:
    for name, layer in _adapted(network).items():
        layer.merge()
        network.set_submodule(name, layer.get_base_layer())


def _adapter_files(trained: Network, options: Lora) -> dict[str, bytes]:
    """The additions and the classifier in peft's own format, for the network as its library builds it.

    Where the library keeps no classifier on its networks, the additions are all.
    """
    from peft import LoraConfig

    network, name_of_head = trained.backbone.network, trained.backbone.classifier_name
    joined: dict[str, dict[str, Any]] = {}
    for name, layer in _adapted(network).items():
        owner, _, part = name.rpartition(".")
        apart = isinstance(network.get_submodule(owner), _Apart)
        joined.setdefault(owner if apart else name, {})[part if apart else ""] = layer
    state, ranks = {}, {}
    for name, parts in joined.items():
        whole = [parts.get(part) for part in PARTS] if "" not in parts else [parts[""]]
        lowered = [layer.lora_A["default"].weight for layer in whole if layer is not None]
        state[f"base_model.model.{name}.lora_A.weight"] = torch.cat(lowered)
        state[f"base_model.model.{name}.lora_B.weight"] = _blocks(whole, options.rank)
        ranks[name] = options.rank * len(lowered)
    if name_of_head is not None and trained.head().room == CLASSES:
        classifier = trained.classifier().state_dict()
        state |= {f"base_model.model.{name_of_head}.{name}": value for name, value in classifier.items()}
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(joined),
        modules_to_save=[name_of_head] if name_of_head is not None else None,
        rank_pattern=ranks,
        alpha_pattern={name: options.alpha * rank // options.rank for name, rank in ranks.items()},
    )
    settings = config.to_dict()  # type: ignore[no-untyped-call]
    described = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    contents = (save(tensors), json.dumps(described, indent=1).encode())
    return dict(zip(ADAPTER_FILES, contents, strict=True))


def _blocks(layers: Sequence[Any], rank: int) -> Tensor:
    """The raising matrices of a layer's parts under each other, each in columns of its own; a part may have none."""
    present = [layer for layer in layers if layer is not None]
    rows, _, *kernel = present[0].lora_B["default"].weight.shape
    raised = torch.zeros(rows * len(layers), rank * len(present), *kernel)
    column = 0
    for number, layer in enumerate(layers):
        if layer is not None:
            weight = layer.lora_B["default"].weight.detach().cpu()
            raised[number * rows : (number + 1) * rows, column : column + rank] = weight
            column += rank
    return raised
