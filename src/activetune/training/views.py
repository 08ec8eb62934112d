"""Features of the labelled items under several augmented views, computed once by the backbone as it is now.

They lie in a memory-mapped file in the unfinished run's folder, in the precision that the run computes in, filled view
by view, so a run that is cut off goes on where it was. View 0 is what evaluation sees; the others are crops and flips
like those of training.
Shape legend: V views, L labelled items, T tokens, D feature size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.files import read_json, write_json
from activetune.base.fingerprint import digest
from activetune.base.memory import Portions
from activetune.base.progress import note, progress
from activetune.base.runtime import seeded
from activetune.data.loading import choose_workers, pins_memory, read_usable, start_worker
from activetune.networks.frofa import Grid
from activetune.tasks import Crops, Sample
from activetune.training.batches import derive
from activetune.training.finite import rates_among, refuse_outputs, settings_to_change
from activetune.training.job import Job

BATCH = 32
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
VIEW_EPOCH = 1_000_000  # view v is cropped as an item of epoch VIEW_EPOCH + v, which no training reaches


@dataclass(frozen=True)
class Views:
    """Cached features of labelled items.

    Attributes:
        features: (V, L, T, D) tokens, or (V, L, D) pooled; view 0 is the one that evaluation sees. Heads compute with
            tokens in their precision, and with everything else in float32.
        grid: how the tokens lie. pool: makes pooled features of tokens, for heads that read those.
        device: where heads are trained.
        targets: V * L targets that were moved with their images, view by view; none where they have no place in one.
        sizes: height and width of the L images.
        key: what the features are made from: the backbone's weights as they were, the images, the views.
    """

    features: Tensor
    grid: Grid | None = None
    pool: Callable[[Tensor], Tensor] | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    targets: Sequence[Any] = ()
    sizes: Sequence[tuple[int, int]] = ()
    key: str = ""

    @property
    def precision(self) -> str:
        """Of the features: ``fp32``, ``bf16`` or ``fp16``."""
        return {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(self.features.dtype, "fp32")

    def batch(self, rows: IntArray, views: IntArray | int = 0) -> Tensor:
        """(B, T, D) or (B, D) of some items, each under one view."""
        chosen = torch.from_numpy(views * self.features.shape[1] + rows)
        return self.features.flatten(0, 1).index_select(0, chosen).to(self.device)

    def pooled(self, batch_size: int = 256) -> FloatArray:
        """Pooled features (V, L, D) float32 of all items under all views."""
        if self.features.ndim == 3:
            found: FloatArray = self.features.float().numpy()
            return found
        assert self.pool is not None
        parts = self.features.flatten(0, 1).split(batch_size)  # type: ignore[no-untyped-call]
        with torch.inference_mode():
            rows = torch.cat([self.pool(part.to(self.device).float()).cpu() for part in parts])
        return rows.view(*self.features.shape[:2], -1).numpy()


def embed_views(job: Job, count: int, crops: Crops, *, tokens: bool) -> Views:
    """Run the backbone once over ``count`` views of each labelled item.

    Args:
        count: V. crops: random crops and flips of all views but the first.
        tokens: True keeps all tokens, (V, L, T, D); False the pooled features, (V, L, D), alone.

    Raises:
        NotFinite: features that are not finite.
    """
    backbone = job.backbone.eval()
    items = len(job.labels)
    total = count * items
    key = _key(job, f"{count} {tokens} {crops}")
    path, state = job.work / f"views-{key}.bin", job.work / f"views-{key}.json"
    grid = backbone.grid if tokens else None
    shape = (grid.tokens, backbone.token_size) if grid is not None else (backbone.num_features,)
    done = int(read_json(state)["done"]) if state.is_file() and path.is_file() else 0
    size = total * math.prod(shape)
    rows = torch.from_file(str(path), shared=True, size=size, dtype=DTYPES[job.runtime.precision]).view(total, *shape)
    kept_in = job.work / f"targets-{key}.bin" if job.task.alike else None
    targets = _Targets(kept_in, total) if job.task.placed else None
    sizes: list[tuple[int, int]] = []
    remedy = settings_to_change(job.runtime.precision, rates_among(job.settings, "lr"))
    # Targets are made anew by a run that goes on: that takes no forward pass.
    first = done if targets is None else 0
    start = first
    loader = DataLoader(
        _Viewed(job, crops),
        batch_size=BATCH,
        sampler=range(first, total),
        num_workers=choose_workers(job.workers, total),
        worker_init_fn=start_worker,
        collate_fn=_Seen.of,
        pin_memory=pins_memory(job.runtime.device),
    )
    portions = Portions(job.runtime.device, job.quiet)
    if first < done:
        note(f"the features of {done:,} of {total:,} views are kept; their answers are read again", job.quiet)
    with progress(total, "embedding views", done=first, quiet=job.quiet) as meter:
        for batch in loader:
            if targets is not None:
                targets.put(start, batch.targets)
                sizes += batch.sizes
            start += len(batch.images)
            meter.advance(len(batch.images))
            if start <= done:
                continue
            pixels = batch.images
            with torch.inference_mode(), job.runtime.autocast():
                found = torch.cat([part for _, part in portions.of(len(pixels), partial(_seen, job, tokens, pixels))])
            refuse_outputs(found, "the backbone's features", "under its views", remedy)
            rows[start - len(pixels) : start] = found
            write_json(state, {"done": start})
    pool = backbone.pooled if tokens else None
    features = rows.view(count, items, *shape)
    kept = () if targets is None else targets.kept
    return Views(features, grid, pool, job.runtime.device, kept, sizes[:items], key)


def _seen(job: Job, tokens: bool, pixels: Tensor, part: slice) -> Tensor:
    """What the backbone gives for some images, (B, T, D) or (B, D)."""
    moved = pixels[part].to(job.runtime.device, non_blocking=True)
    found: Tensor = job.backbone.all_tokens(moved) if tokens else job.backbone(moved)
    return found


def _key(job: Job, views: str) -> str:
    """What cached views are told apart by; masks of another stride are other targets, so the task is part of it."""
    return digest(job.backbone.fingerprint, *job.labels.ids, str(job.seed), views, repr(job.task))


@dataclass(frozen=True)
class _Seen:
    """Images (B, 3, H, W) uint8 under a view, their B targets and sizes."""

    images: Tensor
    targets: Sequence[Any]
    sizes: Sequence[tuple[int, int]]

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> _Seen:
        """A batch of samples."""
        images = torch.stack([sample.image for sample in samples])
        return cls(images, [sample.target for sample in samples], [sample.size for sample in samples])

    def pin_memory(self) -> _Seen:
        """The same with its images in pinned memory; targets stay on the processor."""
        return replace(self, images=self.images.pin_memory())


class _Targets:
    """Targets in their order: in a memory-mapped file where they are tensors of one shape, else in a list.

    Args:
        path: of that file; None: they are of different shapes, or no tensors.
    """

    def __init__(self, path: Path | None, total: int):
        self.path, self.total = path, total
        self.kept: Any = [None] * total

    def put(self, start: int, found: Sequence[Any]) -> None:
        """Keep those from ``start`` on."""
        if not start and self.path is not None:
            shape, dtype = found[0].shape, found[0].dtype
            size = self.total * math.prod(shape)
            self.kept = torch.from_file(str(self.path), shared=True, size=size, dtype=dtype).view(self.total, *shape)
        for row, target in enumerate(found, start):
            self.kept[row] = target


class _Viewed(Dataset[Sample]):
    """Images with their targets by ``view * items + position``."""

    def __init__(self, job: Job, crops: Crops):
        self.pool, self.seed, self.crops = job.pool, job.seed, crops
        self.task, self.labels, self.settings = job.task, job.labels, job.backbone.settings

    def __getitem__(self, index: int) -> Sample:
        view, position = divmod(index, len(self.pool))
        crops = self.crops if view else None
        image = read_usable(self.pool, position, about=self.task.enough(self.settings, crops))
        target = self.task.target(self.labels, position) if self.task.placed else None
        with seeded(derive(self.seed, VIEW_EPOCH + view, position)):
            found = self.task.transform(image, target, self.settings, crops)
        return Sample(*found, position, (image.height, image.width))
