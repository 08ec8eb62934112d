"""The one training loop: images through the whole network, on accelerate.

Every random choice is derived from (seed, epoch, item), never from what ran before: the order of an epoch, each
item's crop and flip, and the state from which stochastic depth draws. So a run that goes on from the checkpoint of
epoch e is the uninterrupted run, whatever the number of decoding workers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from activetune.errors import UsageError
from activetune.fingerprint import digest, digest_json
from activetune.images import decode_image
from activetune.loading import PoolImages, choose_workers, start_worker
from activetune.recipes._base import Outcome, Task
from activetune.runtime import note, progress
from activetune.store import replacing
from activetune.vision import import_torchvision


@dataclass(frozen=True)
class Training:
    """How the network is trained.

    Attributes:
        epochs: passes over the training items.
        batch_size: images a step (batches of one epoch differ by one image at most).
        optimizer: ``adamw`` or ``sgd`` (with ``momentum``). lr: peak learning rate. weight_decay: not on norms, biases.
        warmup_epochs: linear rise to ``lr``; a cosine falls to zero from there.
        label_smoothing: in [0, 1). clip: largest gradient norm, 0 is off.
        ema: decay of the weights' moving average, which is then the model; 0 is off.
        layer_decay: factor on the learning rate from each layer to the one below it; 1 is off.
        drop_path: stochastic depth. min_crop: smallest share of the image that a random crop shows. flip: its chance.
        validation: share of each class held out to choose the epoch by, where labels suffice.
    """

    epochs: int = 15
    batch_size: int = 32
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = 1e-4
    weight_decay: float = 0.05
    momentum: float = 0.9
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.1
    clip: float = 1.0
    ema: float = 0.0
    layer_decay: float = 1.0
    drop_path: float = 0.0
    min_crop: float = 0.35
    flip: float = 0.5
    validation: float = 0.2

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("epochs", self.epochs, 1, np.inf),
            ("batch_size", self.batch_size, 1, np.inf),
            ("lr", self.lr, 0, np.inf),
            ("weight_decay", self.weight_decay, 0, np.inf),
            ("momentum", self.momentum, 0, 1),
            ("warmup_epochs", self.warmup_epochs, 0, np.inf),
            ("label_smoothing", self.label_smoothing, 0, 0.99),
            ("clip", self.clip, 0, np.inf),
            ("ema", self.ema, 0, 0.99999),
            ("layer_decay", self.layer_decay, 0.01, 1),
            ("drop_path", self.drop_path, 0, 0.99),
            ("min_crop", self.min_crop, 0.01, 1),
            ("flip", self.flip, 0, 1),
            ("validation", self.validation, 0, 0.9),
        ):
            if not low <= value <= high:
                raise UsageError(f"{name} can't be {value}; allowed: {low} to {high}")

    def construction(self) -> dict[str, Any]:
        """Stochastic depth is part of the network."""
        return {"drop_path_rate": self.drop_path} if self.drop_path else {}


class _TrainingImages(Dataset[tuple[Tensor, int]]):
    """Items by (epoch, position): each epoch shows another crop of an item, always the same for the same seed."""

    def __init__(self, task: Task, options: Training):
        import_torchvision()
        from torchvision.transforms import v2

        settings = task.backbone.settings
        self.pool, self.targets, self.seed = task.pool, task.labels.indices, task.seed
        self.augment = v2.Compose(
            [
                v2.RandomResizedCrop(
                    settings.size,
                    scale=(options.min_crop, 1.0),
                    interpolation=v2.InterpolationMode(settings.interpolation),
                    antialias=True,
                ),
                v2.RandomHorizontalFlip(options.flip),
                v2.PILToTensor(),
            ]
        )

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, int]:
        epoch, position = key
        image = decode_image(self.pool.read(position))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_derive(self.seed, epoch, position))
            return self.augment(image), int(self.targets[position])


class _Batches:
    """The batches of one epoch as lists of (epoch, position), in an order derived from seed and epoch."""

    def __init__(self, positions: np.ndarray, batch_size: int, seed: int):
        self.positions, self.seed, self.epoch = positions, seed, 0
        self.count = max(1, -(-len(positions) // batch_size))

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.positions)
        for batch in np.array_split(order, self.count):  # of nearly equal size: none of one image alone
            yield [(self.epoch, int(position)) for position in batch]


def train(task: Task, options: Training, *, phase: str) -> Outcome:
    """Train ``task.backbone`` (classifier included) on the items that are not held out.

    With a validation part the epoch with the best validation accuracy is kept (the lower loss on a tie), otherwise
    the last one; with ``ema`` it is the averaged weights that are validated and kept.
    """
    run = _Run(task, options, phase)
    with progress(
        options.epochs * len(run.batches), phase, unit="steps", done=run.epoch * len(run.batches), quiet=task.quiet
    ) as meter:
        while run.epoch < options.epochs:
            row = run.one_epoch(meter.advance)
            run.save()
            told = f", validation top-1 {row['val_top1']:.3f}" if "val_top1" in row else ""
            note(f"{phase}: epoch {run.epoch}/{options.epochs}, loss {row['train_loss']:.4f}{told}", task.quiet)
    return run.finish()


class _Run:
    """The state of one training run, and its checkpoint."""

    def __init__(self, task: Task, options: Training, phase: str):
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from timm.optim import create_optimizer_v2
        from timm.scheduler import CosineLRScheduler
        from timm.utils import ModelEmaV3

        self.task, self.options, self.phase = task, options, phase
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        AcceleratorState._reset_state()  # it keeps one precision a process, and this run may want another
        precision = "no" if task.runtime.precision == "fp32" else task.runtime.precision
        self.accelerator = Accelerator(mixed_precision=precision, cpu=task.runtime.device.type == "cpu")
        self.batches = _Batches(task.training, options.batch_size, task.seed)
        workers = choose_workers(task.workers, len(task.training) * options.epochs)
        loader = DataLoader(
            _TrainingImages(task, options),
            batch_sampler=self.batches,
            num_workers=workers,
            persistent_workers=workers > 0,
            generator=torch.Generator(),  # otherwise each iterator draws from the state that stochastic depth uses
            worker_init_fn=start_worker,
        )
        optimizer = create_optimizer_v2(
            task.backbone.network,
            opt="sgd" if options.optimizer == "sgd" else "adamw",
            lr=options.lr,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
            layer_decay=options.layer_decay if options.layer_decay < 1 else None,
        )
        steps = len(self.batches)
        self.scheduler = CosineLRScheduler(
            optimizer,
            t_initial=options.epochs * steps + 1,  # zero is reached after the last step, not in it
            warmup_t=int(min(options.warmup_epochs, options.epochs / 2) * steps),
            warmup_lr_init=0.0,
            t_in_epochs=False,
        )
        self.ema = ModelEmaV3(task.backbone.network, decay=options.ema, use_warmup=True) if options.ema else None
        self.network, self.optimizer, self.loader = self.accelerator.prepare(task.backbone, optimizer, loader)
        self.loss = nn.CrossEntropyLoss(label_smoothing=options.label_smoothing)
        self.fingerprint = digest_json({"phase": phase, "options": asdict(options), "task": self._task_digest()})
        if task.resume and task.checkpoint.is_file():
            self._restore()

    def one_epoch(self, advance: Any) -> dict[str, Any]:
        """Train for an epoch and validate; returns the row of the history."""
        started = time.perf_counter()
        self.batches.epoch = self.epoch
        torch.manual_seed(_derive(self.task.seed, self.epoch, -1))
        backbone = self.accelerator.unwrap_model(self.network)
        backbone.train()
        total = torch.zeros((), dtype=torch.float64)
        for step, (images, targets) in enumerate(self.loader):
            update = self.epoch * len(self.batches) + step
            self.scheduler.step_update(update + 1)
            with self.accelerator.autocast():
                logits = backbone.network(backbone.normalise(images))
            loss = self.loss(logits.float(), targets)
            self.optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(loss)
            if self.options.clip:
                self.accelerator.clip_grad_norm_(self.network.parameters(), self.options.clip)
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update(backbone.network, step=update)
            total += loss.detach().cpu().double() * len(targets)
            advance()
        self.epoch += 1
        row: dict[str, Any] = {
            "phase": self.phase,
            "epoch": self.epoch,
            "lr": max(group["lr"] for group in self.optimizer.param_groups),
            "train_loss": float(total) / len(self.batches.positions),
        }
        if not np.isfinite(row["train_loss"]):
            raise UsageError(f"the loss is {row['train_loss']} in epoch {self.epoch}; give a lower --set lr=…")
        if len(self.task.held_out):
            row["val_top1"], row["val_loss"] = self._validate()
            if self.best is None or (row["val_top1"], -row["val_loss"]) > (self.best["top1"], -self.best["loss"]):
                state = {name: value.clone() for name, value in self._averaged().state_dict().items()}
                self.best = {"top1": row["val_top1"], "loss": row["val_loss"], "epoch": self.epoch, "state": state}
        row["seconds"] = round(time.perf_counter() - started, 3)
        self.history.append(row)
        return row

    def finish(self) -> Outcome:
        """Put the kept weights into the backbone."""
        figures: dict[str, Any] = {"kept_epoch": self.epoch}
        state = self._averaged().state_dict()
        if self.best is not None:
            state = self.best["state"]
            figures = {"kept_epoch": self.best["epoch"], "val_top1": self.best["top1"], "chosen_by": "validation"}
        self.task.backbone.network.load_state_dict(state)
        self.task.backbone.eval()
        self.accelerator.free_memory()
        return Outcome(self.history, figures)

    def save(self) -> None:
        """Write the checkpoint in one step: whenever the process dies, the last complete one is there."""
        if not self.accelerator.is_main_process:
            return
        content = {
            "fingerprint": self.fingerprint,
            "epoch": self.epoch,
            "history": self.history,
            "best": self.best,
            "network": self.task.backbone.network.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": None if self.accelerator.scaler is None else self.accelerator.scaler.state_dict(),  # fp16 only
        }
        with replacing(self.task.checkpoint) as partial:
            torch.save(content, partial)

    def _restore(self) -> None:
        content = torch.load(self.task.checkpoint, map_location=self.task.runtime.device, weights_only=True)
        if content["fingerprint"] != self.fingerprint:
            raise UsageError(
                f"{self.task.checkpoint.parent} holds an unfinished run with other labels, backbone, settings or seed; "
                "give the same ones to go on with --resume, or --overwrite to start again"
            )
        self.task.backbone.network.load_state_dict(content["network"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(content["scaler"])
        if self.ema is not None:
            self.ema.module.load_state_dict(content["ema"])
        self.epoch, self.history, self.best = content["epoch"], content["history"], content["best"]
        note(f"{self.phase}: going on after epoch {self.epoch}", self.task.quiet)

    def _averaged(self) -> nn.Module:
        network = self.task.backbone.network if self.ema is None else self.ema.module
        assert isinstance(network, nn.Module)
        return network

    def _validate(self) -> tuple[float, float]:
        """Top-1 and cross-entropy on the held-out items, as they are evaluated later (no augmentation)."""
        backbone, runtime = self.task.backbone, self.task.runtime
        network = self._averaged().eval()
        images = PoolImages(self.task.pool, backbone.prepare)
        right, loss = 0, 0.0
        for batch in np.array_split(self.task.held_out, -(-len(self.task.held_out) // 64)):
            pixels = torch.stack(
                [image for _, image, _ in (images[int(p)] for p in batch) if isinstance(image, Tensor)]
            )
            targets = torch.from_numpy(self.task.labels.indices[batch]).to(runtime.device)
            with torch.inference_mode(), runtime.autocast():
                logits = network(backbone.normalise(pixels.to(runtime.device))).float()
            right += int((logits.argmax(1) == targets).sum())
            loss += float(nn.functional.cross_entropy(logits, targets, reduction="sum"))
        return right / len(self.task.held_out), loss / len(self.task.held_out)

    def _task_digest(self) -> str:
        labels = self.task.labels
        return digest(
            self.task.backbone.fingerprint,
            *labels.ids,
            *labels.names,
            *map(str, self.task.held_out),
            str(self.task.seed),
            self.task.runtime.precision,
        )


def _derive(seed: int, epoch: int, item: int) -> int:
    """A 63-bit seed of its own for an item in an epoch."""
    return int(np.random.SeedSequence([seed, epoch, item + 1]).generate_state(1, np.uint64)[0] >> np.uint64(1))
