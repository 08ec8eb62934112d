"""CEA, cross-attentive embedding augmentation (VeCAF, equations 8 to 10): images moved towards their captions.

    alpha_i = softmax_i ||e_i - t_i||^2        over the K items of a selection           (8)
    e_aug_i = e_i - s_i (e_i - t_i)            with the step s_i = min(1, eta K alpha_i)  (9)
    f((1 - lambda_bw) e_aug + lambda_bw e)     in the forward pass                        (10)

What the paper leaves open, and how it is settled here:

- ``alpha`` is about 1 / K, so a fixed step would fade as selections grow: ``eta`` in [0, 1] is the mean step of the
  items, whatever K is, and no item goes farther than to its caption.
- The softmax needs distances of order one ("the normalized distance"): it is taken of rows of unit length, whose
  squared distances lie in [0, 4]. The move itself is made at the image embeddings' own scale.
- Over a single item the softmax would always be 1: that is refused.

``alpha`` and ``t`` are constants of the backward pass.
Shape legend: K items, B of them in a batch, D feature size.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from torch import Tensor

from activetune.base.errors import UsageError
from activetune.features.distances import Float32, unit_rows

Rows = TypeVar("Rows", Float32, Tensor)


def attention(image_KD: Float32, text_KD: Float32) -> Float32:
    """Equation 8: ``alpha`` (K,), positive, of sum 1.

    Raises:
        UsageError: fewer than two items.
    """
    if len(image_KD) < 2:
        raise UsageError(f"captions can't be weighed against each other among {len(image_KD)} items; select at least 2")
    square_K = np.square(unit_rows(image_KD) - unit_rows(text_KD)).sum(axis=1, dtype=np.float64)
    raised_K = np.exp(square_K - square_K.max())
    found: Float32 = (raised_K / raised_K.sum()).astype(np.float32)
    return found


def steps(alpha_K: Float32, eta: float) -> Float32:
    """``min(1, eta K alpha_i)`` (K,): how far each item goes towards its caption.

    Args:
        eta: in [0, 1], the mean step as long as no item reaches its caption.
    """
    found: Float32 = np.minimum(1.0, eta * len(alpha_K) * alpha_K).astype(np.float32)
    return found


def augmented(embeddings_BD: Rows, text_BD: Rows, steps_B1: Rows, balance: float = 0.0) -> Rows:
    """Equation 9 (``balance`` 0), or what the head gets in equation 10: ``(1 - balance) e_aug + balance e``.

    Args:
        steps_B1: (B, 1). balance: lambda_bw in [0, 1]; 1 leaves the embeddings as they are.
    """
    return embeddings_BD - (1 - balance) * steps_B1 * (embeddings_BD - text_BD)
