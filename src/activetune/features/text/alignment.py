"""From the space of text embeddings into that of image embeddings.

CEA needs both in one space. Where they differ in size or geometry, a linear map is fitted on (image, text) pairs of the
pool: ridge regression, or the orthogonal map of Procrustes' problem, which only turns (and, between sizes, drops or
leaves out directions). Both act on rows of unit length around their means. Which of them, and how strongly regularised,
is chosen by cross-validation over the pairs, grouped by sentence, so that no text is validated that was fitted on.
The fits shrink what texts tell little of: mapped ones would crowd around the mean, and CEA would move all images
there. So the map is scaled until mapped texts lie as far from the mean as the images do (root mean square).
Shape legend: P pairs, D size of image embeddings, M size of text embeddings, F folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from activetune.base.errors import UsageError
from activetune.features.distances import Float32, unit_rows

Method = Literal["auto", "ridge", "procrustes", "none"]
STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # of the ridge, in units of the mean variance of a text direction
FOLDS = 5
FEWEST_PAIRS = 10  # for a map
SAMPLE = 20_000  # pairs that a map is fitted on at most


@dataclass(frozen=True)
class TextMap:
    """An affine map of text embeddings of unit length, (M,) to (D,).

    Attributes:
        name: ``ridge 0.1``, ``procrustes`` or ``none``.
        similarity: mean cosine between mapped texts that the fit did not see and their images, around the images'
            mean; NaN where nothing was fitted. tried: the same of every candidate.
    """

    weight_DM: Float32
    centre_M: Float32
    bias_D: Float32
    name: str
    similarity: float
    tried: dict[str, float]

    def __call__(self, text_NM: Float32) -> Float32:
        """Mapped rows (N, D), about of unit length."""
        mapped = (unit_rows(text_NM) - self.centre_M) @ self.weight_DM.T + self.bias_D
        return np.asarray(mapped, dtype=np.float32)


def fit_map(
    image_PD: Float32, text_PM: Float32, sentences: Sequence[str], *, method: Method = "auto", seed: int = 0
) -> TextMap:
    """Fit the map on pairs.

    Args:
        sentences: (P,) the texts themselves: pairs of equal ones stay in one fold.
        method: ``auto`` takes the best in cross-validation; ``none`` leaves texts as they are, for two spaces that are
            one already (both towers of a CLIP).

    Raises:
        UsageError: sizes that differ under ``none``, fewer than 10 pairs or 2 different sentences.
    """
    image_PD, text_PM = unit_rows(image_PD), unit_rows(text_PM)
    size, given = image_PD.shape[1], text_PM.shape[1]
    if method == "none":
        if size != given:
            raise UsageError(
                f"texts of {given} numbers can't stand beside images of {size} as they are; give the map auto, ridge "
                "or procrustes"
            )
        nothing = np.zeros(size, dtype=np.float32)
        return TextMap(np.eye(size, dtype=np.float32), nothing, nothing, "none", float("nan"), {})
    groups = np.unique(np.asarray(sentences), return_inverse=True)[1]
    if len(image_PD) < FEWEST_PAIRS or groups.max(initial=0) < 1:
        raise UsageError(
            f"{len(image_PD)} pairs with {groups.max(initial=-1) + 1} different captions are too few to map texts to "
            f"images; give at least {FEWEST_PAIRS} pairs and two captions"
        )
    rng = np.random.default_rng([seed, 5])
    rows = np.sort(rng.permutation(len(image_PD))[:SAMPLE])
    image_PD, text_PM, groups = image_PD[rows], text_PM[rows], groups[rows]
    candidates: dict[str, Solve] = {f"ridge {strength:g}": _ridge(strength) for strength in STRENGTHS}
    candidates["procrustes"] = _procrustes
    if method != "auto":
        candidates = {name: solve for name, solve in candidates.items() if name.startswith(method)}
    fold_P = rng.permutation(groups.max() + 1)[groups] % FOLDS
    tried = {name: _validated(solve, image_PD, text_PM, fold_P) for name, solve in candidates.items()}
    best = max(tried, key=lambda name: tried[name])
    weight_DM, centre_M, bias_D = _solved(candidates[best], image_PD, text_PM)
    return TextMap(weight_DM, centre_M, bias_D, best, tried[best], tried)


Solve = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _ridge(strength: float) -> Solve:
    def solve(image_PD: np.ndarray, text_PM: np.ndarray) -> np.ndarray:
        gram = text_PM.T @ text_PM
        gram.flat[:: len(gram) + 1] += strength * np.trace(gram) / len(gram)
        return np.asarray(np.linalg.solve(gram, text_PM.T @ image_PD).T)

    return solve


def _procrustes(image_PD: np.ndarray, text_PM: np.ndarray) -> np.ndarray:
    """The matrix of orthonormal rows or columns that comes nearest: from the singular vectors of ``I^T T``."""
    left, _, right = np.linalg.svd(image_PD.T @ text_PM, full_matrices=False)
    return np.asarray(left @ right)


def _solved(solve: Solve, image_PD: Float32, text_PM: Float32) -> tuple[Float32, Float32, Float32]:
    """The weight (D, M) between centred rows, and both centres."""
    centre_M, bias_D = text_PM.mean(axis=0), image_PD.mean(axis=0)
    images_PD, texts_PM = (image_PD - bias_D).astype(np.float64), (text_PM - centre_M).astype(np.float64)
    weight_DM = solve(images_PD, texts_PM)
    reached = np.square(texts_PM @ weight_DM.T).sum()
    weight_DM *= np.sqrt(np.square(images_PD).sum() / max(float(reached), 1e-12))
    return weight_DM.astype(np.float32), centre_M, bias_D


def _validated(solve: Solve, image_PD: Float32, text_PM: Float32, fold_P: np.ndarray) -> float:
    """Mean cosine around the images' mean on the folds, each mapped by what the others teach."""
    found = []
    for fold in np.unique(fold_P):
        seen, unseen = fold_P != fold, fold_P == fold
        if not seen.any():
            continue
        weight_DM, centre_M, bias_D = _solved(solve, image_PD[seen], text_PM[seen])
        mapped = unit_rows((text_PM[unseen] - centre_M) @ weight_DM.T)
        found.append((mapped * unit_rows(image_PD[unseen] - bias_D)).sum(axis=1))
    return float(np.concatenate(found).mean())
