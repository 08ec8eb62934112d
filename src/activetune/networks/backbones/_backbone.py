"""What every source returns: a network that gives features, and how its images are prepared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from PIL import Image
from torch import nn

from activetune.base.fingerprint import digest, digest_array, digest_json, digest_stream
from activetune.data.images import middle
from activetune.networks.backbones._reader import Reader, as_tokens, channels_first
from activetune.networks.frofa import Grid

TIMM = Reader()
OVERSAMPLED = 2  # pixels per pixel and side, from which a resize gives what it gives of all pixels


@dataclass(frozen=True)
class ImageSettings:
    """How a backbone's images are prepared, in the terms of timm's ``pretrained_cfg``.

    Attributes:
        size: (H, W) in pixels. mean, std: of each RGB channel, on pixels in [0, 1].
        interpolation: of the resize. crop_pct: share of the resized image's side that the crop keeps.
        crop_mode: ``center``, ``squash`` or ``border``.
    """

    size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bicubic"
    crop_pct: float = 1.0
    crop_mode: str = "center"

    @property
    def enough(self) -> int:
        """Pixels per side that an image is decoded with at least: twice those that it is then resized to.

        A JPEG decoded so, and resized, gives nearly the pixels of one decoded whole, several times faster: features of
        photos keep a cosine of 0.999 to those of all pixels (tests/data/test_large_photos.py).
        """
        return math.ceil(OVERSAMPLED * max(self.size) / self.crop_pct)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for manifests and ``config.json``."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    def at(self, size: tuple[int, int] | None) -> ImageSettings:
        """The same for images of another height and width; None leaves the size."""
        return self if size is None else replace(self, size=size)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ImageSettings:
        """The inverse of :meth:`as_dict`."""
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)


class Backbone(nn.Module):
    """A pretrained network without a classifier.

    Images are uint8 (B, 3, H, W) as :meth:`prepare` makes them, and are normalised here, on the network's device;
    images of floating-point numbers are taken as normalised already.

    Attributes:
        name: the name it was loaded by. origin: the name of its network in its source, another one where it was loaded
            from a folder of its own. weights_file: the file of weights that was given with it, or None.
        architecture: the architecture's name in its library.
        settings: how its images are prepared.
        network: the library's own module, without classifier.
        options: arguments, such as ``img_size``, with which its library builds the same network again.
        reader: reads features out of ``network``.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        architecture: str,
        settings: ImageSettings,
        options: Mapping[str, Any] = MappingProxyType({}),
        reader: Reader = TIMM,
    ):
        super().__init__()
        self.options = dict(options)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.name = self.origin = name
        self.weights_file: Path | None = None
        self.architecture = architecture
        self.settings = settings
        self.reader = reader
        self.register_buffer("mean", torch.tensor(settings.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(settings.std).view(1, 3, 1, 1), persistent=False)

    @property
    def asked_for(self) -> dict[str, str | None]:
        """What was typed for the backbone, so that a later stage can load the same one."""
        file = self.weights_file
        return {"backbone": self.name, "weights_file": None if file is None else str(file)}

    @property
    def num_features(self) -> int:
        """D, the size of a pooled feature."""
        return self.reader.pooled_size(self.network)

    @property
    def token_size(self) -> int:
        """D of a token; some convolutions widen it when they pool."""
        return self.reader.token_size(self.network)

    @cached_property
    def classifier_name(self) -> str | None:
        """Where the network's library keeps a linear classifier, such as ``fc`` or ``head``; None: nowhere."""
        return self.reader.classifier_name(self.network)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        """Images (B, 3, H, W) to the network's input: uint8 ones are normalised, others are so already."""
        if not images.is_floating_point():
            mean, std = self.get_buffer("mean"), self.get_buffer("std")
            wide = images.to(mean.dtype, memory_format=torch.channels_last)  # a copy, which is worked on in place
            images = wide.div_(255).sub_(mean).div_(std)
        return images.contiguous(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, D), what the network's own classifier would get, of images (B, 3, H, W)."""
        return self.pool(self.last(images))

    def last(self, images: torch.Tensor) -> torch.Tensor:
        """What the last layer gives of images: tokens (B, T, D), or a map of a convolution."""
        return self.reader.last(self.network, self.normalise(images))

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, D) of what the last layer gives."""
        return self.reader.pool(self.network, features)

    def as_tokens(self, features: torch.Tensor) -> torch.Tensor:
        """All tokens (B, T, D) of what the last layer gives; a convolution's map is read row by row."""
        return as_tokens(features, self.token_size)

    def read(self, features: torch.Tensor, reads: str) -> torch.Tensor:
        """What the last layer gives, ``pooled`` (B, D), as all ``tokens`` (B, T, D), or as a ``map`` (B, H, W, D)."""
        if reads == "pooled":
            return self.pool(features)
        tokens_BTD = self.as_tokens(features)
        return tokens_BTD if reads == "tokens" else self.grid.as_map(tokens_BTD)

    def size_of(self, reads: str) -> int:
        """D of what a head reads."""
        return self.num_features if reads == "pooled" else self.token_size

    def tokens(self, images: torch.Tensor) -> torch.Tensor:
        """Patch tokens (B, T, D) without class or register tokens; a convolution's map is read row by row."""
        return self.all_tokens(images)[:, self._prefix :]

    def all_tokens(self, images: torch.Tensor) -> torch.Tensor:
        """All tokens (B, T, D) of images, class and register tokens first, as ``grid`` says."""
        return self.as_tokens(self.last(images))

    def pooled(self, tokens_BTD: torch.Tensor) -> torch.Tensor:
        """Pooled features (B, D), as :meth:`forward` gives them, of all tokens."""
        features = tokens_BTD
        if len(self._shape) == 4:
            features = tokens_BTD.reshape(len(tokens_BTD), self.grid.height, self.grid.width, -1)
            features = features.permute(0, 3, 1, 2) if channels_first(self._shape, self.token_size) else features
        return self.pool(features)

    @cached_property
    def grid(self) -> Grid:
        """How the tokens lie."""
        shape = self._shape
        if len(shape) == 4:
            return Grid(*(shape[2:] if channels_first(shape, self.token_size) else shape[1:3]))
        prefix = self._prefix
        places = shape[1] - prefix
        known = self.reader.grid_size(self.network)
        if known is not None and known[0] * known[1] == places:
            return Grid(*known, prefix)
        height, width = self.settings.size
        patch = math.sqrt(height * width / places)
        rows, columns = round(height / patch), round(width / patch)
        return Grid(rows, columns, prefix) if rows * columns == places else Grid(1, places, prefix)

    @cached_property
    def _shape(self) -> tuple[int, ...]:
        """The shape of what the network's last layer gives for one image."""
        images = torch.zeros((1, 3, *self.settings.size), dtype=torch.uint8, device=self.get_buffer("mean").device)
        with in_evaluation(self.network), torch.inference_mode():
            return tuple(self.last(images).shape)

    @property
    def has_class_token(self) -> bool:
        """Whether a token stands for the whole image, before those of its parts."""
        return self.reader.has_class_token(self.network)

    @property
    def _prefix(self) -> int:
        return self.reader.prefix_tokens(self.network)

    @property
    def fingerprint(self) -> str:
        """Digest of the architecture and of every weight as they are now (training changes them)."""
        return digest_stream([self.architecture, *digests_of(self.network.state_dict())])

    @property
    def features_fingerprint(self) -> str:
        """Digest of what its features depend on: the weights, and how images are prepared for them (``@SIZE``)."""
        return digest(self.fingerprint, digest_json(self.settings.as_dict()))

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """An RGB image to the uint8 tensor (3, H, W) that the network was trained to see."""
        return self._transform(image)  # type: ignore[no-any-return]

    @cached_property
    def _transform(self) -> Any:
        return evaluation_transform(self.settings)


@contextmanager
def in_evaluation(network: nn.Module) -> Iterator[None]:
    """Evaluation mode in a block; then each layer has its own mode again, as norms that stay differ from the rest."""
    modes = [(layer, layer.training) for layer in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def digests_of(state: Mapping[str, torch.Tensor]) -> list[str]:
    """A digest of each tensor with its name, in the order of the names."""
    return [f"{key}:{digest_array(_as_numpy(value))}" for key, value in sorted(state.items())]


def evaluation_transform(settings: ImageSettings) -> Any:
    """Resize and crop as the weights' publisher evaluates them; PIL image to uint8 tensor, normalised later.

    Of an image more than 64 times as long as wide the middle is taken.
    """
    from activetune.base.torchvision_ import import_torchvision

    import_torchvision()
    from timm.data import create_transform
    from torchvision.transforms import Compose

    created = create_transform(
        (3, *settings.size),
        interpolation=settings.interpolation,
        mean=settings.mean,
        std=settings.std,
        crop_pct=settings.crop_pct,
        crop_mode=settings.crop_mode,
        normalize=False,
    )
    return Compose([middle, *created.transforms])


def _as_numpy(tensor: torch.Tensor) -> Any:
    tensor = tensor.detach().cpu().contiguous()
    return (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
