"""How a network lies in ``model.safetensors`` and ``config.json``, and how it is built from them.

Format 2: the backbone's tensors have the names of its library, a head's begin with ``heads.TASK.``. A linear classifier
on a network of timm stands where timm keeps it (``fc.weight``, ``head.bias``, …), so that plain timm opens the file;
``config["heads"][TASK]["tensors"]`` is the prefix of the names of a head's tensors.

Format 1 knew one classification head: timm's own classifier, or ``config["head"]`` with names that begin with ``head.``
beside a backbone's that begin with ``body.``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from activetune.networks.backbones import Backbone, rebuild_backbone, source_of
from activetune.networks.heads import CLASSES, make_head
from activetune.networks.network import CLASSIFICATION, Network
from activetune.networks.tensors import plain

FORMAT = 2
CLASSIFIER = "classifier."  # prefix of the last layer's tensors in a head


def describe(network: Network, classes: Sequence[str]) -> dict[str, Any]:
    """The content of ``config.json``."""
    backbone = network.backbone
    return {
        "format": FORMAT,
        "backbone": backbone.name,
        **({} if backbone.origin == backbone.name else {"origin": backbone.origin}),
        "source": source_of(backbone.origin),
        "architecture": backbone.architecture,
        "architecture_options": backbone.options,
        "num_classes": len(classes),
        "classes": list(classes),
        "image": backbone.settings.as_dict(),
        "heads": {name: {**network.head(name).describe(), "tensors": _place(network, name)} for name in network.heads},
    }


def _place(network: Network, name: str) -> str:
    """The prefix of the names of a head's tensors."""
    head = network.head(name)
    plain = name == CLASSIFICATION and (head.room, head.kind) == (CLASSES, "linear")
    classifier = network.backbone.classifier_name if plain else None
    return f"{classifier}." if classifier else f"heads.{name}."


def tensors_of(network: Network) -> dict[str, Tensor]:
    """The content of ``model.safetensors``."""
    state = dict(network.backbone.network.state_dict())
    for name in network.heads:
        place = _place(network, name)
        for key, value in network.head(name).state_dict().items():
            state[place + _inside(place, key)] = value
    return plain(state)


def _inside(place: str, key: str) -> str:
    """A tensor's name behind its head's place; a classifier that stands where timm keeps it is no part of a head."""
    return key if place.startswith("heads.") else key.removeprefix(CLASSIFIER)


def build(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> Network:
    """The network that these files hold.

    Raises:
        KeyError, TypeError, ValueError, RuntimeError: they do not fit each other.
    """
    if config["format"] not in (1, FORMAT):
        raise ValueError(f"its format is {config['format']!r}")
    backbone = rebuild_backbone(config)
    if config["format"] == 1:
        config, state = _from_format_1(config, dict(state), backbone)
    network = Network(backbone)
    rest = dict(state)
    for name, given in config["heads"].items():
        room, options = given.get("room", CLASSES), given.get("options", {})
        head = make_head(given["kind"], given["size"], given["outputs"], room, **options)
        place = given["tensors"]
        head.load_state_dict({key: rest.pop(place + _inside(place, key)) for key in head.state_dict()})
        network.put_head(head, name)
    backbone.network.load_state_dict(rest)
    return network


def _from_format_1(
    config: Mapping[str, Any], state: dict[str, Tensor], backbone: Backbone
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and tensors as format 2 has them."""
    light = config.get("head")
    if light is None:
        place = f"{backbone.classifier_name}."
        kind, size = "linear", backbone.num_features
    else:
        place = f"heads.{CLASSIFICATION}."
        kind = light["kind"]
        size = state[f"head.{CLASSIFIER}weight"].shape[1]
        state = {
            place + key.removeprefix("head.") if key.startswith("head.") else key.removeprefix("body."): value
            for key, value in state.items()
        }
    head = {"kind": kind, "size": size, "outputs": config["num_classes"], "tensors": place}
    return {**config, "heads": {CLASSIFICATION: head}}, state
