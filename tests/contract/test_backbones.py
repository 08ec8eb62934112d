"""The contract of every source of backbones: features, tokens, training, a saved model, and the commands.

A new source in ``activetune/networks/backbones`` gets a tiny network here (``MAKERS``), and the rest follows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

import activetune
from activetune import Backbone, UsageError, load_backbone, open_pool
from activetune.base.config import field_types
from activetune.base.torchvision_ import import_torchvision
from activetune.cli import run
from activetune.data.pool import Pool
from activetune.features.embedding import EmbedOptions
from activetune.networks.backbones import source_of, sources
from activetune.networks.network import Network
from activetune.training.optimiser import parameter_groups
from activetune.training.recipe import recipes
from tests.conftest import write_digits
from tests.training.test_finetuning import some_labels

Named = tuple[str, Path | None]
QUICK = {"epochs": 1, "batch_size": 16, "trials": 1, "views": 2, "head_steps": 4, "rank": 2, "validation_least": 1}
QUICK |= {"batches": 2, "loops": 1, "measurements": 1, "budget": "50%", "captions": "none"}
SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    "dinov2": {**SMALL, "image_size": 32, "patch_size": 8, "mlp_ratio": 2},
    "dinov2_with_registers": {**SMALL, "image_size": 32, "patch_size": 8, "mlp_ratio": 2, "num_register_tokens": 3},
    "vit": {**SMALL, "image_size": 32, "patch_size": 8},
    "swin": {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "image_size": 32},
    "convnext": {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "image_size": 32},
    "clip": {
        "vision_config": {**SMALL, "image_size": 32, "patch_size": 8},
        "text_config": {**SMALL, "vocab_size": 50, "max_position_embeddings": 8},
        "projection_dim": 12,
    },
    "siglip_vision_model": {**SMALL, "image_size": 32, "patch_size": 8},
}
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "vit": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 8},
    "timm": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 160},
}


def of_timm(name: str) -> Callable[[Path], Named]:
    def make(folder: Path) -> Named:
        if name.startswith("bundled"):
            return name, None
        torch.manual_seed(0)
        state = load_backbone(name, pretrained=False).network.state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, folder / "weights.safetensors")
        return name, folder / "weights.safetensors"

    return make


def of_transformers(kind: str) -> Callable[[Path], Named]:
    def make(folder: Path) -> Named:
        import_torchvision()
        transformers = pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
        torch.manual_seed(0)
        model = transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **TRANSFORMERS[kind]))
        model.save_pretrained(folder)
        size = {"height": 32, "width": 32}
        processor = {"size": size, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.3, 0.4], "resample": 2}
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
        return f"hf/{folder}", None

    return make


def of_open_clip(kind: str) -> Callable[[Path], Named]:
    def make(folder: Path) -> Named:
        import_torchvision()
        open_clip = pytest.importorskip("open_clip", reason="the extra 'open-clip' is not installed")
        text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
        config = {"embed_dim": 24, "vision_cfg": OPEN_CLIP[kind], "text_cfg": text}
        torch.manual_seed(0)
        given = {
            "vision_cfg": open_clip.model.CLIPVisionCfg(**OPEN_CLIP[kind], timm_model_pretrained=False),
            "text_cfg": open_clip.CLIPTextCfg(**text),
        }
        model = open_clip.CLIP(embed_dim=24, **given)
        about = {"model_cfg": config, "preprocess_cfg": {"size": OPEN_CLIP[kind]["image_size"]}}
        (folder / "open_clip_config.json").write_text(json.dumps(about))
        state = {name: value.contiguous() for name, value in model.state_dict().items()}
        save_file(state, folder / "open_clip_model.safetensors")
        return f"open_clip/{folder}", None

    return make


MAKERS: dict[str, Callable[[Path], Named]] = {
    "bundled@32": of_timm("bundled@32"),
    "timm/test_vit": of_timm("timm/test_vit"),
    "timm/test_efficientnet": of_timm("timm/test_efficientnet"),
    "vil/test_vil": of_timm("vil/test_vil"),
    **{f"hf/{kind}": of_transformers(kind) for kind in TRANSFORMERS},
    **{f"open_clip/{kind}": of_open_clip(kind) for kind in OPEN_CLIP},
}
WITH_EVERY_RECIPE = ("hf/vit", "hf/convnext", "open_clip/vit")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("pool") / "digits", 40)


@pytest.fixture(scope="module")
def pool(folder: Path) -> Pool:
    return open_pool(folder)


@pytest.fixture(scope="module", params=sorted(MAKERS))
def named(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Named:
    return MAKERS[request.param](tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def backbone(named: Named) -> Backbone:
    return load_backbone(*named).eval()


def images(backbone: Backbone, count: int = 2) -> torch.Tensor:
    shape = (count, 3, *backbone.settings.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_every_source_is_held_to_the_contract() -> None:
    assert {source_of(name) for name in MAKERS} == set(sources())


# Features -------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_features_are_told_before_they_are_made(backbone: Backbone) -> None:
    pixels = images(backbone)
    features, tokens = backbone(pixels), backbone.all_tokens(pixels)
    assert features.shape == (2, backbone.num_features)
    assert tokens.shape == (2, backbone.grid.tokens, backbone.token_size)
    assert backbone.tokens(pixels).shape == (2, backbone.grid.height * backbone.grid.width, backbone.token_size)
    assert features.isfinite().all() and features.std() > 0
    assert not torch.allclose(features[0], features[1])


@torch.inference_mode()
def test_pooling_all_tokens_gives_the_features(backbone: Backbone) -> None:
    pixels = images(backbone)
    pooled = backbone.pooled(backbone.all_tokens(pixels))
    torch.testing.assert_close(pooled, backbone(pixels), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(backbone.pool(backbone.last(pixels)), pooled, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_an_image_is_read_alone_and_normalised_once(backbone: Backbone) -> None:
    pixels = images(backbone)
    together = backbone(pixels)
    torch.testing.assert_close(torch.cat([backbone(pixels[:1]), backbone(pixels[1:])]), together, atol=1e-4, rtol=1e-3)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (backbone.settings.mean, backbone.settings.std))
    torch.testing.assert_close(backbone((pixels / 255 - mean) / std), together, atol=1e-4, rtol=1e-3)


def test_features_in_bf16_are_those_of_fp32_but_for_rounding(backbone: Backbone, pool: Pool) -> None:
    before = backbone.fingerprint
    found = [
        activetune.embed(pool, backbone=backbone, use_cache=False, precision=precision, workers=0, quiet=True)
        for precision in ("fp32", "bf16")
    ]
    fp32_ND, bf16_ND = (torch.from_numpy(np.asarray(one.features_ND, dtype=np.float32)) for one in found)
    assert torch.nn.functional.cosine_similarity(fp32_ND, bf16_ND).min() > 0.998  # weights that nobody has trained
    assert backbone.fingerprint == before
    assert {weight.dtype for weight in backbone.parameters()} == {torch.float32}


def test_an_image_is_prepared_to_its_size(backbone: Backbone) -> None:
    prepared = backbone.prepare(Image.linear_gradient("L").resize((90, 50)).convert("RGB"))
    assert prepared.dtype == torch.uint8
    assert prepared.shape == (3, *backbone.settings.size)


def fixed(name: str) -> bool:
    """Whether it is open_clip's ResNet, whose attention has positions that open_clip does not resample."""
    about = Path(name.partition("/")[2]) / "open_clip_config.json"
    return about.is_file() and isinstance(json.loads(about.read_text())["model_cfg"]["vision_cfg"].get("layers"), list)


