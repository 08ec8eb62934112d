"""How unsure a model is of an image, whatever its task: for selecting in rounds with the model itself.

Methods that read probabilities want one row per image, and those that read losses one number (:class:`Doubt`). Pixels
and boxes are reduced to it here, image by image, so that nothing larger than one image's output is ever held:

- how unsure the model is of its pixels on average (``mean_pixel_entropy``);
- which classes an image shows, by the likeliest pixel or the surest box of each (``presence_of_pixels``,
  ``presence_of_boxes``): probabilities per class that do not sum to 1; ``as_distribution`` makes of them a row of
  ``probs_NC`` for ``margin``, ``entropy``, ``badge`` …

These are plain means and maxima, and no paper's method. That presence is read as a distribution is our
choice.
Shape legend: N images of a batch or a pool, C classes, H x W pixels, K boxes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.errors import UsageError

Float64 = npt.NDArray[np.float64]
ROUNDING = 1e-3  # by which a probability in half precision may leave [0, 1]


class Doubt(NamedTuple):
    """What methods that select by a model read of N images.

    Attributes:
        shares_NC: (N, C) float32, non-negative, a row sums to 1: the probabilities of the classes, or their presence
            as shares. losses_N: (N,) float32, the loss that the model itself expects on each image, >= 0, in nats.
    """

    shares_NC: npt.NDArray[np.float32]
    losses_N: npt.NDArray[np.float32]

    @classmethod
    def of_probabilities(cls, probs_NC: npt.NDArray[np.float32]) -> Doubt:
        """Of class probabilities that sum to 1: the loss to expect is their entropy."""
        return cls(probs_NC, entropies(probs_NC.astype(np.float64), axis=1).astype(np.float32))

    @classmethod
    def of_presence(cls, presence_NC: Sequence[FloatArray], losses: Sequence[float] | None = None) -> Doubt:
        """Of the probabilities that images show the classes.

        Args:
            losses: N of them; None takes the entropy of whether each class is shown (:func:`presence_entropy`).
        """
        found = [presence_entropy(one) for one in presence_NC] if losses is None else losses
        shares_NC = np.stack([as_distribution(one) for one in presence_NC])
        return cls(shares_NC, np.asarray(found, dtype=np.float32))


def mean_pixel_entropy(probs_CHW: FloatArray) -> float:
    """The entropy of the class probabilities of a pixel, ``- sum_c p_c log p_c``, averaged over the pixels.

    Args:
        probs_CHW: probabilities; those of a pixel sum to 1.

    Returns:
        Nats, from 0 (sure of each pixel) to log C; 0 without a pixel.

    >>> round(mean_pixel_entropy(np.full((2, 4, 4), 0.5)), 4)
    0.6931

    Raises:
        UsageError: not of shape (C, H, W), or no probabilities.
    """
    probs_CP = _pixels(probs_CHW)
    if not probs_CP.shape[1]:
        return 0.0
    return float(entropies(probs_CP, axis=0).mean())


def presence_of_pixels(probs_CHW: FloatArray) -> Float64:
    """(C,) the probability that an image shows each class: that of the pixel which is the likeliest to be of it.

    Args:
        probs_CHW: probabilities of the classes per pixel.

    Returns:
        In [0, 1] each; zeros without a pixel. They do not sum to 1.

    Raises:
        UsageError: not of shape (C, H, W), or no probabilities.
    """
    found_C: Float64 = _pixels(probs_CHW).max(axis=1, initial=0)
    return found_C


def presence_of_boxes(scores_K: FloatArray, classes_K: IntArray, classes: int) -> Float64:
    """(C,) the probability that an image shows each class: the score of the surest box of it, 0 where there is none.

    Args:
        scores_K: confidences in [0, 1]. classes_K: the position of each box's class. classes: C, how many there are.

    >>> presence_of_boxes(np.array([0.3, 0.9, 0.5]), np.array([2, 0, 2]), 3).tolist()
    [0.9, 0.0, 0.5]

    Raises:
        UsageError: scores outside [0, 1], classes outside 0 to C - 1, or other numbers of them.
    """
    scores, owners = _probabilities(scores_K), np.asarray(classes_K, dtype=np.int64)
    if scores.shape != owners.shape or scores.ndim != 1:
        raise UsageError(f"boxes have one score and one class each, not {scores.shape} and {owners.shape}")
    if len(owners) and not 0 <= owners.min() <= owners.max() < classes:
        raise UsageError(
            f"the boxes' classes are {owners.min()} to {owners.max()}, and there are {classes:,}: 0 and up"
        )
    found_C = np.zeros(classes)
    np.maximum.at(found_C, owners, scores)
    return found_C


def as_distribution(presence_C: FloatArray) -> npt.NDArray[np.float32]:
    """(C,) presence as shares that sum to 1, as methods read that rank by class probabilities.

    An image that surely shows one class gets nearly all of the mass there; one that shows two classes, or perhaps any,
    gets it spread out: several classes count as doubt in that reading. Where none is seen all shares are equal.
    """
    presence = _probabilities(presence_C)
    total = presence.sum()
    shares = presence / total if total > 0 else np.full(len(presence), 1 / len(presence))
    return shares.astype(np.float32)


def presence_entropy(presence_C: FloatArray) -> float:
    """The mean over classes of the entropy of whether an image shows it, ``-p log p - (1 - p) log (1 - p)``, in nats.

    From 0 (each class surely there or not) to log 2. Several classes that are surely shown are no doubt here.
    """
    presence = _probabilities(presence_C)
    return float(entropies(np.stack([presence, 1 - presence]), axis=0).mean())


def entropies(probs: Float64, axis: int) -> Float64:
    """``- sum p log p`` along an axis, with 0 log 0 = 0."""
    logs = np.log(probs, out=np.zeros_like(probs), where=probs > 0)
    found: Float64 = 0.0 - (probs * logs).sum(axis=axis)
    return found


def _pixels(probs_CHW: FloatArray) -> Float64:
    """(C, P) the probabilities of all pixels."""
    if np.ndim(probs_CHW) != 3:
        raise UsageError(f"class probabilities of pixels are of shape (C, H, W), not {np.shape(probs_CHW)}")
    return _probabilities(probs_CHW).reshape(len(probs_CHW), -1)


def _probabilities(values: FloatArray) -> Float64:
    """Values in float64, held to [0, 1].

    Raises:
        UsageError: one that lies outside by more than rounding, or is no number.
    """
    found = np.asarray(values, dtype=np.float64)
    if found.size and not (found.min() >= -ROUNDING and found.max() <= 1 + ROUNDING):
        raise UsageError(
            f"probabilities lie in [0, 1], and these in [{found.min():g}, {found.max():g}]; apply softmax or sigmoid "
            "first"
        )
    return np.clip(found, 0, 1)
