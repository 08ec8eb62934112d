"""One of the two backbones that are compared, and the features that it gives of what a probe shows it.

Features are kept in the work folder, so that a comparison that was cut off goes on, and probes that show the same
images share them. Class token and mean of the patch tokens are told apart: a training may move one and not the other.
Shape legend: N images, B of a batch, T tokens, D feature size.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from activetune.base.arrays import FloatArray
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest
from activetune.base.memory import Portions
from activetune.base.numpy_files import read_own_archive, write_archive
from activetune.base.progress import progress
from activetune.base.run import Run
from activetune.base.runtime import Runtime
from activetune.data.identity import Contents
from activetune.data.loading import image_loader
from activetune.data.pool import Pool
from activetune.networks.backbones import Backbone, load_backbone, without_size

BATCH = 32
OWN, CLS, MEAN = "pooled", "class token", "mean of tokens"


def poolings(a: Side, b: Side) -> list[str]:
    """How the features of both are pooled: class token and mean apart where both have a class token."""
    return [CLS, MEAN] if a.backbone.has_class_token and b.backbone.has_class_token else [OWN]


@dataclass(frozen=True)
class Side:
    """A backbone under comparison.

    Attributes:
        given: its name or folder; ``weights`` a file of them. work: folder for what is kept.
    """

    given: str
    weights: str | None
    runtime: Runtime
    run: Run
    work: Path

    @cached_property
    def backbone(self) -> Backbone:
        """It, on the device."""
        return load_backbone(self.given, self.weights).to(self.runtime.device).eval()

    def at(self, size: str) -> str:
        """The name for images of another size, such as ``352x464``; empty: of its own."""
        return f"{without_size(self.given)}@{size}" if size else self.given

    @property
    def text(self) -> str:
        """The name of the text tower that it shares an embedding with; empty: it has none."""
        origin = without_size(self.backbone.origin)
        return origin if origin.startswith("open_clip/") else ""

    def of_pool(self, pool: Pool) -> Mapping[str, FloatArray]:
        """Features (N, D) of a pool's images by pooling.

        Raises:
            ReadingFault: an image could be decoded and no longer can.
            UsageError: features that are NaN or infinite.
        """
        made_from = Contents(pool).fingerprint

        def batches() -> Iterator[Tensor]:
            prepare, about = self.backbone.prepare, self.backbone.settings.enough
            options: dict[str, Any] = {"batch_size": BATCH, "workers": self.run.workers, "all_usable": True}
            for batch in image_loader(pool, prepare, about=about, device=self.runtime.device, **options):
                yield batch.images

        return self._kept(made_from, batches, len(pool))

    def of_images(self, images: Iterable[Image.Image], count: int, made_from: str) -> Mapping[str, FloatArray]:
        """Features (N, D) of images by pooling.

        Args:
            made_from: digest of what the images are.

        Raises:
            UsageError: features that are NaN or infinite.
        """

        def batches() -> Iterator[Tensor]:
            left = iter(images)
            while part := list(islice(left, BATCH)):
                yield torch.stack([self.backbone.prepare(image) for image in part])

        return self._kept(made_from, batches, count)

    def _kept(self, made_from: str, batches: Any, count: int) -> Mapping[str, FloatArray]:
        path = self.work / f"{digest(self.backbone.features_fingerprint, made_from, self.runtime.precision)}.npz"
        kept = read_own_archive(path)
        if kept is not None:
            return self._finite(kept)
        parts: dict[str, list[FloatArray]] = {}
        portions = Portions(self.runtime.device, self.run.quiet)
        with progress(count, f"features by {Path(self.given).name}", quiet=self.run.quiet) as meter:
            for images in batches():
                with torch.inference_mode(), self.runtime.autocast():
                    for _, found in portions.of(len(images), partial(self._read, images)):
                        for name, value in found.items():
                            parts.setdefault(name, []).append(value)
                meter.advance(len(images))
        features = self._finite({name: np.concatenate(values) for name, values in parts.items()})
        write_archive(path, features)
        return features

    def _finite(self, features: Mapping[str, FloatArray]) -> Mapping[str, FloatArray]:
        """The same features.

        Raises:
            UsageError: some are NaN or infinite, of which a probe would tell figures all the same.
        """
        wrong = ~np.logical_and.reduce([np.isfinite(value).all(axis=1) for value in features.values()])
        if wrong.any():
            raise UsageError(
                f"{self.given} gives NaN or infinite features of {int(wrong.sum()):,} of {len(wrong):,} images in "
                f"{self.runtime.precision}; try --precision fp32, or check its weights"
            )
        return features

    def _read(self, images: Tensor, part: slice) -> dict[str, FloatArray]:
        found = self._pooled(self.backbone.last(images[part].to(self.runtime.device, non_blocking=True)))
        return {name: value.float().cpu().numpy() for name, value in found.items()}

    def _pooled(self, last: Tensor) -> dict[str, Tensor]:
        own = {OWN: self.backbone.pool(last)}
        if not self.backbone.has_class_token:
            return own
        tokens_BTD = self.backbone.as_tokens(last)
        return {**own, CLS: tokens_BTD[:, 0], MEAN: tokens_BTD[:, self.backbone.grid.prefix :].mean(dim=1)}
