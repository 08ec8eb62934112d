"""Weights held in the precision of the products, so that nothing between two layers is computed wider than it need be.

Autocast alone casts what goes into each product, and what lies between them (residual sums, activations) is float32
wherever a float32 weight is added, as a position's embedding is at the very start. Norms keep their weights: statistics
have too few digits in bfloat16.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
import torch.nn.functional as F
from torch import nn

from activetune.base.runtime import Runtime
from activetune.networks.backbones._backbone import Backbone

ALIKE = 0.999  # least cosine of features to those that float32 gives
_TRIED = 2  # images; a fixed seed, so that all processes of a run decide alike


@contextmanager
def weights_in_precision(backbone: Backbone, runtime: Runtime) -> Iterator[None]:
    """Hold a backbone's weights in bfloat16 in a block that computes features in it; afterwards they are as they were.

    Nothing changes in another precision, nor for a network that can't be computed so, or gives features of a cosine
    below ``ALIKE``: both are tried on drawn images. Weights must not change in the block.
    """
    cast = runtime.precision == "bf16" and _computes_alike(backbone, runtime)
    with _in_bfloat16(backbone.network) if cast else nullcontext():
        yield


@contextmanager
def _in_bfloat16(network: nn.Module) -> Iterator[None]:
    """Cast the weights that are not of norms, in a block."""
    norms = {
        id(weight) for layer in network.modules() if "Norm" in type(layer).__name__ for weight in layer.parameters()
    }
    wide = [one for one in network.parameters() if one.dtype == torch.float32 and id(one) not in norms]
    held = {weight: weight.data for weight in wide}
    try:
        for weight in wide:
            weight.data = weight.data.to(torch.bfloat16)
        yield
    finally:
        for weight, values in held.items():
            weight.data = values


def _computes_alike(backbone: Backbone, runtime: Runtime) -> bool:
    """Whether the features of a few drawn images keep their directions; call it of a backbone in evaluation mode."""
    images = _drawn(backbone.settings.size).to(runtime.device)
    with torch.inference_mode():
        with torch.autocast(runtime.device.type, enabled=False):
            wanted = backbone(images).float()
        try:
            with _in_bfloat16(backbone.network), runtime.autocast():
                found = backbone(images).float()
        except (RuntimeError, TypeError, ValueError):  # a layer that asks for one dtype throughout
            return False
        return bool((F.cosine_similarity(found, wanted, dim=-1) >= ALIKE).all())


def _drawn(size: tuple[int, int]) -> torch.Tensor:
    """Smooth images of soft spots, uint8 (B, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand((_TRIED, 3, 8, 8), generator=generator)
    smooth = F.interpolate(coarse, size=size, mode="bicubic", align_corners=False)
    return (255 * smooth.clamp(0, 1)).to(torch.uint8)
