"""fastembed's ``ImageEmbedding`` on the same model as ONNX; see ``embedding_peers.py``.

python fastembed_onnx.py MODEL FILES OUT [--workers 0]

Workers are processes with a model each; 0: threads of one.
"""

from __future__ import annotations

import time

import numpy as np
from asked import asked
from fastembed import ImageEmbedding

LIKE = "Qdrant/Unicom-ViT-B-32"  # a model of its list that is one file, whose place another takes


def main() -> None:
    options = asked(__doc__, workers=0)
    model = ImageEmbedding(LIKE, specific_model_path=str(options.model))
    started = time.perf_counter()
    found = np.stack(list(model.embed(options.files, batch_size=64, parallel=options.workers or None)))
    np.save(options.out, found)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
