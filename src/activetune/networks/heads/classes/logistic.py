"""A linear layer on features of unit length under a signed square root.

The root evens out the few coordinates that dominate a pooled feature: the power normalisation of Perronnin, Sánchez &
Mensink, "Improving the Fisher Kernel for Large-Scale Image Classification", ECCV 2010.
Shape legend: B items, D feature size.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor
from torch.nn import functional

from activetune.networks.heads._head import ClassHead

STEEP = 1e-6  # of a row of length 1; at most 2.5e-4 are lost by the line


class Logistic(ClassHead):
    """A linear layer on power-normalised pooled features."""

    fixed: ClassVar[bool] = True

    def embedded(self, features: Tensor) -> Tensor:
        """See :class:`ClassHead`."""
        return power_normalised(features)


def power_normalised(pooled_BD: Tensor) -> Tensor:
    """Rows of unit length, then ``sign(x) sqrt(|x|)`` of each number; below ``STEEP`` a straight line.

    The root is infinitely steep at zero, which features behind a ReLU often are: a backbone would learn NaN from it.
    """
    rows = functional.normalize(pooled_BD, dim=1)
    return rows * rows.abs().clamp(min=STEEP).rsqrt()
