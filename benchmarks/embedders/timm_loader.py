"""timm's model behind PyTorch's loader, as people write it by hand; see ``embedding_peers.py``.

python timm_loader.py MODEL FILES OUT [--workers 2] [--precision fp32]
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np
import torch
from asked import asked
from PIL import Image
from torch.utils.data import DataLoader

from activetune.base.torchvision_ import import_torchvision

import_torchvision()
import timm  # noqa: E402, after what it imports itself


class Images(torch.utils.data.Dataset[Any]):
    """Images of files, transformed."""

    def __init__(self, files: list[str], transform: Any):
        self.files, self.transform = files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> Any:
        return self.transform(Image.open(self.files[row]).convert("RGB"))


def main() -> None:
    options = asked(__doc__, workers=2, precisions=("fp32", "bf16"))
    model = timm.create_model(f"local-dir:{options.model}", pretrained=True, num_classes=0).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    loader: Any = DataLoader(Images(options.files, transform), batch_size=64, num_workers=options.workers)
    half = torch.autocast("cpu", torch.bfloat16) if options.precision == "bf16" else contextlib.nullcontext()
    started = time.perf_counter()
    with torch.inference_mode(), half:
        features = np.concatenate([model(batch).float().numpy() for batch in loader])
    np.save(options.out, features)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
