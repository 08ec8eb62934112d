"""What every source returns: a network that gives features, and how its images are prepared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from torch import nn

from activetune.base.fingerprint import digest_array, digest_stream
from activetune.networks.backbones._tokens import as_tokens, channels_first, pooled_size, token_size
from activetune.networks.frofa import Grid


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
        options: that timm needs beside the architecture to build the same network: ``img_size``.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        architecture: str,
        settings: ImageSettings,
        options: Mapping[str, Any] = MappingProxyType({}),
    ):
        super().__init__()
        self.options = dict(options)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = name
        self.architecture = architecture
        self.settings = settings
        self.register_buffer("mean", torch.tensor(settings.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings.std).view(1, 3, 1, 1), persistent=False)

    @property
    def num_features(self) -> int:
        """D, the size of a pooled feature."""
        return pooled_size(self.network)

    @property
    def token_size(self) -> int:
        """D of a token; some convolutions widen it when they pool."""
        return token_size(self.network)

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
        return self.all_tokens(images)[:, self._prefix :]

    def all_tokens(self, images: torch.Tensor) -> torch.Tensor:
        """All tokens (B, T, D) of uint8 images, class and register tokens first, as ``grid`` says."""
        return as_tokens(self.network.forward_features(self.normalise(images)), self.num_features)  # type: ignore[operator]

    def pooled(self, tokens_BTD: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, D), as :meth:`forward` gives them, of all tokens."""
        features = tokens_BTD
        if len(self._shape) == 4:
            features = tokens_BTD.reshape(len(tokens_BTD), self.grid.height, self.grid.width, -1)
            features = features.permute(0, 3, 1, 2) if channels_first(self._shape, self.num_features) else features
        pooled: torch.Tensor = self.network.forward_head(features, pre_logits=True)  # type: ignore[operator]
        return pooled

    @cached_property
    def grid(self) -> Grid:
        """How the tokens lie."""
        shape = self._shape
        if len(shape) == 4:
            return Grid(*(shape[2:] if channels_first(shape, self.num_features) else shape[1:3]))
        prefix = self._prefix
        places = shape[1] - prefix
        known = getattr(getattr(self.network, "patch_embed", None), "grid_size", None)
        if known is not None and known[0] * known[1] == places:
            return Grid(int(known[0]), int(known[1]), prefix)
        side = math.isqrt(places)
        return Grid(side, side, prefix) if side**2 == places else Grid(1, places, prefix)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """The shape of what the network's last layer gives for one image."""
        images = torch.zeros((1, 3, *self.settings.size), dtype=torch.uint8, device=self.get_buffer("mean").device)
        training = self.network.training
        self.network.eval()
        with torch.inference_mode():
            shape = self.network.forward_features(self.normalise(images)).shape  # type: ignore[operator]
        self.network.train(training)
        return tuple(shape)

    @property
    def _prefix(self) -> int:
        """Class and register tokens, which come first; a convolution has none."""
        return int(getattr(self.network, "num_prefix_tokens", 0))

    @property
    def fingerprint(self) -> str:
        """Digest of the architecture and of every weight as they are now (training changes them)."""
        return self._digest(self.network.state_dict())

    @property
    def body_fingerprint(self) -> str:
        """The same without the classifier."""
        classifier: nn.Module = self.network.get_classifier()  # type: ignore[operator]
        above = {value.data_ptr() for value in classifier.state_dict().values()}
        state = self.network.state_dict()
        return self._digest({key: value for key, value in state.items() if value.data_ptr() not in above})

    def _digest(self, state: Mapping[str, torch.Tensor]) -> str:
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
    from activetune.base.torchvision_ import import_torchvision

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
