"""The smaller CIFAR-10 that the tables measured here use, drawn once: 10,000 training and 2,000 test images.

A long-tailed pool goes with the same test images: class c of 0 to 9 keeps 5,000 / 100^(c / 9) training images.

python experiments/vecaf/pools.py --data DIR

DIR holds ``cifar10/train.parquet`` and ``cifar10/test.parquet``. Run it before ``run.py``, with the same --out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1]))
from subsets import long_tailed

LONG_TAILED = "cifar10-lt"
POOLS = (("train", "cifar10-10000", 10_000), ("test", "cifar10-test-2000", 2_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("build/vecaf"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for number, (part, name, count) in enumerate(POOLS):
        table = pq.read_table(options.data / "cifar10" / f"{part}.parquet")
        rows = np.sort(np.random.default_rng(number).permutation(table.num_rows)[:count])
        pq.write_table(table.take(rows), options.out / f"{name}.parquet")
        if part == "train":
            pq.write_table(long_tailed(table), options.out / f"{LONG_TAILED}.parquet")


if __name__ == "__main__":
    main()
