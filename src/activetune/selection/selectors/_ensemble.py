"""Several solutions of one selection problem, and the one that none of their starts decided.

VeCAF (section 3.1) takes ``theta* = theta_1 - Sigma^-1 (theta_1 - mu)`` of E independently started solutions with their
mean ``mu`` and covariance ``Sigma``. Three things the paper leaves open are decided here, for each centroid by itself:

- centroid j of one solution has nothing to do with centroid j of another: they are paired by similarity first;
- E is far below D, so the covariance has no inverse: it is shrunk towards the identity by the oracle approximating
  shrinkage of Chen, Wiesel, Eldar & Hero ("Shrinkage Algorithms for MMSE Covariance Estimation", 2010);
- the formula adds a point to an inverse variance times a point: the covariance is taken relative to its own mean
  variance, so that full shrinkage gives the mean itself, and no shrinkage ever overshoots it.

Shape legend: E solutions, K centroids, D feature size.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from activetune.features.distances import Float32, distinct_nearest


def without_the_start(solutions: Sequence[Float32]) -> Float32:
    """The first of several solutions (K, D) of unit length, corrected by all of them, of unit length.

    Cost: E K^2 D operations to pair them and E^2 K D to correct; O(E K D) memory.
    """
    first, *others = solutions
    aligned_EKD = np.stack([first, *(paired(first, other) for other in others)])
    moved_KD = first - correction(aligned_EKD)
    lengths = np.linalg.norm(moved_KD, axis=1, keepdims=True)
    found: Float32 = np.where(lengths > 1e-6, moved_KD / np.maximum(lengths, 1e-6), first).astype(np.float32)
    return found


def paired(first_KD: Float32, other_KD: Float32) -> Float32:
    """The rows of another solution in the order of the first one's, the most similar pairs joined first."""
    order, _ = distinct_nearest(first_KD, other_KD, np.arange(len(other_KD)))
    found: Float32 = other_KD[order]
    return found


def correction(aligned_EKD: Float32) -> Float32:
    """``Sigma^-1 (theta_1 - mu)`` of each centroid, (K, D), through E x E matrices: the rank of ``Sigma`` is below E.

    With ``X`` the E centred rows and ``Sigma = rho I + a X^T X``, ``Sigma^-1 x_1 = (x_1 - a X^T c) / rho`` where
    ``(rho I + a X X^T) c = X x_1``.
    """
    count, _, size = aligned_EKD.shape
    centred_KED = (aligned_EKD - aligned_EKD.mean(axis=0)).transpose(1, 0, 2).astype(np.float64)
    products_KEE = centred_KED @ centred_KED.transpose(0, 2, 1)
    total_K = np.trace(products_KEE, axis1=1, axis2=2)
    known_K = np.maximum(total_K, 1e-12)
    rho_K = np.where(total_K > 1e-12, shrinkage(products_KEE, size), 1.0)[:, None, None]
    a_K = (1 - rho_K) * size / known_K[:, None, None]
    weights_KE1 = np.linalg.solve(rho_K * np.eye(count) + a_K * products_KEE, products_KEE[:, :, :1])
    pulled_KD = (centred_KED[:, 0] - (a_K * weights_KE1 * centred_KED).sum(axis=1)) / rho_K[:, 0]
    found: Float32 = pulled_KD.astype(np.float32)
    return found


def shrinkage(products_KEE: np.ndarray, size: int) -> np.ndarray:
    """The share ``rho`` (K,) of the identity, equation 23 of Chen et al., from the products of E centred rows.

    As scikit-learn's ``OAS`` has it: without the terms 2 / D.
    """
    count = products_KEE.shape[1]
    trace = np.trace(products_KEE, axis1=1, axis2=2) / count
    trace_of_square = (products_KEE**2).sum(axis=(1, 2)) / count**2
    above = trace_of_square + trace**2
    below = (count + 1) * (trace_of_square - trace**2 / size)
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.where(below > 0, above / below, 1.0)
    return np.clip(rho, 1e-3, 1.0)
