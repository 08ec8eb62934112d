"""Vision-LSTM: the recurrence against its equations, the published checkpoints' layouts, and timm's interface.

Shape legend: B items, H heads, T tokens, K features of a head, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import activetune
from activetune import ActivetuneError, Backbone, UsageError, finetune, load_backbone
from activetune.networks.backbones import backbone_names
from activetune.networks.backbones._vil import ARCHITECTURES, Architecture, VisionLSTM, block
from activetune.networks.backbones._vil import mlstm as recurrence
from activetune.networks.backbones._vil.block import Block
from activetune.networks.backbones._vil.mlstm import mlstm
from activetune.networks.backbones.timm_ import create_network
from activetune.networks.network import Network

SMALL = "vil/test_vil"
VERSIONS = [1, 2]
Shapes = dict[str, tuple[int, ...]]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def shaken(network: nn.Module) -> nn.Module:
    """Every weight drawn anew: some start at zero and would hide mistakes."""
    for value in network.parameters():
        nn.init.normal_(value, std=0.2)
    return network.eval()


def small(version: int, **options: Any) -> VisionLSTM:
    network = shaken(VisionLSTM(replace(ARCHITECTURES["test_vil"], version=version), num_classes=3, **options))
    assert isinstance(network, VisionLSTM)
    return network


def images(height: int = 32, width: int = 32, count: int = 2) -> Tensor:
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)


# The recurrence -------------------------------------------------------------------------------------------------------


def step_by_step(
    queries_BHTK: Tensor, keys_BHTK: Tensor, values_BHTK: Tensor, input_gates_BHT: Tensor, forget_gates_BHT: Tensor
) -> Tensor:
    """The paper's equations, token by token, without a stabiliser."""
    size = queries_BHTK.shape[3]
    matrix_BHKK = queries_BHTK.new_zeros(*queries_BHTK.shape[:2], size, size)
    normaliser_BHK = queries_BHTK.new_zeros(*queries_BHTK.shape[:2], size)
    outputs = []
    for token in range(queries_BHTK.shape[2]):
        query, value = queries_BHTK[:, :, token], values_BHTK[:, :, token]
        key = keys_BHTK[:, :, token] / size**0.5
        written = input_gates_BHT[:, :, token, None].exp()
        kept = forget_gates_BHT[:, :, token, None].sigmoid()
        matrix_BHKK = kept[..., None] * matrix_BHKK + written[..., None] * torch.einsum("bhv,bhk->bhvk", value, key)
        normaliser_BHK = kept * normaliser_BHK + written * key
        divisor = (normaliser_BHK * query).sum(dim=2, keepdim=True).abs().clamp(min=1)
        outputs.append(torch.einsum("bhvk,bhk->bhv", matrix_BHKK, query) / divisor)
    return torch.stack(outputs, dim=2)


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the published networks add to the divisor, which is not in the paper's equations."""
    monkeypatch.setattr(recurrence, "EPSILON", 0.0)