@pytest.mark.parametrize("size", ["96", "64x96"])
def test_images_of_another_size_are_read_and_the_model_is_loaded_back(
    size: str, named: Named, pool: Pool, tmp_path: Path
) -> None:
    name, weights = named
    asked = f"{name.removesuffix('@32')}@{size}"
    height, width = (96, 96) if size == "96" else (64, 96)
    if fixed(name):
        with pytest.raises(UsageError, match=r"size mismatch for .*positional|can't be loaded"):
            load_backbone(asked, weights)
        return
    given: dict[str, Any] = {"settings": {"strengths": [1.0]}, "backbone": asked, "weights": weights, "quiet": True}
    options: dict[str, Any] = {"out": tmp_path / "m", "labels": some_labels(pool, 2), "recipe": "linear_probe"}
    model = activetune.finetune(pool, workers=0, **options, **given)
    again = activetune.load(tmp_path / "m")
    assert model.backbone.settings.size == again.backbone.settings.size == (height, width)
    grid = again.backbone.grid
    assert grid.height * width == grid.width * height
    assert model.backbone.name == again.backbone.name == asked
    pixels = images(model.backbone)
    with torch.inference_mode():
        torch.testing.assert_close(again.network(pixels), model.network.cpu().eval()(pixels), atol=1e-5, rtol=1e-4)


# Weights --------------------------------------------------------------------------------------------------------------


def test_the_same_name_gives_the_same_network(named: Named, backbone: Backbone) -> None:
    again = load_backbone(*named)
    assert again.fingerprint == backbone.fingerprint
    assert again.name == backbone.name == named[0]
    assert not again.network.training
    assert {value.dtype for value in again.parameters()} == {torch.float32}


