"""The array types of activetune, and the legend of the shapes in their names.

Shape legend, used in every module: N items, D feature size, K budget (or centroids), C classes, T tokens,
L labelled items.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]

NO_INDICES: IntArray = np.empty(0, dtype=np.int64)  # of items (no position) or of classes
