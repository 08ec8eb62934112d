"""Low-rank additions as files: peft's, which are written and read, and those that ViSFT's authors have published.

In peft's files the additions to a ``qkv`` are one of a larger rank, which is the same function.

The published files hold the two tensors of loralib's merged layer for every ``…qkv``, of which queries and values are
adapted: ``lora_A`` (2 R, D), the rows of the queries first, and ``lora_B`` (2 O / 3, R) likewise. They do not hold
their scale, and the released evaluation adds the update twice (2 / 64 in place of the 1 / 64 of its training), so
whoever reads them says which.
Shape legend: D features into a layer, O out of it, R rank.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from activetune.base.errors import UsageError, first_line, some
from activetune.base.files import read_json
from activetune.networks.adapters._low_rank import Fused, LowRank, adapted
from activetune.networks.tensors import plain

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
PEFT = "base_model.model."  # what peft puts before the names of layers
PUBLISHED = "visual."  # and ViSFT's authors


def adapter_files(
    network: nn.Module, options: LowRank, classifier: tuple[str, Mapping[str, Tensor]] | None = None
) -> dict[str, bytes]:
    """The additions in peft's own format, for the network as its library builds it: contents by file name.

    Args:
        classifier: where the library keeps its classifier, and that classifier's tensors, which are saved along.
    """
    from peft import LoraConfig

    state: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    for name, layer in adapted(network):
        single = not isinstance(layer, Fused)
        pair = (layer.lora_A["default"].weight, layer.lora_B["default"].weight) if single else layer.joined()
        state |= {f"base_model.model.{name}.lora_{key}.weight": one for key, one in zip("AB", pair, strict=True)}
        ranks[name] = len(pair[0])
    if classifier is not None:
        state |= {f"base_model.model.{classifier[0]}.{name}": value for name, value in classifier[1].items()}
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=list(ranks),
        modules_to_save=None if classifier is None else [classifier[0]],
        rank_pattern=ranks,
        alpha_pattern={name: options.alpha * rank // options.rank for name, rank in ranks.items()},
    )
    settings = config.to_dict()  # type: ignore[no-untyped-call]
    described = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}
    contents = (save(plain(state)), json.dumps(described, indent=1).encode())
    return dict(zip(ADAPTER_FILES, contents, strict=True))


# Reading ------------------------------------------------------------------------------------------------------------


def read_additions(path: Path, scale: float | None = None) -> dict[str, Tensor]:
    """What a file of additions adds to weights: tensors of their shape, by the layer's name.

    Args:
        path: a folder of peft, or a file that ViSFT's authors have published (``.pt`` or ``.safetensors``).
        scale: factor of B A; None: what peft's config says.

    Raises:
        UsageError: not such files, damaged ones, or published ones without a scale.
    """
    if path.is_dir():
        return _of_peft(path, scale)
    if scale is None:
        raise UsageError(
            f"{path} does not say how its additions are scaled; give --scale: 0.015625 (1 / 64) as they were trained, "
            "0.03125 as the released evaluation adds them"
        )
    state = {name.removeprefix(PUBLISHED): value.float() for name, value in _tensors(path).items()}
    lowered = {name.removesuffix(".lora_A"): value for name, value in state.items() if name.endswith(".lora_A")}
    raised = {name.removesuffix(".lora_B"): value for name, value in state.items() if name.endswith(".lora_B")}
    if not lowered or lowered.keys() != raised.keys():
        raise UsageError(
            f"{path} holds no pairs of lora_A and lora_B; give a published file of ViSFT or a folder of peft"
        )
    return {name: _published(name, lowered[name], raised[name], path) * scale for name in lowered}


def _published(name: str, lowered: Tensor, raised: Tensor, path: Path) -> Tensor:
    """B A of a layer; of a ``qkv`` with rows of zeros for the keys."""
    if not name.endswith("qkv"):
        return raised @ lowered
    rank = raised.shape[1]
    if lowered.shape[0] != 2 * rank or raised.shape[0] % 2:
        raise UsageError(
            f"{path}: {name} has lora_A {tuple(lowered.shape)} and lora_B {tuple(raised.shape)}, no two parts"
        )
    parts = [b @ a for a, b in zip(lowered.chunk(2), raised.chunk(2), strict=True)]
    return torch.cat([parts[0], torch.zeros_like(parts[0]), parts[1]])


def _of_peft(folder: Path, scale: float | None) -> dict[str, Tensor]:
    """Those of a folder that peft, or :func:`adapter_files`, has written."""
    weights, config = (folder / name for name in ADAPTER_FILES)
    try:
        told: dict[str, Any] = read_json(config)
        ranks, alphas = told.get("rank_pattern") or {}, told.get("alpha_pattern") or {}
        base, usual = float(told["r"]), float(told["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{folder} holds no additions of peft ({first_line(error)}); give a folder with {config.name}"
        ) from None
    state = {name.removeprefix(PEFT): value.float() for name, value in _tensors(weights).items()}
    found = {}
    for name, lowered in state.items():
        layer, _, end = name.rpartition(".lora_A.")
        if not layer or end not in ("weight", "default.weight"):
            continue
        raised = state.get(f"{layer}.lora_B.{end}")
        if raised is None:
            raise UsageError(f"{weights}: {layer} has lora_A and no lora_B; the file is not whole")
        rank, alpha = float(ranks.get(layer, base)), float(alphas.get(layer, usual))
        own = alpha / (math.sqrt(rank) if told.get("use_rslora") else rank)
        found[layer] = _product(lowered, raised) * (own if scale is None else scale)
    if not found:
        raise UsageError(f"{weights} holds no low-rank additions")
    return found


def _product(lowered: Tensor, raised: Tensor) -> Tensor:
    """B A, of linear layers and of convolutions."""
    if lowered.ndim == 2:
        return raised @ lowered
    return functional.conv2d(lowered.transpose(0, 1), raised).transpose(0, 1)


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, never unpickled."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
        return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    except (OSError, SafetensorError, RuntimeError, ValueError, AttributeError, EOFError) as error:
        raise UsageError(f"the additions in {path} can't be read ({first_line(error)})") from None
    except Exception as error:  # pickle's own, of what is no tensor
        raise UsageError(f"{path} holds more than tensors ({first_line(error)}); it is not loaded") from None


def add(network: nn.Module, additions: Mapping[str, Tensor], path: Path) -> None:
    """Add what :func:`read_additions` gives to a network's weights.

    Raises:
        UsageError: a layer that the network does not have, or a weight of another shape; nothing is added then.
    """
    state = network.state_dict()
    foreign = sorted(name for name in additions if f"{name}.weight" not in state)
    shapes = sorted(
        name for name in additions.keys() - foreign if state[f"{name}.weight"].shape != additions[name].shape
    )
    if foreign or shapes:
        told = [
            f"{len(names)} {what}: {some(names)}"
            for what, names in (("unknown", foreign), ("of another shape", shapes))
            if names
        ]
        raise UsageError(
            f"the additions in {path} do not fit {type(network).__name__} ({'; '.join(told)}); give their backbone"
        )
    for name, change in additions.items():
        state[f"{name}.weight"] += change.to(state[f"{name}.weight"])
