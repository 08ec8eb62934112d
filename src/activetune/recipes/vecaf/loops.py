"""The loops of VeCAF: each scores the pool, selects items, describes them, moves their embeddings, and trains on them.

Shape legend: S scored items, K selected ones, L labelled ones, D feature size.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.progress import note
from activetune.base.ranks import from_first, is_first, with_weights_of_first
from activetune.data.splits import carve_validation
from activetune.evaluation.curves import count_of
from activetune.features.distances import unit_rows
from activetune.features.text import cea
from activetune.features.text.alignment import TextMap
from activetune.networks.network import Network
from activetune.networks.regression import CROSS_VALIDATED, LinearHead
from activetune.recipes.vecaf.language import Describer, Language, told
from activetune.recipes.vecaf.record import LoopRecord, selections_csv
from activetune.recipes.vecaf.scorer import LoopScorer, PretrainedFeatures
from activetune.recipes.vecaf.scoring import Scored
from activetune.recipes.vecaf.selecting import LoopSelector, rows_among
from activetune.recipes.vecaf.settings import LoopSettings
from activetune.selection.problem import Evidence, Picks
from activetune.tasks import Batch, Task
from activetune.training.job import Job
from activetune.training.probe_phase import Probe, labelled_features
from activetune.training.settings import Optimisation
from activetune.training.streams import Course, Stream, stream_of
from activetune.training.timing import FORWARD

WARMUP = 0.05  # of the batches


class Loops(Course):
    """The course of VeCAF: an epoch ends at each measurement, and a loop has ``measurements`` epochs.

    The first epoch of a loop selects and describes the items that the loop trains on, and keeps them in the folder of
    the unfinished run (``record.py``), where a resumed run reads them again. For example ``loops=3, measurements=3``
    makes nine epochs, of which the first, fourth and seventh select.

    The constructor checks the settings and raises for an unknown objective, an impossible budget, missing captions or
    an unknown text encoder; it computes nothing. Call ``start`` before training.
    """

    def __init__(self, job: Job, options: LoopSettings, training: Optimisation, language: Language, probe: Probe):
        self.job, self.options, self.training, self.language, self.probe = job, options, training, language, probe
        self.candidates = job.not_held_out
        self.sizes = options.sizes(len(self.candidates))
        self.scores = options.scores(len(self.candidates), described=language.described)
        self.describer = Describer(job, language)
        if language.described and self.scores and is_first():
            self.describer.open(self.candidates)
        self.selector = LoopSelector(job, options, self.candidates, self.sizes)
        self.scorer = LoopScorer(job, options, self.candidates, self._head_of)
        self.done: list[LoopRecord] = []
        self.known: PretrainedFeatures | None = None
        self.probed = False
        stretches, total = len(options.steps), sum(options.steps)
        self.stream = stream_of(job, training, count=max(options.steps))
        super().__init__(max(options.steps), stretches, warmup=round(WARMUP * total), total=total)

    def start(self, known: PretrainedFeatures | None, strength: float | None) -> None:
        """Score the items of the first loop by the classifier as it is now; in the first process.

        Call it before a checkpoint is restored, which replaces the classifier.

        Args:
            known: features of the items that the first loop scores; None where nothing reads them.
            strength: regularisation of the probe that is the classifier; None where the classifier is no probe.
        """
        self.known, self.probed = known, strength is not None
        if known is not None and self.scores:
            self.scorer.start(known, strength)

    def until(self, epoch: int) -> int:
        """See :class:`Course`; a loop that has grown has longer stretches."""
        return sum(self.options.steps[:epoch])

    def begin(self, epoch: int, streams: Sequence[Stream]) -> None:
        """See :class:`Course`; the first stretch of a loop selects."""
        self.epoch = epoch
        loop, stretch = divmod(epoch, self.options.measurements)
        while len(self.done) <= loop:
            self._enter(len(self.done))
        batches = streams[0].batches
        batches.count = self.options.steps[epoch]
        batches.items = batches.count * batches.batch_size
        batches.epoch, batches.skip = loop, sum(self.options.steps[epoch - stretch : epoch]) * batches.batch_size
        batches.positions = np.sort(self.done[-1].picks.positions)
        options = self.training
        self.learned = self.job.task.prepared(
            self.job.labels,
            batches.positions,
            options.imbalance,
            smoothing=options.label_smoothing,
            weights_L=options.imbalance.weights(self.job.strata[batches.positions]),
        )

    def task(self, stream: Stream) -> Task:
        """See :class:`Course`: logits are adjusted by the classes' shares of the loop's own items."""
        return self.learned

    def outputs(self, network: Network, batch: Batch, stream: Stream) -> Tensor:
        """See :class:`Course`; what the step knows of its items is noted."""
        logits = self._logits(network, batch, stream)
        self.scorer.note(batch, logits)
        return logits

    def _logits(self, network: Network, batch: Batch, stream: Stream) -> Tensor:
        """Equation 10 for the items that are described."""
        moved = self.done[-1].moved
        if moved is None or self.language.lambda_bw == 1:
            logits: Tensor = super().outputs(network, batch, stream)
            return logits
        features = network.backbone.last(batch.images)
        pooled = network.backbone.pool(features)
        rows = torch.from_numpy(np.searchsorted(moved.positions, batch.positions.cpu().numpy()))
        texts = torch.from_numpy(moved.texts_KD)[rows].to(pooled.device)
        steps = torch.from_numpy(moved.steps_K)[rows, None].to(pooled.device)
        found = cea.augmented(pooled, texts, steps, self.language.lambda_bw)
        if self.language.place == "pooled":
            logits = network.head()(found)
            return logits
        shift = (found - pooled).to(features.dtype)
        if features.ndim == 4:
            first = features.shape[1] == shift.shape[1]
            features = features + (shift[:, :, None, None] if first else shift[:, None, None])
        else:
            features = features + shift[:, None]
        logits = network.answer(features)
        return logits

    def end(self) -> None:
        """See :class:`Course`."""
        self.scorer.take_notes()

    def columns(self) -> dict[str, Any]:
        """See :class:`Course`: the loop, and what was spent up to here, ``scored`` in passes at full size."""
        loop = len(self.done)
        first = self.epoch % self.options.measurements == 0
        return {
            "loop": loop,
            "batches": self.until(self.epoch + 1),
            "scored": self._passes,
            "selection_seconds": self.done[-1].told["seconds"] if first else 0.0,
        }

    def state(self) -> dict[str, Any]:
        """See :class:`Course`: how many loops have begun; what each has selected lies in files of its own."""
        known = {"losses": torch.from_numpy(self.scorer.losses_L)} if self.scorer.remembers else {}
        return {"loops": len(self.done), **known}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See :class:`Course`."""
        self.done = [LoopRecord.read(self.job.work, loop) for loop in range(state["loops"])]
        if "losses" in state:
            self.scorer.losses_L = state["losses"].cpu().numpy().copy()

    # A loop's beginning -------------------------------------------------------------------------------------------

    def _enter(self, loop: int) -> None:
        """Select and describe, or read the selection that was kept before the run was cut off."""

        def kept() -> None:
            if not LoopRecord.written(self.job.work, loop):
                self._select(loop).write(self.job.work, loop)

        from_first(kept)
        self.done.append(LoopRecord.read(self.job.work, loop))
        if self.done[-1].seen is not None:
            self.scorer.remember(*self.done[-1].seen)
        if not loop and self._warms_up:
            from_first(self._warm_up)
            with_weights_of_first(self.job.network.head())

    def _select(self, loop: int) -> LoopRecord:
        started = time.perf_counter()
        if not self.scores:
            picks = self.selector.unseen(loop)
            return LoopRecord(picks, told=self._spent(self._read_to_start(picks, loop), started, started))
        scored = self.scorer.score(loop, self._trained_on())
        losses_S, looked = self.scorer.weighed(scored), time.perf_counter()
        augmented_SD, text_map = self._augmented(scored)
        evidence = Evidence(
            unit_rows(augmented_SD),
            device=str(self.job.runtime.device),
            losses_N=losses_S,
            probs_NC=scored.probs_SC,
        )
        chosen = self.selector.scored(evidence, scored.positions, self._selected_before(scored), loop)
        rows = chosen.positions
        picks = replace(chosen, positions=scored.positions[rows])
        about: dict[str, Any] = {}
        moved, captions = None, []
        if self.language.described:
            order = np.argsort(picks.positions)
            positions, features_KD = picks.positions[order], scored.features_SD[rows[order]]
            text_map = text_map if self.describer.everything else self.describer.fit(positions, features_KD)
            if text_map is not None:
                moved, about["text_map"] = self.describer.move(positions, features_KD, text_map), told(text_map)
                captions = self.describer.in_domain(picks.positions)
        about |= self._spent((len(scored.fresh), scored.passes), started, looked)
        note(
            f"loop {loop + 1}/{self.options.loops}: {len(rows):,} of {len(scored.positions):,} items selected, "
            f"their mean loss {losses_S[rows].mean():.3f} (all: {losses_S.mean():.3f})",
            self.job.quiet,
        )
        seen = scored.positions[scored.fresh], scored.losses_S[scored.fresh]
        kept = seen if loop and self.scorer.remembers and len(scored.fresh) else None
        return LoopRecord(picks, losses_S[rows], moved, captions, about, kept)

    def _spent(self, looked_at: tuple[int, float], started: float, scored: float) -> dict[str, Any]:
        """What a selection cost: items looked at, these in passes at the size of training, and seconds of each part."""
        items, passes = looked_at
        seconds = {"seconds": round(time.perf_counter() - started, 3), "scoring_seconds": round(scored - started, 3)}
        return {"scored": items, "passes": count_of(passes), **seconds}

    def _read_to_start(self, picks: Picks, loop: int) -> tuple[int, float]:
        """The items that the first classifier was fitted on where nothing else looks at any."""
        read = len(self.candidates) if self.probed else len(picks.positions) if self._warms_up else 0
        return (0, 0.0) if loop else (read, float(read))

    @property
    def _warms_up(self) -> bool:
        """Whether the first classifier is fitted on the first selection."""
        return self.options.warm_up == "selected" and self.options.selects_from(len(self.candidates))

    @property
    def _passes(self) -> float:
        """Over images so far, beside those of training."""
        return count_of(sum(record.told.get("passes", record.told["scored"]) for record in self.done))

    def _augmented(self, scored: Scored) -> tuple[np.ndarray, TextMap | None]:
        """Features in which items stand where CEA has moved them, as ``moves`` says, and the map from texts."""
        if not self.language.described:
            return scored.features_SD, None
        before = self._selected_before(scored)
        known = np.arange(len(scored.positions)) if self.describer.everything else before
        if len(known) < 2:
            return scored.features_SD, None
        text_map = self.describer.fit(scored.positions[known], scored.features_SD[known])
        rows = known if self.language.moves == "described" else before
        if text_map is None or len(rows) < 2:
            return scored.features_SD, text_map
        features_SD = scored.features_SD.copy()
        moved = self.describer.move(scored.positions[rows], features_SD[rows], text_map)
        features_SD[rows] = cea.augmented(features_SD[rows], moved.texts_KD, moved.steps_K[:, None])
        return features_SD, text_map

    def _selected_before(self, scored: Scored) -> IntArray:
        """The rows of the scored items that an earlier loop selected."""
        return rows_among(scored.positions, [record.picks.positions for record in self.done])

    def _trained_on(self) -> IntArray:
        """The positions of the items that were trained on so far, ascending."""
        return np.unique(np.concatenate([NO_INDICES, *(record.picks.positions for record in self.done)]))

    def _warm_up(self) -> None:
        """Fit the first classifier on the first selection."""
        self._head_of(np.sort(self.done[0].picks.positions)).write_to(self.job.network.classifier())

    def _head_of(self, positions: IntArray) -> LinearHead:
        """A linear probe that is fitted on some items' pretrained features."""
        known = self.known.of(positions) if self.known is not None else labelled_features(self.job, positions)
        indices = self.job.labels.indices[positions]
        rng = np.random.default_rng([self.job.seed, 9])
        fitted = self.probe.fit(
            known,
            indices,
            self.training.imbalance,
            classes=len(self.job.labels.classes),
            held_out=NO_INDICES if len(positions) <= CROSS_VALIDATED else carve_validation(indices, 0.2, rng),
            seed=self.job.seed,
        )
        return fitted.head

    # The end ------------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """For the manifest."""
        passes = FORWARD * self._passes / self.training.batch_size
        return {
            "batches": self.total,
            "scored_items": sum(record.told["scored"] for record in self.done),
            "batches_with_scoring": round(self.total + passes, 1),
            "loops": [record.figures for record in self.done],
        }

    def files(self) -> dict[str, bytes]:
        """``selections.csv``: the items that each loop trained on."""
        return {"selections.csv": selections_csv(self.done, self.job.pool.ids)}
