"""Random crops as boxes, cut out of a batch of 64 px images on the tensor side."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from PIL import Image


def decode_parquet(path: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Read a Hugging Face image Parquet file: uint8 images (N, 3, 64, 64) and int64 labels (N,)."""
    table = pq.read_table(path, columns=["image", "label"])
    images = [
        np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")) for cell in table.column("image").to_pylist()
    ]
    labels = torch.tensor(table.column("label").to_numpy())
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous(), labels


def random_boxes(count: int, views: int, seed: int) -> torch.Tensor:
    """Boxes (views, count, 4) as centre x, centre y, width, height in [-1, 1] units; view 0 is the whole image."""
    rng = np.random.default_rng(seed)
    area = rng.uniform(0.3, 1.0, (views, count))
    ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3), (views, count)))
    width, height = np.minimum(np.sqrt(area * ratio), 1), np.minimum(np.sqrt(area / ratio), 1)
    centre_x = rng.uniform(-1, 1, (views, count)) * (1 - width)
    centre_y = rng.uniform(-1, 1, (views, count)) * (1 - height)
    boxes = np.stack([centre_x, centre_y, width, height], axis=-1)
    boxes[0] = [0, 0, 1, 1]
    return torch.from_numpy(boxes).float()


def cut(images: torch.Tensor, boxes: torch.Tensor, size: int, mode: str = "bicubic") -> torch.Tensor:
    """Cut each image's box (B, 4) and resize it to ``size``; images float (B, 3, H, W) in [0, 1]."""
    matrix = torch.zeros(len(boxes), 2, 3)
    matrix[:, 0, 0], matrix[:, 0, 2] = boxes[:, 2], boxes[:, 0]
    matrix[:, 1, 1], matrix[:, 1, 2] = boxes[:, 3], boxes[:, 1]
    grid = F.affine_grid(matrix, [len(boxes), 3, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode=mode, padding_mode="reflection", align_corners=False).clamp(0, 1)
