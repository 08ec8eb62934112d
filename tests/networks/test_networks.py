"""Networks: heads by name, models in plain timm, numbers that are not finite, and descriptions that are hostile."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import activetune
from activetune import ActivetuneError, UsageError, load_backbone, open_pool
from activetune.base.fingerprint import digest_file
from activetune.base.torchvision_ import import_torchvision
from activetune.networks.network import Network
from activetune.networks.storage import build, describe, tensors_of
from tests.conftest import write_digits
from tests.training.test_finetuning import some_labels

TIMM = ("timm/test_vit", "timm/test_resnet", "timm/test_convnext", "timm/test_efficientnet", "bundled")


def images(network: Network, count: int = 2) -> torch.Tensor:
    shape = (count, 3, *network.backbone.settings.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def network(name: str = "bundled", **heads: str) -> Network:
    torch.manual_seed(0)
    found = Network(load_backbone(name, pretrained=name == "bundled"))
    for task, kind in heads.items():
        torch.nn.init.normal_(found.add_head(kind, 3, task).classifier.weight)
    return found.eval()


# Heads by name --------------------------------------------------------------------------------------------------------


def test_a_backbone_has_one_head_for_each_task() -> None:
    found = network(classification="linear", quality="map")
    pixels = images(found)
    with torch.inference_mode():
        first, second = found(pixels, "classification"), found(pixels, head="quality")
        torch.testing.assert_close(found.answer(found.backbone.last(pixels), "quality"), second)
    assert not torch.allclose(first, second)
    with pytest.raises(UsageError, match="name a head; there are: classification, quality"):
        found(pixels)
    with pytest.raises(UsageError, match="no head 'depth'; there are: classification, quality"):
        found(pixels, "depth")
    found.remove_heads()
    with pytest.raises(UsageError, match="name a head; it has none"):
        found(pixels)


@pytest.mark.parametrize("name", ["", "Classes", "a.b", "keys", "a b", "1st"])
def test_a_head_has_a_plain_name(name: str) -> None:
    with pytest.raises(UsageError, match="a head can't be named"):
        network().add_head("linear", 3, name)


def test_several_heads_are_saved_and_loaded(tmp_path: Path) -> None:
    found = network(classification="linear", quality="linear", other="map")
    save_file(tensors_of(found), tmp_path / "model.safetensors")
    config = json.loads(json.dumps(describe(found, list("abc"))))
    assert config["heads"]["classification"]["tensors"] == "fc."
    assert config["heads"]["quality"]["tensors"] == "heads.quality."
    again = build(config, load_file(tmp_path / "model.safetensors")).eval()
    pixels = images(found)
    with torch.inference_mode():
        for task in found.heads:
            torch.testing.assert_close(again(pixels, task), found(pixels, task), atol=0, rtol=0)


def test_a_backbone_never_carries_a_classifier() -> None:
    found = network(classification="linear")
    classifier = found.backbone.network.get_classifier()  # type: ignore[operator]
    assert not list(classifier.parameters())
    before = found.backbone.fingerprint
    torch.nn.init.ones_(found.head().classifier.weight)
    assert found.backbone.fingerprint == before
    assert network(classification="linear").fingerprint != found.fingerprint


@pytest.mark.parametrize("name", TIMM)
def test_looking_for_the_classifiers_place_changes_nothing(name: str) -> None:
    backbone = load_backbone(name, pretrained=False)
    modules, state = repr(backbone.network), torch.random.get_rng_state()
    assert backbone.classifier_name is not None
    assert repr(backbone.network) == modules
    assert torch.equal(torch.random.get_rng_state(), state)


# Plain timm -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", ["linear_probe", "full"])
@pytest.mark.parametrize("name", TIMM)
def test_plain_timm_opens_a_model_and_gives_its_logits(name: str, recipe: str, tmp_path: Path) -> None:
    import_torchvision()
    import timm

    pool = open_pool(write_digits(tmp_path / "digits", 30))
    given: dict[str, Any] = {"backbone": name, "settings": {"epochs": 1} if recipe == "full" else {}}
    if name != "bundled":
        torch.manual_seed(0)
        state = load_backbone(name, pretrained=False).network.state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "w.safetensors")
        given["weights"] = tmp_path / "w.safetensors"
    labels = some_labels(pool, 2)
    model = activetune.finetune(pool, out=tmp_path / "m", labels=labels, recipe=recipe, workers=0, quiet=True, **given)
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    plain = timm.create_model(config["architecture"], num_classes=config["num_classes"]).eval()
    plain.load_state_dict(load_file(tmp_path / "m" / "model.safetensors"), strict=True)
    pixels = model.backbone.normalise(images(model.network))
    with torch.inference_mode():
        expected = plain(pixels)
        torch.testing.assert_close(model.network.cpu().eval()(pixels), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(activetune.load(tmp_path / "m").network(pixels), expected, atol=1e-5, rtol=1e-4)


# Numbers that are not finite, descriptions that are hostile -----------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    pool = open_pool(write_digits(folder / "digits", 30))
    activetune.finetune(pool, out=folder / "m", labels=some_labels(pool, 2), workers=0, quiet=True, use_cache=False)
    return folder / "m"


@pytest.fixture
def saved(finished: Path, tmp_path: Path) -> Path:
    """A model that a test may damage, and its pool beside it."""
    shutil.copytree(finished.parent / "digits", tmp_path / "digits")
    return Path(shutil.copytree(finished, tmp_path / "m"))


def resealed(folder: Path) -> None:
    """The manifest of files that were altered by somebody who knows of it."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: digest_file(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_whose_weights_are_not_finite_is_never_used(value: float, saved: Path, tmp_path: Path) -> None:
    state = load_file(saved / "model.safetensors")
    state["conv1.0.weight"][0, 0, 0, 0] = value
    save_file(state, saved / "model.safetensors")
    resealed(saved)
    for use in (activetune.evaluate, activetune.predict):
        with pytest.raises(UsageError, match=r"holds NaN or infinite weights \('conv1\.0\.weight'\)"):
            use(saved, tmp_path / "digits", out=tmp_path / "out.csv", workers=0, quiet=True)
    assert not (tmp_path / "out.csv").exists()


