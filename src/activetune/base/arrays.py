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
