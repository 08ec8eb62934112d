"""VeCAF: many labels, little compute. A few items are chosen again and again, by what the model still gets wrong.

Zhang et al., "VeCAF: Vision-language Collaborative Active Finetuning with Training Objective Awareness". The budget is
a number of batches, shared out evenly among L loops. Each loop scores the pool with the model as it is, lets a selector
choose K items (``ods``, equation 7, by default), describes them, moves their embeddings towards the descriptions (CEA,
``text/cea.py``), and trains on them alone for its share of the batches. The learning rate follows one schedule over all
loops. Any other selector runs in the same loop (``select_with``); ``select_with=all`` is training on everything.

Settled here, as the paper leaves it open or its code does it otherwise:

- Losses of a random head are noise: before the first loop a linear probe is fitted, on the pool's (cached) features or
  on the first selection. The first loop scores these features, so its pass over the pool is not made twice, and an item
  is scored by a probe that was fitted without it. Under a classifier at zero all items count the same.
- Moved embeddings stand in for the image's own in the next selection for the items of earlier loops, as these have been
  described. Moving the whole pool where captions are free makes all items of a caption alike, and was worse.
- Selectors that learn from answers get the items of earlier loops as labelled, and start with random ones.
- Scoring costs forward passes. They are counted beside the batches, with those that the first classifier is fitted on;
  an item's forward pass is a third of its training step, and one on smaller images counts by its share of the work.
  ``score_first`` and ``score_share`` score a part of the pool, ``score_size`` on smaller images, ``score_loops=first``
  once; ``scoring`` takes losses from the training itself or from a classifier on features that are there. Drawing at
  random scores nothing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from activetune.base.config import check_settings
from activetune.base.progress import note
from activetune.base.ranks import from_first, is_first, together
from activetune.evaluation.curves import first_at, training_curve
from activetune.networks.network import CLASSIFICATION
from activetune.recipes.vecaf.language import Language
from activetune.recipes.vecaf.loops import Loops
from activetune.recipes.vecaf.scorer import PretrainedFeatures
from activetune.recipes.vecaf.settings import LoopSettings, without_effect
from activetune.training.job import Job, Outcome
from activetune.training.loop import fit
from activetune.training.probe_phase import FIRST_PROBE, Probe, labelled_features, run_probe
from activetune.training.recipe import Recipe
from activetune.training.settings import HoldOut, Optimisation

PAPER = {
    "optimizer": "sgd",
    "lr": 5e-4,
    "weight_decay": 1e-4,
    "momentum": 0.9,
    "batch_size": 512,
    "warm_up": "none",
    "min_crop": 0.08,
}


@dataclass(frozen=True)
class Vecaf(Recipe):
    """Loops of select, describe, augment, finetune, within a number of batches.

    Attributes:
        loop: how the loops go. training: how the network is trained in them.
        language: captions and their part. probe: the first classifier. validation: items that measure.
        targets: values (accuracies) whose first time is told, in batches and seconds (B2A).
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"paper": PAPER}
    selects: ClassVar[bool] = True
    only_tasks: ClassVar[tuple[str, ...]] = (CLASSIFICATION,)
    only_head: ClassVar[str] = "linear"
    later: ClassVar[frozenset[str]] = frozenset(
        {"loop_growth", "score_part", "scoring", "score_size", "loss_balance", "moves"}
    )

    loop: LoopSettings = LoopSettings()
    training: Optimisation = Optimisation()
    language: Language = Language()
    probe: Probe = FIRST_PROBE
    validation: HoldOut = HoldOut(0.1, 20)  # here it measures; little is chosen by it
    targets: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings("vecaf", *(("targets", target, 0, 1) for target in self.targets))

    @property
    def evens_classes(self) -> bool:
        """See :class:`Recipe`; a selection that is spread over the classes does so too."""
        return self.loop.select_within == "classes" or super().evens_classes

    def run(self, job: Job) -> Outcome:
        """See :class:`Recipe`."""
        idle = [*without_effect(self.loop, described=self.language.described)]
        for names, why in [*idle, (self.language.without_effect, "captions=none")]:
            if names:
                note(
                    f"{' and '.join(names)} {'change' if len(names) > 1 else 'changes'} nothing here: {why}", job.quiet
                )
        started = time.perf_counter()
        loops = together(lambda: Loops(job, self.loop, self.training, self.language, self.probe))
        rows: list[Mapping[str, Any]] = []
        strength: float | None = None
        whole = self.loop.warm_up == "selected" and not self.loop.selects_from(len(job.not_held_out))
        warm_up = "pool" if whole else self.loop.warm_up
        reads = is_first() and (loops.scores or warm_up == "pool")  # of a selection alone later, what it has selected
        known = together(lambda: self._known(job, loops, warm_up) if reads else None)
        if warm_up == "pool":
            given = known.features_LD if known is not None and self.probe.views == 1 else None
            imbalance, crops = self.training.imbalance, self.training.crops
            probe = run_probe(job, self.probe, imbalance, crops, keep_held_out=True, features_LD=given)
            rows += probe.history
            strength = float(probe.figures["strength"])
        else:
            job.new_head("linear")
        from_first(lambda: loops.start(known, strength))
        before = job.once("before", lambda: {"seconds": time.perf_counter() - started})["seconds"]
        outcome = fit(job, [loops.stream], loops, self.training, phase="vecaf")
        first, *others = outcome.history
        history = [{**first, "seconds": round(first["seconds"] + before, 3)}, *others]
        curve = training_curve(history, job.measured)
        reached = {f"{target:g}": first_at(curve, target, job.measured) for target in self.targets if curve}
        spent = loops.figures()
        in_all = spent["batches_with_scoring"] + beside_scoring(history, spent)
        figures = {**outcome.figures, **spent, "batches_in_all": round(in_all, 1), "batches_to": reached}
        return Outcome([*rows, *history], figures, loops.files())

    def _known(self, job: Job, loops: Loops, warm_up: str) -> PretrainedFeatures:
        """Features by the pretrained network of what is read: by a probe all items, otherwise those of the first loop.

        A first loop alone can do with smaller images; the features of a first classifier are those of training.
        """
        positions, smaller = np.arange(len(job.labels)), None
        if warm_up != "pool":
            positions = self.loop.looked_at(job.not_held_out, job.labels.indices, 0, job.seed)
        if self.loop.score_size < 1 and warm_up == "none":
            smaller = loops.scorer.backbone()
        return PretrainedFeatures(positions, labelled_features(job, positions, backbone=smaller))


def beside_scoring(history: Sequence[Mapping[str, Any]], spent: Mapping[str, Any]) -> float:
    """What selecting and describing took beside the passes that scored, by the clock: in batches of training."""
    selecting = sum(loop["seconds"] for loop in spent["loops"])
    scoring = sum(loop.get("scoring_seconds", loop["seconds"]) for loop in spent["loops"])
    training = sum(float(row["seconds"]) for row in history) - selecting
    return float(spent["batches"] * (selecting - scoring) / max(training, 1e-3))
