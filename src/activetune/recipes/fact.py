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

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from torch import nn

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.errors import UsageError
from activetune.base.progress import note
from activetune.data.splits import pilot_part
from activetune.networks.regression import CROSS_VALIDATED
from activetune.recipes.full import PAPER
from activetune.training.head_choice import Candidate
from activetune.training.head_phase import Choice, LightHead, run_head
from activetune.training.head_training import BY_STEPS
from activetune.training.job import Job, Outcome, untold
from activetune.training.loop import train
from activetune.training.network_state import copied
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
        rows: list[Mapping[str, Any]] = []
        figures: dict[str, Any] = {}
        chosen = _Chosen()
        left_out = self.left_out(job)
        if len(left_out):
            started = time.perf_counter()
            rows, chosen, told = self._pilot(job, left_out)
            figures["pilot"] = {"n_validation": len(left_out), "seconds": round(time.perf_counter() - started, 3)}
        outcome, _ = self._run_phases(job, chosen)
        figures |= outcome.figures
        if len(left_out) and told:  # what it answered is nearer to the model than the probe's cross-validation
            figures["estimate"] = {**told, "by": f"a pilot trained on the other {len(job.labels) - len(left_out):,}"}
        return Outcome([*rows, *outcome.history], figures)

    def left_out(self, job: Job) -> IntArray:
        """The items that the pilot leaves out; none where it is not needed, or where they are too few."""
        if not self.pilot or "full" not in self.phases or len(job.held_out):
            return NO_INDICES
        return pilot_part(job.strata, job.seed, least=self.validation.least)

    def _pilot(self, job: Job, left_out: IntArray) -> tuple[list[Mapping[str, Any]], _Chosen, Mapping[str, Any] | None]:
        """Run the phases without some items, choose by these, and put the backbone back as it was.

        Returns:
            Rows of the history, what was chosen, and the figure that the items left out gave.
        """
        note(f"pilot: {len(left_out)} of {len(job.labels)} labels are left out to choose by", job.quiet)
        work = job.work / "pilot"
        work.mkdir(exist_ok=True)
        before = copied(job.backbone.state_dict())
        part = replace(job, held_out=left_out, work=work, track=untold)
        outcome, chosen = self._run_phases(part, _Chosen(), only_choose=True)
        job.network.remove_heads()
        job.backbone.load_state_dict(before)
        rows: list[Mapping[str, Any]] = [{**row, "phase": f"pilot {row['phase']}"} for row in outcome.history]
        return rows, chosen, outcome.figures.get("estimate")

    def _run_phases(self, job: Job, chosen: _Chosen, *, only_choose: bool = False) -> tuple[Outcome, _Chosen]:
        rows: list[Mapping[str, Any]] = []
        phases: dict[str, Any] = {}
        epochs, share, choice = chosen.epochs, chosen.interpolation, chosen.choice
        imbalance, crops = self.training.imbalance, self.training.crops
        if "probe" in self.phases:
            started = time.perf_counter()
            tunes = "full" in self.phases
            by_steps = BY_STEPS if job.has_linear_probe else self.light.training
            probe = run_probe(job, self.probe, imbalance, crops, training=by_steps, keep_held_out=tunes)
            rows += probe.history
            phases["probe"] = {**probe.figures, "seconds": round(time.perf_counter() - started, 3)}
        if "full" in self.phases:
            if "probe" not in self.phases:
                job.new_head()
            started = time.perf_counter()
            training = self.training if share is None else replace(self.training, interpolation=(share,))
            if share == 0:  # the pilot has found that nothing is better than the probe
                tuned = Outcome([], {"kept_epoch": 0, "interpolation": share})
            else:
                tuned = train(job, training, phase="full", stop_after=epochs)
            rows += tuned.history
            phases["full"] = {**tuned.figures, "seconds": round(time.perf_counter() - started, 3)}
            epochs, share = int(tuned.figures["kept_epoch"]), tuned.figures.get("interpolation")
        if "head" in self.phases:
            tuned_here = "full" in self.phases
            light, choice = run_head(
                job,
                self.light,
                self.probe.regression,
                imbalance,
                crops,
                splits=self._splits(job),
                choice=choice,
                auto=DEFAULT if tuned_here else Candidate("linear"),
                present=_present(job) if tuned_here else None,
                put=not only_choose,
            )
            rows += light.history
            phases["head"] = light.figures
        told = [figures.pop("estimate") for figures in phases.values() if "estimate" in figures]
        last = {"estimate": told[-1]} if told else {}
        return Outcome(rows, {"phases": phases, **last}), _Chosen(epochs, share, choice)

    def _splits(self, job: Job) -> list[IntArray]:
        """What the light head is chosen by: items that the backbone was not trained on, all of them if it is frozen."""
        if "full" in self.phases and not len(job.held_out):
            return []
        return job.splits(self.probe.folds, np.random.default_rng(job.seed))


def _present(job: Job) -> nn.Module:
    """What the candidate ``keep`` leaves as it is: the head, or the classifier of one class per image."""
    return job.network.head() if job.task.placed else job.network.classifier()
