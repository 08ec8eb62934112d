"""``activetune.embed`` on a list of images; see ``embedding_peers.py``.

python activetune_embed.py MODEL FILES OUT [--workers -1] [--precision auto]
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from asked import asked

import activetune
from activetune.base.run import PRECISIONS


def main() -> None:
    options = asked(__doc__, workers=-1, precisions=PRECISIONS)
    backbone = activetune.load_backbone("timm/vit_tiny_patch16_224", options.model / "model.safetensors")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        made = activetune.embed(
            activetune.open_pool(Path(options.files[0]).parent),
            backbone=backbone,
            out=folder,
            workers=options.workers,
            precision=options.precision,
            use_cache=False,
            quiet=True,
        )
    print(time.perf_counter() - started)
    np.save(options.out, made.features_ND[[made.position[Path(file).name] for file in options.files]])


if __name__ == "__main__":
    main()
