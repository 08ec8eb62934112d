"""Chooses a recipe by the labels per class, the size of the backbone and the time there is.

FACT is the choice where its time is at hand: it keeps what its phases have learned unless validation says that another
head is better. Its time is estimated by a few steps of training on black images. A backbone too large for the
optimiser's memory gets LoRA. Where labels are few beside the pool's images, FACT's network looks at these too and its
head learns from them (experiments/pool); in a time that is given and is enough for it, it teaches a student then.

Where there is less time than FACT takes, as with many labels, the network is trained on all of them for as many batches
as fit, from the linear probe's head and on a schedule of that length: VeCAF's recipe without a selection, which loses
to this where the start is a good one (experiments/vecaf). Where hardly any batch fits, a probe is all. It learns from
the pool too where labels are few and there is time to look at all images (experiments/pool). Other light heads take
longer than it takes to train on few labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.config import check_settings, off_default
from activetune.base.printing import counted
from activetune.base.progress import note
from activetune.base.settings import changed, flatten
from activetune.data.labels import Labels
from activetune.data.splits import VALIDATION_LEAST
from activetune.networks.imbalance import Imbalance
from activetune.networks.network import CLASSIFICATION
from activetune.recipes.fact import Fact
from activetune.recipes.linear_probe import LinearProbe
from activetune.recipes.lora import Lora
from activetune.recipes.pool_fact import PoolFact
from activetune.recipes.pool_probe import PoolProbe
from activetune.recipes.vecaf import Vecaf
from activetune.training.job import Job, Outcome
from activetune.training.recipe import Recipe
from activetune.training.timing import FORWARD, seconds_an_image

# All labels by VeCAF's recipe, without a selection; few are all trained on.
OF_RECIPES = ("epochs", "views", "trials", "head_steps")
EVERYTHING = {"loops": 1, "select_with": "all", "captions": "none", "validation_least": VALIDATION_LEAST}


@dataclass(frozen=True)
class Auto(Recipe):
    """Runs ``fact``, with the pool or without, ``lora``, some batches from a probe, or a probe alone.

    The manifest says which, and why.

    Attributes:
        minutes: the time that training may take, about; 0 sets no limit.
        large: parameters from which on LoRA is trained, as Adam alone needs 12 bytes for each of them.
        worthwhile: batches below which the probe alone is better than a training (experiments/LOG.md).
        pool_shots: labels per class up to which the rest of the pool is learned from, if there is time for it.
        pool_times: images per label that the pool must have for that.
        epochs, views, trials, head_steps, imbalance: of the recipe that is run, see there.
    """

    minutes: float = 0.0
    large: int = 300_000_000
    worthwhile: int = 20
    pool_shots: float = 100.0
    pool_times: float = 2.0
    epochs: int = 15
    views: int = 4
    trials: int = 12
    head_steps: int = 400
    imbalance: Imbalance = Imbalance()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(
            "auto",
            ("minutes", self.minutes, 0, np.inf),
            ("large", self.large, 0, np.inf),
            ("worthwhile", self.worthwhile, 1, np.inf),
            ("pool_shots", self.pool_shots, 0, np.inf),
            ("pool_times", self.pool_times, 1, np.inf),
        )
        self._fact()

    def hold_out(self, strata: IntArray, seed: int) -> IntArray:
        """See :class:`Recipe`: the chosen recipe holds out what it needs."""
        return NO_INDICES

    def learns_from_pool(self, task: str, head: str, labels: Labels, images: int) -> bool:
        """See :class:`Recipe`: whether it may come to that, as the choice is made when the training begins."""
        few = _shots(task, labels) <= self.pool_shots and images >= self.pool_times * len(labels)
        return few and _pool_can_teach(task, head)

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        name, because, count = self._choice(job)
        recipe = self._recipe(name, count)
        alone = " without a student" if name == "pool_fact" and not count else ""
        note(f"auto: {name}{alone}, {because}", job.quiet)
        known = flatten(recipe)
        idle = [one for one in off_default(self, OF_RECIPES) if one not in known]
        if idle:
            note(f"{name} has no settings {', '.join(idle)}: what was given for them changes nothing", job.quiet)
        held_out = recipe.hold_out(job.strata, job.seed)
        outcome = recipe.run(replace(job, held_out=held_out, settings=flatten(recipe)))
        figures = {"recipe": name, "because": because, **outcome.figures}
        counts = {"n_train": len(job.labels) - len(held_out), "n_validation": len(held_out)}
        return Outcome(outcome.history, {**figures, **counts}, outcome.files)

    def _choice(self, job: Job) -> tuple[str, str, int]:
        """The recipe's name, the reason, and how many batches or pseudo-labels it has if that is a matter of time.

        Where the time that steps take decides, a run that goes on keeps the choice of the run that was cut off.
        """
        if not self.minutes:
            return self._without_limit(job)
        timed = job.once("auto", lambda: {"choice": self._within(job, seconds_an_image(job))})
        name, because, count = timed["choice"]
        return name, because, count

    def _without_limit(self, job: Job) -> tuple[str, str, int]:
        """See :meth:`_choice`."""
        size = _size(job)
        because = f"for {_told_labels(job)} and {_told_size(size)}"
        if size >= self.large:
            return "lora", because, 0
        return "pool_fact" if self._from_pool(job) else "fact", because, 0

    def _within(self, job: Job, an_image: float) -> tuple[str, str, int]:
        """See :meth:`_choice`.

        Args:
            an_image: seconds per image in training.
        """
        name, because, _ = self._without_limit(job)
        large, labels = name == "lora", len(job.labels)
        passed = ""
        if name == "pool_fact":
            if count := self._pool_fact().affordable(self.minutes, job, an_image):
                return name, f"{because}; {count:,} of the pool's answers fit in {self.minutes:g} minutes", count
            needed = self._pool_fact().work_without_students(job) * an_image / 60
            if needed <= self.minutes:
                return name, f"{because}, {self._told_time(needed)}", 0
            name, passed = "fact", f"pool_fact would need {self._told_time(needed)} and "
        needed = self.epochs * (2 if not large and self._has_pilot(job) else 1) * labels * an_image / 60
        told = self._told_time(needed)
        if needed <= self.minutes:
            return name, f"{because}, {told}", 0
        because = f"as {passed}{name} would need {told} {because}"
        left = 60 * self.minutes - FORWARD * labels * an_image
        batches = int(left / (an_image * Vecaf.training.batch_size))
        trains = not large and job.has_linear_probe and job.task.name in Vecaf.only_tasks
        if trains and batches >= self.worthwhile:
            return "vecaf", f"{because}; {batches:,} batches of all labels do", batches
        looks = self._from_pool(job) and FORWARD * len(job.teaching) * an_image <= 60 * self.minutes
        return "pool_probe" if looks else "linear_probe", because, 0

    def _told_time(self, needed: float) -> str:
        return f"about {needed:,.{1 if needed >= 1 else 4}f} of {self.minutes:g} minutes"

    def _recipe(self, name: str, count: int) -> Recipe:
        remedies = self.imbalance.remedies
        if name == "fact":
            return self._fact()
        if name == "pool_fact":
            return changed(self._pool_fact(), {"pseudo_labels": count} if count else {"turns": 0})
        plain: dict[str, tuple[Recipe, dict[str, Any]]] = {
            "lora": (Lora(), {"epochs": self.epochs}),
            "linear_probe": (LinearProbe(), {}),
            "pool_probe": (PoolProbe(), {}),
            "vecaf": (Vecaf(), {**EVERYTHING, "batches": count}),
        }
        recipe, own = plain[name]
        return changed(recipe, {**own, **remedies})

    def _from_pool(self, job: Job) -> bool:
        return self.learns_from_pool(job.task.name, job.head, job.labels, len(job.teaching))

    def _has_pilot(self, job: Job) -> bool:
        fact = self._fact()
        held_out = fact.hold_out(job.strata, job.seed)
        return len(fact.left_out(replace(job, held_out=held_out))) > 0

    def _fact(self) -> Fact:
        own = {name: getattr(self, name) for name in OF_RECIPES}
        return changed(Fact(), {**own, **self.imbalance.remedies})

    def _pool_fact(self) -> PoolFact:
        return changed(PoolFact(), {"epochs": self.epochs, **self.imbalance.remedies})


def _shots(task: str, labels: Labels) -> float:
    """Labels per class; of the classes that have any, where each item has one."""
    classes = set(labels.names) if task == CLASSIFICATION else labels.classes
    return len(labels) / max(1, len(classes))


def _told_labels(job: Job) -> str:
    """What tells whether the pool is learned from, where it can be."""
    told = f"{_shots(job.task.name, job.labels):,.1f} labels per class"
    if not _pool_can_teach(job.task.name, job.head):
        return told
    return f"{told}, {counted(len(job.teaching), 'image')} in the pool"


def _pool_can_teach(task: str, head: str) -> bool:
    return task in PoolFact.only_tasks and head in ("", PoolFact.only_head)


def _size(job: Job) -> int:
    return sum(value.numel() for value in job.network.parameters())


def _told_size(size: int) -> str:
    return f"{size / 1e6:,.{0 if size >= 1e7 else 1}f} million parameters"
