"""Recipes that begin with the linear probe's head and then train the network, or part of it.

A random head sends large, meaningless gradients into the backbone during the first steps; starting from the linear
probe's head avoids that (Kumar et al., "Fine-Tuning can Distort Pretrained Features", ICLR 2022: LP-FT). With few
labels this moves accuracy more than the choice of selector.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from activetune.training.head_training import BY_STEPS, NAMES, HeadTraining
from activetune.training.job import Job, Outcome
from activetune.training.loop import train
from activetune.training.probe_phase import FIRST_PROBE, Probe, run_probe
from activetune.training.recipe import Recipe
from activetune.training.settings import HoldOut, Training


@dataclass(frozen=True)
class FromProbe(Recipe):
    """The linear probe's head on the pretrained backbone, then a training of what :meth:`prepared` leaves trainable.

    Attributes:
        phase: the name of the training in ``history.csv``.
        training: of the network; the probe uses its ``imbalance`` and ``crops`` too. probe: of the head at the start.
        head_training: of a first head that logistic regression does not fit.
        validation: how many labels are held out, by which both probe and training choose.
    """

    phase: ClassVar[str]
    later: ClassVar[frozenset[str]] = NAMES

    training: Training = Training()
    probe: Probe = FIRST_PROBE
    head_training: HeadTraining = BY_STEPS
    validation: HoldOut = HoldOut()

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        imbalance, crops = self.training.imbalance, self.training.crops
        probe = run_probe(job, self.probe, imbalance, crops, training=self.head_training, keep_held_out=True)
        with self.prepared(job) as files:
            tuned = train(job, self.training, phase=self.phase)
        return Outcome([*probe.history, *tuned.history], {**probe.figures, **tuned.figures}, files)

    @contextlib.contextmanager
    def prepared(self, job: Job) -> Iterator[dict[str, bytes]]:
        """A context in which ``job.network`` is as it shall be trained, by default all of it.

        Yields:
            Contents by name of further files of the model; they may be filled in when the context ends.
        """
        yield {}
