"""Features of the labelled items under several augmented views, computed once by the backbone as it is now.

They lie in a memory-mapped file in the unfinished run's folder, in the precision that the run computes in, filled view
by view, so a run that is cut off goes on where it was. View 0 is what evaluation sees; the others are crops and flips
like those of training.
Shape legend: V views, L labelled items, T tokens, D feature size.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from activetune.base.files import read_json, write_json
from activetune.base.fingerprint import digest
from activetune.base.progress import progress
from activetune.data.loading import choose_workers, read_usable, start_worker
from activetune.tasks import Crops, augmentation
from activetune.training.batches import derive
from activetune.training.finite import refuse_outputs, settings_to_change
from activetune.training.head_training import Views
from activetune.training.job import Job

BATCH = 32
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
VIEW_EPOCH = 1_000_000  # view v is cropped as an item of epoch VIEW_EPOCH + v, which no training reaches


def embed_views(job: Job, count: int, crops: Crops, *, tokens: bool) -> Views:
    """Run the backbone once over ``count`` views of each labelled item.

    Args:
        crops: of the views but the first.
        tokens: keep all tokens, (V, L, T, D), or the pooled features, (V, L, D), alone.
    """
    backbone = job.backbone.eval()
    images = _Viewed(job, crops)
    total = count * len(job.labels)
    key = digest(
        backbone.fingerprint, *job.labels.ids, str(job.seed), f"{count} {tokens} {crops.min_crop} {crops.flip}"
    )
    path, state = job.work / f"views-{key}.bin", job.work / f"views-{key}.json"
    grid = backbone.grid if tokens else None
    shape = (grid.tokens, backbone.token_size) if grid is not None else (backbone.num_features,)
    done = int(read_json(state)["done"]) if state.is_file() and path.is_file() else 0
    size = total * math.prod(shape)
    rows = torch.from_file(str(path), shared=True, size=size, dtype=DTYPES[job.runtime.precision]).view(total, *shape)
    remedy = settings_to_change(job.runtime.precision, {})
    workers = choose_workers(job.workers, total)
    loader = DataLoader(
        images,
        batch_size=BATCH,
        sampler=range(done, total),
        num_workers=workers,
        worker_init_fn=start_worker,
    )
    with progress(total, "embedding views", done=done, quiet=job.quiet) as meter:
        for batch in loader:
            with torch.inference_mode(), job.runtime.autocast():
                pixels = batch.to(job.runtime.device)
                found = backbone.all_tokens(pixels) if tokens else backbone(pixels)
            refuse_outputs(found, "the backbone's features", "under its views", remedy)
            rows[done : done + len(batch)] = found
            done += len(batch)
            write_json(state, {"done": done})
            meter.advance(len(batch))
    pool = backbone.pooled if tokens else None
    return Views(rows.view(count, len(job.labels), *shape), grid, pool, job.runtime.device)


class _Viewed(Dataset[Tensor]):
    """Images (3, H, W) by ``view * items + position``."""

    def __init__(self, job: Job, crops: Crops):
        self.pool, self.seed, self.crops = job.pool, job.seed, crops
        self.prepare, self.settings = job.backbone.prepare, job.backbone.settings

    def __getitem__(self, index: int) -> Tensor:
        view, position = divmod(index, len(self.pool))
        image = read_usable(self.pool, position)
        if not view:
            return self.prepare(image)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.seed, VIEW_EPOCH + view, position))
            found: Tensor = augmentation(self.settings, self.crops)(image)
        return found
