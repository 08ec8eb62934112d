"""Chooses a recipe by the labels per class, the size of the backbone and the time there is.

FACT is the choice where its time is at hand: it keeps what its phases have learned unless validation says that another
head is better. Its time is estimated by a few steps of training on black images. A backbone too large for the
optimiser's memory gets LoRA. Where there is less time than FACT takes, as with many labels, the network is trained on
all of them for as many batches as fit, from the linear probe's head and on a schedule of that length: VeCAF's recipe
without a selection, which loses to this where the start is a good one (experiments/vecaf). Where hardly any batch fits,
the linear probe is all, its strength chosen by cross-validation on cached features: other light heads take longer than
it takes to train on few labels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.config import check_settings
from activetune.base.progress import note
from activetune.base.settings import changed, flatten
from activetune.data.splits import VALIDATION_LEAST
from activetune.networks.imbalance import Imbalance
from activetune.networks.network import CLASSIFICATION
from activetune.recipes.fact import Fact
from activetune.recipes.linear_probe import LinearProbe
from activetune.recipes.lora import Lora
from activetune.recipes.vecaf import Vecaf
from activetune.training.job import Job, Outcome
from activetune.training.recipe import Recipe
from activetune.training.timing import FORWARD, seconds_an_image


@dataclass(frozen=True)
class Auto(Recipe):
    """Runs ``fact``, ``lora``, some batches from a probe, or the probe alone; the manifest says which, and why.

    Attributes:
        minutes: the time that training may take, about; 0 sets no limit.
        large: parameters from which on LoRA is trained, as Adam alone needs 12 bytes for each of them.
        worthwhile: batches below which the probe alone is better than a training (experiments/LOG.md).
        epochs, views, trials, head_steps, imbalance: of the recipe that is run, see there.
    """

    minutes: float = 0.0
    large: int = 300_000_000
    worthwhile: int = 20
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
        )
        self._fact()

    def hold_out(self, strata: IntArray, seed: int) -> IntArray:
        """See :class:`Recipe`: the chosen recipe holds out what it needs."""
        return NO_INDICES

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        name, because, batches = self._choice(job)
        recipe = self._recipe(name, batches)
        note(f"auto: {name}, {because}", job.quiet)
        held_out = recipe.hold_out(job.strata, job.seed)
        outcome = recipe.run(replace(job, held_out=held_out, settings=flatten(recipe)))
        figures = {"recipe": name, "because": because, **outcome.figures}
        counts = {"n_train": len(job.labels) - len(held_out), "n_validation": len(held_out)}
        return Outcome(outcome.history, {**figures, **counts}, outcome.files)

    def _choice(self, job: Job) -> tuple[str, str, int]:
        """The recipe's name, the reason, and its batches if it has a number of them.

        Where the time that steps take decides, a run that goes on keeps the choice of the run that was cut off.
        """
        if not self.minutes:
            return self._choose(job, 0.0)
        timed = job.once("auto", lambda: {"choice": self._choose(job, seconds_an_image(job))})
        name, because, batches = timed["choice"]
        return name, because, batches

    def _choose(self, job: Job, an_image: float) -> tuple[str, str, int]:
        """See :meth:`_choice`.

        Args:
            an_image: seconds per image in training.
        """
        labels, size = job.labels, sum(value.numel() for value in job.network.parameters())
        large = size >= self.large
        name = "lora" if large else "fact"
        classes = set(labels.names) if job.task.name == CLASSIFICATION else labels.classes
        shots = f"for {len(labels) / max(1, len(classes)):,.1f} labels per class and "
        told = f"{size / 1e6:,.0f} million parameters"
        if not self.minutes:
            return name, shots + told, 0
        pilots = not large and self._has_pilot(job)
        needed = self.epochs * (2 if pilots else 1) * len(labels) * an_image / 60
        told += f", about {needed:,.1f} of {self.minutes:g} minutes"
        if needed <= self.minutes:
            return name, shots + told, 0
        because = f"as {name} would need {told}"
        features = FORWARD * len(labels) * an_image
        batches = int((60 * self.minutes - features) / (an_image * Vecaf.training.batch_size))
        if large or batches < self.worthwhile or not job.has_linear_probe or job.task.name not in Vecaf.only_tasks:
            return "linear_probe", because, 0
        return "vecaf", f"{because}; {batches:,} batches of all labels do", batches

    def _recipe(self, name: str, batches: int) -> Recipe:
        remedies = self.imbalance.remedies
        if name == "fact":
            return self._fact()
        if name == "lora":
            return changed(Lora(), {"epochs": self.epochs, **remedies})
        if name == "linear_probe":
            return changed(LinearProbe(), remedies)
        everything = {"batches": batches, "loops": 1, "select_with": "all", "captions": "none"}
        few_are_all_trained_on = {"validation_least": VALIDATION_LEAST}
        return changed(Vecaf(), {**everything, **few_are_all_trained_on, **remedies})

    def _has_pilot(self, job: Job) -> bool:
        fact = self._fact()
        held_out = fact.hold_out(job.strata, job.seed)
        return len(fact.left_out(replace(job, held_out=held_out))) > 0

    def _fact(self) -> Fact:
        own = {name: getattr(self, name) for name in ("epochs", "views", "trials", "head_steps")}
        return changed(Fact(), {**own, **self.imbalance.remedies})
