"""Weights in bfloat16 while features are computed: the same features but for rounding, and nothing left behind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from activetune.base.runtime import Runtime
from activetune.networks.backbones import Backbone, ImageSettings, load_backbone, weights_in_precision
from tests.conftest import TINY

BF16 = Runtime(torch.device("cpu"), "bf16")
NETWORKS = (
    "bundled",
    TINY,
    "timm/test_convnext@32",
    "timm/test_resnet@32",
    "timm/test_efficientnet@32",
    "vil/test_vil",
)


def backbone(name: str) -> Backbone:
    return load_backbone(name, pretrained=name == "bundled").eval()


def images(of: Backbone) -> Tensor:
    return torch.randint(0, 256, (3, 3, *of.settings.size), dtype=torch.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_features_keep_their_direction_and_the_weights_come_back(name: str) -> None:
    network = backbone(name)
    batch, before = images(network), network.fingerprint
    with torch.inference_mode():
        wanted = network(batch)
        with BF16.autocast(), weights_in_precision(network, BF16):
            found = network(batch).float()
    assert F.cosine_similarity(found, wanted).min() > 0.995  # of noise, on weights that were never trained
    assert network.fingerprint == before
    with torch.inference_mode():
        torch.testing.assert_close(network(batch), wanted)


def test_all_but_the_norms_is_in_bfloat16() -> None:
    network = backbone(TINY)
    with weights_in_precision(network, BF16):
        dtypes = {name: weight.dtype for name, weight in network.named_parameters()}
    norms = {name for name in dtypes if "norm" in name}
    assert norms
    assert all(dtype == (torch.float32 if name in norms else torch.bfloat16) for name, dtype in dtypes.items())


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_another_precision_leaves_the_weights(precision: str) -> None:
    network = backbone(TINY)
    with weights_in_precision(network, Runtime(torch.device("cpu"), precision)):
        assert {weight.dtype for weight in network.parameters()} == {torch.float32}


def test_the_weights_come_back_after_an_error() -> None:
    network = backbone(TINY)
    before = network.fingerprint
    with pytest.raises(KeyError), weights_in_precision(network, BF16):
        raise KeyError("anything")
    assert network.fingerprint == before


class Strict(nn.Module):
    """A layer that computes in single precision whatever surrounds it, and so needs its weights in it."""

    num_features = 8
    num_prefix_tokens = 0
    refuses = True

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 8))

    def forward_features(self, images: Tensor) -> Tensor:
        means = images.float().mean((2, 3))
        if self.weight.dtype != torch.float32 and not self.refuses:
            return means @ self.weight.float().neg()
        with torch.autocast("cpu", enabled=False):
            return means @ self.weight

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        return features


@pytest.mark.parametrize("refuses", [True, False])
def test_a_network_that_can_not_be_computed_so_is_left_as_it_is(refuses: bool) -> None:
    layer = Strict()
    layer.refuses = refuses  # or else it gives other features
    settings = ImageSettings((16, 16), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    network = Backbone(layer, "strict", "strict", settings).eval()
    with weights_in_precision(network, BF16):
        assert layer.weight.dtype == torch.float32
