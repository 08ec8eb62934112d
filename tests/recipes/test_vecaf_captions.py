"""What captions do where they are known to carry what images lack: classes that look alike, told apart by their texts.

Four groups of two classes: images show the group, and the class hardly; a caption tells the class. Features are drawn,
the map, CEA, the classifier and the selector are those of a run.
Shape legend: N items, K selected ones, D feature size, M size of a text embedding.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from activetune.features.distances import unit_rows
from activetune.features.text import cea
from activetune.networks.regression import fit_linear
from activetune.recipes.vecaf.language import Describer, Language
from activetune.selection.problem import Evidence
from activetune.selection.selectors import make_selector

GROUPS, CLASSES, D, M = 4, 8, 32, 32
FEW = 2  # labelled items of each class


@dataclass(frozen=True)
class World:
    """Items of a pool.

    Attributes:
        images_ND: features. classes_N: 2 g and 2 g + 1 look alike.
    """

    images_ND: np.ndarray
    classes_N: np.ndarray
    describer: Describer
    options: Language

    def moved(self, positions: np.ndarray, known: np.ndarray) -> np.ndarray:
        """The features of the whole pool, of which some are moved towards captions by a map from known items."""
        found = self.images_ND.copy()
        text_map = self.describer.fit(known, found[known])
        assert text_map is not None
        moved = self.describer.move(positions, found[positions], text_map)
        found[positions] = cea.augmented(
            found[positions], moved.texts_KD, moved.steps_K[:, None], self.options.lambda_bw
        )
        return found


def drawn(rng: np.random.Generator, classes_N: np.ndarray, seen: float) -> np.ndarray:
    """Features: the group three units from the middle, the class ``seen`` units, and noise in all directions."""
    axes_DD = np.linalg.qr(np.random.default_rng(0).normal(size=(D, D)))[0]
    group, side = classes_N // 2, 2 * (classes_N % 2) - 1
    noise = rng.normal(size=(len(classes_N), D)) / 2
    return np.asarray(3 * axes_DD[group] + seen * side[:, None] * axes_DD[GROUPS + group] + noise, dtype=np.float32)


def world(seed: int, seen: float, rare: float = 0.5, **options: Any) -> World:
    rng = np.random.default_rng(seed)
    classes_N = 2 * rng.integers(GROUPS, size=600) + (rng.random(600) < rare)
    texts_CM = np.linalg.qr(rng.normal(size=(M, M)))[0][:CLASSES]
    texts_NM = (texts_CM[classes_N] + 0.1 * rng.normal(size=(600, M))).astype(np.float32)
    captions = {number: f"caption {number}" for number in range(600)}
    language = Language(captions="captions.csv", **options)
    job: Any = SimpleNamespace(seed=seed, quiet=True)
    embedded = dict(zip(captions.values(), texts_NM, strict=True))
    return World(drawn(rng, classes_N, seen), classes_N, Describer(job, language, captions, embedded), language)


def accuracy(of: World, picked: np.ndarray, features_ND: np.ndarray) -> float:
    """Of a classifier that is fitted on picked items' features, on other images, which have no captions."""
    classes = np.random.default_rng(99).integers(CLASSES, size=2000)
    head = fit_linear(features_ND[picked], of.classes_N[picked], 10.0, classes=CLASSES)
    images = drawn(np.random.default_rng(98), classes, SEEN)
    return float((head.logits(images).argmax(1) == classes).mean())


SEEN = 0.4


@pytest.mark.parametrize(("lambda_bw", "least", "most"), [(0.0, 0.05, 0.4), (0.998, -0.005, 0.005)])
def test_captions_of_a_whole_pool_teach_what_few_images_do_not(lambda_bw: float, least: float, most: float) -> None:
    """A mapped caption is the mean image of its class over the pool; two images of each class are far from it.

    The published ``lambda_bw`` lets 0.2 % of the move into training, which changes nothing.
    """
    gains = []
    for seed in range(3):
        of = world(seed, SEEN, lambda_bw=lambda_bw)
        rng = np.random.default_rng(seed)
        picked = np.concatenate([rng.permutation(np.flatnonzero(of.classes_N == one))[:FEW] for one in range(CLASSES)])
        moved = of.moved(picked, np.arange(600))
        gains.append(accuracy(of, picked, moved) - accuracy(of, picked, of.images_ND))
    assert least <= np.mean(gains) <= most


def test_captions_bring_classes_that_look_alike_into_a_selection() -> None:
    """One item of 14 is of a class that its images hide; moved towards their captions, all of these have their turn."""
    met: dict[str, list[int]] = {}
    for seed in range(2):
        of = world(seed, 0.0, rare=0.07, eta=1.0, lambda_bw=0.0)
        everything = np.arange(600)

        def select(features_ND: np.ndarray, seed: int = seed) -> np.ndarray:
            evidence = Evidence(unit_rows(features_ND), losses_N=np.ones(600, dtype=np.float32))
            return make_selector("ods").select(evidence, 24, np.random.default_rng(seed)).positions

        without = select(of.images_ND)
        picks = {
            "without": without,
            "selected": select(of.moved(without, everything)),
            "described": select(of.moved(everything, everything)),
        }
        for name, positions in picks.items():
            met.setdefault(name, []).append(int((of.classes_N[positions] % 2).sum()))
    assert min(met["described"]) >= 2 * max(met["without"])
    assert max(met["selected"]) < min(met["described"])  # the paper moves those alone that were selected before
