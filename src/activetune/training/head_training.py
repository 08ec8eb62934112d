"""Training a light head on cached features: the loop of every head that has no closed solution.

An item's features may be cached under several views (augmented images); each step draws one of them, then FroFA acts.
All randomness follows from the seed: torch's global state is neither read nor changed.
Shape legend: V views, L labelled items, T tokens, D feature size, B items of a batch, Y classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from activetune.base.arrays import FloatArray, IntArray
from activetune.base.config import check_settings
from activetune.base.progress import progress
from activetune.base.runtime import torch_generator
from activetune.base.settings import Settings, flatten
from activetune.base.torchvision_ import import_torchvision
from activetune.data.splits import shuffled
from activetune.networks.frofa import Grid, ScopedOperation, augment, mix
from activetune.networks.heads import Head
from activetune.networks.imbalance import Imbalance, binary_cross_entropy, cross_entropy
from activetune.training.finite import refuse_loss, refuse_weights, settings_to_change
from activetune.training.output import Checkpoint
from activetune.training.views import Views


@dataclass(frozen=True)
class HeadTraining(Settings):
    """How a head is trained.

    Attributes:
        steps: batches. batch_size: items per step. lr: AdamW's, on a cosine with a short warm-up; None takes the head's
            own (:class:`Head`). weight_decay: of layers, convolutions and embeddings, not of norms, biases and single
            tokens such as a query; some heads have none.
        label_smoothing: in [0, 1).
    """

    flat_names: ClassVar[Mapping[str, str]] = {
        "steps": "head_steps",
        "batch_size": "head_batch",
        "lr": "head_lr",
        "weight_decay": "head_weight_decay",
        "label_smoothing": "head_smoothing",
    }

    steps: int = 400
    batch_size: int | None = None
    lr: float | None = None
    weight_decay: float = 0.05
    label_smoothing: float = 0.1

    def __post_init__(self) -> None:
        check_settings(
            "head",
            ("head_steps", self.steps, 1, np.inf),
            *([] if self.batch_size is None else [("head_batch", self.batch_size, 1, np.inf)]),
            *([] if self.lr is None else [("head_lr", self.lr, 0, np.inf)]),
            ("head_weight_decay", self.weight_decay, 0, np.inf),
            ("head_smoothing", self.label_smoothing, 0, 0.99),
        )


WEIGHTS = (2, 4)  # dimensions of the weights of layers and of convolutions
SAVE_EVERY = 50  # steps between two states that a training that was cut off goes on from
BY_STEPS = HeadTraining()
NAMES = frozenset(flatten(BY_STEPS))  # the settings' flat names


class Lesson(Protocol):
    """What a head learns of the items under their views.

    Attributes:
        strata: (L,) the group of each item, which ``balance`` evens out. balance: see :class:`Imbalance`.
    """

    strata: IntArray
    balance: float

    def targets(self, rows: IntArray, views: IntArray) -> Any:
        """The targets of items, each under a view, on the device of the views."""

    def loss(self, outputs: Any, targets: Any) -> Tensor:
        """The mean loss of a batch's outputs."""


class ClassLesson:
    """The classes of an item, whatever the view.

    Args:
        given: (L,) class indices, or (L, C) ones and zeros. rows: positions that are trained on, by whose shares logits
            are adjusted. strata: see :class:`Lesson`; the classes by default.
    """

    def __init__(
        self,
        given: IntArray,
        classes: int,
        rows: IntArray,
        imbalance: Imbalance,
        smoothing: float,
        views: Views,
        strata: IntArray | None = None,
    ):
        self.given, self.strata = given, given if strata is None else strata
        self.balance, self.smoothing = imbalance.balance, smoothing
        self.classes, self.device = classes, views.device
        added_C = imbalance.added_to_logits(given[rows], classes, imbalance.weights(self.strata[rows]))
        self.added_C = torch.from_numpy(added_C).float().to(views.device)

    def targets(self, rows: IntArray, views: IntArray) -> Tensor:
        """See :class:`Lesson`: probabilities (B, C)."""
        chosen = torch.from_numpy(self.given[rows]).to(self.device)
        return (chosen if self.given.ndim == 2 else functional.one_hot(chosen, self.classes)).float()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """See :class:`Lesson`."""
        if self.given.ndim == 2:
            return binary_cross_entropy(outputs, targets, self.added_C, self.smoothing)
        return cross_entropy(outputs, targets, self.added_C, self.smoothing)


