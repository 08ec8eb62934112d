"""Key prefixes of published self-supervised checkpoints: DINO's and iBOT's, for a transformer and a convolution."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from activetune import UsageError, load_backbone

State = dict[str, torch.Tensor]
NETWORKS = ("timm/test_vit", "timm/test_resnet")  # stand for DeiT-S/16 and ResNet-50: timm's keys are theirs
HEAD = {"mlp.0.weight": torch.ones(4, 3), "last_layer.weight_v": torch.ones(2, 4)}  # of the self-supervised loss


def prefixed(prefix: str, state: Mapping[str, torch.Tensor]) -> State:
    return {f"{prefix}{name}": value for name, value in state.items()}


def plain(state: State) -> dict[str, Any]:
    """``dino_deitsmall16_pretrain.pth``, ``dino_resnet50_pretrain.pth``."""
    return dict(state)


def published(state: State) -> dict[str, Any]:
    """IBOT's ``checkpoint_teacher.pth``: the backbone alone."""
    return {"state_dict": state}


def published_wrapped(state: State) -> dict[str, Any]:
    """The same as a parallel wrapper saves it."""
    return {"state_dict": prefixed("module.", state)}


def published_with_prefix(state: State) -> dict[str, Any]:
    """The same as the multi-crop wrapper names it."""
    return {"state_dict": prefixed("module.backbone.", state)}


def teacher(state: State) -> dict[str, Any]:
    """A whole training checkpoint: the teacher is the network that is evaluated, the student differs."""
    student = {name: torch.zeros_like(value) for name, value in state.items()}
    return {
        "student": {**prefixed("module.backbone.", student), **prefixed("module.head.", HEAD)},
        "teacher": {**prefixed("backbone.", state), **prefixed("head.", HEAD)},
        "epoch": 800,
        "args": argparse.Namespace(arch="vit_small"),
    }


def wrapped_teacher(state: State) -> dict[str, Any]:
    """The same with a parallel wrapper around the teacher, as where batch norms are synchronised."""
    content = teacher(state)
    return {**content, "teacher": prefixed("module.", content["teacher"])}


def bare_teacher(state: State) -> dict[str, Any]:
    """A teacher without any prefix."""
    return {"teacher": state}


LAYOUTS = [
    plain,
    published,
    published_wrapped,
    published_with_prefix,
    teacher,
    wrapped_teacher,
    bare_teacher,
]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_published_layout(layout: Callable[[State], dict[str, Any]], name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = load_backbone(name, pretrained=False).network.state_dict()
    torch.save(layout(state), tmp_path / "checkpoint.pth")
    torch.manual_seed(2)
    found = load_backbone(name, tmp_path / "checkpoint.pth").network.state_dict()
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], value) for key, value in state.items())


def test_a_heads_weights_are_not_taken_for_a_backbone(tmp_path: Path) -> None:
    torch.save({"teacher": prefixed("head.", HEAD)}, tmp_path / "checkpoint.pth")
    with pytest.raises(UsageError, match="do not fit this backbone"):
        load_backbone(NETWORKS[0], tmp_path / "checkpoint.pth")
