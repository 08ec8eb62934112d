"""The contract of every head with a logit per class: a new module in ``networks/heads/classes`` is held to it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from activetune import UsageError, load_backbone
from activetune.base.arrays import FloatArray
from activetune.networks.heads import ClassHead as Head
from activetune.networks.heads import heads
from activetune.networks.heads import make_class_head as make_head
from activetune.networks.network import Network
from activetune.networks.storage import build, describe, tensors_of
from activetune.training.head_training import head_logits
from activetune.training.views import Views

CLASSES, SIZE, TOKENS, ITEMS = 3, 16, 6, 5
BACKBONES = ("bundled", "timm/test_vit", "timm/test_convnext", "vil/test_vil")


@pytest.fixture(params=sorted(heads()))
def head(request: pytest.FixtureRequest) -> Head:
    torch.manual_seed(0)
    return make_head(request.param, SIZE, CLASSES).eval()


def features(head: Head) -> torch.Tensor:
    shape = (ITEMS, TOKENS, SIZE) if head.reads == "tokens" else (ITEMS, SIZE)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def shaken(head: Head) -> Head:
    """With a classifier that answers something."""
    torch.nn.init.normal_(head.classifier.weight, generator=torch.Generator().manual_seed(2))
    return head


def images(count: int, height: int, width: int) -> torch.Tensor:
    shape = (count, 3, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


def network(name: str, kind: str) -> Network:
    torch.manual_seed(0)
    found = Network(load_backbone(name, pretrained=name == "bundled"))
    head = found.add_head(kind, CLASSES)
    assert isinstance(head, Head)
    shaken(head)
    return found.eval()


def test_a_fresh_head_is_undecided(head: Head) -> None:
    logits = head(features(head))
    assert logits.shape == (ITEMS, CLASSES)
    assert not logits.any()


def test_it_answers_each_item_alone(head: Head) -> None:
    rows = features(head)
    together = shaken(head)(rows)
    alone = torch.cat([head(row[None]) for row in rows])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert float(together.detach().std()) > 0


def test_its_classifier_reads_what_it_embeds(head: Head) -> None:
    rows = features(head)
    embedded = shaken(head).embedded(rows)
    assert embedded.shape == (ITEMS, head.classifier.in_features)
    torch.testing.assert_close(head.classifier(embedded), head(rows))
    below = [name for name, _ in head.named_parameters() if not name.startswith("classifier.")]
    assert head.fixed == (not below)


def test_every_weight_gets_a_gradient(head: Head) -> None:
    torch.nn.functional.cross_entropy(shaken(head)(features(head)), torch.tensor([0, 1, 2, 0, 1])).backward()
    for name, weight in head.named_parameters():
        assert weight.grad is not None and weight.grad.isfinite().all(), name
    assert all(weight.grad.any() for weight in head.classifier.parameters())


def test_it_adapts_to_the_scale_of_features(head: Head) -> None:
    rows = features(head)
    before = {name: value.clone() for name, value in head.named_parameters()}
    head.adapt(rows[None] * 100 + 7)
    assert all(torch.equal(value, before[name]) for name, value in head.named_parameters())
    assert shaken(head)(rows * 100 + 7).isfinite().all()


def test_its_description_and_tensors_rebuild_it(head: Head, tmp_path: Path) -> None:
    described = json.loads(json.dumps(head.describe()))
    assert described["kind"] == head.kind in heads()
    save_file(shaken(head).state_dict(), tmp_path / "head.safetensors")
    again = make_head(described["kind"], described["size"], described["outputs"]).eval()
    again.load_state_dict(load_file(tmp_path / "head.safetensors"))
    rows = features(head)
    torch.testing.assert_close(again(rows), head(rows), atol=0, rtol=0)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("kind", sorted(heads()))
def test_cached_features_give_the_logits_of_the_images(name: str, kind: str) -> None:
    model = network(name, kind)
    pixels = images(4, *model.backbone.settings.size)
    with torch.inference_mode():
        expected: FloatArray = model(pixels).numpy()
        tokens = model.backbone.all_tokens(pixels)
        of_tokens = head_logits(model.head(), Views(tokens[None], pool=model.backbone.pooled), np.arange(4))
        np.testing.assert_allclose(of_tokens, expected, atol=1e-4, rtol=1e-4)
        if model.head().reads == "pooled":
            of_pooled = head_logits(model.head(), Views(model.backbone(pixels)[None]), np.arange(4))
            np.testing.assert_allclose(of_pooled, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", sorted(heads()))
@pytest.mark.parametrize("size", [(32, 32), (96, 64), (70, 131)])
def test_images_of_any_size(kind: str, size: tuple[int, int]) -> None:
    with torch.inference_mode():
        assert network("bundled", kind)(images(2, *size)).shape == (2, CLASSES)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("kind", sorted(heads()))
def test_a_network_is_rebuilt_from_its_files(name: str, kind: str, tmp_path: Path) -> None:
    model = network(name, kind)
    config = json.loads(json.dumps(describe(model, list("abc"))))
    save_file(tensors_of(model), tmp_path / "model.safetensors")
    again = build(config, load_file(tmp_path / "model.safetensors")).eval()
    pixels = images(2, *model.backbone.settings.size)
    with torch.inference_mode():
        torch.testing.assert_close(again(pixels), model(pixels), atol=0, rtol=0)
    assert again.fingerprint == model.fingerprint


def test_a_head_of_another_size_is_refused() -> None:
    found = Network(load_backbone("bundled"))
    with pytest.raises(UsageError, match="the linear head reads 7 numbers; bundled gives 512"):
        found.put_head(make_head("linear", 7, 2))
    with pytest.raises(UsageError, match=r"unknown head 'lineal'; there are: linear, logistic, map"):
        found.add_head("lineal", 2)
