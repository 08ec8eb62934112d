"""fastembed's ``ImageEmbedding`` on the same model as ONNX; see ``embedding_peers.py``.

python fastembed_onnx.py MODEL FILES OUT [--workers 0]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from fastembed import ImageEmbedding

LIKE = "Qdrant/Unicom-ViT-B-32"  # a model of its list that is one file, whose place another takes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "files", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--workers", type=int, default=0, help="processes with a model each; 0: threads of one")
    options = parser.parse_args()
    files = options.files.read_text(encoding="utf-8").splitlines()
    model = ImageEmbedding(LIKE, specific_model_path=str(options.model))
    started = time.perf_counter()
    found = np.stack(list(model.embed(files, batch_size=64, parallel=options.workers or None)))
    np.save(options.out, found)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
