"""VeCAF's loops: score the pool, select, describe, move the embeddings, and what of it a run that is cut off takes up.

Shape legend: S scored items, K selected ones, L labelled ones, D feature size.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save
from torch import Tensor

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.base.files import read_json, replacing, write_json
from activetune.base.progress import note
from activetune.data.splits import carve_validation
from activetune.features.distances import Float32, unit_rows
from activetune.features.text import cea
from activetune.features.text.alignment import TextMap
from activetune.networks.network import Network
from activetune.networks.regression import CROSS_VALIDATED, NOTHING
from activetune.recipes.vecaf.language import Describer, Moved, told
from activetune.recipes.vecaf.scoring import Scored, make_objective, score, score_across, score_features
from activetune.recipes.vecaf.settings import LoopSettings
from activetune.selection.evidence import gather
from activetune.selection.picking import pick_balanced
from activetune.selection.problem import Evidence, Picks
from activetune.selection.selectors import Selector, make_selector
from activetune.tasks import Batch
from activetune.training.course import Course, stream_of
from activetune.training.job import Job
from activetune.training.ranks import first_rank_first
from activetune.training.streams import Stream

MODEL_GIVES = {"features_ND", "losses_N", "probs_NC"}  # what scoring itself knows of each item
FORWARD = 1 / 3  # of a training step: the backward pass costs two more
WARMUP = 0.05  # of the batches


@dataclass
class _Loop:
    """A loop's selection and what it took; its losses are not known where nothing was scored."""

    picks: Picks
    losses_K: np.ndarray | None = None
    moved: Moved | None = None
    captions: list[str] = field(default_factory=list)  # of the picks; none where nothing is described
    told: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """Features (L, D) of labelled items by the pretrained network, and their positions (L,), in order."""

    positions: IntArray
    features_LD: Float32

    def of(self, positions: IntArray) -> Float32:
        """Those of some of the items."""
        return self.features_LD[np.searchsorted(self.positions, positions)]


