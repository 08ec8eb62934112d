"""The steps of a training: batches of its streams forward and back through the network, and the weights moved by them.

Several processes share each batch, and a step returns the whole batch's figures (``loop.py`` says what that gives).
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from activetune.base.errors import ActivetuneError
from activetune.base.interrupts import interrupted, raise_if_interrupted, signals_held, signals_wait
from activetune.base.launch import OthersEnded
from activetune.base.memory import fitting
from activetune.base.ranks import added_up, all_added_up, raise_shared, rank_and_world
from activetune.tasks import Batch
from activetune.training.batches import derive
from activetune.training.finite import refuse_loss, refuse_weights, settings_to_change
from activetune.training.fitting import too_large
from activetune.training.job import Job
from activetune.training.network_state import (
    compute_activations_again,
    fused_attention,
    norm_over_all,
    take_up,
    to_training,
    trained_state,
    weights_below_heads,
)
from activetune.training.optimiser import Forward, make_accelerator, make_optimizer, make_schedule
from activetune.training.settings import Optimisation
from activetune.training.streams import Course, Draws, Stream, batches_loader


@dataclass
class Told:
    """What the steps of one stream have told in an epoch: sums of losses and of weights. A checkpoint keeps it.

    Attributes:
        parts: sums of the named parts of the loss, over this process's share.
    """

    steps: int = 0
    lost: float = 0.0
    weight: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    def add(self, lost: float, weight: float) -> None:
        """Count a step."""
        self.steps, self.lost, self.weight = self.steps + 1, self.lost + lost, self.weight + weight

    @property
    def loss(self) -> float:
        """The mean."""
        return self.lost / max(self.weight, 1e-12)


class Steps:
    """The network as it is trained, with its optimiser, schedule, average and loaders.

    Attributes:
        rank: of this process; the first one, 0, writes. told: by each stream in this epoch. whole: no step is half
            done, so that the state can be kept. parts: mean of each named part of the loss in the last epoch;
            of several streams those of each by its name, with its loss, as pixels and words have no common mean.
    """

    def __init__(self, job: Job, streams: Sequence[Stream], course: Course, options: Optimisation, phase: str):
        self.job, self.streams, self.course, self.options, self.phase = job, streams, course, options, phase
        self.starting_point = weights_below_heads(job.network) if options.l2sp else []
        self.accelerator = make_accelerator(job.runtime, several=len(streams) > 1)
        self.rank, self.world = rank_and_world()
        self.parts: dict[str, float] = {}
        self.told = [Told() for _ in streams]
        self.whole = True
        self.draws = Draws(streams, course.total, job.seed)
        for stream in streams:
            stream.batches.share = self.rank, self.world
        self._prepare()

    def _prepare(self) -> None:
        """The network as it is trained, its optimiser, schedule, average and loaders."""
        from timm.utils import ModelEmaV3

        job, options, course, network = self.job, self.options, self.course, self.job.network
        if self.world > 1 and job.runtime.device.type == "cuda":
            norm_over_all(network)
        if options.checkpointing:
            compute_activations_again(job.backbone)
        self.fused = fused_attention(job.backbone) if job.runtime.device.type == "cpu" else []
        for layer in self.fused:
            layer.fused_attn = False
        optimizer = make_optimizer(network, options)
        self.scheduler = make_schedule(optimizer, steps=course.total, warmup=course.warmup)
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
                device=job.runtime.device,
            )
            for stream in self.streams
        ]

    def epoch(self, number: int, advance: Callable[[], None]) -> float:
        """The steps of an epoch, counted from 0, or those that ``told`` does not tell of; returns the mean loss.

        A signal is answered after a step, by all processes after the same one.

        Args:
            advance: called after each step.

        Raises:
            NotFinite: a loss, or at the end a weight, is no longer a finite number.
            KeyboardInterrupt, OthersEnded: a signal ends this process, or another one.
        """
        first, steps = self.course.until(number), self.course.until(number + 1) - self.course.until(number)
        self.whole = False
        self.course.begin(number, self.streams)
        drawn, gone = self.draws.begin(self.streams, first, steps), sum(one.steps for one in self.told)
        for stream, one in zip(self.streams, self.told, strict=True):
            stream.batches.gone = one.steps
        to_training(self.job.network)
        self.course.settle(self.job.network)
        with signals_held():
            loaders = [iter(loader) if stream.batches.count else iter(()) for loader, stream in self._sources()]
        sizes = [iter(stream.batches.sizes()) for stream in self.streams]
        self.whole = True
        for step, which in enumerate(drawn[gone:].tolist(), start=first + gone):
            torch.manual_seed(derive(self.job.seed, step, -1, self.rank))
            with signals_wait(launched=self.world > 1):
                last = step == first + steps - 1
                if self._whole_step(step, which, loaders[which], next(sizes[which]), last=last):
                    raise_if_interrupted()
                    raise OthersEnded("another process was told to end; what was finished is kept: go on with --resume")
                if not interrupted():  # else the others learn of it in the next step
                    advance()
        for loader in loaders:
            next(loader, None)  # a loader closes its epoch when it finds no further batch
        for network in (self.job.network, *([] if self.ema is None else [self.averaged()])):
            refuse_weights(network, self._at(first + len(drawn) - 1), self.remedy)
        return self._mean_loss()

    def _put_together(self) -> None:
        """What each process knows of the epoch so far, in the first one, which writes the checkpoint."""
        self.course.end()
        for one in self.told:
            totals = {name: added_up(value, self.job.runtime.device) for name, value in one.parts.items()}
            one.parts = dict.fromkeys(totals, 0.0) if self.rank else totals

    def begin_anew(self) -> None:
        """The epoch is kept: the next one has told nothing yet."""
        self.told = [Told() for _ in self.streams]

    def _whole_step(self, step: int, which: int, loader: Iterator[Batch], sizes: Sequence[int], *, last: bool) -> bool:
        """A step of one of the streams, the last of its epoch or not; returns whether a process was told to end."""
        self.whole = False
        self.scheduler.step_update(step + 1)
        self.optimizer.zero_grad(set_to_none=True)
        lost, counted, ended = self._step(self.streams[which], loader, sizes, self.told[which])
        refuse_loss(lost, self._at(step), self.remedy)
        self._update(step)
        self.told[which].add(lost, counted)
        if self.world == 1:
            ended = interrupted()  # also in the course of the step
        if ended or last:
            self._put_together()
        self.whole = True
        return ended

    def _mean_loss(self) -> float:
        """The mean loss of an epoch's steps, and its ``parts``; of several streams each step counts as one."""
        told, device, alone = self.told, self.job.runtime.device, len(self.streams) == 1
        self.parts = {}
        for stream, one in zip(self.streams, told, strict=True):
            prefix = "train_" if alone else f"train_{stream.name}_"
            if not alone and one.steps:
                self.parts[f"{prefix}loss"] = one.loss
            for name, value in one.parts.items():
                self.parts[prefix + name] = added_up(value, device) / max(one.weight, 1e-12)
        if alone:
            return told[0].loss
        return sum(one.steps * one.loss for one in told) / max(1, sum(one.steps for one in told))

    def _sources(self) -> Iterator[tuple[Any, Stream]]:
        return zip(self.loaders, self.streams, strict=True)

    def _step(
        self, stream: Stream, parts: Iterator[Batch], sizes: Sequence[int], told: Told
    ) -> tuple[float, float, bool]:
        """The gradient of a batch, part by part.

        Returns:
            The sum of its losses and its weight, over all processes, and whether one of them was told to end.
        """
        device = self.job.runtime.device
        batches, weight, ended = self._drawn(stream, parts, sizes)
        lost = 0.0
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.forward):
                lost += self._backward(stream, batch.to(device), weight, told)
        return added_up(lost, device), weight, ended

    def _drawn(self, stream: Stream, parts: Iterator[Batch], sizes: Sequence[int]) -> tuple[list[Batch], float, bool]:
        """The share of a batch that this process has, part by part, the weight of the whole batch, and as above.

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
        weight, ended = all_added_up([weight, float(interrupted())], self.job.runtime.device)
        if math.isnan(weight):
            raise_shared(fault)
        return batches, weight, ended > 0

    def _backward(self, stream: Stream, batch: Batch, weight: float, told: Told) -> float:
        """Add a part's share of its batch's gradient; returns the sum of its losses.

        Raises:
            ActivetuneError: memory does not suffice for it; tells how many images it does suffice for.
        """
        found = fitting(lambda: self._lost(stream, batch, weight, told))
        if found is not None:
            return found[0]
        self.optimizer.zero_grad(set_to_none=True)
        alone = self.world == 1  # others wait for this process's gradient, which it can't try with fewer images
        raise too_large(
            self.job.runtime.device,
            len(batch.images),
            self.options.batch_size,
            (lambda count: self._lost(stream, batch.some(slice(count)), weight, Told())) if alone else None,
        )

    def _lost(self, stream: Stream, batch: Batch, weight: float, told: Told) -> float:
        """The sum of the losses; processes average their gradients, so each multiplies its own by their number."""
        with self.accelerator.autocast():
            outputs = self.forward(batch, stream)
        loss, _, parts = self.course.task(stream).loss(outputs, batch)
        if not batch.weight:
            loss = loss * 0.0
        for name, value in parts.items():
            told.parts[name] = told.parts.get(name, 0.0) + float(value.detach())
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
        course, epoch = self.course, self.course.epoch_of(update)
        kept = f"; the state after epoch {epoch} is kept in {self.job.work}" if epoch else ""
        step = f"step {update + 1:,} of {course.total:,}"
        return f"at {step} ({course.label or self.phase}, epoch {epoch + 1}{kept})"

    # What the loop asks for ---------------------------------------------------------------------------------------

    @property
    def remedy(self) -> str:
        """The setting to change where numbers are no longer finite."""
        rates = {self.course.rate: self.options.lr}
        return settings_to_change(self.job.runtime.precision, rates, kept=self.course.kept)

    @property
    def rate(self) -> float:
        """The learning rate of the topmost layer at present."""
        return float(max(group["lr"] for group in self.optimizer.param_groups))

    def averaged(self) -> nn.Module:
        """The network with averaged weights, or the network itself where none are averaged."""
        network = self.job.network if self.ema is None else self.ema.module
        assert isinstance(network, nn.Module)
        return network

    def averaged_state(self) -> dict[str, Tensor]:
        """What the training changes of it."""
        return trained_state(self.averaged(), self.job.network)

    def release(self) -> None:
        """Leave the network as it was found, but for its weights."""
        backbone = self.job.network.backbone
        self.optimizer.zero_grad(set_to_none=True)  # a later training would clip what its frozen weights still had
        if self.options.checkpointing:
            backbone.reader.compute_activations_again(backbone.network, False)
        for layer in self.fused:
            layer.fused_attn = True
        self.job.network.eval()
        if self.job.runtime.device.type != "cpu":  # it collects garbage, which takes a second and frees nothing here
            self.accelerator.free_memory()

    def state(self) -> dict[str, Any]:
        """The network, and what moves it, for a checkpoint."""
        scaler = self.accelerator.scaler
        return {
            "network": trained_state(self.job.network),
            "ema": None if self.ema is None else self.averaged_state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),  # fp16 only
            "told": [asdict(one) for one in self.told],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        take_up(self.job.network, state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            take_up(self.ema.module, state["ema"])
        self.told = [Told(**one) for one in state.get("told", ())] or self.told
        if self.rank:  # the parts are sums over all processes
            self.told = [replace(one, parts=dict.fromkeys(one.parts, 0.0)) for one in self.told]
