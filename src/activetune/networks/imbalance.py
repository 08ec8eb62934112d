"""Classes of different size: what every training of a classifier can do about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.settings import Settings


@dataclass(frozen=True)
class Imbalance(Settings):
    """Two remedies for classes of different size, both off by default; together they don't correct twice.

    Attributes:
        balance: how evenly classes are drawn, or weigh: 0 every item alike, 1 every class alike.
        logit_adjustment: factor on the logarithms of the classes' shares. They are added to the logits in the loss, so
            that the model's own logits answer for evenly frequent classes (Menon et al., "Long-tail learning via logit
            adjustment", ICLR 2021, equation 10, where the factor is 1). From a logistic regression they are taken off
            after the fit (equation 9). The shares are those with which classes are drawn, or weigh: where ``balance``
            has made these even, nothing is left to adjust.
    """

    balance: float = 0.0
    logit_adjustment: float = 0.0

    def __post_init__(self) -> None:
        check_settings("training", ("balance", self.balance, 0, 1), ("logit_adjustment", self.logit_adjustment, 0, 10))

    @property
    def remedies(self) -> dict[str, Any]:
        """Both settings by name."""
        return {"balance": self.balance, "logit_adjustment": self.logit_adjustment}

    def weights(self, strata: IntArray) -> FloatArray | None:
        """(L,) how often ``balance`` draws each item, or how much it weighs; None: all the same.

        Args:
            strata: (L,) the group of each item, which ``balance`` evens out.
        """
        return np.bincount(strata)[strata] ** -float(self.balance) if self.balance else None

    def added_to_logits(self, indices: IntArray, classes: int, weights_L: FloatArray | None = None) -> FloatArray:
        """(C,) the logarithm of each class's share of the training, times ``logit_adjustment``.

        Args:
            indices: (L,) class indices of the training items. Or (L, C) ones and zeros where an item has several
                classes or none: the logarithms are then of a class's odds. classes: C.
            weights_L: how much each item counts, see :meth:`weights`; None: all the same.
        """
        if indices.ndim == 2:
            shares_C = np.average(indices, axis=0, weights=weights_L)
            shares_C = np.clip(shares_C, 0.5 / len(indices), 1 - 0.5 / len(indices))
            odds: FloatArray = self.logit_adjustment * np.log(shares_C / (1 - shares_C))
            return odds
        added: FloatArray = self.logit_adjustment * log_shares(indices, classes, weights_L)
        return added


PLAIN = Imbalance()  # classes as they are


def log_shares(indices: IntArray, classes: int, weights_L: FloatArray | None = None) -> FloatArray:
    """(C,) natural logarithms of the classes' shares; a class without an item gets that of half an item.

    Args:
        weights_L: how much each item counts; None: all the same.
    """
    relative = None if weights_L is None else weights_L / weights_L.mean()
    counts = np.maximum(np.bincount(indices, relative, minlength=classes), 0.5)
    shares: FloatArray = np.log(counts / len(indices))
    return shares


def cross_entropy(
    logits_BC: Tensor, answers_BC: Tensor, added_C: Tensor, smoothing: float, *, reduction: str = "mean"
) -> Tensor:
    """Cross-entropy of logits to which ``added_to_logits`` are added.

    Label smoothing is spread over the classes by their adjusted shares, so evenly where nothing is added. Spread evenly
    under an adjustment, it would teach that a rare class is as likely as an item's own: the small probability that it
    asks for is what the class's share alone makes.

    Args:
        answers_BC: probabilities. smoothing: in [0, 1). reduction: ``mean`` or ``sum`` over the items.
    """
    answers_BC = (1 - smoothing) * answers_BC + smoothing * added_C.softmax(0)
    return functional.cross_entropy(logits_BC + added_C, answers_BC, reduction=reduction)


def binary_cross_entropy(
    logits_BC: Tensor, answers_BC: Tensor, added_C: Tensor, smoothing: float, *, reduction: str = "mean"
) -> Tensor:
    """The same of classes that are each shown or not: what label smoothing gives a class is its adjusted share.

    Without an adjustment it is 1 / C.

    Args:
        answers_BC: ones and zeros. smoothing: in [0, 1). reduction: ``mean`` or ``sum`` over items and classes.
    """
    shares_C = torch.where(added_C.any(), added_C.sigmoid(), 1 / len(added_C))  # a GPU is not waited for
    answers_BC = (1 - smoothing) * answers_BC + smoothing * shares_C
    return functional.binary_cross_entropy_with_logits(logits_BC + added_C, answers_BC, reduction=reduction)
