"""Probe, then full finetuning from the probe's head.

A random head sends large, meaningless gradients into the backbone during the first steps; starting from the linear
probe's head avoids that (Kumar et al., "Fine-Tuning can Distort Pretrained Features", ICLR 2022: LP-FT). With few
labels this moves accuracy more than the choice of selector.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from activetune.heads.linear import STRENGTHS
from activetune.model import add_classifier
from activetune.recipes._base import Outcome, Recipe, Task
from activetune.recipes._loop import Training, train
from activetune.recipes.full import PAPER
from activetune.recipes.linear_probe import fit_probe, trial_rows


@dataclass(frozen=True)
class ProbeThenFull(Training, Recipe):
    """The linear probe's head on the pretrained backbone, then everything is trained.

    Attributes:
        strengths: candidates for the probe's C.
        folds: of its cross-validation, where nothing is held out.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PAPER}

    strengths: tuple[float, ...] = STRENGTHS
    folds: int = 5

    def run(self, task: Task) -> Outcome:
        """See :class:`Recipe`."""
        probe = fit_probe(task, self.strengths, self.folds, iterations=1000, keep_held_out=True)
        probe.head.write_to(add_classifier(task.backbone, len(task.labels.classes)))
        trained = train(task, self, phase="full")
        return Outcome([*trial_rows(probe), *trained.history], {"strength": probe.strength, **trained.figures})
