"""Loading backbones: names, weights that fit, are refused or are dangerous, transforms, tokens, fingerprints."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from activetune import ActivetuneError, UsageError, load_backbone
from activetune.base.errors import RejectedImage
from activetune.base.torchvision_ import import_torchvision
from activetune.evaluation.model import Model
from activetune.networks.backbones import ImageSettings, backbone_names, bundled
from activetune.networks.network import Network

SMALL = "timm/test_resnet"  # half a million parameters


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    """Weights that fit ``SMALL``."""
    torch.manual_seed(0)
    return contiguous(load_backbone(SMALL, pretrained=False).network)


def contiguous(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def assert_same_weights(network: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
    found = network.state_dict()
    assert set(found) == set(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())


def picture(size: tuple[int, int] = (300, 260)) -> Image.Image:
    """Smooth colours, so that scaling filters differ little and their sizes show."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    channels = [128 + 120 * np.sin(rows / 40), 128 + 120 * np.cos(columns / 30), (rows + columns) / 3]
    return Image.fromarray(np.stack(channels, axis=2).astype(np.uint8))


# Names ----------------------------------------------------------------------------------------------------------------


def test_an_unknown_timm_name_gets_the_five_nearest() -> None:
    with pytest.raises(UsageError, match=r"timm has no model 'vit_tiny_patch16_225'; the nearest names are:") as error:
        load_backbone("timm/vit_tiny_patch16_225")
    listed = str(error.value).split("are: ")[1].split(", ")
    assert len(set(listed)) == 5
    assert listed[0] == "timm/vit_tiny_patch16_224"
    assert set(listed) <= set(backbone_names())


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("timm/test_vit@80", (5, 5)),
        ("timm/test_convnext@64", (2, 2)),
        ("timm/swin_tiny_patch4_window7_224@96", (3, 3)),
    ],
)
def test_another_image_size(name: str, grid: tuple[int, int]) -> None:
    backbone = load_backbone(name, pretrained=False)
    pixels = int(name.partition("@")[2])
    assert backbone.settings.size == (pixels, pixels)
    assert (backbone.grid.height, backbone.grid.width) == grid
    assert backbone.prepare(picture()).shape == (3, pixels, pixels)
    assert backbone(torch.zeros(1, 3, pixels, pixels, dtype=torch.uint8)).shape == (1, backbone.num_features)


@pytest.mark.parametrize(
    ("size", "says"),
    [
        ("", "asks for images of no pixels; give a number up to 4096, or HEIGHTxWIDTH, after the @"),
        ("big", "asks for images of big pixels"),
        ("0", "asks for images of 0 pixels"),
        ("8", "can't read images of 8 pixels"),
    ],
)
def test_an_image_size_that_cannot_be(size: str, says: str, tmp_path: Path) -> None:
    save_file(contiguous(load_backbone("timm/test_vit", pretrained=False).network), tmp_path / "own.safetensors")
    for weights in (None, tmp_path / "own.safetensors"):
        with pytest.raises(UsageError, match=says):
            load_backbone(f"timm/test_vit@{size}", weights, pretrained=False)


def test_weights_are_resampled_to_an_image_size(tmp_path: Path) -> None:
    own = load_backbone("timm/test_vit", pretrained=False)
    save_file(contiguous(own.network), tmp_path / "own.safetensors")
    larger = load_backbone("timm/test_vit@320", tmp_path / "own.safetensors").network
    torch.testing.assert_close(larger.blocks[0].attn.qkv.weight, own.network.blocks[0].attn.qkv.weight)
    grid, wide = (net.pos_embed[0, 1:].unflatten(0, (side, side)) for net, side in ((own.network, 10), (larger, 20)))
    torch.testing.assert_close(wide.mean((0, 1)), grid.mean((0, 1)), atol=1e-2, rtol=0)
    same = load_backbone("timm/test_vit@160", tmp_path / "own.safetensors").network
    torch.testing.assert_close(same.pos_embed, own.network.pos_embed)


def test_a_timm_name_without_its_source_is_recognised() -> None:
    with pytest.raises(UsageError, match="do you mean 'timm/resnet18'"):
        load_backbone("resnet18")


