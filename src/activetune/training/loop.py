"""The one training loop: batches of streams through the whole network, on accelerate, in one process or several.

Every random choice follows from the seed and from where in the training it is made, never from what ran before:

- the stream of a step from (seed, step), the order of an epoch and each item's crop and flip from (seed, epoch, item);
- dropout and stochastic depth from (seed, epoch, rank), set at the start of an epoch: torch's global state.

So a run that goes on from the checkpoint of an epoch is the uninterrupted run, whatever the number of decoding workers.
Several processes share each batch (``batches.py``) and count it as a whole: the loss is divided by the whole batch's
weight, gradients are added up, validation is gathered, the first process alone writes. Their weights are those of one
process up to rounding; where units are dropped at random they differ, as each process draws for its own items, and
batch norms see the whole batch on GPUs alone, where they are synchronised.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.errors import ActivetuneError
from activetune.base.interrupts import signals_held
from activetune.base.progress import note, progress
from activetune.evaluation.estimate import estimate_by
from activetune.evaluation.metrics import Measured
from activetune.networks.regression import Trial, best_trial
from activetune.tasks import Batch
from activetune.training.batches import derive
from activetune.training.finite import refuse_loss, refuse_weights, settings_to_change
from activetune.training.job import Job, Outcome
from activetune.training.network_state import (
    between,
    compute_activations_again,
    copied,
    fused_attention,
    to_training,
    weights_below_heads,
)
from activetune.training.optimiser import Forward, make_accelerator, make_optimizer, make_schedule
from activetune.training.output import Checkpoint
from activetune.training.ranks import added_up, raise_shared, rank_and_world
from activetune.training.settings import Optimisation, Training
from activetune.training.streams import Course, Draws, Stream, batches_loader, stream_of
from activetune.training.validation import has_stalled, is_better, validated


def train(job: Job, options: Training, *, phase: str, stop_after: int | None = None) -> Outcome:
    """Train those of ``job.network``'s weights that want a gradient, on the items that are not held out.

    Args:
        phase: the name of this training in the history and in the checkpoint's file name.
        stop_after: epochs after which to stop, on the schedule of all ``options.epochs``.
    """
    stream = stream_of(job, options)
    steps = stream.batches.count
    warmup = int(min(options.warmup_epochs, options.epochs / 2) * steps)
    course = Course(steps, options.epochs, warmup=warmup, patience=options.patience)
    return fit(job, [stream], course, options, phase=phase, stop_after=stop_after)


def fit(
    job: Job,
    streams: Sequence[Stream],
    course: Course,
    options: Optimisation,
    *,
    phase: str,
    stop_after: int | None = None,
) -> Outcome:
    """Train the job's network on batches of streams, along a course.

    With held-out items in the first stream the best epoch by their primary metric is kept, otherwise the last one, and
    then the best interpolation; with ``ema`` it is the averaged weights that are validated and kept.

    Args:
        job: the network, the runtime, the seed, and the folder of the checkpoint. streams: at least one.
        phase, stop_after: see :func:`train`.

    Raises:
        NotFinite: a loss, weight or output is no longer a finite number; the last checkpoint stays.
    """
    run = _Run(job, streams, course, options, phase)
    last = min(course.epochs, stop_after or course.epochs)
    with progress(last * course.steps, phase, unit="steps", done=run.epoch * course.steps, quiet=job.quiet) as meter:
        while run.epoch < last and not run.stalled:
            row = run.one_epoch(meter.advance)
            run.save()
            measured = run.measured.removeprefix("val_").replace("top1", "top-1").replace("_", " ")
            told = f", validation {measured} {row[run.measured]:.3f}" if run.measured in row else ""
            note(f"{phase}: epoch {run.epoch}/{last}, loss {row['train_loss']:.4f}{told}", job.quiet)
    return run.finish()


class _Run:
    """The state of one training run."""

    def __init__(self, job: Job, streams: Sequence[Stream], course: Course, options: Optimisation, phase: str):
        self.job, self.streams, self.course, self.options, self.phase = job, streams, course, options, phase
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.start = None if options.interpolation == (1.0,) else copied(job.network.state_dict())
        self.starting_point = weights_below_heads(job.network) if options.l2sp else []
        self.measured = streams[0].task.metric().column
        self.accelerator = make_accelerator(job.runtime, several=len(streams) > 1)
        self.rank, self.world = rank_and_world()
        self.draws = Draws(streams, course.epochs * course.steps, job.seed)
        for stream in streams:
            stream.batches.share = self.rank, self.world
        self._prepare()
        self.checkpoint = Checkpoint.of(job, streams, options, phase)
        if job.resume:
            self._restore()

    def _prepare(self) -> None:
        """The network as it is trained, its optimiser, schedule, average and loaders."""
        from timm.layers import convert_sync_batchnorm
        from timm.utils import ModelEmaV3

        job, options, course, network = self.job, self.options, self.course, self.job.network
        if self.world > 1 and job.runtime.device.type == "cuda":
            job.backbone.network = convert_sync_batchnorm(job.backbone.network)
        if options.checkpointing:
            compute_activations_again(job.backbone)
        self.fused = fused_attention(job.backbone) if job.runtime.device.type == "cpu" else []
        for layer in self.fused:
            layer.fused_attn = False
        optimizer = make_optimizer(network, options)
        self.scheduler = make_schedule(optimizer, steps=course.epochs * course.steps, warmup=course.warmup)
        self.ema = ModelEmaV3(network, decay=options.ema, use_warmup=True) if options.ema else None
        self.forward, self.optimizer = self.accelerator.prepare(Forward(network, course), optimizer)
        self.loaders = [
            batches_loader(
                stream,
                job.backbone.settings,
                seed=job.seed,
                crops=options.crops,
                workers=job.workers,
                items=stream.batches.items * course.epochs,
            )
            for stream in self.streams
        ]

    # An epoch -----------------------------------------------------------------------------------------------------

    def one_epoch(self, advance: Callable[[], None]) -> dict[str, Any]:
        """Train for an epoch and validate; returns the row of the history."""
        started = time.perf_counter()
        loss = self._train(advance)
        self.epoch += 1
        row: dict[str, Any] = {
            "phase": self.phase,
            "epoch": self.epoch,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            "train_loss": loss,
            **self.parts,
            **self.course.columns(),
        }
        last = self.epoch * self.course.steps - 1
        refuse_weights(self.job.network, self._at(last), self._remedy)
        if self.ema is not None:
            refuse_weights(self.ema.module, self._at(last), self._remedy)
        row["seconds"] = round(time.perf_counter() - started, 3)
        if len(self.streams[0].held_out):
            started = time.perf_counter()
            found = self._validate(self._averaged())
            row[self.measured], row["val_loss"] = found.value, found.loss
            row |= {f"val_{name}": value for name, value in found.beside.items()}
            if is_better(found, self.best):
                state = copied(self._averaged().state_dict())
                told = self._estimate(found, "the epoch that is kept")
                best = {"value": found.value, "loss": found.loss, "epoch": self.epoch, "state": state}
                self.best = {**best, **told}
            row["val_seconds"] = round(time.perf_counter() - started, 3)
        self.history.append(row)
        return row

    def _train(self, advance: Callable[[], None]) -> float:
        """The steps of an epoch; returns the mean loss."""
        first = self.epoch * self.course.steps
        self.course.begin(self.epoch, self.streams)
        drawn = self.draws.begin(self.streams, first, self.course.steps)
        torch.manual_seed(derive(self.job.seed, self.epoch, -1, self.rank))
        to_training(self.job.network)
        with signals_held():
            loaders = [iter(loader) if stream.batches.count else iter(()) for loader, stream in self._sources()]
        sizes = [iter(stream.batches.sizes()) for stream in self.streams]
        total = weight = 0.0
        self.parts: dict[str, float] = {}
        for step, number in enumerate(drawn.tolist()):
            self.scheduler.step_update(first + step + 1)
            self.optimizer.zero_grad(set_to_none=True)
            lost, counted = self._step(self.streams[number], loaders[number], next(sizes[number]))
            refuse_loss(lost, self._at(first + step), self._remedy)
            total, weight = total + lost, weight + counted
            self._update(first + step)
            advance()
        for loader in loaders:
            next(loader, None)  # a loader closes its epoch when it finds no further batch
        device = self.job.runtime.device
        self.parts = {name: added_up(value, device) / max(weight, 1e-12) for name, value in self.parts.items()}
        return total / max(weight, 1e-12)

    def _sources(self) -> Iterator[tuple[Any, Stream]]:
        return zip(self.loaders, self.streams, strict=True)

    def _step(self, stream: Stream, parts: Iterator[Batch], sizes: Sequence[int]) -> tuple[float, float]:
        """The gradient of a batch, part by part; returns the sum of its losses and its weight, over all processes."""
        device = self.job.runtime.device
        batches, weight = self._drawn(stream, parts, sizes)
        lost = 0.0
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.forward):
                lost += self._backward(stream, batch.to(device), weight)
        return added_up(lost, device), weight

    def _drawn(self, stream: Stream, parts: Iterator[Batch], sizes: Sequence[int]) -> tuple[list[Batch], float]:
        """The share of a batch that this process has, part by part, and the weight of the whole batch.

        Raises:
            ReadingFault: an image can't be read at present, whichever process it was drawn by.
        """
        batches: list[Batch] = []
        fault: ActivetuneError | None = None
        try:
            for size in sizes:
                batch = next(parts)
                batches.append(replace(batch, weight=0.0) if stream.batches.empty(size) else batch)
        except ActivetuneError as error:
            fault = error
        weight = math.nan if fault else sum(batch.weight for batch in batches)
        weight = added_up(weight, self.job.runtime.device)
        if math.isnan(weight):
            raise_shared(fault)
        return batches, weight

    def _backward(self, stream: Stream, batch: Batch, weight: float) -> float:
        """Add a part's share of its batch's gradient; returns the sum of its losses.

        Processes average their gradients, so each multiplies its own by their number.
        """
        with self.accelerator.autocast():
            outputs = self.forward(batch, stream)
        loss, _, parts = stream.task.loss(outputs, batch)
        if not batch.weight:
            loss = loss * 0.0
        for name, value in parts.items():
            self.parts[f"train_{name}"] = self.parts.get(f"train_{name}", 0.0) + float(value.detach())
        share = loss / max(weight, 1e-12)
        self.accelerator.backward(share if self.world == 1 else share * self.world)
        return float(loss.detach())

    def _update(self, update: int) -> None:
        """One step of the optimiser, and of what follows the weights."""
        if self.options.clip:
            self.accelerator.clip_grad_norm_(self.forward.parameters(), self.options.clip)
        self.optimizer.step()
        if self.starting_point:
            rate = self.optimizer.param_groups[0]["lr"] / self.optimizer.param_groups[0].get("lr_scale", 1.0)
            with torch.no_grad():
                for parameter, start in self.starting_point:
                    parameter.lerp_(start, min(1.0, rate * self.options.l2sp))
        if self.ema is not None:
            self.ema.update(self.job.network, step=update)

    def _at(self, update: int) -> str:
        """Where the training is, for a sentence on numbers that are not finite."""
        count = self.course.steps
        kept = f"; the state after epoch {update // count} is kept in {self.job.work}" if update >= count else ""
        step = f"step {update + 1:,} of {self.course.epochs * count:,}"
        return f"at {step} ({self.phase}, epoch {update // count + 1}{kept})"

    @property
    def _remedy(self) -> str:
        return settings_to_change(self.job.runtime.precision, {"lr": self.options.lr})

    # Validation ---------------------------------------------------------------------------------------------------

    def _validate(self, network: nn.Module) -> Measured:
        """Scores on the held-out items of the first stream."""
        settings, runtime = self.job.backbone.settings, self.job.runtime
        about = f"after epoch {self.epoch} ({self.phase})", self._remedy
        return validated(network, self.streams[0], settings, runtime, about=about)

    @property
    def stalled(self) -> bool:
        """Whether validation says that training should end."""
        return has_stalled(self.history, self.course.patience)

    def _averaged(self) -> nn.Module:
        network = self.job.network if self.ema is None else self.ema.module
        assert isinstance(network, nn.Module)
        return network

    # The end, and the checkpoint ----------------------------------------------------------------------------------

    def finish(self) -> Outcome:
        """Put the kept weights into the network."""
        figures: dict[str, Any] = {"kept_epoch": self.epoch}
        state = self._averaged().state_dict()
        if self.best is not None:
            state = self.best["state"]
            figures = {"kept_epoch": self.best["epoch"], self.measured: self.best["value"], "chosen_by": "validation"}
            figures |= {"estimate": self.best["estimate"]} if "estimate" in self.best else {}
        network = self.job.network
        figures["trainable_parameters"] = sum(value.numel() for value in network.parameters() if value.requires_grad)
        network.load_state_dict(state)
        if self.start is not None:
            figures |= self._interpolate(self.start, copied(state))
        if self.options.checkpointing:
            network.backbone.reader.compute_activations_again(network.backbone.network, False)
        for layer in self.fused:
            layer.fused_attn = True
        network.eval()
        if self.job.runtime.device.type != "cpu":  # it collects garbage, which takes a second and frees nothing here
            self.accelerator.free_memory()
        return Outcome(self.history, figures)

    def _interpolate(self, start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> dict[str, Any]:
        """Put the network on the line between two states, at the best place by the validation part."""
        network = self.job.network
        trials: list[Trial] = []
        for share in self.options.interpolation:
            network.load_state_dict(between(start, end, share))
            if len(self.options.interpolation) == 1 or not len(self.streams[0].held_out):
                return {"interpolation": share}
            trials.append(Trial.of(self._validate(network), share))
        best = best_trial(trials, by="smoothed")
        self.history += [
            {
                "phase": self.phase,
                "interpolation": trial.strength,
                self.measured: trial.value,
                "val_loss": trial.loss,
                "smoothed": round(trial.smoothed, 5),
            }
            for trial in trials
        ]
        network.load_state_dict(between(start, end, best.strength))
        told = self._estimate(best, "the epoch that is kept, with the place between start and end,")
        return {"interpolation": best.strength, self.measured: best.value, **told}

    def _estimate(self, measured: Measured, chose: str) -> dict[str, Any]:
        """The figure that a validation gives for the model that it was made of."""
        by = "a held-out validation part"
        return estimate_by(measured, self.streams[0].labels.classes, of="the trained network", by=by, chose=chose)

    def save(self) -> None:
        """Write the checkpoint in one step: whenever the process dies, the last complete one is there."""
        if self.rank:
            return
        scaler = self.accelerator.scaler
        self.checkpoint.save(
            {
                "epoch": self.epoch,
                "history": self.history,
                "best": self.best,
                "course": self.course.state(),
                "network": self.job.network.state_dict(),
                "ema": None if self.ema is None else self.ema.module.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),  # fp16 only
            }
        )

    def _restore(self) -> None:
        content = self.checkpoint.load()
        if content is None:
            return
        self.job.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(content["ema"])
        self.epoch, self.history, self.best = content["epoch"], content["history"], content["best"]
        self.course.restore(content["course"])
        note(f"{self.phase}: going on after epoch {self.epoch}", self.job.quiet)
