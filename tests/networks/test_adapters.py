"""Low-rank additions: the pretrained network's bits at the start, one function however they are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from activetune import UsageError, load_backbone
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.adapters import (
    ADAPTER_FILES,
    Addition,
    Additions,
    Fused,
    LowRank,
    adapted,
    adapter_files,
    add,
    changes,
    inject,
    merge,
    read_additions,
)
from activetune.networks.adapters._low_rank import _resolve
from activetune.networks.backbones import Backbone
from activetune.networks.backbones.timm_ import create_network

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


@pytest.mark.parametrize("name", ["timm/test_nfnet", "timm/resnetv2_50x1_bit"])
def test_layers_that_change_their_weights_first_get_no_additions(name: str, tmp_path: Path) -> None:
    network = backbone(name)
    with pytest.raises(
        UsageError, match=r"has no layer (named 'conv2' that an addition fits|that an addition fits: no linear)"
    ):
        inject(network.network, LowRank(targets=("conv2",)), seed=0)
    layer = next(key.removesuffix(".weight") for key in network.network.state_dict() if key.endswith("conv2.weight"))
    before = network.network.get_submodule(layer).weight.clone()
    with pytest.raises(UsageError, match=r"1 of layers that do not use their weights as they are: '.*conv2'"):
        add(network.network, Additions({layer: Addition(torch.ones_like(before))}), tmp_path)
    assert torch.equal(network.network.get_submodule(layer).weight, before)


def test_keys_stay_where_only_queries_and_values_are_adapted() -> None:
    network = backbone("timm/test_vit")
    inject(network.network, LowRank(rank=4), seed=3)
    shaken(network)
    for _, weight, change in changes(network):
        size = len(weight) // 3
        moved = change.view(3, size, -1).abs().sum(dim=(1, 2))
        assert moved[0] > 0 and moved[1] == 0 and moved[2] > 0


@pytest.mark.parametrize(
    "name", ["timm/tiny_vit_5m_224", "timm/maxvit_rmlp_pico_rw_256", "timm/efficientformer_l1", "timm/gcvit_small"]
)
def test_rows_that_are_sorted_by_heads_are_not_cut_into_thirds(name: str) -> None:
    with torch.device("meta"):
        network = create_network(name.removeprefix("timm/"), pretrained=False, options={})
    thirds = {id(network.get_submodule(layer)) for layer in _resolve(network, ("auto",))[0]}
    for attention in network.modules():
        if isinstance(layer := getattr(attention, "qkv", None), nn.Linear):
            plain = name == "timm/gcvit_small" and not attention.use_global
            assert (id(layer) in thirds) is plain
    if not thirds:
        assert {layer.rpartition(".")[2] for layer in _resolve(network, ("auto",))[1]} == {"qkv"}
        with pytest.raises(UsageError, match=r"has no layer named 'q', 'v' that an addition fits; .*, qkv"):
            _resolve(network, ("q", "v"))


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


# Folders of peft ----------------------------------------------------------------------------------------------------

QKV = {"target_modules": ["qkv"]}
OF_PEFT: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("test_vit", {**QKV, "init_lora_weights": "gaussian"}),
    "rank-stabilised": ("test_vit", {**QKV, "use_rslora": True, "rank_pattern": {"qkv": 3}}),
    "alphas by expression": ("test_vit", {**QKV, "alpha_pattern": {r"blocks\.[1-5]\.attn\.qkv": 64}}),
    "the first that fits": ("test_vit", {**QKV, "alpha_pattern": {"kv": 99, "blocks": 99, "attn.qkv": 3, "qkv": 99}}),
    "ranks by end": ("test_vit", {**QKV, "rank_pattern": {"attn.qkv": 7}}),
    "dora": ("test_vit", {"target_modules": ["qkv", "fc1"], "use_dora": True, "use_rslora": True}),
    "dora of convolutions": ("test_convnext", {"target_modules": ["fc1", "downsample.1"], "use_dora": True}),
    "convolutions": ("test_efficientnet", {"target_modules": r".*conv_(exp|pwl?)", "alpha_pattern": {r"1\..*": 90}}),
    "bias of B": ("test_vit", {**QKV, "lora_bias": True}),
    "biases of layers": ("test_vit", {**QKV, "bias": "lora_only"}),
    "all biases, of a classifier too": ("test_vit", {**QKV, "bias": "all", "lora_bias": True}),
    "layers as a whole": ("test_vit", {**QKV, "modules_to_save": ["norm", "patch_embed.proj"]}),
    "a classifier": ("test_vit", {"target_modules": ["qkv", "head"], "bias": "all"}),
    "a saved classifier": ("test_vit", {**QKV, "modules_to_save": ["head"]}),
}


def by_peft(name: str, settings: dict[str, Any], folder: Path) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A folder that peft writes of some additions; the network's tensors before, and what it gives with them."""
    peft = pytest.importorskip("peft")
    import_torchvision()
    import timm

    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=4)
    start = {key: value.clone() for key, value in plain.state_dict().items()}
    trained = peft.get_peft_model(plain, peft.LoraConfig(r=4, lora_alpha=6, **settings)).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in trained.parameters():
            if value.requires_grad:
                value += 0.1 * torch.randn(value.shape, generator=generator)
    trained.save_pretrained(folder)
    with torch.inference_mode():
        return start, trained.base_model.model.forward_features(shown())