def test_outputs_that_are_not_finite_are_never_written(saved: Path, tmp_path: Path) -> None:
    state = load_file(saved / "model.safetensors")
    state["fc.weight"].fill_(3e38)
    save_file(state, saved / "model.safetensors")
    resealed(saved)
    for use, out in ((activetune.evaluate, "scores.json"), (activetune.predict, "predictions.csv")):
        with pytest.raises(ActivetuneError, match="outputs are NaN or infinite in fp32; finetune again"):
            use(saved, tmp_path / "digits", out=tmp_path / out, workers=0, quiet=True, precision="fp32")
        assert not (tmp_path / out).exists()
    with pytest.raises(ActivetuneError, match="outputs are NaN or infinite"):
        activetune.load(saved).predict([next((tmp_path / "digits").rglob("*.png"))])


@pytest.mark.parametrize(
    "change",
    [
        {"architecture": "hf-hub:nobody/model"},
        {"architecture": "local-dir:/tmp"},
        {"architecture_options": {"checkpoint_path": "weights.pth"}},
        {"architecture_options": {"pretrained_cfg_overlay": {"file": "weights.pth"}}},
        {"source": "elsewhere"},
        {"source": "hf", "architecture": "vit", "architecture_options": {}},
        {"source": "open_clip", "architecture_options": {"vision_cfg": {"timm_model_name": "hf-hub:x/y"}}},
        {"heads": {"classification": {"kind": "os"}}},
        {"heads": {}},
        {"heads": None},
        {"classes": None},
        {"classes": ["same"] * 10},
        {"format": 3},
        {"format": "two"},
        {"format": None},
        {"image": {"size": "large"}},
    ],
)
def test_a_hostile_description_is_a_sentence(change: dict[str, Any], saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps({**config, **change}))
    resealed(saved)
    with pytest.raises(ActivetuneError):
        activetune.load(saved)
