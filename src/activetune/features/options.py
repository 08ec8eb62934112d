"""How features are computed, and what they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from PIL import Image

from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest_json, digest_stream
from activetune.base.run import Run
from activetune.base.runtime import resolve_runtime
from activetune.networks.backbones import Backbone

PIPELINE = 3  # raised when the same inputs give other features


class Preparation(Protocol):
    """Makes a network's input, uint8 (3, H, W), of an RGB image; it can be sent to other processes."""

    @property
    def name(self) -> str:
        """What images are prepared for; it stands in the manifest."""

    @property
    def enough(self) -> int:
        """Pixels per side that an image is decoded with at least; 0: with all that it has."""

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Prepare an image."""


@dataclass(frozen=True)
class EmbedOptions:
    """How features are computed.

    Attributes:
        tokens: patch tokens (N, T, D) instead of pooled features (N, D); ``"all"``: class and register tokens too,
            before them.
        dtype: ``float16`` or ``float32`` on disk.
        batch_size: images per forward pass.
        workers: decoding processes; -1 chooses, 0 decodes in this one.
        device, precision: see :func:`activetune.base.runtime.resolve_runtime`.
        prepare: how images are prepared; None: as the backbone's publisher prepares them.
    """

    tokens: Literal[False, True, "all"] = False
    dtype: str = "float16"
    batch_size: int = 32
    workers: int = -1
    device: str = "auto"
    precision: str = "auto"
    prepare: Preparation | None = None

    def __post_init__(self) -> None:
        if self.dtype not in ("float16", "float32"):
            raise UsageError(f"dtype {self.dtype!r} is not possible; allowed: float16, float32")
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {self.batch_size}")

    def within(self, run: Run) -> EmbedOptions:
        """These options with the run's workers, device and precision where they have none of their own."""
        names = ("workers", "device", "precision")
        own = {name: getattr(self, name) for name in names if getattr(self, name) != getattr(EmbedOptions, name)}
        return replace(self, **{**{name: getattr(run, name) for name in names}, **own})


@dataclass(frozen=True)
class Computation:
    """Everything that changes the features of given images, for the manifest. With the pool it makes their key."""

    content: Mapping[str, Any]

    @classmethod
    def of(cls, backbone: Backbone, options: EmbedOptions) -> Computation:
        """Of a backbone and options; a precision that is given is taken as it is, for it may be another machine's."""
        prepared_for = {} if options.prepare is None else {"prepared_for": options.prepare.name}
        return cls(
            {
                "pipeline": PIPELINE,
                "architecture": backbone.architecture,
                "weights": backbone.fingerprint,
                "transform": {**backbone.settings.as_dict(), **prepared_for},
                "tokens": options.tokens,
                "dtype": options.dtype,
                "precision": options.precision if options.precision != "auto" else _native(options.device),
            }
        )

    def key(self, pool_fingerprint: str) -> str:
        """The key of the features of a pool; equal keys, equal features."""
        return digest_json({**self.content, "pool_fingerprint": pool_fingerprint})

    def outline(self, pool_outline: str) -> str:
        """A digest that is known before the images are read; features with different outlines have different keys."""
        return digest_json({**self.content, "pool_outline": pool_outline})

    def run_key(self, ids: Sequence[str]) -> str:
        """The key of a run over items of these ids, whose images are checked one by one when it goes on."""
        return digest_json({**self.content, "items": digest_stream(ids)})


def _native(device: str) -> str:
    return resolve_runtime(device).precision
