"""The smaller CIFAR-10 that the tables measured here use, drawn once: 10,000 training and 2,000 test images.

A long-tailed pool goes with the same test images: class c of 0 to 9 keeps 5,000 / 100^(c / 9) training images.

python experiments/vecaf/pools.py --data DIR

DIR holds ``cifar10/train.parquet`` and ``cifar10/test.parquet``. Run it before ``run.py``, with the same --out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

LONG_TAILED, IMBALANCE = "cifar10-lt", 100
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


def long_tailed(table: pa.Table) -> pa.Table:
    """The rows that each class keeps, in the table's order."""
    labels_N, rng = np.asarray(table["label"].to_pylist()), np.random.default_rng(0)
    classes, kept = np.unique(labels_N), []
    for number, one in enumerate(classes):
        rows = np.flatnonzero(labels_N == one)
        count = round(len(rows) * IMBALANCE ** (-number / (len(classes) - 1)))
        kept.append(rng.choice(rows, count, replace=False))
    return table.take(np.sort(np.concatenate(kept)))


if __name__ == "__main__":
    main()