def train_head(
    head: Head,
    views: Views,
    lesson: Lesson,
    rows: IntArray,
    options: HeadTraining,
    *,
    augmentation: Sequence[ScopedOperation] = (),
    seed: int,
    checkpoint: Checkpoint | None = None,
    quiet: bool = True,
) -> list[float]:
    """Train a head in place on some of the items; returns the mean loss of each tenth of the steps.

    Args:
        lesson: what it learns. rows: positions that are trained on. augmentation: of the features (``frofa/``).
        checkpoint: what a training that was cut off goes on from; None keeps nothing.
    """
    import_torchvision()  # timm needs it
    from timm.scheduler import CosineLRScheduler

    lr = head.lr if options.lr is None else options.lr
    rng = np.random.default_rng([seed, 2])
    generator = torch_generator(rng, views.device)
    head.to(views.device).train()
    decay = options.weight_decay if head.decays else 0.0
    optimizer = torch.optim.AdamW(_groups(head, decay), lr=lr, fused=True)
    scheduler = CosineLRScheduler(
        optimizer, t_initial=options.steps + 1, warmup_t=max(1, options.steps // 20), warmup_lr_init=0.0
    )
    remedy = settings_to_change(views.precision, {"head_lr": lr})
    count, losses = int(views.features.shape[0]), np.empty(options.steps)
    batches = _batches(rows, lesson, options.batch_size or head.batch_size, rng)
    here = [views.device] if views.device.type == "cuda" else []
    kept = _Kept(checkpoint, head, optimizer, generator, losses)
    with torch.random.fork_rng(devices=here), progress(options.steps, "head", unit="steps", quiet=quiet) as meter:
        torch.manual_seed(seed)  # of dropout, which draws from torch's global state
        done = kept.restore()
        for step, chosen in zip(range(options.steps), batches, strict=False):
            drawn = rng.integers(count, size=len(chosen))
            meter.advance(1)
            if step < done:
                continue  # what is drawn is drawn again, so that the rest is drawn as before
            scheduler.step(step + 1)
            features, targets = _augmented(
                views.batch(chosen, drawn), lesson.targets(chosen, drawn), augmentation, generator, views.grid
            )
            loss = lesson.loss(head_outputs(head, features, views), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses[step] = float(loss.detach())
            refuse_loss(losses[step], f"at step {step + 1:,} of {options.steps:,} of the light head", remedy)
            kept.save(step + 1)
    head.eval()
    refuse_weights(head, "after the last step of the light head", remedy)
    return [float(part.mean()) for part in np.array_split(losses, min(10, options.steps))]


def _augmented(
    features: Tensor,
    targets: Any,
    augmentation: Sequence[ScopedOperation],
    generator: torch.Generator,
    grid: Grid | None,
) -> tuple[Tensor, Any]:
    """A batch under FroFA, its targets mixed as its features are."""
    if augmentation:
        features = augment(features.float(), augmentation, generator, grid=grid).to(features.dtype)
    for one in augmentation:
        if one.name == "mixup":
            features, targets = mix(features, targets, one.strength, generator)
    return features, targets


@dataclass(frozen=True)
class _Kept:
    """What a head's training goes on from, where it is kept: weights, the optimiser, and the random states."""

    checkpoint: Checkpoint | None
    head: Head
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    losses: npt.NDArray[np.float64]

    def save(self, done: int) -> None:
        """Keep the state after so many steps, now and then and at the end."""
        if self.checkpoint is None or (done % SAVE_EVERY and done < len(self.losses)):
            return
        on_gpu = self.generator.device.type == "cuda"
        self.checkpoint.save(
            {
                "done": done,
                "head": self.head.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "losses": torch.from_numpy(self.losses[:done].copy()),
                "augmentation": self.generator.get_state(),
                "dropout": torch.get_rng_state(),
                **({"dropout_gpu": torch.cuda.get_rng_state(self.generator.device)} if on_gpu else {}),
            }
        )

    def restore(self) -> int:
        """Take up the state that was kept; returns the steps that it has behind it."""
        state = None if self.checkpoint is None else self.checkpoint.load()
        if state is None:
            return 0
        self.head.load_state_dict(state["head"])
        self.optimizer.load_state_dict(state["optimizer"])
        done = int(state["done"])
        self.losses[:done] = state["losses"].cpu().numpy()
        self.generator.set_state(state["augmentation"].cpu())
        torch.set_rng_state(state["dropout"].cpu())
        if "dropout_gpu" in state:
            torch.cuda.set_rng_state(state["dropout_gpu"].cpu(), self.generator.device)
        return done


def head_logits(head: Head, views: Views, rows: IntArray, batch_size: int = 256) -> FloatArray:
    """Logits (B, Y) of items under view 0; the head is taken to where the views are computed on."""
    head.to(views.device)
    with torch.inference_mode():
        found = [
            head_outputs(head, views.batch(part), views).float().cpu().numpy()
            for part in np.array_split(rows, max(1, -(-len(rows) // batch_size)))
        ]
    return np.concatenate(found)


def head_outputs(head: Head, features: Tensor, views: Views) -> Any:
    """What a head gives for features of the views, (B, T, D) or (B, D)."""
    if head.reads == "map":
        assert views.grid is not None
        return head(views.grid.as_map(features.float()))
    if head.reads == "pooled":
        features = features.float()
        if features.ndim == 3:
            assert views.pool is not None
            features = views.pool(features)
    return head(features)


def _groups(head: Head, weight_decay: float) -> list[dict[str, object]]:
    """Decay on weights of two and four dimensions alone: not on norms, biases, and tokens that are learned."""
    decayed = [value for value in head.parameters() if value.ndim in WEIGHTS]
    others = [value for value in head.parameters() if value.ndim not in WEIGHTS]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]


def _batches(rows: IntArray, lesson: Lesson, batch_size: int, rng: np.random.Generator) -> Iterator[IntArray]:
    """Endless batches; each pass is shuffled anew, and its batches differ by one item at most."""
    while True:
        yield from np.array_split(shuffled(rows, lesson.strata, rng, lesson.balance), -(-len(rows) // batch_size))
