"""Regions of images, and the images that own them: what methods for dense tasks select by.

A region is a patch token, of unit length. An image is picked with all its regions, and covers with all of them: how
well it covers a region is how well the most similar of its own does.
Shape legend: N images, T tokens of an image, D feature size, B images at a time, J regions that are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from activetune.base.arrays import FloatArray, IntArray
from activetune.features.distances import Float32, pieces, unit_rows


@dataclass(frozen=True)
class Regions:
    """Some regions of a pool. Attributes: features_JD: of unit length. owners_J: positions of their images."""

    features_JD: Float32
    owners_J: IntArray

    def __len__(self) -> int:
        return len(self.owners_J)


def regions_of(tokens_NTD: FloatArray, images: IntArray) -> Float32:
    """(B, T, D) the regions of some images, read from a memory map where the tokens are one."""
    tokens, size = tokens_NTD.shape[1:]
    return unit_rows(np.asarray(tokens_NTD[images]).reshape(-1, size)).reshape(len(images), tokens, size)


def sample_regions(tokens_NTD: FloatArray, population: IntArray, most: int, rng: np.random.Generator) -> Regions:
    """The regions of a population of images: all of them, or ``most`` at random (0: always all), in their order."""
    tokens = tokens_NTD.shape[1]
    count = len(population) * tokens
    chosen = np.arange(count) if not most or count <= most else np.sort(rng.choice(count, most, replace=False))
    owners_J, places_J = population[chosen // tokens], chosen % tokens
    features_JD = np.empty((len(chosen), tokens_NTD.shape[2]), dtype=np.float32)
    for part in pieces(len(chosen), features_JD.shape[1]):
        features_JD[part] = unit_rows(tokens_NTD[owners_J[part], places_J[part]])
    return Regions(features_JD, owners_J)


class RegionSimilarity:
    """The similarity of some regions to whole images, in products of bounded size; never N x N or J x N T numbers."""

    def __init__(self, regions: Regions, tokens_NTD: FloatArray, device: str):
        self._tokens_NTD = tokens_NTD
        self._regions_DJ = torch.from_numpy(regions.features_JD).to(device).T

    def to(self, images: IntArray) -> Tensor:
        """(B, J) the similarity of each region to the most similar region of each image."""
        owned_BTD = torch.from_numpy(regions_of(self._tokens_NTD, images)).to(self._regions_DJ.device)
        return (owned_BTD @ self._regions_DJ).amax(dim=1)

    def parts(self, count: int) -> list[slice]:
        """Slices of ``count`` images whose products stay within the numbers of a piece."""
        widest = max(self._regions_DJ.shape)
        return list(pieces(count, self._tokens_NTD.shape[1] * widest))


def images_met(owners_J: IntArray, which_J: npt.NDArray[np.bool_]) -> int:
    """How many images own the regions ``which_J``."""
    return len(np.unique(owners_J[which_J]))
