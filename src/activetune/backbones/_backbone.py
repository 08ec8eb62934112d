"""What every source returns: a network that gives features, and how its images are prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from PIL import Image
from torch import nn

from activetune.fingerprint import digest_array, digest_stream


@dataclass(frozen=True)
class ImageSettings:
    """How a backbone's images are prepared (timm's ``pretrained_cfg`` terms)."""

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifests and ``config.json``."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageSettings:
        """The inverse of :meth:`as_dict`."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)


class Backbone(nn.Module):
    """A timm network without classifier; images are uint8, normalised here, on the network's device.

    Attributes:
        name: the name it was loaded by.
        architecture: the timm architecture.
        settings: how its images are prepared.
        network: the timm module with ``num_classes=0``.
    """

    def __init__(self, network: nn.Module, name: str, architecture: str, settings: ImageSettings):
        super().__init__()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = name
        self.architecture = architecture
        self.settings = settings
        self.register_buffer("mean", torch.tensor(settings.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings.std).view(1, 3, 1, 1), persistent=False)

    @property
    def num_features(self) -> int:
        """D, the size of a pooled feature."""
        return int(getattr(self.network, "head_hidden_size", None) or self.network.num_features)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (B, 3, H, W) to the network's input."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        prepared = (images.to(mean.dtype) / 255 - mean) / std
        return prepared.contiguous(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, D), what the network's own classifier would get, of uint8 images (B, 3, H, W)."""
        tokens = self.network.forward_features(self.normalise(images))  # type: ignore[operator]
        pooled: torch.Tensor = self.network.forward_head(tokens, pre_logits=True)  # type: ignore[operator]
        return pooled

    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Patch tokens (B, T, D) without class or register tokens; a convolution's map is read row by row."""
        features: torch.Tensor = self.network.forward_features(self.normalise(images))  # type: ignore[operator]
        if features.ndim == 3:
            return features[:, int(getattr(self.network, "num_prefix_tokens", 0)) :]
        if features.shape[1] == self.num_features or features.shape[-1] != self.num_features:
            return features.flatten(2).transpose(1, 2)
        return features.flatten(1, 2)

    @property
    def fingerprint(self) -> str:
        """Digest of the architecture and of every weight as they are now (training changes them)."""
        state = self.network.state_dict()
        arrays = (f"{key}:{digest_array(_as_numpy(value))}" for key, value in sorted(state.items()))
        return digest_stream([self.architecture, *arrays])

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """An RGB image to the uint8 tensor (3, H, W) that the network was trained to see."""
        return self._transform(image)  # type: ignore[no-any-return]

    @cached_property
    def _transform(self) -> Any:
        return evaluation_transform(self.settings)


def evaluation_transform(settings: ImageSettings) -> Any:
    """Resize and crop as the weights' publisher evaluates them; PIL image to uint8 tensor, normalised later."""
    from activetune.vision import import_torchvision

    import_torchvision()
    from timm.data import create_transform

    return create_transform(
        (3, *settings.size),
        interpolation=settings.interpolation,
        mean=settings.mean,
        std=settings.std,
        crop_pct=settings.crop_pct,
        crop_mode=settings.crop_mode,
        normalize=False,
    )


def _as_numpy(tensor: torch.Tensor) -> Any:
    tensor = tensor.detach().cpu().contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
