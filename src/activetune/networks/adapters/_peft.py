"""The settings and tensors of a folder that peft has written, as what they add to a network.

Patterns of ranks and alphas are matched as peft does: regular expressions of the end of a layer's name, behind a dot,
of which the first that fits counts. A layer's rank is that of its tensors. What a folder asks for and nothing here
understands is refused: merged without it, the backbone would be another than the one that was trained.
Shape legend: D features into a layer, O out of it, R rank.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from activetune.base.errors import UsageError, some
from activetune.networks.adapters._additions import Addition, Additions, pair_product

PREFIX = "base_model.model."  # what peft puts before the names of layers
APPLIED = {
    "peft_type",
    "r",
    "lora_alpha",
    "rank_pattern",
    "alpha_pattern",
    "use_rslora",
    "use_dora",
    "lora_bias",
    "bias",
}
APPLIED |= {"modules_to_save", "init_lora_weights"}
# of no account for what a trained adapter computes: where it was put, how it was trained, from what it started
WITHOUT_EFFECT = {"auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "peft_version"}
WITHOUT_EFFECT |= {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "ensure_weight_tying"}
WITHOUT_EFFECT |= {"lora_dropout", "fan_in_fan_out", "megatron_core", "qalora_group_size", "runtime_config"}
WITHOUT_EFFECT |= {"loftq_config", "eva_config", "corda_config", "lora_ga_config"}
KEEPING = ("gaussian", "eva", "orthogonal", "mica")  # ways to begin that leave the pretrained weight as it is
INSTEAD = "merge them by peft itself (merge_and_unload) and give what it saves as --weights"
PART = re.compile(r"(?P<layer>.+)\.(?P<part>lora_[AB])(\.default)?\.(?P<kind>weight|bias)")
MAGNITUDE = re.compile(r"(?P<layer>.+)\.lora_magnitude_vector(\.default)?(\.weight)?")


def additions_of(told: Mapping[str, Any], tensors: Mapping[str, Tensor], scale: float | None, path: Path) -> Additions:
    """What the tensors of a folder add under its settings.

    Args:
        told: ``adapter_config.json``. tensors: of the folder's file, by peft's names.
        scale: takes the place of alpha / R; None: what the settings say.
        path: the file, for messages.

    Raises:
        UsageError: settings or tensors that are not understood, or tensors that are not whole.
    """
    _check_known(told, path)
    parts, whole = _sorted(told, {name.removeprefix(PREFIX): value.float() for name, value in tensors.items()}, path)
    if not parts:
        raise UsageError(f"{path} holds no low-rank additions; give a folder of peft, or lora/ of visft")
    wanted = {"lora_A weight", "lora_B weight"}
    wanted |= {"lora_magnitude_vector"} if told.get("use_dora") else set()
    wanted |= {"lora_B bias"} if told.get("lora_bias") else set()
    layers = {}
    for layer, of in parts.items():
        if of.keys() != wanted:
            raise UsageError(
                f"{path}: {layer} has {', '.join(sorted(of))}, where its settings ask for {', '.join(sorted(wanted))}; "
                "the folder is not whole, or its two files do not belong together: copy it again"
            )
        lowered, raised = of["lora_A weight"], of["lora_B weight"]
        factor = _factor(told, layer, len(lowered), path) if scale is None else scale
        bias, magnitude = of.get("lora_B bias"), of.get("lora_magnitude_vector")
        layers[layer] = Addition(
            pair_product(layer, lowered, raised, path) * factor,
            None if bias is None else bias * factor,
            None if magnitude is None else magnitude.flatten(),  # a convolution's has places of size 1
        )
    return Additions(layers, whole)


def _check_known(told: Mapping[str, Any], path: Path) -> None:
    """Refuse settings whose effect on the weights is not known here."""
    kind, start = told.get("peft_type", "LORA"), told.get("init_lora_weights", True)
    if kind != "LORA":
        raise UsageError(f"{path} holds additions of peft's kind {kind!r}; allowed: 'LORA' ({INSTEAD})")
    if isinstance(start, str) and start.lower() not in KEEPING:
        raise UsageError(
            f"the additions in {path} began as init_lora_weights = {start!r}, which changes the pretrained weights as "
            "well; save them by peft with path_initial_model_for_weight_conversion=…, which makes plain ones"
        )
    if strange := [name for name in told if told[name] and name not in APPLIED | WITHOUT_EFFECT]:
        raise UsageError(f"the additions in {path} need {some(strange)}, which merge does not know; {INSTEAD}")


def _sorted(
    told: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """Tensors of additions by layer and part, and those that were trained as a whole by the network's names."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    whole, strange = {}, []
    saved = tuple(told.get("modules_to_save") or ())
    for name, value in tensors.items():
        if found := PART.fullmatch(name):
            parts[found["layer"]][f"{found['part']} {found['kind']}"] = value
        elif found := MAGNITUDE.fullmatch(name):
            parts[found["layer"]]["lora_magnitude_vector"] = value
        elif "lora_" not in name and (name.endswith("bias") or any(f".{one}." in f".{name}" for one in saved)):
            whole[name.replace(".base_layer.", ".")] = value  # a layer with additions keeps its own inside
        else:
            strange.append(name)
    if strange:
        raise UsageError(f"{path} holds {some(strange)}, which merge does not know; {INSTEAD}")
    return dict(parts), whole


def _factor(told: Mapping[str, Any], layer: str, rank: int, path: Path) -> float:
    """Alpha / R of a layer, or alpha / √R."""
    try:
        alpha = float(_by_pattern(told.get("alpha_pattern") or {}, layer, told["lora_alpha"]))
    except OverflowError:  # JSON's whole numbers may have any length
        alpha = math.inf
    if not math.isfinite(alpha):
        raise UsageError(f"{path}: the alpha of {layer} can't be {alpha}; give additions with a finite one, or --scale")
    return alpha / (math.sqrt(rank) if told.get("use_rslora") else rank)


def _by_pattern(patterns: Mapping[str, Any], layer: str, usual: Any) -> Any:
    """The value of the first pattern that fits a layer's name; the usual one where none does."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", layer)), usual)
