"""Key prefixes of published self-supervised checkpoints: DINO's and iBOT's, for a transformer and a convolution.

And the weights of a folder on images of another size than its own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from activetune import UsageError, load_backbone
from activetune.networks.backbones import resized, save_backbone

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


# A folder's weights on images of another size -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("saved", "asked"),
    [
        ((144, 256), (192, 256)),  # 144 patches, which timm takes for 12 x 12
        ((192, 256), (256, 192)),  # as many patches as there are positions
        ((192, 256), (224, 224)),  # 192 patches, no square
        ((96, 96), (64, 144)),  # 36 patches both
        ((96, 96), (160, 160)),
        ((160, 160), (96, 128)),
    ],
)
def test_positions_are_resampled_from_the_grid_that_they_were_saved_of(
    saved: tuple[int, int], asked: tuple[int, int], tmp_path: Path
) -> None:
    height, width = saved
    own = load_backbone(f"timm/test_vit@{height}x{width}", pretrained=False)
    save_backbone(own, tmp_path / "own")
    expected = resized(own, asked).network.state_dict()
    height, width = asked
    found = load_backbone(f"{tmp_path / 'own'}@{height}x{width}")
    assert all(torch.equal(value, expected[name]) for name, value in found.network.state_dict().items())
    save_backbone(found, tmp_path / "found")
    for options in ({}, {"drop_path_rate": 0.1}):
        again = load_backbone(str(tmp_path / "found"), options=options)
        assert again.settings.size == asked
        assert again.fingerprint == found.fingerprint


def test_positions_that_nothing_can_resample_are_a_sentence(tmp_path: Path) -> None:
    own = load_backbone("timm/cait_xxs24_224@32x64", pretrained=False)
    save_backbone(own, tmp_path)
    with pytest.raises(UsageError, match="images of 32x64 pixels, can't be resampled to 64x32; leave @64x32 out"):
        load_backbone(f"{tmp_path}@64x32")
    assert load_backbone(f"{tmp_path}@32x64").fingerprint == own.fingerprint


def test_a_file_that_timm_can_not_resample_is_a_sentence(tmp_path: Path) -> None:
    save_backbone(load_backbone("timm/test_vit@192x256", pretrained=False), tmp_path)
    with pytest.raises(UsageError, match="can't be resampled for this backbone"):
        load_backbone("timm/test_vit@224", tmp_path / "backbone.safetensors")


def test_vision_lstm_reads_images_of_another_size(tmp_path: Path) -> None:
    own = load_backbone("vil/test_vil@32x64", pretrained=False)
    save_backbone(own, tmp_path)
    found = load_backbone(f"{tmp_path}@64x48")
    assert (found.settings.size, found.grid.height, found.grid.width) == ((64, 48), 8, 6)
    assert found.fingerprint == own.fingerprint
    flat = load_backbone(f"{tmp_path}@16x64").grid  # as many patches as it has positions
    assert (flat.height, flat.width) == (2, 8)
    with pytest.raises(UsageError, match="can't be cut into patches of 8"):
        load_backbone("vil/test_vil@36", pretrained=False)
