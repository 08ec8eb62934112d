"""The pipeline ``image-feature-extraction`` of transformers; see ``embedding_peers.py``.

python hugging_face.py MODEL FILES OUT [--workers 2] [--precision fp32]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from activetune.base.torchvision_ import import_torchvision

import_torchvision()
from torch.utils.data import Dataset  # noqa: E402
from transformers import pipeline  # noqa: E402, after what it imports itself


class Files(Dataset[str]):
    """Paths, which the pipeline opens."""

    def __init__(self, files: list[str]):
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> str:
        return self.files[row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "files", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "bf16"])
    options = parser.parse_args()
    files = options.files.read_text(encoding="utf-8").splitlines()
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    model: Any = pipeline("image-feature-extraction", model=str(options.model), pool=True, device="cpu", dtype=dtype)
    started = time.perf_counter()
    found = list(model(Files(files), batch_size=64, num_workers=options.workers))
    np.save(options.out, np.asarray(found, dtype=np.float32).reshape(len(files), -1))
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
