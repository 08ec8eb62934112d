"""FACT: linear probe, full finetuning from its head, then a light head on the finetuned backbone's features.

"FACT: A Simple and Efficient Framework for Active Finetuning": phase 1 (``probe``) fits a linear probe on the frozen
backbone, phase 2 (``full``) trains backbone and head from there with an optimiser and a schedule of its own, phase 3
(``head``) freezes the backbone again and fits a light head on features of this run's own phase 2 under frozen feature
augmentation (``frofa/``).

The paper leaves open when a phase should end. Here the length of phase 2, the light head and its augmentation are
chosen on labelled items that the backbone was not trained on, because features of items that it was trained on are
memorised and tell nothing:

- below 1,000 labels (``validation_least=200`` to choose by) nothing is chosen: all labels go through all epochs of
  phase 2 and its own head is kept, which is better than a choice by few items (experiments/LOG.md);
- up to 2,000 labels by a pilot: phases 1 and 2 run once without a fifth of the labels, on which everything is chosen,
  and then again with all of them;
- with more, or with ``pilot=false``, on a validation part that is held out of all phases but the last fit.

Between the last weights of phase 2 and where the phase began lies a model that has both the pretrained features and
what was learned; sometimes it is the better one (``interpolation``; experiments/fact/README.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from torch import nn

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.errors import UsageError
from activetune.data.splits import pilot_part
from activetune.networks.regression import CROSS_VALIDATED
from activetune.recipes.full import PAPER
from activetune.training.head_choice import Candidate
from activetune.training.head_phase import Choice, LightHead, run_head
from activetune.training.head_training import BY_STEPS
from activetune.training.job import Job, Outcome
from activetune.training.loop import train
from activetune.training.phases import Phases, pilot
from activetune.training.probe_phase import FIRST_PROBE, Probe, run_probe
from activetune.training.recipe import Recipe
from activetune.training.settings import HoldOut, Training

Phase = Literal["probe", "full", "head"]
DEFAULT = Candidate("keep")


@dataclass(frozen=True)
class _Chosen:
    """The choices that the pilot makes: epochs and interpolation of phase 2, and the light head."""

    epochs: int | None = None
    interpolation: float | None = None
    choice: Choice | None = None


@dataclass(frozen=True)
class Fact(Recipe):
    """Probe, full finetuning, light head.

    Attributes:
        phases: those that are run, in this order; without ``probe`` phase 2 starts from a head at zero.
        pilot: choose by a run on four fifths of the labels, where these are too few to spare a part for good.
        training: of phase 2, whose ``imbalance`` and ``crops`` are those of all phases. probe: of phase 1; the light
            head is tried with its strengths, in its folds. light: of phase 3. validation: what all phases choose by.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PAPER}

    phases: tuple[Phase, ...] = ("probe", "full", "head")
    pilot: bool = True
    training: Training = Training(lr=3e-4, layer_decay=0.75, patience=5, interpolation=(1.0, 0.0, 0.25, 0.5, 0.75))
    probe: Probe = FIRST_PROBE
    light: LightHead = LightHead()
    validation: HoldOut = HoldOut()

    def __post_init__(self) -> None:
        super().__post_init__()
        order = [phase for phase in ("probe", "full", "head") if phase in self.phases]
        if not self.phases or list(self.phases) != order:
            raise UsageError(
                f"fact: phases can't be {', '.join(self.phases) or 'empty'}; "
                "give some of probe, full, head, in this order"
            )
        if "full" not in self.phases and self.light.head == "keep":
            raise UsageError("fact: head=keep keeps the classifier of the phase full; run it, or give another head")

    def hold_out(self, strata: IntArray, seed: int) -> IntArray:
        """See :class:`Recipe`; nothing is held out where the pilot chooses."""
        piloted = self.pilot and "full" in self.phases
        return NO_INDICES if piloted and len(strata) <= CROSS_VALIDATED else super().hold_out(strata, seed)

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        left_out = self.left_out(job)
        if not len(left_out):
            return self._run_phases(job, _Chosen())[0]
        with pilot(job, left_out, held_out=left_out) as run:
            tried, chosen = self._run_phases(run.job, _Chosen(), only_choose=True)
        done, _ = self._run_phases(job, chosen)
        figures = {"pilot": run.figures, **done.figures}
        if "estimate" in tried.figures:  # what it answered is nearer to the model than the probe's cross-validation
            figures["estimate"] = {**tried.figures["estimate"], "by": run.by}
        return Outcome([*run.rows(tried.history), *done.history], figures)

    def left_out(self, job: Job) -> IntArray:
        """The items that the pilot leaves out; none where it is not needed, or where they are too few."""
        if not self.pilot or "full" not in self.phases or len(job.held_out):
            return NO_INDICES
        return pilot_part(job.strata, job.seed, least=self.validation.least)

    def _run_phases(self, job: Job, chosen: _Chosen, *, only_choose: bool = False) -> tuple[Outcome, _Chosen]:
        phases = Phases()
        epochs, share, choice = chosen.epochs, chosen.interpolation, chosen.choice
        tunes = "full" in self.phases
        if "probe" in self.phases:
            phases.run("probe", lambda: self._probe(job, keep_held_out=tunes))
        if tunes:
            tuned = phases.run("full", lambda: self._full(job, epochs, share))
            epochs, share = int(tuned["kept_epoch"]), tuned.get("interpolation")

        def head() -> Outcome:
            nonlocal choice
            imbalance, crops = self.training.imbalance, self.training.crops
            options: dict[str, Any] = {"splits": self._splits(job), "choice": choice, "put": not only_choose}
            options |= {"auto": DEFAULT if tunes else Candidate("linear"), "present": _present(job) if tunes else None}
            outcome, choice = run_head(job, self.light, self.probe.regression, imbalance, crops, **options)
            return outcome

        if "head" in self.phases:
            phases.run("head", head)
        told = [figures.pop("estimate") for figures in phases.figures.values() if "estimate" in figures]
        last = {"estimate": told[-1]} if told else {}
        return Outcome(phases.history, {"phases": phases.figures, **last}), _Chosen(epochs, share, choice)

    def _probe(self, job: Job, *, keep_held_out: bool) -> Outcome:
        """Phase 1."""
        by_steps = BY_STEPS if job.has_linear_probe else self.light.training
        imbalance, crops = self.training.imbalance, self.training.crops
        return run_probe(job, self.probe, imbalance, crops, training=by_steps, keep_held_out=keep_held_out)

    def _full(self, job: Job, epochs: int | None, share: float | None) -> Outcome:
        """Phase 2, of so many epochs, and so far from its start, where a pilot has chosen them."""
        if "probe" not in self.phases:
            job.new_head()
        if share == 0:  # nothing was better than the probe
            return Outcome([], {"kept_epoch": 0, "interpolation": share})
        training = self.training if share is None else replace(self.training, interpolation=(share,))
        return train(job, training, phase="full", stop_after=epochs)

    def _splits(self, job: Job) -> list[IntArray]:
        """What the light head is chosen by: items that the backbone was not trained on, all of them if it is frozen."""
        if "full" in self.phases and not len(job.held_out):
            return []
        return job.splits(self.probe.folds, np.random.default_rng(job.seed))


def _present(job: Job) -> nn.Module:
    """What the candidate ``keep`` leaves as it is: the head, or the classifier of one that is linear."""
    return job.network.classifier() if job.has_linear_probe else job.network.head()