def shown() -> torch.Tensor:
    return torch.randn(2, 3, 160, 160, generator=torch.Generator().manual_seed(4))


@pytest.mark.filterwarnings("ignore")  # peft's own, of a class that a process without torchvision can't import
@pytest.mark.parametrize("kind", OF_PEFT)
def test_what_peft_has_written_is_merged_as_peft_computes_it(kind: str, tmp_path: Path) -> None:
    name, settings = OF_PEFT[kind]
    start, wanted = by_peft(name, settings, tmp_path)
    ours = backbone(f"timm/{name}")
    ours.network.load_state_dict({key: value for key, value in start.items() if key in ours.network.state_dict()})
    with torch.inference_mode():
        before = ours.network.forward_features(shown())
        left_out = add(ours.network, read_additions(tmp_path), tmp_path, ours.classifier_name)
        found = ours.network.forward_features(shown())
    assert not torch.allclose(before, wanted, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert bool(left_out) == ("classifier" in kind) and all(one.startswith("head") for one in left_out)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"init_lora_weights": "olora"}, "init_lora_weights = 'olora', which changes the pretrained weights"),
        ({"target_modules": ["fc1"], "target_parameters": ["patch_embed.proj.weight"]}, "need 'target_parameters'"),
        ({"layer_replication": [[0, 1]]}, "need 'layer_replication', which merge does not know; merge them by peft"),
        ({"peft_type": "LOHA"}, "of peft's kind 'LOHA'; allowed: 'LORA'"),
        ({"use_dora": True}, "its settings ask for .*lora_magnitude_vector"),
        ({"lora_alpha": float("nan")}, "the alpha of .*qkv can't be nan"),
        ({"alpha_pattern": {"(": 3}}, "holds no additions of peft"),
        ({"alpha_pattern": {"qkv": "much"}}, "holds no additions of peft"),
    ],
)
def test_settings_of_peft_that_are_not_understood_are_refused(
    settings: dict[str, Any], told: str, tmp_path: Path
) -> None:
    by_peft("test_vit", QKV, tmp_path)
    file = tmp_path / ADAPTER_FILES[1]
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(UsageError, match=told):
        read_additions(tmp_path)


def test_a_usual_config_of_this_peft_needs_nothing_unknown(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    by_peft("test_vit", QKV, tmp_path)
    peft.LoraConfig().save_pretrained(tmp_path)
    assert len(read_additions(tmp_path).layers) > 1


def kept_tensors(folder: Path, **changed: torch.Tensor | None) -> None:
    """Change tensors of a folder, by the end of their names."""
    from safetensors.torch import load_file, save_file

    state = load_file(folder / ADAPTER_FILES[0])
    for end, value in changed.items():
        name = next((one for one in state if one.endswith(end)), end)
        state.pop(name, None)
        state |= {} if value is None else {name: value}
    save_file(state, folder / ADAPTER_FILES[0])


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"blocks.0.attn.qkv.lora_C.weight": torch.ones(2)}, r"holds 'blocks.0.attn.qkv.lora_C.weight', which merge"),
        ({"blocks.0.attn.qkv.weight": torch.ones(2)}, r"holds 'blocks.0.attn.qkv.weight', which merge does not know"),
        ({"lora_A.weight": None}, "has lora_B weight, where its settings ask for lora_A weight, lora_B weight"),
        ({"lora_A.weight": torch.ones(3, 64)}, "which are no pair"),
        ({"norm.bias": torch.ones(3)}, "1 of another shape: 'norm.bias'"),
        ({"foreign.bias": torch.ones(3)}, "1 unknown: 'foreign.bias'"),
        (
            {"lora_B.weight": torch.full((192, 4), torch.nan)},
            "these weights are not finite: 'blocks.0.attn.qkv.weight'",
        ),
    ],
)
def test_tensors_that_are_not_understood_are_refused(
    changed: dict[str, torch.Tensor | None], told: str, tmp_path: Path
) -> None:
    by_peft("test_vit", QKV, tmp_path)
    kept_tensors(tmp_path, **changed)
    network = backbone("timm/test_vit").network
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(UsageError, match=told):
        add(network, read_additions(tmp_path), tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), float("-inf")])
def test_a_scale_is_a_finite_number(scale: float, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"can't be scaled by {scale}; give --scale a finite number"):
        read_additions(tmp_path, scale)


def test_a_place_where_nothing_is_has_no_additions(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no .*nodir to read additions from; give a folder of peft"):
        read_additions(tmp_path / "nodir")
