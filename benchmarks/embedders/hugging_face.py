"""The pipeline ``image-feature-extraction`` of transformers; see ``embedding_peers.py``.

python hugging_face.py MODEL FILES OUT [--workers 2] [--precision fp32]
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from asked import asked

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
    options = asked(__doc__, workers=2, precisions=("fp32", "bf16"))
    dtype = torch.bfloat16 if options.precision == "bf16" else torch.float32
    model: Any = pipeline("image-feature-extraction", model=str(options.model), pool=True, device="cpu", dtype=dtype)
    started = time.perf_counter()
    found = list(model(Files(options.files), batch_size=64, num_workers=options.workers))
    np.save(options.out, np.asarray(found, dtype=np.float32).reshape(len(options.files), -1))
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
