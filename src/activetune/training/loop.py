"""The one training loop: images through the whole network, on accelerate.

The order of an epoch, each item's crop and flip (``_batches.py``), and the state from which stochastic depth draws are
derived from (seed, epoch, item), never from what ran before. So a run that goes on from the checkpoint of epoch e is
the uninterrupted run, whatever the number of decoding workers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from activetune.base.errors import UsageError
from activetune.base.files import replacing
from activetune.base.fingerprint import as_json, digest, digest_json
from activetune.base.interrupts import signals_held
from activetune.base.progress import note, progress
from activetune.data.loading import PoolImages, choose_workers, start_worker
from activetune.evaluation.estimate import estimate_by
from activetune.networks.imbalance import cross_entropy
from activetune.networks.regression import Trial, best_trial
from activetune.training.batches import AugmentedImages, derive
from activetune.training.course import Course, batches_of
from activetune.training.finite import refuse_loss, refuse_outputs, refuse_weights, settings_to_change
from activetune.training.job import Job, Outcome
from activetune.training.network_state import (
    between,
    compute_activations_again,
    copied,
    fused_attention,
    to_training,
    weights_below_heads,
)
from activetune.training.parameter_groups import parameter_groups
from activetune.training.settings import Optimisation, Training


def train(job: Job, options: Training, *, phase: str, stop_after: int | None = None) -> Outcome:
    """Train those of ``job.network``'s weights that want a gradient, on the items that are not held out.

    Args:
        phase: the name of this training in the history and in the checkpoint's file name.
        stop_after: epochs after which to stop, on the schedule of all ``options.epochs``.
    """
    batches = batches_of(job, options)
    warmup = int(min(options.warmup_epochs, options.epochs / 2) * batches.count)
    course = Course(batches, options.epochs, warmup=warmup, patience=options.patience)
    return follow(course, job, options, phase=phase, stop_after=stop_after)


def follow(course: Course, job: Job, options: Optimisation, *, phase: str, stop_after: int | None = None) -> Outcome:
    """Train along a course.

    With a validation part the best epoch by it is kept, otherwise the last one, and then the best interpolation; with
    ``ema`` it is the averaged weights that are validated and kept.
    """
    run = _Run(job, options, phase, course)
    last = min(course.epochs, stop_after or course.epochs)
    steps = course.batches.count
    with progress(last * steps, phase, unit="steps", done=run.epoch * steps, quiet=job.quiet) as meter:
        while run.epoch < last and not run.stalled:
            row = run.one_epoch(meter.advance)
            run.save()
            told = f", validation top-1 {row['val_top1']:.3f}" if "val_top1" in row else ""
            note(f"{phase}: epoch {run.epoch}/{last}, loss {row['train_loss']:.4f}{told}", job.quiet)
    return run.finish()


class _Run:
    """The state of one training run, and its checkpoint."""

    def __init__(self, job: Job, options: Optimisation, phase: str, course: Course):
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from timm.optim import create_optimizer_v2
        from timm.scheduler import CosineLRScheduler
        from timm.utils import ModelEmaV3

        self.job, self.options, self.phase, self.course = job, options, phase, course
        self.checkpoint = job.work / f"{phase}.pt"
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.start = None if options.interpolation == (1.0,) else copied(job.network.state_dict())
        AcceleratorState._reset_state()  # it keeps one precision a process, and this run may want another
        precision = "no" if job.runtime.precision == "fp32" else job.runtime.precision
        self.accelerator = Accelerator(mixed_precision=precision, cpu=job.runtime.device.type == "cpu")
        workers = choose_workers(job.workers, course.batches.items * course.epochs)
        loader = DataLoader(
            AugmentedImages(
                job.pool,
                job.backbone.settings,
                seed=job.seed,
                crops=options,
            ),
            batch_sampler=course.batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # otherwise each iterator draws from the state that stochastic depth uses
            worker_init_fn=start_worker,
        )
        network = job.network
        if options.checkpointing:
            compute_activations_again(job.backbone)
        self.fused = fused_attention(job.backbone) if job.runtime.device.type == "cpu" else []
        for layer in self.fused:
            layer.fused_attn = False
        optimizer = create_optimizer_v2(
            parameter_groups(network, options.weight_decay, options.layer_decay),
            opt=_optimizer_name(options),
            lr=options.lr,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
        )
        self.scheduler = CosineLRScheduler(
            optimizer,
            t_initial=course.epochs * course.batches.count + 1,  # zero is reached after the last step, not in it
            warmup_t=course.warmup,
            warmup_lr_init=0.0,
            t_in_epochs=False,
        )
        self.ema = ModelEmaV3(network, decay=options.ema, use_warmup=True) if options.ema else None
        self.starting_point = weights_below_heads(network) if options.l2sp else []
        self.network, self.optimizer, self.loader = self.accelerator.prepare(network, optimizer, loader)
        self.loss = _loss(options, job.labels.indices[job.training], len(job.labels.classes), job.runtime.device)
        self.targets = torch.from_numpy(job.labels.indices).to(job.runtime.device)
        self.fingerprint = digest_json({"phase": phase, "options": as_json(asdict(options)), "job": self._job_digest()})
        if job.resume and self.checkpoint.is_file():
            self._restore()

    def one_epoch(self, advance: Callable[[], None]) -> dict[str, Any]:
        """Train for an epoch and validate; returns the row of the history."""
        started = time.perf_counter()
        self.course.begin(self.epoch)
        batches = self.course.batches
        torch.manual_seed(derive(self.job.seed, self.epoch, -1))
        to_training(self.accelerator.unwrap_model(self.network))
        total = torch.zeros((), dtype=torch.float64)
        with signals_held():
            parts = iter(self.loader)
        for step, sizes in enumerate(batches.sizes()):
            update = self.epoch * batches.count + step
            self.scheduler.step_update(update + 1)
            self.optimizer.zero_grad(set_to_none=True)
            lost = torch.zeros((), dtype=torch.float64)
            for _ in sizes:
                images, positions = next(parts)
                lost += self._backward(images, positions, sum(sizes))
            refuse_loss(float(lost), self._at(update), self._remedy)
            total += lost
            self._update(update)
            advance()
        next(parts, None)  # the loader closes its epoch when it finds no further batch
        self.epoch += 1
        row: dict[str, Any] = {
            "phase": self.phase,
            "epoch": self.epoch,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            "train_loss": float(total) / batches.items,
            **self.course.columns(),
        }
        refuse_weights(self.network, self._at(update), self._remedy)
        if self.ema is not None:
            refuse_weights(self.ema.module, self._at(update), self._remedy)
        row["seconds"] = round(time.perf_counter() - started, 3)
        if len(self.job.held_out):
            started = time.perf_counter()
            trial = self._validate(self._averaged())
            row["val_top1"], row["val_loss"] = trial.top1, trial.loss
            if self._better(row):
                state = copied(self._averaged().state_dict())
                told = self._estimate(trial, "the epoch that is kept")
                self.best = {"top1": row["val_top1"], "loss": row["val_loss"], "epoch": self.epoch, "state": state}
                self.best |= told
            row["val_seconds"] = round(time.perf_counter() - started, 3)
        self.history.append(row)
        return row

    def _at(self, update: int) -> str:
        """Where the training is, for a sentence on numbers that are not finite."""
        count = self.course.batches.count
        kept = f"; the state after epoch {update // count} is kept in {self.job.work}" if update >= count else ""
        step = f"step {update + 1:,} of {self.course.epochs * count:,}"
        return f"at {step} ({self.phase}, epoch {update // count + 1}{kept})"

    @property
    def _remedy(self) -> str:
        return settings_to_change(self.job.runtime.precision, {"lr": self.options.lr})

    def _better(self, row: Mapping[str, Any]) -> bool:
        """Whether an epoch is better than the best so far: by more than one standard error, or else by its loss."""
        if self.best is None:
            return True
        gain = row["val_top1"] - self.best["top1"]
        highest = max(row["val_top1"], self.best["top1"])
        error = (highest * (1 - highest) / len(self.job.held_out)) ** 0.5
        return bool(gain > error or (gain >= -error and row["val_loss"] < self.best["loss"]))

    def _backward(self, images: Tensor, positions: Tensor, size: int) -> Tensor:
        """Add a part's share of its batch's gradient; returns the sum of its losses."""
        network, targets = self.accelerator.unwrap_model(self.network), self.targets[positions]
        with self.accelerator.autocast():
            logits = self.course.logits(network, images, positions)
        loss: Tensor = self.loss(logits.float(), targets)
        self.accelerator.backward(loss * (len(targets) / size))
        return loss.detach().cpu().double() * len(targets)

    def _update(self, update: int) -> None:
        """One step of the optimiser, and of what follows the weights."""
        if self.options.clip:
            self.accelerator.clip_grad_norm_(self.network.parameters(), self.options.clip)
        self.optimizer.step()
        if self.starting_point:
            rate = self.optimizer.param_groups[0]["lr"] / self.optimizer.param_groups[0].get("lr_scale", 1.0)
            with torch.no_grad():
                for weight, start in self.starting_point:
                    weight.lerp_(start, min(1.0, rate * self.options.l2sp))
        if self.ema is not None:
            self.ema.update(self.accelerator.unwrap_model(self.network), step=update)

    @property
    def stalled(self) -> bool:
        """Whether the validation loss has not fallen for ``patience`` epochs."""
        losses = [row["val_loss"] for row in self.history if "val_loss" in row]
        patience = self.course.patience
        return bool(patience) and len(losses) > patience and min(losses[-patience:]) >= min(losses[:-patience])

    def finish(self) -> Outcome:
        """Put the kept weights into the network."""
        figures: dict[str, Any] = {"kept_epoch": self.epoch}
        state = self._averaged().state_dict()
        if self.best is not None:
            state = self.best["state"]
            figures = {"kept_epoch": self.best["epoch"], "val_top1": self.best["top1"], "chosen_by": "validation"}
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
        self.accelerator.free_memory()
        return Outcome(self.history, figures)

    def _interpolate(self, start: Mapping[str, Tensor], end: Mapping[str, Tensor]) -> dict[str, Any]:
        """Put the network on the line between two states, at the best place by the validation part."""
        network = self.job.network
        trials: list[Trial] = []
        for share in self.options.interpolation:
            network.load_state_dict(between(start, end, share))
            if len(self.options.interpolation) == 1 or not len(self.job.held_out):
                return {"interpolation": share}
            trials.append(self._validate(network, share))
        best = best_trial(trials, by="smoothed")
        self.history += [
            {
                "phase": self.phase,
                "interpolation": trial.strength,
                "val_top1": trial.top1,
                "val_loss": trial.loss,
                "smoothed": round(trial.smoothed, 5),
            }
            for trial in trials
        ]
        network.load_state_dict(between(start, end, best.strength))
        told = self._estimate(best, "the epoch that is kept, with the place between start and end,")
        return {"interpolation": best.strength, "val_top1": best.top1, **told}

    def _estimate(self, trial: Trial, chose: str) -> dict[str, Any]:
        """The figure that a validation gives for the model that it was made of."""
        by = "a held-out validation part"
        return estimate_by(trial, self.job.labels.classes, of="the trained network", by=by, chose=chose)

    def save(self) -> None:
        """Write the checkpoint in one step: whenever the process dies, the last complete one is there."""
        if not self.accelerator.is_main_process:
            return
        content = {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "history": self.history,
            "best": self.best,
            "network": self.job.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "course": self.course.state(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),  # fp16 only
        }
        with replacing(self.checkpoint) as partial:
            torch.save(content, partial)

    def _restore(self) -> None:
        content = torch.load(self.checkpoint, map_location=self.job.runtime.device, weights_only=True)
        if content["fingerprint"] != self.fingerprint:
            raise UsageError(
                f"{self.job.work.parent} holds an unfinished run with other labels, backbone, settings or seed; "
                "give the same ones to go on with --resume, or --overwrite to start again"
            )
        self.job.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(content["ema"])
        self.epoch, self.history, self.best = content["epoch"], content["history"], content["best"]
        self.course.restore(content["course"])
        note(f"{self.phase}: going on after epoch {self.epoch}", self.job.quiet)

    def _averaged(self) -> nn.Module:
        network = self.job.network if self.ema is None else self.ema.module
        assert isinstance(network, nn.Module)
        return network

    def _validate(self, network: nn.Module, share: float = 1.0) -> Trial:
        """Scores on the held-out items, as they are evaluated later (no augmentation)."""
        backbone, runtime = self.job.backbone, self.job.runtime
        network.eval()
        images = PoolImages(self.job.pool, backbone.prepare)
        found = []
        for batch in np.array_split(self.job.held_out, -(-len(self.job.held_out) // 64)):
            pixels = torch.stack([images.usable(int(position)) for position in batch])
            with torch.inference_mode(), runtime.autocast():
                found.append(network(pixels.to(runtime.device)).float().cpu())
            refuse_outputs(found[-1], "the outputs", f"after epoch {self.epoch} ({self.phase})", self._remedy)
        return Trial.of(share, torch.cat(found).numpy(), self.job.labels.indices[self.job.held_out])

    def _job_digest(self) -> str:
        """What a checkpoint was made from; the first classifier's numbers differ a little between machines."""
        labels = self.job.labels
        return digest(
            self.job.backbone.fingerprint,
            *labels.ids,
            *labels.names,
            *map(str, self.job.held_out),
            str(self.job.seed),
            self.job.runtime.precision,
        )


def _optimizer_name(options: Optimisation) -> str:
    """Name in timm; its ``sgd`` is Nesterov's, which needs a momentum."""
    return "adamw" if options.optimizer == "adamw" else "sgd" if options.momentum else "momentum"


def _loss(
    options: Optimisation, targets: np.ndarray, classes: int, device: torch.device
) -> Callable[[Tensor, Tensor], Tensor]:
    """Cross-entropy; with ``logit_adjustment`` of logits to which the classes' log shares are added."""
    added = torch.from_numpy(options.added_to_logits(targets, classes)).float().to(device)

    def loss(logits_BC: Tensor, targets_B: Tensor) -> Tensor:
        answers_BC = functional.one_hot(targets_B, classes).float()
        return cross_entropy(logits_BC, answers_BC, added, options.label_smoothing)

    return loss
