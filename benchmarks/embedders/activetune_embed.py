"""``activetune.embed`` on a list of images; see ``embedding_peers.py``.

python activetune_embed.py MODEL FILES OUT [--workers -1] [--precision auto]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

import activetune


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "files", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--workers", type=int, default=-1)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    files = options.files.read_text(encoding="utf-8").splitlines()
    backbone = activetune.load_backbone("timm/vit_tiny_patch16_224", options.model / "model.safetensors")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made = activetune.embed(
            activetune.open_pool(Path(files[0]).parent),
            backbone=backbone,
            out=folder,
            workers=options.workers,
            precision=options.precision,
            use_cache=False,
            quiet=True,
        )
    print(time.perf_counter() - started)
    np.save(options.out, made.features_ND[[made.position[Path(file).name] for file in files]])


if __name__ == "__main__":
    main()