def test_a_state_can_be_put_back(backbone: Backbone) -> None:
    before = backbone.fingerprint
    state = {name: value.clone() for name, value in backbone.state_dict().items()}
    with torch.no_grad():
        for weight in backbone.parameters():
            weight.add_(1)
    assert backbone.fingerprint != before
    backbone.load_state_dict(state)
    assert backbone.fingerprint == before


def test_a_frozen_backbone_gets_no_gradient(backbone: Backbone) -> None:
    network = Network(backbone)
    head = network.add_head("map", 3)
    torch.nn.init.normal_(head.classifier.weight)
    backbone.requires_grad_(False)
    network(images(backbone)).sum().backward()
    assert all(weight.grad is None for weight in backbone.parameters())
    assert head.classifier.weight.grad is not None


def test_every_weight_is_trained_once_and_the_head_fastest(backbone: Backbone) -> None:
    network = Network(backbone)
    head = network.add_head("linear", 3)
    groups = parameter_groups(network, 0.05, 0.5)
    rates = {id(weight): group["lr_scale"] for group in groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates) == len(list(network.parameters()))
    assert rates[id(head.classifier.weight)] == 1
    others = [rates[id(weight)] for weight in backbone.parameters()]
    assert len(set(others)) > 1
    assert max(others) <= 1  # the last norm may count as the topmost layer
    assert rates[id(next(weight for weight in backbone.parameters() if weight.ndim == 4))] == min(others)


# Models and commands --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["linear", "map"])
def test_a_model_is_loaded_back_without_what_it_was_made_from(
    kind: str, named: Named, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"frozen_map": {"head": kind, "trials": 1, "views": 1, "head_steps": 2, "frofa": "none"}}
    model = activetune.finetune(
        pool,
        out=tmp_path / "m",
        labels=some_labels(pool, 3),
        backbone=named[0],
        weights=named[1],
        recipe="frozen_map",
        settings=settings["frozen_map"],
        workers=0,
        quiet=True,
    )
    monkeypatch.setattr(sources()[source_of(named[0])], "load", None)
    again = activetune.load(tmp_path / "m")
    pixels = images(again.backbone)
    with torch.inference_mode():
        torch.testing.assert_close(again.network(pixels), model.network.cpu().eval()(pixels), atol=1e-5, rtol=1e-4)
    assert again.backbone.num_features == model.backbone.num_features
    text = (tmp_path / "m" / "config.json").read_text()
    assert "_name_or_path" not in text
    assert again.config["format"] == 2
    assert again.config["heads"]["classification"]["kind"] == kind


def test_embed_reads_it_from_the_command_line(
    named: Named, folder: Path, pool: Pool, backbone: Backbone, tmp_path: Path
) -> None:
    given = ["embed", str(folder), "--backbone", named[0], "--out", str(tmp_path / "emb"), "--workers", "0"]
    assert run([*given, "--quiet", *(["--weights", str(named[1])] if named[1] else [])]) == 0
    found = activetune.load_embeddings(tmp_path / "emb")
    assert found.features_ND.shape == (len(pool), backbone.num_features)
    options = EmbedOptions(tokens=True)
    tokens = activetune.embed(pool, backbone=backbone, options=options, workers=0, quiet=True)
    assert tokens.features_ND.shape[2] == backbone.token_size


@pytest.mark.parametrize("recipe", sorted(recipes()))
@pytest.mark.parametrize("name", WITH_EVERY_RECIPE)
def test_every_recipe_trains_it(name: str, recipe: str, pool: Pool, tmp_path: Path) -> None:
    (tmp_path / "backbone").mkdir()
    backbone, weights = MAKERS[name](tmp_path / "backbone")
    fields = field_types(recipes()[recipe])
    given: dict[str, Any] = {"backbone": backbone, "weights": weights, "workers": 0, "quiet": True}
    settings = {key: value for key, value in QUICK.items() if key in fields}
    model = activetune.finetune(
        pool, out=tmp_path / "m", labels=some_labels(pool, 3), recipe=recipe, settings=settings, **given
    )
    pixels = images(model.backbone)
    with torch.inference_mode():
        expected = model.network.cpu().eval()(pixels)
        assert expected.isfinite().all()
        torch.testing.assert_close(activetune.load(tmp_path / "m").network(pixels), expected, atol=1e-5, rtol=1e-4)


