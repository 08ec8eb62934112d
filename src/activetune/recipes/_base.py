"""The contract of every recipe: a frozen dataclass whose fields are its settings, and one ``run``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from activetune.backbones import Backbone
from activetune.heads.linear import LinearHead
from activetune.labels import VALIDATION_LEAST, carve_validation
from activetune.runtime import Runtime
from activetune.types import FloatArray, IntArray, Labels, Pool


@dataclass(frozen=True)
class Task:
    """What a recipe gets.

    Attributes:
        pool: the labelled items alone, all of them decodable, in the order of ``labels``.
        labels: their answers; a class may have none, at least two have some.
        held_out: positions carved out for validation (empty where labels are too few); never trained on by a
            recipe that chooses by them, except in a final fit after the choice.
        whole_pool: the pool that they come from, whose features may be cached.
        work: folder for what an unfinished run needs, such as the state after each epoch; it goes when the run is done.
        resume: go on from what is there.
    """

    pool: Pool
    labels: Labels
    held_out: IntArray
    whole_pool: Pool
    backbone: Backbone
    runtime: Runtime
    seed: int
    work: Path
    resume: bool = False
    use_cache: bool = True
    workers: int = -1
    quiet: bool = False

    @property
    def training(self) -> IntArray:
        """Positions that are not held out."""
        return np.setdiff1d(np.arange(len(self.labels)), self.held_out)


@dataclass(frozen=True)
class Outcome:
    """What a recipe leaves: the backbone now carries the classifier.

    Attributes:
        history: one row an epoch or trial. figures: for the manifest.
        files: names and contents of what is to lie beside the model.
    """

    history: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Recipe(ABC):
    """Base class of the recipes.

    Attributes:
        presets: named settings, for instance ``paper``.
        selects: whether the recipe itself selects, again and again, among items whose labels are all known; it then
            has the settings ``select_with``, ``select_settings`` and ``budget``.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    selects: ClassVar[bool] = False

    @abstractmethod
    def run(self, task: Task) -> Outcome:
        """Train ``task.backbone`` in place, with a classifier of ``len(task.labels.classes)`` outputs."""

    def construction(self) -> dict[str, Any]:
        """Options that the backbone must be built with for this recipe."""
        return {}

    def hold_out(self, indices: IntArray, seed: int) -> IntArray:
        """Positions of the labels (their class indices: (L,)) that are carved out to choose by."""
        share = float(getattr(self, "validation", 0.2))
        least = int(getattr(self, "validation_least", VALIDATION_LEAST))
        return carve_validation(indices, share, np.random.default_rng([seed, 1]), least=least)

    def fit_on_features(
        self, features_LD: FloatArray, indices: IntArray, *, held_out: IntArray, seed: int
    ) -> LinearHead | None:
        """The classifier alone, where the recipe leaves the backbone as it is: the one that ``run`` would put on it.

        Args:
            features_LD: the pretrained backbone's features of the labelled items, in the order of ``indices``.

        Returns:
            None for a recipe that trains the backbone too, and so has to be run.
        """
        return None