class Loops(Course):
    """The course of VeCAF: an epoch is the stretch between two measurements, a loop is some of these.

    What a loop has selected and described lies in the unfinished run's folder: a run that is cut off goes on with it.

    Making it computes nothing, and says what can't be: an objective, a budget, captions, a text encoder. ``start``
    comes before it is followed.
    """

    def __init__(self, job: Job, options: LoopSettings):
        self.job, self.options = job, options
        self.objective = make_objective(options.objective, job.labels.classes)
        self.candidates = job.training
        self.budget = options.items(len(self.candidates))
        self.scores = options.scores(len(self.candidates))
        self.describer = Describer(job, options)
        if options.captions != "none" and self.scores:
            self.describer.open(self.candidates)
        self.done: list[_Loop] = []
        self.known: Known | None = None
        self.strength: float | None = None
        self.first: Scored | None = None
        stretches = options.loops * options.measurements
        self.stream = stream_of(job, options, count=options.batches // stretches)
        steps = self.stream.batches.count
        super().__init__(steps, stretches, warmup=round(WARMUP * stretches * steps))

    def start(self, known: Known | None, strength: float | None) -> None:
        """Score what the first loop looks at, by the classifier as it is now: a run that goes on has another one later.

        Args:
            known: features of what the first loop looks at; None where nothing reads them.
            strength: of the probe that the classifier is, None where it is none.
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
        if moved is None or self.options.lambda_bw == 1:
            logits: Tensor = super().outputs(network, batch, stream)
            return logits
        features = network.backbone.last(batch.images)
        pooled = network.backbone.pool(features)
        rows = torch.from_numpy(np.searchsorted(moved.positions, batch.positions.cpu().numpy()))
        texts = torch.from_numpy(moved.texts_KD)[rows].to(pooled.device)
        steps = torch.from_numpy(moved.steps_K)[rows, None].to(pooled.device)
        found = cea.augmented(pooled, texts, steps, self.options.lambda_bw)
        if self.options.place == "pooled":
            return network.head()(found)  # type: ignore[no-any-return]
        shift = (found - pooled).to(features.dtype)
        if features.ndim == 4:
            first = features.shape[1] == shift.shape[1]
            features = features + (shift[:, :, None, None] if first else shift[:, None, None])
        else:
            features = features + shift[:, None]
        return network.answer(features)

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
        for loop in range(state["loops"]):
            state_file, arrays = self._files(loop)
            self.done.append(_read(read_json(state_file), load_file(arrays)))

    # A loop's beginning -------------------------------------------------------------------------------------------

    def _enter(self, loop: int) -> None:
        """Select and describe, or take up what was selected before the run was cut off."""
        state, arrays = self._files(loop)
        with first_rank_first() as first:
            if first and not state.is_file():
                found = self._select(loop)
                with replacing(arrays) as partial:
                    partial.write_bytes(save(_arrays(found)))
                kept = {"told": found.told, "reasons": list(found.picks.reasons), "captions": found.captions}
                write_json(state, kept)
        self.done.append(_read(read_json(state), load_file(arrays)))
        self._warm_up(loop, self.done[-1].picks)

    def _files(self, loop: int) -> tuple[Path, Path]:
        """The files that keep a loop's selection until the run is done."""
        return self.job.work / f"loop-{loop}.json", self.job.work / f"loop-{loop}.safetensors"

    def _select(self, loop: int) -> _Loop:
        started = time.perf_counter()
        selector = self.options.selector()
        if selector is None or not self.scores:
            picks = self._pick_unseen(selector, loop)
            return _Loop(picks, told={"scored": 0, "seconds": round(time.perf_counter() - started, 3)})
        scored = self._score(loop)
        losses_S = scored.losses_S
        augmented_SD, text_map = self._augmented(scored)
        evidence = Evidence(
            unit_rows(augmented_SD),
            device=str(self.job.runtime.device),
            losses_N=losses_S,
            probs_NC=scored.probs_SC,
        )
        chosen = self._pick(selector, evidence, scored, loop)
        rows = chosen.positions
        picks = replace(chosen, positions=scored.positions[rows])
        about: dict[str, Any] = {"scored": 0 if scored is self.first and loop else len(scored.positions)}
        moved, captions = None, []
        if self.options.captions != "none":
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
        return _Loop(picks, losses_S[rows], moved, captions, about)

    def _score(self, loop: int) -> Scored:
        """The candidates under the pretrained network with the first classifier, later under the network as it is."""
        if self.first is not None and (loop == 0 or self.options.score_loops == "first"):
            return self.first
        drawn = self.options.looked_at(self.candidates, self.job.labels.indices, loop, self.job.seed)
        return score(self.job, drawn, self.objective, probs=self._wants_probs)

    def _first(self, known: Known) -> Scored:
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
        if self.options.captions == "none":
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
        before = np.concatenate([NOTHING, *(done.picks.positions for done in self.done)])
        return np.flatnonzero(np.isin(scored.positions, before))

    def _pick_unseen(self, selector: Selector | None, loop: int) -> Picks:
        """Everything, or items that are drawn without a look at any."""
        count = len(self.candidates)
        if selector is None or self.budget == count:
            return Picks(self.candidates, np.zeros(count), ["everything is trained on"] * count)
        unseen = Evidence(np.empty((count, 0), dtype=np.float32))
        chosen = self._pick_within(selector, unseen, self.candidates, loop)
        return replace(chosen, positions=self.candidates[chosen.positions])

    def _seed(self, loop: int) -> int:
        return int(np.random.SeedSequence([self.job.seed, 7, loop]).generate_state(1)[0])

    def _pick(self, selector: Selector, evidence: Evidence, scored: Scored, loop: int) -> Picks:
        """Positions among the scored items."""
        missing = selector.needs - MODEL_GIVES
        if missing:
            labelled = self._selected_before(scored)
            if not len(labelled):
                selector, missing = make_selector("random"), frozenset()
            else:
                answers = self.job.labels.indices[scored.positions[labelled]]
                evidence = replace(evidence, labelled=labelled, answers_L=answers)
                evidence = gather(evidence, missing, method=self.options.select_with, seed=self._seed(loop))
        if len(evidence.candidates) < self.budget:
            raise UsageError(
                f"loop {loop + 1} has {len(evidence.candidates):,} items left to select {self.budget:,} from; give "
                "fewer loops or a smaller budget"
            )
        return self._pick_within(selector, evidence, scored.positions, loop)

    def _pick_within(self, selector: Selector, evidence: Evidence, positions: IntArray, loop: int) -> Picks:
        """A loop's budget of picks, from all of the evidence or evenly from the classes in it.

        Args:
            positions: (N,) the items that the evidence's rows are.
        """
        rng = np.random.default_rng(self._seed(loop))
        if self.options.select_within == "pool":
            return selector.select(evidence, self.budget, rng)
        groups = self.options.groups(self.job.labels.indices, self.job.seed, start=loop * self.budget)
        return pick_balanced(
            selector, evidence, replace(groups, numbers_N=groups.numbers_N[positions]), self.budget, rng
        )

    def _warm_up(self, loop: int, picks: Picks) -> None:
        """Fit the first classifier on the first selection, where that is asked for."""
        if loop or self.options.warm_up != "selected" or self.known is None or self.budget == len(self.candidates):
            return
        rows = np.sort(picks.positions)
        indices = self.job.labels.indices[rows]
        rng = np.random.default_rng([self.job.seed, 9])
        fitted = self.options.fit(
            self.known.of(rows),
            indices,
            classes=len(self.job.labels.classes),
            held_out=NOTHING if len(rows) <= CROSS_VALIDATED else carve_validation(indices, 0.2, rng),
            seed=self.job.seed,
        )
        fitted.head.write_to(self.job.network.head().classifier)

    # What is told at the end --------------------------------------------------------------------------------------

    def figures(self) -> dict[str, Any]:
        """For the manifest."""
        scored = sum(done.told["scored"] for done in self.done)
        batches = self.epochs * self.steps
        return {
            "batches": batches,
            "scored_items": scored,
            "batches_with_scoring": round(batches + FORWARD * scored / self.options.batch_size, 1),
            "loops": [{"k": len(done.picks.positions), **_mean_loss(done.losses_K), **done.told} for done in self.done],
        }

    def files(self) -> dict[str, bytes]:
        """``selections.csv``: what each loop trained on."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(("loop", "id", "rank", "score", "loss", "reason", "caption"))
        for number, done in enumerate(self.done, start=1):
            picks = done.picks
            for rank, position in enumerate(picks.positions):
                rows.writerow(
                    (
                        number,
                        self.job.pool.ids[position],
                        rank + 1,
                        f"{picks.scores[rank]:.6g}",
                        "" if done.losses_K is None else f"{done.losses_K[rank]:.6g}",
                        picks.reasons[rank],
                        done.captions[rank] if done.captions else "",
                    )
                )
        return {"selections.csv": text.getvalue().encode()}


def _mean_loss(losses_K: np.ndarray | None) -> dict[str, float]:
    return {} if losses_K is None else {"mean_loss": float(losses_K.mean())}


def _arrays(loop: _Loop) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {
        "positions": np.asarray(loop.picks.positions, dtype=np.int64),
        "scores": np.asarray(loop.picks.scores, dtype=np.float64),
    }
    if loop.losses_K is not None:
        arrays["losses"] = np.asarray(loop.losses_K, dtype=np.float32)
    if loop.moved is not None:
        arrays |= {"steps": loop.moved.steps_K, "texts": np.ascontiguousarray(loop.moved.texts_KD, dtype=np.float32)}
    return arrays


def _read(state: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> _Loop:
    picks = Picks(arrays["positions"], arrays["scores"], state["reasons"])
    moved = None
    if "steps" in arrays:
        moved = Moved(np.sort(arrays["positions"]), arrays["steps"], arrays["texts"])
    return _Loop(picks, arrays.get("losses"), moved, state["captions"], state["told"])
