"""What selection is measured on and against: a synthetic pool, plain references and other libraries.

A plain reference is the method as its formula reads, without any of the shortcuts it is compared with: it holds N x K
or N x N numbers and recomputes everything in every step. Features are rows of unit length.
Shape legend: N items, D feature size, K budget.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from activetune.features.distances import unit_rows

SIZE = 384  # D
TEMPERATURE = 0.07


# The pool -------------------------------------------------------------------------------------------------------------


def pool(folder: Path, items: int, *, seed: int = 0, clusters: int = 1_000, rank: int = 32) -> Path:
    """A float16 file of N x 384 rows of unit length; made in pieces, and a smaller one is the beginning of a larger.

    Clusters of uneven size and width around directions of their own, a mean that all share, and a background of low
    rank: median similarity 0.07, to the nearest of 5,000 others 0.5.
    """
    path = folder / f"features-{items}.npy"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    directions = unit_rows(rng.standard_normal((clusters + 1, SIZE), dtype=np.float32))
    centres = 0.7 * directions[1:] + 0.3 * directions[0]
    background = rng.standard_normal((rank, SIZE), dtype=np.float32) * 0.5 / np.sqrt(SIZE * rank)
    share, width = rng.dirichlet(np.full(clusters, 0.7)), rng.uniform(0.4, 1.0, (clusters, 1)).astype(np.float32)
    partial, step = path.with_suffix(".partial"), 16_384
    rows_ND = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=(items, SIZE))
    for start in range(0, items, step):
        rng = np.random.default_rng([seed, start])
        owner = rng.choice(clusters, step, p=share)
        rows = centres[owner] + rng.standard_normal((step, rank), dtype=np.float32) @ background
        rows += width[owner] * rng.standard_normal((step, SIZE), dtype=np.float32) / np.float32(np.sqrt(SIZE))
        rows_ND[start : start + step] = unit_rows(rows)[: items - start]
    rows_ND.flush()
    partial.rename(path)
    return path


# ActiveFT -------------------------------------------------------------------------------------------------------------


def paper_loss(features_ND: Tensor, centroids_KD: Tensor) -> tuple[float, Tensor, Tensor]:
    """ActiveFT's equation 11 with lambda 1, each item's nearest centroid (N,), and the repulsion's weights (K, K)."""
    similarity_N, nearest_N = (features_ND @ centroids_KD.T).max(1)
    logits_KK = (centroids_KD @ centroids_KD.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    loss = -similarity_N.double().mean() / TEMPERATURE + torch.logsumexp(logits_KK, 1).double().mean()
    return float(loss), nearest_N, torch.softmax(logits_KK, 1)


class DenseActiveFT:
    """Algorithm 1, its gradient written by hand: Adam with step 1e-3 from random items, rows of unit length again."""

    def __init__(self, features_ND: Tensor, budget: int, seed: int = 0):
        drawn = np.random.default_rng(seed).choice(len(features_ND), budget, replace=False)
        self.features_ND, self.centroids_KD = features_ND, features_ND[torch.from_numpy(drawn)].clone()
        self.optimiser = torch.optim.Adam([self.centroids_KD], lr=1e-3)

    def step(self) -> None:
        centroids_KD = self.centroids_KD
        _, nearest_N, weights_KK = paper_loss(self.features_ND, centroids_KD)
        pull_KD = torch.zeros_like(centroids_KD).index_add_(0, nearest_N, self.features_ND) / len(self.features_ND)
        push_KD = (weights_KK + weights_KK.T) @ centroids_KD / len(centroids_KD)
        centroids_KD.grad = (push_KD - pull_KD) / TEMPERATURE
        self.optimiser.step()
        centroids_KD /= centroids_KD.norm(dim=1, keepdim=True)

    def loss(self) -> float:
        return paper_loss(self.features_ND, self.centroids_KD)[0]


class AutogradActiveFT:
    """The loss of the authors' released code, by autograd through the N x K matrix as that code has it."""

    def __init__(self, features_ND: Tensor, budget: int, seed: int = 0):
        drawn = np.random.default_rng(seed).choice(len(features_ND), budget, replace=False)
        self.features_ND = features_ND
        self.centroids_KD = torch.nn.Parameter(features_ND[torch.from_numpy(drawn)].clone())
        self.optimiser = torch.optim.Adam([self.centroids_KD], lr=1e-3)

    def step(self) -> None:
        centroids_KD = torch.nn.functional.normalize(self.centroids_KD, dim=1)
        near_N, nearest_N = torch.exp(self.features_ND @ centroids_KD.T / TEMPERATURE).max(1)
        crowd_K = torch.exp(centroids_KD.detach() @ centroids_KD.T / TEMPERATURE).sum(0)
        loss = -(torch.log(near_N) - torch.log(near_N + crowd_K[nearest_N])).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()


# Greedy methods -------------------------------------------------------------------------------------------------------


def k_center(features_ND: np.ndarray, budget: int, first: int = 0) -> np.ndarray:
    """Farthest-first traversal: one product of all items with each pick."""
    picks = [first]
    distance_N = 2 - 2 * (features_ND @ features_ND[first])
    while len(picks) < budget:
        picks.append(int(distance_N.argmax()))
        np.minimum(distance_N, 2 - 2 * (features_ND @ features_ND[picks[-1]]), out=distance_N)
    return np.asarray(picks)


def max_herding(features_ND: np.ndarray, budget: int) -> np.ndarray:
    """Greedy maximum of the mean Gaussian kernel (sigma 1) to the nearest pick: every gain anew for each pick."""
    kernel_NN = np.exp(features_ND @ features_ND.T - 1)
    covered_N = np.zeros(len(features_ND), dtype=np.float32)
    picks: list[int] = []
    while len(picks) < budget:
        picks.append(int(np.maximum(kernel_NN - covered_N, 0).sum(1).argmax()))
        np.maximum(covered_N, kernel_NN[picks[-1]], out=covered_N)
    return np.asarray(picks)


def probcover(features_ND: np.ndarray, budget: int, radius: float) -> np.ndarray:
    """The ball that holds most items that are in no ball yet, from the stored N x N graph, for each pick."""
    within_NN = features_ND @ features_ND.T >= 1 - radius**2 / 2
    picks: list[int] = []
    while len(picks) < budget:
        picks.append(int(within_NN.sum(1).argmax()))
        within_NN[:, within_NN[picks[-1]].copy()] = False
    return np.asarray(picks)


# Clusters -------------------------------------------------------------------------------------------------------------


def k_means(features_ND: np.ndarray, budget: int, seed: int = 0) -> np.ndarray:
    """scikit-learn's k-means, and the item nearest to each centroid (items may repeat)."""
    from sklearn.cluster import KMeans

    centres_KD = KMeans(budget, n_init=1, random_state=seed).fit(features_ND).cluster_centers_
    lengths_K = (centres_KD**2).sum(1)
    return np.unique((lengths_K[:, None] - 2 * centres_KD @ features_ND.T).argmin(1))


def typiclust(features_ND: np.ndarray, budget: int, seed: int = 0) -> np.ndarray:
    """scikit-learn's k-means and nearest neighbours: the item with the nearest 20 neighbours of each cluster."""
    from sklearn.cluster import KMeans
    from sklearn.neighbors import NearestNeighbors

    owner_N = KMeans(budget, n_init=1, random_state=seed).fit_predict(features_ND)
    picks = []
    for number in range(budget):
        group = np.flatnonzero(owner_N == number)
        count = max(1, min(20, len(group) // 2))
        distance = NearestNeighbors(n_neighbors=count).fit(features_ND[group]).kneighbors()[0] if len(group) > 1 else 0
        picks.append(group[np.mean(distance, axis=1).argmin()] if len(group) > 1 else group[0])
    return np.asarray(picks)


# Other libraries ------------------------------------------------------------------------------------------------------


def skactiveml_typiclust(features_ND: np.ndarray, budget: int) -> np.ndarray:
    from skactiveml.pool import TypiClust

    method = TypiClust(random_state=0, k=20)
    return method.query(features_ND, np.full(len(features_ND), np.nan), batch_size=budget)


def skactiveml_probcover(features_ND: np.ndarray, budget: int, radius: float) -> np.ndarray:
    from skactiveml.pool import ProbCover

    classes = round(2 * np.sqrt(len(features_ND)))
    method = ProbCover(classes, deltas=[radius - 1e-3, radius], alpha=0.5, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method.query(features_ND, np.full(len(features_ND), np.nan), batch_size=budget)


def apricot_herding(features_ND: np.ndarray, budget: int) -> np.ndarray:
    from apricot import FacilityLocationSelection

    kernel_NN = np.exp(features_ND @ features_ND.T - 1).astype(np.float64)
    return FacilityLocationSelection(budget, metric="precomputed").fit(kernel_NN).ranking


def faiss_k_means(features_ND: np.ndarray, budget: int) -> np.ndarray:
    import faiss

    model = faiss.Kmeans(features_ND.shape[1], budget, niter=25, spherical=True, seed=1, max_points_per_centroid=10**9)
    model.train(features_ND)
    index = faiss.IndexFlatIP(features_ND.shape[1])
    index.add(features_ND)
    return np.unique(index.search(model.centroids, 1)[1])


# What a selection reaches ---------------------------------------------------------------------------------------------


def mean_distance(features_ND: np.ndarray, picks: np.ndarray) -> float:
    """Mean distance of an item to its nearest pick."""
    return float(np.mean(_distances(features_ND, picks)))


def radius(features_ND: np.ndarray, picks: np.ndarray) -> float:
    """The largest distance of an item to its nearest pick."""
    return float(np.max(_distances(features_ND, picks)))


def left_by_kernel(features_ND: np.ndarray, picks: np.ndarray) -> float:
    """1 - mean Gaussian kernel (sigma 1) of an item and its nearest pick."""
    return float(1 - np.mean(np.exp(-(_distances(features_ND, picks) ** 2) / 2)))


def outside_balls(features_ND: np.ndarray, picks: np.ndarray, reach: float) -> float:
    """The share of the items that are in no pick's ball."""
    return float(np.mean(_distances(features_ND, picks) > reach + 1e-6))


def _distances(features_ND: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Distance of each item to its nearest pick (N,)."""
    parts = np.array_split(features_ND, max(1, len(features_ND) // 8192))
    nearest_N = np.concatenate([(part @ features_ND[picks].T).max(1) for part in parts])
    return np.sqrt(np.maximum(2 - 2 * nearest_N.astype(np.float64), 0))