@pytest.mark.parametrize("name", ["bundle", "nothing/at/all", "", "bundled/other"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="unknown backbone"):
        load_backbone(name)


def test_published_weights_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    def no_network(*_: object) -> None:
        raise OSError("no network")

    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    with pytest.raises(ActivetuneError, match=r"can't be fetched .*--weights FILE, or use --backbone bundled") as error:
        load_backbone("timm/resnet18")
    assert not isinstance(error.value, UsageError)
    assert constants.HF_HUB_OFFLINE is False  # as it was before


def test_an_option_that_the_network_does_not_have() -> None:
    with pytest.raises(UsageError, match="does not take these options"):
        load_backbone(SMALL, pretrained=False, options={"no_such_option": 1})


# Weights files --------------------------------------------------------------------------------------------------------


def test_safetensors(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "w.safetensors")
    assert_same_weights(load_backbone(SMALL, tmp_path / "w.safetensors").network, state)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
def test_plain_checkpoints(suffix: str, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save(state, tmp_path / f"w{suffix}")
    assert_same_weights(load_backbone(SMALL, tmp_path / f"w{suffix}").network, state)


def test_wrapped_checkpoint(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}
    torch.save(wrapped, tmp_path / "w.pth")
    assert_same_weights(load_backbone(SMALL, tmp_path / "w.pth").network, state)


def test_a_classifier_in_the_file_is_left_out(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    head = {"fc.weight": torch.ones(7, 128), "fc.bias": torch.ones(7)}
    save_file({**state, **head}, tmp_path / "w.safetensors")
    assert_same_weights(load_backbone(SMALL, tmp_path / "w.safetensors").network, state)


def test_weights_of_another_architecture(tmp_path: Path) -> None:
    other = contiguous(load_backbone("timm/test_vit", pretrained=False).network)
    save_file(other, tmp_path / "w.safetensors")
    with pytest.raises(
        UsageError, match=r"do not fit this backbone \(\d+ missing: .*unexpected: .*give the backbone that they are of"
    ):
        load_backbone(SMALL, tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["timm/test_vit", "timm/test_convnext", "timm/test_efficientnet"])
def test_a_convolutions_weights_in_other_networks(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="do not fit this backbone"):
        load_backbone(name, bundled.WEIGHTS)


def test_weights_of_another_width(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    name = next(name for name, value in state.items() if value.ndim == 4)
    save_file({**state, name: state[name][:-1].contiguous()}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=f"1 of another shape: '{name}'"):
        load_backbone(SMALL, tmp_path / "w.safetensors")


def test_weights_with_a_layer_missing(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    name = next(iter(state))
    save_file({key: value for key, value in state.items() if key != name}, tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match=f"1 missing: '{name}'"):
        load_backbone(SMALL, tmp_path / "w.safetensors")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_pickled_object_is_refused_and_not_run(
    suffix: str, writer: str, state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    content = {**state, "trap": Trap(tmp_path / "sprung")}
    path = tmp_path / f"w{suffix}"
    if writer == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UsageError, match=r"can't be read .* never pickled objects"):
        load_backbone(SMALL, path)
    assert not (tmp_path / "sprung").exists()


def test_the_trap_would_have_worked(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize("content", [b"", b"not weights"])
def test_a_damaged_file(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=rf"the weights file .*{name} can't be read"):
        load_backbone(SMALL, tmp_path / name)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "w.onnx").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"is not a weights file; expected \.safetensors"):
        load_backbone(SMALL, tmp_path / "w.onnx")


@pytest.mark.parametrize("name", [SMALL, "bundled"])
def test_a_missing_file(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"the weights file .*nowhere\.pth does not exist; give one that holds"):
        load_backbone(name, tmp_path / "nowhere.pth")


# The bundled backbone -------------------------------------------------------------------------------------------------


def test_the_bundled_file_is_small_and_float16() -> None:
    assert bundled.WEIGHTS.stat().st_size <= 12 * 2**20
    with safe_open(bundled.WEIGHTS, "pt") as file:
        types = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert types <= {torch.float16, torch.int64}  # int64: how many batches a norm has counted
    assert torch.float16 in types


def test_the_bundled_network_computes_in_float32_from_its_file() -> None:
    backbone = load_backbone("bundled")
    found = backbone.network.state_dict()
    for name, value in load_file(bundled.WEIGHTS).items():
        torch.testing.assert_close(found[name], value.to(found[name].dtype), rtol=0, atol=0)
    assert {value.dtype for value in backbone.parameters()} == {torch.float32}
    assert not backbone.network.training
    assert backbone.settings.size == (96, 96)
    assert backbone.prepare(picture()).shape == (3, 96, 96)


def test_other_weights_in_the_bundled_architecture(tmp_path: Path) -> None:
    state = {name: value + 1 for name, value in load_file(bundled.WEIGHTS).items()}
    save_file(state, tmp_path / "w.safetensors")
    assert load_backbone("bundled", tmp_path / "w.safetensors").fingerprint != load_backbone("bundled").fingerprint


# Published weights and their transform --------------------------------------------------------------------------------


def test_vit_tiny_is_prepared_as_its_publisher_says(shared: Path) -> None:
    backbone = load_backbone("timm/vit_tiny_patch16_224", shared / "weights" / "vit_tiny_patch16_224.safetensors")
    settings = backbone.settings
    assert settings.size == (224, 224)
    assert settings.interpolation == "bicubic"
    assert settings.mean == settings.std == (0.5, 0.5, 0.5)
    prepared = backbone.prepare(picture())
    assert prepared.shape == (3, 224, 224)
    assert prepared.dtype == torch.uint8


def test_vit_tiny_features_equal_plain_timm(shared: Path) -> None:
    path = shared / "weights" / "vit_tiny_patch16_224.safetensors"
    backbone = load_backbone("timm/vit_tiny_patch16_224", path)
    import_torchvision()
    import timm

    network = timm.create_model("vit_tiny_patch16_224", num_classes=0).eval()
    network.load_state_dict({k: v for k, v in load_file(path).items() if not k.startswith("head.")})
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    with torch.inference_mode():
        expected = network(transform(picture())[None])
        found = backbone(backbone.prepare(picture())[None])
    assert found.shape == (1, 192) == (1, backbone.num_features)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)
    assert float(expected.std()) > 0.1


def test_settings_survive_json() -> None:
    settings = ImageSettings((64, 96), (0.1, 0.2, 0.3), (1.0, 1.0, 1.0), "bilinear", 0.9, "squash")
    assert ImageSettings.from_dict(settings.as_dict()) == settings


def test_normalise_is_the_usual_one() -> None:
    backbone = load_backbone("bundled")
    pixels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values)[:, None, None] for values in (backbone.settings.mean, backbone.settings.std))
    torch.testing.assert_close(backbone.normalise(pixels), (pixels / 255 - mean) / std)


# Features and tokens --------------------------------------------------------------------------------------------------


def images(size: int, count: int = 1) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_tokens_of_a_vit_are_its_patches() -> None:
    backbone = load_backbone("timm/vit_tiny_patch16_224", pretrained=False)
    with torch.inference_mode():
        tokens = backbone.tokens(images(224))
        every = backbone.network.forward_features(backbone.normalise(images(224)))  # type: ignore[operator]
    assert tokens.shape == (1, 196, 192)
    torch.testing.assert_close(tokens, every[:, 1:])  # without the class token


def test_tokens_of_a_convolution_are_its_map_row_by_row() -> None:
    backbone = load_backbone("bundled")
    with torch.inference_mode():
        tokens = backbone.tokens(images(96, count=2))
        grid = backbone.network.forward_features(backbone.normalise(images(96, count=2)))  # type: ignore[operator]
        pooled = backbone(images(96, count=2))
    assert tokens.shape == (2, 9, 512)
    torch.testing.assert_close(tokens[1, 5], grid[1, :, 1, 2])
    torch.testing.assert_close(tokens.mean(dim=1), pooled, atol=1e-4, rtol=1e-4)


def test_tokens_of_a_map_with_channels_last() -> None:
    backbone = load_backbone("timm/swin_tiny_patch4_window7_224", pretrained=False)
    with torch.inference_mode():
        tokens = backbone.tokens(images(224))
        grid = backbone.network.forward_features(backbone.normalise(images(224)))  # type: ignore[operator]
    assert tokens.shape == (1, 49, backbone.num_features)
    torch.testing.assert_close(tokens[0, 9], grid[0, 1, 2])


@pytest.mark.parametrize(
    "name", ["bundled", SMALL, "timm/test_vit", "timm/test_efficientnet", "timm/mobilenetv3_small_050"]
)
def test_features_are_what_the_classifier_gets(name: str) -> None:
    torch.manual_seed(0)
    backbone = load_backbone(name, pretrained=name == "bundled")
    size = backbone.settings.size[0]
    with torch.inference_mode():
        features = backbone(images(size, count=2))
        assert features.shape == (2, backbone.num_features)
        network = Network(backbone)
        layer = network.add_head("linear", 3).classifier
        assert layer.in_features == backbone.num_features
        torch.nn.init.normal_(layer.weight)
        logits = network.eval()(images(size, count=2))
        torch.testing.assert_close(logits, layer(features), atol=1e-3, rtol=1e-3)


def test_a_fresh_classifier_starts_undecided() -> None:
    network = Network(load_backbone(SMALL, pretrained=False))
    network.add_head("linear", 4)
    model = Model(network.eval(), list("abcd"), {})
    np.testing.assert_allclose(model.predict([picture()], precision="fp32", device="cpu"), 0.25, atol=1e-6)


def test_an_opened_image_is_predicted_as_its_file(tmp_path: Path) -> None:
    picture().convert("RGBA").save(tmp_path / "opaque.png")
    see_through = picture().convert("RGBA")
    see_through.putalpha(Image.linear_gradient("L").resize(see_through.size))
    see_through.save(tmp_path / "alpha.png")
    network = Network(load_backbone("bundled"))
    weight = network.add_head("linear", 3).classifier.weight
    torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
    model = Model(network, list("abc"), {})
    paths = [tmp_path / "opaque.png", tmp_path / "alpha.png"]
    opened = model.predict([Image.open(path) for path in paths], precision="fp32", device="cpu")
    np.testing.assert_allclose(model.predict(paths, precision="fp32", device="cpu"), opened, atol=1e-6)


def test_predicting_a_file_that_is_no_image_names_it(tmp_path: Path) -> None:
    network = Network(load_backbone("bundled"))
    network.add_head("linear", 3)
    model = Model(network.eval(), list("abc"), {})
    (tmp_path / "broken.png").write_bytes(b"no image")
    for name, told in (("broken.png", "broken.png: "), ("gone.png", "gone.png: unreadable: No such file")):
        with pytest.raises(RejectedImage, match=told):
            model.predict([tmp_path / name])
    with pytest.raises(RejectedImage, match=f"{tmp_path}: not a file"):
        model.predict([tmp_path])


# Fingerprints ---------------------------------------------------------------------------------------------------------


def fingerprint(state: dict[str, torch.Tensor], path: Path) -> str:
    save_file(state, path)
    return load_backbone(SMALL, path).fingerprint


def test_one_weight_changes_the_fingerprint(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    before = fingerprint(state, tmp_path / "a.safetensors")
    assert fingerprint(state, tmp_path / "b.safetensors") == before
    name = next(name for name, value in state.items() if value.ndim == 4)
    state[name][0, 0, 0, 0] += 1e-3
    assert fingerprint(state, tmp_path / "c.safetensors") != before


def test_swapped_weights_change_the_fingerprint(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    before = fingerprint(state, tmp_path / "a.safetensors")
    one, two = [name for name, value in state.items() if name.endswith("running_var")][:2]
    state[one] = state[one] * 2
    changed = fingerprint(state, tmp_path / "b.safetensors")
    state[one] = state[one] / 2
    assert state[one].shape == state[two].shape
    state[two] = state[two] * 2
    assert len({before, changed, fingerprint(state, tmp_path / "c.safetensors")}) == 3


def test_the_memory_layout_does_not_change_the_fingerprint(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(state, tmp_path / "a.safetensors")
    last, first = (load_backbone(SMALL, tmp_path / "a.safetensors") for _ in range(2))
    first.network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    assert first.fingerprint == last.fingerprint
