"""Parts of public data sets that several experiments use, and the names of their classes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

IMBALANCE = 100  # of the largest class to the smallest
CAMVID = (  # the masks' values 0 to 10; 11 is void
    "sky", "building", "pole", "road", "pavement", "tree", "sign", "fence", "car", "pedestrian", "bicyclist"
)  # fmt: skip


def long_tailed(table: pa.Table) -> pa.Table:
    """The rows that each class keeps, in the table's order."""
    labels_N, rng = np.asarray(table["label"].to_pylist()), np.random.default_rng(0)
    classes, kept = np.unique(labels_N), []
    for number, one in enumerate(classes):
        rows = np.flatnonzero(labels_N == one)
        count = round(len(rows) * IMBALANCE ** (-number / (len(classes) - 1)))
        kept.append(rng.choice(rows, count, replace=False))
    return table.take(np.sort(np.concatenate(kept)))
