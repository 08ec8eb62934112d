"""The loops of VeCAF: each scores the pool, selects items, describes them, moves their embeddings, and trains on them.

Shape legend: S scored items, K selected ones, L labelled ones, D feature size.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.progress import note
from activetune.base.ranks import from_first, is_first, with_weights_of_first
from activetune.data.splits import carve_validation
from activetune.features.distances import Float32, unit_rows
from activetune.features.text import cea
from activetune.features.text.alignment import TextMap
from activetune.networks.network import Network
from activetune.networks.regression import CROSS_VALIDATED
from activetune.recipes.vecaf.language import Describer, Language, told
from activetune.recipes.vecaf.record import LoopRecord, selections_csv
from activetune.recipes.vecaf.scoring import Scored, make_objective, score, score_across, score_features
from activetune.recipes.vecaf.selecting import LoopSelector, rows_among
from activetune.recipes.vecaf.settings import LoopSettings
from activetune.selection.problem import Evidence
from activetune.tasks import Batch
from activetune.training.job import Job
from activetune.training.probe_phase import Probe
from activetune.training.settings import Optimisation
from activetune.training.streams import Course, Stream, stream_of
from activetune.training.timing import FORWARD

WARMUP = 0.05  # of the batches


@dataclass(frozen=True)
class PretrainedFeatures:
    """Features (L, D) of labelled items by the pretrained network, and the positions (L,) of these items, ascending."""

    positions: IntArray
    features_LD: Float32

    def of(self, positions: IntArray) -> Float32:
        """The rows of some of the items."""
        return self.features_LD[np.searchsorted(self.positions, positions)]


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
        self.objective = make_objective(options.objective, job.labels.classes)
        self.candidates = job.not_held_out
        self.budget = options.items(len(self.candidates))
        self.scores = options.scores(len(self.candidates), described=language.described)
        self.describer = Describer(job, language)
        if language.described and self.scores and is_first():
            self.describer.open(self.candidates)
        self.selector = LoopSelector(job, options, self.candidates, self.budget)
        self.done: list[LoopRecord] = []
        self.known: PretrainedFeatures | None = None
        self.strength: float | None = None
        self.first: Scored | None = None
        stretches = options.loops * options.measurements
        self.stream = stream_of(job, training, count=options.batches // stretches)
        steps = self.stream.batches.count
        super().__init__(steps, stretches, warmup=round(WARMUP * stretches * steps))

    def start(self, known: PretrainedFeatures | None, strength: float | None) -> None:
        """Score the items of the first loop by the classifier as it is now.

        Call it before a checkpoint is restored, which replaces the classifier.

        Args:
            known: features of the items that the first loop scores; None where nothing reads them, and in all
                processes but the first.
            strength: regularisation of the probe that is the classifier; None where the classifier is no probe.
        """
        self.known, self.strength = known, strength
        if known is not None and self.scores:
            self.first = self._first(known)

    def begin(self, epoch: int, streams: Sequence[Stream]) -> None:
        """See :class:`Course`; the first stretch of a loop selects."""
        self.epoch = epoch
        loop, stretch = divmod(epoch, self.options.measurements)
        while len(self.done) <= loop:
            self._enter(len(self.done))
        batches = streams[0].batches
        batches.epoch, batches.skip = loop, stretch * batches.items
        batches.positions = np.sort(self.done[-1].picks.positions)

    def outputs(self, network: Network, batch: Batch, stream: Stream) -> Tensor:
        """See :class:`Course`; equation 10 for the items that are described."""
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

    def columns(self) -> dict[str, Any]:
        """See :class:`Course`: the loop, and what was spent up to here."""
        loop = len(self.done)
        first = self.epoch % self.options.measurements == 0
        return {
            "loop": loop,
            "batches": (self.epoch + 1) * self.steps,
            "scored": sum(done.told["scored"] for done in self.done),
            "selection_seconds": self.done[-1].told["seconds"] if first else 0.0,
        }

    def state(self) -> dict[str, Any]:
        """See :class:`Course`: how many loops have begun; what each has selected lies in files of its own."""
        return {"loops": len(self.done)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See :class:`Course`."""
        self.done = [LoopRecord.read(self.job.work, loop) for loop in range(state["loops"])]

    # A loop's beginning -------------------------------------------------------------------------------------------

    def _enter(self, loop: int) -> None:
        """Select and describe, or read the selection that was kept before the run was cut off."""

        def kept() -> None:
            if not LoopRecord.written(self.job.work, loop):
                self._select(loop).write(self.job.work, loop)

        from_first(kept)
        self.done.append(LoopRecord.read(self.job.work, loop))
        if not loop and self.options.warm_up == "selected" and self.budget < len(self.candidates):
            from_first(self._warm_up)
            with_weights_of_first(self.job.network.head())

    def _select(self, loop: int) -> LoopRecord:
        started = time.perf_counter()
        if not self.scores:
            picks = self.selector.unseen(loop)
            return LoopRecord(picks, told={"scored": 0, "seconds": round(time.perf_counter() - started, 3)})
        scored = self._score(loop)
        losses_S = scored.losses_S
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
        about: dict[str, Any] = {"scored": 0 if scored is self.first and loop else len(scored.positions)}
        moved, captions = None, []
        if self.language.described:
            order = np.argsort(picks.positions)
            positions, features_KD = picks.positions[order], scored.features_SD[rows[order]]
            text_map = text_map if self.describer.everything else self.describer.fit(positions, features_KD)
            if text_map is not None:
                moved, about["text_map"] = self.describer.move(positions, features_KD, text_map), told(text_map)
                captions = self.describer.in_domain(picks.positions)
        about["seconds"] = round(time.perf_counter() - started, 3)
        note(
            f"loop {loop + 1}/{self.options.loops}: {len(rows):,} of {len(scored.positions):,} items selected, "
            f"their mean loss {losses_S[rows].mean():.3f} (all: {losses_S.mean():.3f})",
            self.job.quiet,
        )
        return LoopRecord(picks, losses_S[rows], moved, captions, about)

    def _score(self, loop: int) -> Scored:
        """The candidates under the pretrained network with the first classifier, later under the network as it is."""
        if self.first is not None and (loop == 0 or self.options.score_loops == "first"):
            return self.first
        drawn = self.options.looked_at(self.candidates, self.job.labels.indices, loop, self.job.seed)
        return score(self.job, drawn, self.objective, probs=self._wants_probs)

    def _first(self, known: PretrainedFeatures) -> Scored:
        """Candidates under the pretrained network and the first classifier, as far as it has not seen them."""
        drawn = np.intersect1d(known.positions, self.candidates)
        given = self.job, drawn, known.of(drawn), self.objective
        if self.strength is not None:
            return score_across(*given, probs=self._wants_probs, strength=self.strength)
        scored = score_features(*given, probs=self._wants_probs)
        # A classifier at zero knows classes at most, not items: one against all, the first loop would train on that
        # class alone, and the second would have to unlearn it (experiments/LOG.md).
        return replace(scored, losses_S=np.full_like(scored.losses_S, scored.losses_S.mean()))

    @property
    def _wants_probs(self) -> bool:
        selector = self.options.selector()
        return selector is not None and "probs_NC" in selector.needs | selector.uses

    def _augmented(self, scored: Scored) -> tuple[np.ndarray, TextMap | None]:
        """Features in which items of earlier loops stand where CEA has moved them, and the map from texts."""
        if not self.language.described:
            return scored.features_SD, None
        before = self._selected_before(scored)
        known = np.arange(len(scored.positions)) if self.describer.everything else before
        if len(known) < 2:
            return scored.features_SD, None
        text_map = self.describer.fit(scored.positions[known], scored.features_SD[known])
        if text_map is None or len(before) < 2:
            return scored.features_SD, text_map
        features_SD = scored.features_SD.copy()
        moved = self.describer.move(scored.positions[before], features_SD[before], text_map)
        features_SD[before] = cea.augmented(features_SD[before], moved.texts_KD, moved.steps_K[:, None])
        return features_SD, text_map

    def _selected_before(self, scored: Scored) -> IntArray:
        """The rows of the scored items that an earlier loop selected."""
        return rows_among(scored.positions, [record.picks.positions for record in self.done])

    def _warm_up(self) -> None:
        """Fit the first classifier on the first selection."""
        assert self.known is not None
        rows = np.sort(self.done[0].picks.positions)
        indices = self.job.labels.indices[rows]
        rng = np.random.default_rng([self.job.seed, 9])
        fitted = self.probe.fit(
            self.known.of(rows),
            indices,
            self.training.imbalance,
            classes=len(self.job.labels.classes),
            held_out=NO_INDICES if len(rows) <= CROSS_VALIDATED else carve_validation(indices, 0.2, rng),
            seed=self.job.seed,
        )
        fitted.head.write_to(self.job.network.classifier())

    # The end ------------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """For the manifest."""
        scored = sum(record.told["scored"] for record in self.done)
        batches = self.epochs * self.steps
        return {
            "batches": batches,
            "scored_items": scored,
            "batches_with_scoring": round(batches + FORWARD * scored / self.training.batch_size, 1),
            "loops": [record.figures for record in self.done],
        }

    def files(self) -> dict[str, bytes]:
        """``selections.csv``: the items that each loop trained on."""
        return {"selections.csv": selections_csv(self.done, self.job.pool.ids)}