def sequences(tokens: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Queries, keys, values, input gates and forget gates."""
    vectors = [torch.randn(2, 3, tokens, 5, dtype=dtype) for _ in range(3)]
    gates = [torch.randn(2, 3, tokens, dtype=dtype), 2 + 2 * torch.randn(2, 3, tokens, dtype=dtype)]
    return [tensor.requires_grad_() for tensor in (*vectors, *gates)]


def gradients(outputs: Tensor, given: list[Tensor]) -> Iterator[Tensor]:
    yield from torch.autograd.grad((outputs * torch.linspace(-1, 1, outputs.numel()).view_as(outputs)).sum(), given)


@pytest.mark.parametrize("piece", [1, 4, 7, 23, 100, None])
def test_all_at_once_and_in_pieces_is_step_by_step(piece: int | None, exact: None) -> None:
    given = sequences(23)
    expected, found = step_by_step(*given), mlstm(*given, piece=piece)  # type: ignore[arg-type]
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    for one, other in zip(gradients(found, given), gradients(expected, given), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_network_of_both_directions_is_step_by_step(
    version: int, exact: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, batch = small(version).double(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = network(batch)
    monkeypatch.setattr(block, "mlstm", step_by_step)
    torch.testing.assert_close(found, network(batch), rtol=1e-9, atol=1e-9)


def test_long_sequences_are_cut_into_even_pieces(exact: None) -> None:
    given = sequences(3 * recurrence.SHORTEST + 5)
    torch.testing.assert_close(mlstm(*given), mlstm(*given, piece=10_000), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("backwards", [False, True])
def test_a_token_changes_only_what_is_read_after_it(backwards: bool) -> None:
    layer = shaken(Block(32, first=True, backwards=backwards, drop_path_rate=0.0))
    tokens_BTD = torch.randn(1, 16, 32)
    changed_BTD = tokens_BTD.clone()
    changed_BTD[:, 9] += 1
    difference_T = (layer(tokens_BTD, (4, 4)) - layer(changed_BTD, (4, 4))).abs().amax(dim=(0, 2))
    before, after = (difference_T[10:], difference_T[:10]) if backwards else (difference_T[:9], difference_T[9:])
    assert before.max() == 0
    assert after[0 if not backwards else -1] > 0  # the nearest; what reaches the farthest may round to nothing


@pytest.mark.parametrize("piece", [4, 100])
@pytest.mark.parametrize("size", [-300.0, 300.0])
def test_extreme_gates_overflow_nowhere(size: float, piece: int) -> None:
    queries, keys, values, input_gates, forget_gates = sequences(12, torch.float32)
    given = [queries, keys, values, input_gates + size, forget_gates - abs(size)]
    outputs = mlstm(*given, piece=piece)  # type: ignore[arg-type]
    assert outputs.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients(outputs, given))


# Published checkpoints ------------------------------------------------------------------------------------------------


def published(version: int, dim: int, depth: int, grid: int = 14, patch: int = 16) -> Shapes:
    """Names and shapes as published, from the log of the publisher's training and its loading code."""
    inner = 2 * dim
    pooled = dim if version == 1 else 2 * dim
    shapes: Shapes = {
        "pos_embed.embed": (1, grid, grid, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "xlstm.post_blocks_norm.weight": (dim,),
        "head.0.weight": (pooled,),
        "head.0.bias": (pooled,),
        "head.1.weight": (1000, pooled),
        "head.1.bias": (1000,),
    }
    convolution = {"conv1d.conv": (inner, 1, 4)} if version == 1 else {"conv1d": (inner, 1, 3, 3)}
    for number in range(depth):
        layer = f"xlstm.blocks.{number}.xlstm"
        shapes[f"{layer}_norm.weight"] = (dim,)
        shapes[f"{layer}.proj_up.weight"] = (2 * inner, dim)
        shapes[f"{layer}.proj_down.weight"] = (dim, inner)
        shapes[f"{layer}.learnable_skip"] = (inner,)
        shapes[f"{layer}.mlstm_cell.outnorm.weight"] = (inner,)
        for name in ("q_proj", "k_proj", "v_proj"):
            shapes[f"{layer}.{name}.weight"] = (inner // 4, 4, 4)
        for name in ("igate", "fgate"):
            shapes |= {f"{layer}.mlstm_cell.{name}.weight": (4, 3 * inner), f"{layer}.mlstm_cell.{name}.bias": (4,)}
        for name, shape in convolution.items():
            shapes |= {f"{layer}.{name}.weight": shape, f"{layer}.{name}.bias": (inner,)}
        if version == 2:
            shapes |= {f"{layer}_norm.bias": (dim,), f"{layer}.mlstm_cell.outnorm.bias": (inner,)}
            shapes |= {f"{layer}.{name}_proj.bias": (inner,) for name in "qkv"}
            shapes |= {f"{layer}.proj_up.bias": (2 * inner,), f"{layer}.proj_down.bias": (dim,)}
    if version == 2:
        shapes["xlstm.post_blocks_norm.bias"] = (dim,)
    return shapes


def checkpoint(shapes: Shapes, path: Path) -> dict[str, Tensor]:
    """Save random weights as the publisher's training wraps them."""
    state = {name: torch.randn(shape) for name, shape in shapes.items()}
    content = {"state_dict": state, "ctor_kwargs": {"patch_size": 16, "kind": "models.single.vislstm"}, "ckpt": "last"}
    torch.save(content, path)
    return state


def test_the_published_layouts_sizes() -> None:
    """What the publisher's logs count: tensors with and without decay, and all parameters of ViL-B."""
    shapes = published(2, 192, 24)
    assert len(shapes) == 194 + 319
    assert sum(len(shape) > 1 for name, shape in shapes.items() if name != "pos_embed.embed") == 194
    assert sum(int(np.prod(shape)) for shape in published(2, 768, 24).values()) == 89_263_528


@pytest.mark.parametrize(("name", "version"), [("vil/vil2_tiny", 2), ("vil/vil_tiny", 1)])
def test_a_published_checkpoint_loads_name_by_name(name: str, version: int, tmp_path: Path) -> None:
    path = tmp_path / "vil_tiny16_in1k.th"
    state = checkpoint(published(version, 192, 24), path)
    network = load_backbone(name, path).network
    found = network.state_dict()
    assert len(found) == len(state) - 2  # the classifier is left out
    last, layer = "xlstm.blocks.23.xlstm", "blocks.23.layer"
    convolution = "conv1d.conv" if version == 1 else "conv1d"
    expected = {  # of each kind the last
        "pos_embed": "pos_embed.embed",
        "patch_embed.proj.weight": "patch_embed.proj.weight",
        "blocks.23.norm.weight": f"{last}_norm.weight",
        f"{layer}.proj_up.weight": f"{last}.proj_up.weight",
        f"{layer}.q_proj.weight": f"{last}.q_proj.weight",
        f"{layer}.conv.weight": f"{last}.{convolution}.weight",
        f"{layer}.learnable_skip": f"{last}.learnable_skip",
        f"{layer}.mlstm_cell.igate.bias": f"{last}.mlstm_cell.igate.bias",
        f"{layer}.mlstm_cell.outnorm.weight": f"{last}.mlstm_cell.outnorm.weight",
        "norm.weight": "xlstm.post_blocks_norm.weight",
        "pooled_norm.bias": "head.0.bias",
    }
    assert all(torch.equal(found[own], state[theirs]) for own, theirs in expected.items())


def test_published_positions_of_another_grid_are_interpolated(tmp_path: Path) -> None:
    state = checkpoint(published(2, 32, 2, grid=6, patch=8), tmp_path / "w.th")
    state["pos_embed.embed"] = torch.linspace(0, 1, 6).view(1, 1, 6, 1).expand(1, 6, 6, 32).contiguous()
    torch.save(state, tmp_path / "w.th")
    positions_hwD = load_backbone(SMALL, tmp_path / "w.th").network.state_dict()["pos_embed"][0]
    assert positions_hwD.shape == (4, 4, 32)
    torch.testing.assert_close(positions_hwD, positions_hwD[:1, :, :1].expand(4, 4, 32))  # still a ramp over columns
    assert (positions_hwD.diff(dim=1) > 0.2).all()


@pytest.mark.parametrize(
    ("shapes", "problem"),
    [
        (published(1, 32, 2, grid=4, patch=8), r"missing: 'blocks\.0\.layer.*bias'.*of another shape"),
        (published(2, 64, 2, grid=4, patch=8), "of another shape"),
        (published(2, 32, 3, grid=4, patch=8), r"unexpected: 'blocks\.2\."),
    ],
)
def test_a_checkpoint_of_another_network(shapes: Shapes, problem: str, tmp_path: Path) -> None:
    checkpoint(shapes, tmp_path / "w.th")
    with pytest.raises(UsageError, match=f"do not fit this backbone .*{problem}.*give the backbone that they are of"):
        load_backbone(SMALL, tmp_path / "w.th")


def test_without_weights_the_file_to_fetch_is_named() -> None:
    with pytest.raises(ActivetuneError, match=r"download https://ml\.jku\.at/.*/vil2_tiny16_e800_in1k\.th and give"):
        load_backbone("vil/vil2_tiny")
    with pytest.raises(ActivetuneError, match=r"comes without weights; give a file with --weights FILE"):
        load_backbone(SMALL)


# Names ----------------------------------------------------------------------------------------------------------------


def test_names_are_listed_under_one_source() -> None:
    names = backbone_names()
    assert {f"vil/{name}" for name in ARCHITECTURES} <= set(names)
    assert "timm/vil2_tiny" not in names


@pytest.mark.parametrize("name", ["vil/vil2_tinny", "vil/", "vil"])
def test_an_unknown_name(name: str) -> None:
    with pytest.raises(UsageError, match=r"unknown backbone 'vil/.*nearest names are: "):
        load_backbone(name)


def test_it_is_not_timms_own() -> None:
    with pytest.raises(UsageError, match="timm has no model 'vil2_tiny'"):
        load_backbone("timm/vil2_tiny", pretrained=False)
    with pytest.raises(UsageError, match="do you mean 'vil/vil2_tiny'"):
        load_backbone("vil2_tiny")


# timm's interface -----------------------------------------------------------------------------------------------------


@pytest.fixture
def backbone() -> Backbone:
    loaded = load_backbone(SMALL, pretrained=False)
    shaken(loaded.network)
    return loaded


def test_images_are_prepared_as_the_publisher_says() -> None:
    settings = load_backbone("vil/vil2_tiny", pretrained=False).settings
    assert settings.size == (224, 224)
    assert (settings.interpolation, settings.crop_pct) == ("bicubic", 1.0)
    assert settings.mean == (0.485, 0.456, 0.406)


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "side", "features"), [("vil2_tiny", 14, 384), ("vil_tiny", 14, 192), ("vil_smallplus_stride8", 27, 384)]
)
def test_sizes_of_the_published_networks(name: str, side: int, features: int) -> None:
    network = VisionLSTM(replace(ARCHITECTURES[name], depth=2), num_classes=0)
    assert network.pos_embed.shape[1:3] == (side, side)
    tokens_BTD = network.forward_features(torch.zeros(1, 3, 224, 224))
    assert tokens_BTD.shape == (1, side**2, ARCHITECTURES[name].dim) == (1, side**2, network.num_features)
    assert network.forward_head(tokens_BTD, pre_logits=True).shape == (1, features) == (1, network.head_hidden_size)


@torch.inference_mode()
def test_features_tokens_and_grid(backbone: Backbone) -> None:
    batch = images()
    tokens_BTD = backbone.all_tokens(batch)
    assert tokens_BTD.shape == (2, 16, 32)
    assert (backbone.grid.height, backbone.grid.width) == (4, 4)
    torch.testing.assert_close(backbone.tokens(batch), tokens_BTD)
    assert backbone(batch).shape == (2, backbone.num_features) == (2, 64)
    torch.testing.assert_close(backbone.pooled(tokens_BTD), backbone(batch))
    network = Network(backbone)
    layer = network.add_head("linear", 3).classifier
    assert layer.in_features == backbone.num_features
    nn.init.normal_(layer.weight)
    torch.testing.assert_close(network(batch), layer(backbone(batch)))


@torch.inference_mode()
@pytest.mark.parametrize(("version", "epsilons"), [(1, (1e-5, 1e-5, 1e-6)), (2, (1e-5, 1e-6, 1e-5))])
def test_norms_have_the_published_epsilons(version: int, epsilons: tuple[float, ...]) -> None:
    """Of a block, after all blocks, and of the joined tokens."""
    network = VisionLSTM(Architecture(32, 2, version=version, image=32, patch=8, stride=8))
    norms = (network.blocks[0].norm, network.norm, network.pooled_norm)
    assert tuple(norm.eps for norm in norms) == epsilons


def test_the_first_and_the_last_token_are_averaged_or_side_by_side() -> None:
    tokens_BTD = torch.randn(2, 16, 32)
    ends = [tokens_BTD[:, 0], tokens_BTD[:, 15]]
    for version, joined in ((1, (ends[0] + ends[1]) / 2), (2, torch.cat(ends, dim=1))):
        network = small(version)
        torch.testing.assert_close(network.forward_head(tokens_BTD, pre_logits=True), network.pooled_norm(joined))


@torch.inference_mode()
@pytest.mark.parametrize("version", VERSIONS)
def test_other_image_sizes(version: int) -> None:
    network = small(version)
    assert network.forward_features(torch.randn(1, 3, 48, 64)).shape == (1, 48, 32)
    with pytest.raises(UsageError, match="images of 36 x 32 pixels can't be cut into patches of 8"):
        network(torch.randn(1, 3, 32, 36))


@pytest.mark.parametrize("version", VERSIONS)
def test_bf16_stays_close_to_fp32(version: int) -> None:
    network, batch = small(version), torch.randn(2, 3, 128, 128)  # 256 tokens, two pieces
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(batch)
        network.zero_grad()
        logits.float().square().sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in network.parameters())
    torch.testing.assert_close(logits.float(), network(batch), atol=0.05, rtol=0.05)


