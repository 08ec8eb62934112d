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
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from activetune.base.artefact import MANIFEST, check_files
from activetune.base.errors import UsageError, first_line, some
from activetune.base.files import read_json
from activetune.networks.adapters._additions import Addition, Additions, pair_product
from activetune.networks.adapters._low_rank import Fused, LowRank, adapted
from activetune.networks.adapters._peft import PREFIX, additions_of
from activetune.networks.tensors import plain

ADAPTER_FILES = ("adapter_model.safetensors", "adapter_config.json")
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
        state |= {f"{PREFIX}{name}.lora_{key}.weight": one for key, one in zip("AB", pair, strict=True)}
        ranks[name] = len(pair[0])
    if classifier is not None:
        state |= {f"{PREFIX}{classifier[0]}.{name}": value for name, value in classifier[1].items()}
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


def read_additions(path: Path, scale: float | None = None) -> Additions:
    """What a file of additions adds to a network.

    Args:
        path: a folder of peft, or a file that ViSFT's authors have published (``.pt`` or ``.safetensors``).
        scale: factor of B A; None: what peft's config says.

    Raises:
        UsageError: not such files, damaged ones, what peft can do and nothing here understands, published ones
            without a scale, or a scale that is not finite.
    """
    if scale is not None and not math.isfinite(scale):
        raise UsageError(f"additions can't be scaled by {scale}; give --scale a finite number, such as 0.015625")
    if not path.exists():
        raise UsageError(
            f"there is no {path} to read additions from; give a folder of peft (with {ADAPTER_FILES[1]}), or a file "
            "that ViSFT's authors have published"
        )
    if path.is_dir():
        return _of_peft(path, scale)
    if scale is None:
        raise UsageError(
            f"{path} does not say how its additions are scaled; give --scale: 0.015625 (1 / 64) as they were trained, "
            "0.03125 as the released evaluation adds them"
        )
    return _of_publication(path, scale)


def _of_publication(path: Path, scale: float) -> Additions:
    """Those of a file that ViSFT's authors have published."""
    state = {name.removeprefix(PUBLISHED): value.float() for name, value in _tensors(path).items()}
    lowered = {name.removesuffix(".lora_A"): value for name, value in state.items() if name.endswith(".lora_A")}
    raised = {name.removesuffix(".lora_B"): value for name, value in state.items() if name.endswith(".lora_B")}
    if not lowered and not raised:
        raise UsageError(
            f"{path} holds no pairs of lora_A and lora_B; give a published file of ViSFT or a folder of peft"
        )
    if alone := sorted(lowered.keys() ^ raised.keys()):
        raise UsageError(f"{path} holds one of lora_A and lora_B alone for {some(alone)}; give the whole file")
    if strange := sorted(name for name in state if not name.endswith((".lora_A", ".lora_B"))):
        raise UsageError(
            f"{path} holds {some(strange)} beside pairs of lora_A and lora_B, which merge does not know; leave them "
            "out of the file where they add nothing"
        )
    return Additions({name: Addition(_published(name, lowered[name], raised[name], path) * scale) for name in lowered})


def _published(name: str, lowered: Tensor, raised: Tensor, path: Path) -> Tensor:
    """B A of a layer; of a ``qkv`` with rows of zeros for the keys."""
    if not name.endswith("qkv"):
        return pair_product(name, lowered, raised, path)
    if not lowered.ndim == raised.ndim == 2 or len(lowered) != 2 * raised.shape[1] or len(raised) % 2:
        raise UsageError(
            f"{path}: {name} has lora_A {tuple(lowered.shape)} and lora_B {tuple(raised.shape)}, no two parts: "
            "give a published file of ViSFT"
        )
    parts = [b @ a for a, b in zip(lowered.chunk(2), raised.chunk(2), strict=True)]
    return torch.cat([parts[0], torch.zeros_like(parts[0]), parts[1]])


def _of_peft(folder: Path, scale: float | None) -> Additions:
    """Those of a folder that peft, or :func:`adapter_files`, has written."""
    weights, config = (folder / name for name in ADAPTER_FILES)
    above = folder.resolve().parent
    if (above / MANIFEST).is_file():  # of the run that wrote them
        check_files(above, read_json(above / MANIFEST), folder.resolve().name)
    try:
        told: dict[str, Any] = dict(read_json(config))
        float(told["lora_alpha"])
        for name in ("rank_pattern", "alpha_pattern"):
            for key, value in dict(told.get(name) or {}).items():
                re.compile(key)
                float(value)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, re.error) as error:
        raise UsageError(
            f"{folder} holds no additions of peft ({first_line(error)}); give a folder with {config.name}"
        ) from None
    return additions_of(told, _tensors(weights), scale, weights)


def _tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, never unpickled."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"the additions in {path} can't be read ({first_line(error)}); copy them again") from None
    except Exception as error:  # of a damaged file, or pickle's own; torch's advice is to load it all the same
        if not is_zipfile(path):
            raise UsageError(f"{path} is no file of torch.save, or it is cut off; copy it again") from None
        if isinstance(error, RuntimeError | ValueError):
            raise UsageError(f"the additions in {path} can't be read ({first_line(error)}); copy it again") from None
        raise UsageError(f"{path} holds more than tensors; it is not loaded: give a .safetensors file") from None
    named = found if isinstance(found, Mapping) else {}
    return {str(name): value for name, value in named.items() if isinstance(value, Tensor)}
