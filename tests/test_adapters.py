"""Low-rank additions: the pretrained network's bits at the start, one function however they are kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from activetune import UsageError, load_backbone
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.adapters import ADAPTER_FILES, Fused, LowRank, adapted, adapter_files, changes, inject, merge
from activetune.networks.backbones import Backbone

KINDS = [
    ("timm/test_vit", ("auto",)),
    ("timm/test_vit", ("q", "k", "v")),
    ("timm/test_vit", ("k", "fc1", "proj")),
    ("timm/test_vit", ("qkv",)),
    ("timm/eva02_tiny_patch14_224", ("auto",)),  # computes with the weight of qkv and does not call the layer
    ("timm/test_convnext", ("auto",)),
    ("bundled", ("auto",)),
]


def backbone(name: str) -> Backbone:
    torch.manual_seed(0)
    return load_backbone(name, pretrained=name == "bundled").eval()


def images(network: Backbone) -> torch.Tensor:
    shape = (2, 3, *network.settings.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def shaken(network: nn.Module) -> None:
    """As after some training: A and B at random."""
    generator = torch.Generator().manual_seed(1)
    for value in network.parameters():
        if value.requires_grad:
            nn.init.normal_(value, std=0.05, generator=generator)


@pytest.mark.parametrize(("name", "targets"), KINDS)
def test_fresh_additions_leave_the_bits_as_they_were(name: str, targets: tuple[str, ...]) -> None:
    network = backbone(name)
    with torch.inference_mode():
        before = network.last(images(network))
    inject(network.network, LowRank(targets=targets, rank=4), seed=3)
    with torch.inference_mode():
        assert torch.equal(network.last(images(network)), before)
    assert len(list(adapted(network))) > 0
    assert all("lora_" in key for key, value in network.named_parameters() if value.requires_grad)


@pytest.mark.parametrize(("name", "targets"), KINDS)
def test_every_addition_learns_and_merging_changes_nothing(name: str, targets: tuple[str, ...]) -> None:
    network = backbone(name)
    names = set(network.state_dict())
    inject(network.network, LowRank(targets=targets, rank=4), seed=3)
    shaken(network)
    network.last(images(network)).square().mean().backward()
    for key, value in network.named_parameters():
        assert value.grad is None or value.requires_grad, key
        assert not value.requires_grad or bool(value.grad.abs().sum() > 0), key
    told = {key: weight + change for key, weight, change in changes(network)}
    with torch.inference_mode():
        trained = network.last(images(network))
    merge(network.network)
    assert set(network.state_dict()) == names
    for key, weight in told.items():
        torch.testing.assert_close(network.get_submodule(key).weight, weight)
    with torch.inference_mode():
        torch.testing.assert_close(network.last(images(network)), trained, rtol=1e-4, atol=1e-4)


def test_keys_stay_where_only_queries_and_values_are_adapted() -> None:
    network = backbone("timm/test_vit")
    inject(network.network, LowRank(rank=4), seed=3)
    shaken(network)
    for _, weight, change in changes(network):
        size = len(weight) // 3
        moved = change.view(3, size, -1).abs().sum(dim=(1, 2))
        assert moved[0] > 0 and moved[1] == 0 and moved[2] > 0


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_convnext"])
def test_peft_puts_the_files_on_the_network_of_its_library(name: str, tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    import_torchvision()
    import timm

    network = backbone(name)
    start = {key: value.clone() for key, value in network.network.state_dict().items()}
    inject(network.network, LowRank(rank=4, alpha=2), seed=3)
    shaken(network)
    for file, content in adapter_files(network.network, LowRank(rank=4, alpha=2)).items():
        (tmp_path / file).write_bytes(content)
    assert {path.name for path in tmp_path.iterdir()} == set(ADAPTER_FILES)
    assert json.loads((tmp_path / ADAPTER_FILES[1]).read_text())["peft_type"] == "LORA"
    plain = timm.create_model(name.removeprefix("timm/"), num_classes=0)
    plain.load_state_dict(start)
    loaded = peft.PeftModel.from_pretrained(plain, tmp_path).eval()
    shown = torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        wanted = network.network(shown)
        torch.testing.assert_close(loaded(shown), wanted, rtol=1e-4, atol=1e-4)


def test_the_layer_and_its_weight_say_the_same() -> None:
    torch.manual_seed(0)
    layer = Fused(nn.Linear(6, 12), ["q", "v"], LowRank(rank=2, alpha=3))
    shaken(layer)
    tokens = torch.randn(2, 5, 6)
    torch.testing.assert_close(layer(tokens), nn.functional.linear(tokens, layer.weight, layer.bias))


def test_a_part_and_its_whole_are_not_both_adapted() -> None:
    with pytest.raises(UsageError, match="targets name qkv and 'q', which is a part of it"):
        inject(backbone("timm/test_vit").network, LowRank(targets=("q", "qkv")), seed=0)