def test_checkpointing_and_stochastic_depth() -> None:
    batch = torch.randn(4, 3, 32, 32)
    plain = small(2)
    dropping = small(2, drop_path_rate=0.5)
    dropping.load_state_dict(plain.state_dict())
    torch.testing.assert_close(dropping(batch), plain(batch))  # in evaluation nothing is dropped
    found = []
    for enabled in (False, True):
        dropping.train().set_grad_checkpointing(enabled)
        dropping.zero_grad()
        torch.manual_seed(1)
        logits = dropping(batch)
        logits.square().sum().backward()
        found.append([logits, *(value.grad for value in dropping.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert not torch.allclose(found[0][0], plain(batch))


def test_learning_rates_fall_from_pair_to_pair_of_blocks() -> None:
    create_network("test_vil", pretrained=False, options={})  # timm is loaded
    from timm.optim import create_optimizer_v2

    network = VisionLSTM(Architecture(32, 4, image=32, patch=8, stride=8), num_classes=3)
    optimizer = create_optimizer_v2(network, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    groups = {id(value): group for group in optimizer.param_groups for value in group["params"]}
    scales = {name: groups[id(value)]["lr_scale"] for name, value in network.named_parameters()}
    assert {scales[f"blocks.{number}.layer.proj_up.weight"] for number in (0, 1)} == {0.25}
    assert {scales[f"blocks.{number}.norm.weight"] for number in (2, 3)} == {0.5}
    assert scales["patch_embed.proj.weight"] == scales["pos_embed"] == 0.125
    assert scales["norm.weight"] == scales["pooled_norm.weight"] == scales["head.weight"] == 1.0
    assert groups[id(network.pos_embed)]["weight_decay"] == 0


# Finetuning -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "settings"),
    [("linear_probe", {"strengths": [100.0]}), ("full", {"epochs": 2, "batch_size": 32, "drop_path": 0.1})],
)
def test_finetuned_saved_and_loaded(
    recipe: str, settings: dict[str, Any], digits: Path, backbone: Backbone, tmp_path: Path
) -> None:
    torch.save({"state_dict": backbone.network.state_dict()}, tmp_path / "w.th")
    options: dict[str, Any] = {"workers": 0, "precision": "fp32", "device": "cpu", "quiet": True}
    given: dict[str, Any] = {"backbone": SMALL, "weights": tmp_path / "w.th", "recipe": recipe, "settings": settings}
    model = finetune(digits, out=tmp_path / "model", **given, **options)
    loaded = activetune.load(tmp_path / "model")
    files = sorted(digits.rglob("*.png"))[:20]
    expected = model.predict(files, precision="fp32", device="cpu")
    assert expected.shape == (20, 10)
    np.testing.assert_array_equal(loaded.predict(files, precision="fp32", device="cpu"), expected)
    assert loaded.backbone.name == SMALL