def test_nothing_is_fetched_for_a_folder_or_a_saved_model(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    import socket

    from huggingface_hub import constants

    asked: list[object] = []

    def refuse(*given: object, **options: object) -> None:
        asked.append(given)
        raise OSError("no network in this test")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("getaddrinfo", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for made in ("hf/clip", "open_clip/timm", "timm/test_vit"):
        folder = tmp_path / made.replace("/", "-")
        folder.mkdir()
        backbone, weights = MAKERS[made](folder)
        given: dict[str, Any] = {"backbone": backbone, "weights": weights, "workers": 0, "quiet": True}
        activetune.finetune(pool, out=folder / "m", labels=some_labels(pool, 2), recipe="linear_probe", **given)
        activetune.load(folder / "m")
    assert not asked


# What a source says of what it can't load -----------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["hf", "open_clip"])
def test_a_model_that_is_nowhere_is_a_sentence(source: str, tmp_path: Path) -> None:
    pytest.importorskip({"hf": "transformers"}.get(source, source))
    name = {"hf": "hf/nobody/nothing", "open_clip": "open_clip/ViT-B-32#openai"}[source]
    with pytest.raises(activetune.ActivetuneError, match=r"can't be loaded \(.*\).*(hf/FOLDER|--weights)"):
        load_backbone(name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"holds no vision model|can't be loaded"):
        load_backbone(f"{source}/{tmp_path / 'empty'}")


def test_a_folder_without_a_processor_is_refused(tmp_path: Path) -> None:
    name, _ = of_transformers("vit")(tmp_path)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match=r"it has no preprocessor_config\.json, which says how"):
        load_backbone(name)


@pytest.mark.parametrize("made", ["hf/vit", "open_clip/vit"])
def test_a_folder_whose_weights_are_not_whole_is_refused(made: str, tmp_path: Path) -> None:
    name, _ = MAKERS[made](tmp_path)
    weights = next(tmp_path.glob("*.safetensors"))
    save_file({key: value for key, value in load_file(weights).items() if "0" not in key}, weights, {"format": "pt"})
    with pytest.raises(UsageError, match=r"of its weights are missing, such as|can't be loaded \(.*Missing key"):
        load_backbone(name)
    weights.unlink()
    with pytest.raises(UsageError, match=r"holds no vision model|weights .* could not be loaded"):
        load_backbone(name)


def test_the_embedding_of_open_clip_is_its_own(tmp_path: Path) -> None:
    name, _ = of_open_clip("vit")(tmp_path)
    import open_clip

    model = open_clip.create_model(f"local-dir:{tmp_path}").eval()
    backbone = load_backbone(name).eval()
    pixels = images(backbone)
    with torch.inference_mode():
        expected = model.encode_image(backbone.normalise(pixels))
        torch.testing.assert_close(backbone(pixels), expected)


def test_the_features_of_transformers_are_the_models_own(tmp_path: Path) -> None:
    import_torchvision()
    transformers = pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    for kind in ("dinov2", "swin", "convnext", "clip", "siglip_vision_model"):
        (tmp_path / kind).mkdir()
        name, _ = of_transformers(kind)(tmp_path / kind)
        backbone = load_backbone(name).eval()
        pixels = backbone.normalise(images(backbone))
        model = transformers.AutoModel.from_pretrained(tmp_path / kind).eval()
        with torch.inference_mode():
            found = getattr(model, "vision_model", model)(pixel_values=pixels).pooler_output
            torch.testing.assert_close(backbone(pixels), found.flatten(1), atol=1e-5, rtol=1e-4)


def test_a_missing_library_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    for package, name, extra in (
        ("transformers", "hf/x", "hf"),
        ("open_clip", "open_clip/ViT-B-32#openai", "open-clip"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(activetune.ActivetuneError, match=rf"pip install 'activetune\[{extra}\]'"):
            load_backbone(name)


def test_weights_from_a_file_go_into_an_architecture(tmp_path: Path) -> None:
    name, _ = of_transformers("vit")(tmp_path)
    plain = load_backbone(name)
    prefixed = {f"vit.{key}": (value + 1).contiguous() for key, value in plain.network.state_dict().items()}
    save_file({**prefixed, "classifier.weight": torch.ones(2, 32)}, tmp_path / "other.safetensors")
    other = load_backbone(name, tmp_path / "other.safetensors")
    for key, value in other.network.state_dict().items():
        np.testing.assert_allclose(value.numpy(), plain.network.state_dict()[key].numpy() + 1)
    save_file({"nonsense": torch.ones(1)}, tmp_path / "none.safetensors")
    with pytest.raises(UsageError, match="do not fit this backbone"):
        load_backbone(name, tmp_path / "none.safetensors")
