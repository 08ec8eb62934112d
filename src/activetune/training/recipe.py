"""The contract of every recipe, and recipes by name.

A recipe is a frozen dataclass whose fields are its settings or groups of them (``base/settings.py``), with one method
``run``. Each recipe is one module of ``activetune.recipes``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import build
from activetune.base.discovery import classes_of
from activetune.base.errors import UsageError
from activetune.base.settings import Settings, group_of
from activetune.data.labels import Labels
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import LinearHead
from activetune.tasks import Crops, Task, make_task
from activetune.training.head_phase import LightHead
from activetune.training.job import Job, Outcome
from activetune.training.settings import HoldOut, Optimisation

ROOM = "activetune.recipes"  # imported when a recipe is asked for, so that training stays below its recipes


@dataclass(frozen=True)
class Recipe(Settings, ABC):
    """Base class of the recipes.

    Attributes:
        presets: named settings, for instance ``paper``.
        selects: whether the recipe itself selects, again and again, among items whose labels are all known; it then
            has the settings ``select_with``, ``select_settings`` and ``budget``.
        frozen: whether the recipe leaves the backbone as it is.
        uses_pool: whether it learns from images without a label too, so that the model is made from the whole pool.
        only_tasks: the tasks that it can train, where these are not all.
        only_head: the kind of head that it can train, where it is one alone.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    selects: ClassVar[bool] = False
    frozen: ClassVar[bool] = False
    uses_pool: ClassVar[bool] = False
    only_tasks: ClassVar[tuple[str, ...]] = ()
    only_head: ClassVar[str] = ""

    @abstractmethod
    def run(self, job: Job) -> Outcome:
        """Train ``job.network`` in place, and give it a head for the job's task."""

    def refuse(self, name: str, task: str, head: str | None = None) -> None:
        """Refuse a task or a head that the recipe can't train.

        Args:
            name: the recipe's. head: its kind, with its options; None or empty: the one that the task prefers.

        Raises:
            UsageError: it can't.
        """
        if self.only_tasks and task not in self.only_tasks:
            raise UsageError(f"the recipe {name} trains for {', '.join(self.only_tasks)}, not for {task}; give another")
        crops = group_of(self, Crops)
        if crops is not None and crops.augment != "none" and make_task(task).placed:
            raise UsageError(
                f"augment can't be {crops.augment} for {task}, whose answers it would make untrue; leave it out, or "
                "give min_crop and flip, which move answers with the image"
            )
        kind = (head or "").partition(":")[0]
        if self.only_head and kind not in ("", self.only_head):
            raise UsageError(
                f"the recipe {name} trains the head {self.only_head}, not {kind}; leave the head out, or give another "
                "recipe"
            )
        if light := group_of(self, LightHead):
            light.refuse(name, make_task(task), head or "")

    def learns_from_pool(self, task: str, head: str, labels: Labels, images: int) -> bool:
        """Whether a model would be made from the pool's other images too: then these are part of what it is.

        Args:
            task, head: as for :meth:`refuse`. images: of the whole pool.
        """
        return self.uses_pool

    def construction(self) -> dict[str, Any]:
        """Options that the backbone must be built with for this recipe."""
        training = group_of(self, Optimisation)
        return training.construction() if training is not None else {}

    def hold_out(self, strata: IntArray, seed: int) -> IntArray:
        """Positions of the labels that are carved out to choose by.

        Args:
            strata: (L,) see :meth:`Task.strata`; the classes, where an item has one.
        """
        return (group_of(self, HoldOut) or HoldOut()).carve(strata, seed)

    @property
    def evens_classes(self) -> bool:
        """Whether the recipe was asked to make up for classes of different size.

        Models are then chosen so that every class counts the same: top-1 on uneven classes would choose the model that
        has made up for the least.
        """
        imbalance = group_of(self, Imbalance)
        return imbalance is not None and any(imbalance.remedies.values())

    def choosing_for(self, task: Task) -> Task:
        """The task with what this recipe chooses models by."""
        return task.with_even_classes() if self.evens_classes else task

    def fit_on_features(
        self, features_ND: FloatArray, positions_L: IntArray, indices: IntArray, *, held_out: IntArray, seed: int
    ) -> LinearHead | None:
        """The classifier alone, where the recipe leaves the backbone as it is: the one that ``run`` would put on it.

        Args:
            features_ND: the pretrained backbone's features of the whole pool. positions_L: the labelled items in it.
            indices: (L,) their class indices. held_out: positions among them that were carved out to choose by.

        Returns:
            None for a recipe that trains the backbone too, and so has to be run.
        """
        return None


def recipes() -> dict[str, type[Recipe]]:
    """The recipe classes by name."""
    return classes_of(ROOM, Recipe)


def make_recipe(name: str, preset: str | None = None, settings: dict[str, Any] | None = None) -> Recipe:
    """Build a recipe from its name, a preset and single settings (these win).

    Raises:
        UsageError: unknown recipe, preset or setting, or a value of the wrong kind.
    """
    return build(recipes(), name, preset, settings or {}, kind="recipe")
