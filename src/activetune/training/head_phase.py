"""Phase ``head``, FACT's third: a light head on cached features, under frozen feature augmentation.

``LightHead`` has its settings. ``run_head`` computes the features (``views.py``), lets ``head_choice.py`` try
candidates, and fits the one that is chosen (``head_training.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.config import check_settings
from activetune.base.errors import UsageError, unknown_name
from activetune.base.ranks import from_first
from activetune.base.settings import Settings
from activetune.evaluation.estimate import estimate_by
from activetune.networks.frofa import ScopedOperation, parse_augmentation
from activetune.networks.heads import ROOMS, Head, heads
from activetune.networks.imbalance import Imbalance
from activetune.networks.regression import DEFAULT_STRENGTH, Regression, best_trial
from activetune.tasks import Crops, Task
from activetune.training.frozen_head import LightHeadsOf, light_heads
from activetune.training.head_choice import ATTENTION, Candidate, HeadTrial, choose_head
from activetune.training.head_training import HeadTraining
from activetune.training.job import Job, Outcome
from activetune.training.views import embed_views

AUGMENTATION = parse_augmentation("c2frofa:brightness:0.2")  # under attention pooling, where nothing can be chosen by


@dataclass(frozen=True)
class LightHead(Settings):
    """How the light head is found.

    Attributes:
        head: a name of ``activetune list heads``; ``keep``, the classifier that phase ``full`` trained; or ``auto``:
            the best on validation, where ``keep`` wins unless another is better by more than a standard error.
        frofa: the augmentation: a sequence such as ``c2frofa:brightness:0.8 + cfrofa:posterize:4``, ``none``, or
            ``auto``, the best on validation.
        trials: how many candidates are tried for these two, at most.
        views: of each image, whose features are computed; the first is not augmented, the others are cropped and
            flipped as in training.
        training: of heads that are trained by steps.
    """

    head: str = "auto"
    frofa: str = "auto"
    trials: int = 12
    views: int = 4
    training: HeadTraining = HeadTraining()

    def __post_init__(self) -> None:
        check_settings("head", ("trials", self.trials, 1, 10_000), ("views", self.views, 1, 1000))
        known = ("auto", "keep", *heads(), *(kind for room in ROOMS for kind in heads(room) if kind not in heads()))
        if self.head not in known:
            raise unknown_name("head", self.head, known)
        self.augmentations()

    def augmentations(self) -> list[tuple[ScopedOperation, ...]] | None:
        """The augmentations that are tried; None for ``frofa=auto``, which searches for one."""
        if self.frofa == "auto":
            return None
        return [() if self.frofa == "none" else parse_augmentation(self.frofa)]

    def refuse(self, recipe: str, task: Task, asked: str) -> None:
        """Refuse a light head that does not answer a task, or that is another than the one asked for.

        Args:
            recipe: its name. asked: see :meth:`kinds`.

        Raises:
            UsageError: it is such a head.
        """
        known, kind = task.head_kinds(), asked.partition(":")[0]
        if self.head not in ("auto", "keep", *known):
            raise UsageError(
                f"{recipe}: head={self.head} does not answer {task.name}; give auto, keep or one of {', '.join(known)}"
            )
        if kind and self.head not in ("auto", "keep", kind):
            raise UsageError(
                f"{recipe}: its light head is {self.head} (the setting head), and --head asks for {kind}; leave --head "
                f"out, or give --set head={kind} with it"
            )

    def kinds(self, present: bool, task: Task, asked: str = "") -> tuple[str, ...]:
        """The kinds of head that are tried.

        Args:
            present: whether the network has a trained head, which ``keep`` would leave as it is.
            asked: the kind that the model was asked to have, with its options; empty: any.
        """
        if self.head != "auto":
            return (self.head,)
        known = tuple(heads(task.room)) if not task.placed else (task.head_kinds()[0],)
        known = (asked,) if asked else known
        return ("keep", *known) if present else known

    def unchosen(self, auto: Candidate, asked: str = "") -> Candidate:
        """The candidate that is taken where no items are left to choose by.

        Args:
            auto: taken for ``head=auto``; any other ``head`` is taken as it is given.
            asked: see :meth:`kinds`; it comes before an ``auto`` that keeps no head.
        """
        if self.head == "auto":
            return Candidate(asked) if asked and auto.kind != "keep" else auto
        given = self.augmentations()
        if self.head == "keep" or (given is None and not _reads_tokens(self.head)):
            return Candidate(self.head)
        return Candidate(self.head, AUGMENTATION if given is None else given[0])

    @property
    def needs_tokens(self) -> bool:
        """Whether some candidate reads more than pooled features."""
        if self.head in ("auto", "keep"):
            return self.head == "auto"
        return _reads_tokens(self.head) or self.frofa not in ("auto", "none")


def _reads_tokens(kind: str) -> bool:
    """Whether a head of this kind, where there is one for one class per image, reads tokens."""
    return kind not in heads() or heads()[kind].reads != "pooled"


@dataclass(frozen=True)
class Choice:
    """The candidate that was chosen, and the strength of its logistic regression."""

    candidate: Candidate
    strength: float


def run_head(
    job: Job,
    options: LightHead,
    regression: Regression,
    imbalance: Imbalance,
    crops: Crops,
    *,
    splits: Sequence[IntArray],
    choice: Choice | None = None,
    auto: Candidate,
    present: Any = None,
    put: bool = True,
) -> tuple[Outcome, Choice]:
    """Choose a light head by trials on the splits, fit it on every labelled item, and make it the network's.

    Of several processes the first one does the work.

    Args:
        regression: the strengths that are tried for heads without weights below the classifier.
        imbalance: what is done about classes of different size. crops: random crops and flips of all views but the
            first.
        splits: the parts that are validated on, items that the backbone has not been trained on. Without any there are
            no trials: the head is the one that ``options`` name, or the argument ``auto`` where they say ``auto``.
        choice: one that was made before; there are no trials then.
        present: the trained classifier, which the head ``keep`` leaves as it is.
        put: False chooses a head, and leaves the network as it is.

    Returns:
        One row per trial with the figures, and the choice, which another call can be given.
    """
    if choice is None and not splits:
        only = regression.strengths[0] if len(regression.strengths) == 1 else DEFAULT_STRENGTH
        choice = Choice(options.unchosen(auto, job.head), only)
    if choice is not None and choice.candidate.kind == "keep":
        return Outcome([], {"head": "keep"}), choice

    def found() -> tuple[Outcome, Choice, Head | None]:
        tokens = options.needs_tokens or job.task.placed or (bool(job.head) and _reads_tokens(job.head))
        views = embed_views(job, options.views, crops, tokens=tokens)
        light = light_heads(job, views, options.training, imbalance, regression.strengths, present=present)
        return _found(job, options, light, splits, choice, put)

    outcome, choice, head = from_first(found)
    if head is not None:
        job.network.put_head(head, job.task.name)
    return outcome, choice


def _found(
    job: Job,
    options: LightHead,
    light: LightHeadsOf,
    splits: Sequence[IntArray],
    choice: Choice | None,
    put: bool,
) -> tuple[Outcome, Choice, Head | None]:
    """The light head that is chosen, fitted on every labelled item where it is to be put on the network."""
    present = light.present
    rows: list[Mapping[str, Any]] = []
    figures: dict[str, Any] = {}
    if choice is None:
        kinds = options.kinds(present is not None, job.task, job.head)
        searched, steps = kinds[-1] if job.task.placed else ATTENTION, options.augmentations()
        trials = choose_head(light, splits, kinds, steps, options.trials, searched=searched, quiet=job.quiet)
        best = best_trial(trials, by="smoothed" if present is None else "first")
        choice = Choice(best.candidate, best.strength)
        by = "a validation part" if len(splits) == 1 else f"{len(splits)}-fold cross-validation"
        chose = "the light head" if len(trials) > 1 else ""
        of, metric = f"the head {best.candidate}", job.task.primary
        told = estimate_by(best, job.labels.classes, of=of, by=by, chose=chose, metric=metric)
        figures = {job.measured: best.value, "trials": len(trials), **told}
        rows = [_row(trial, job.measured) for trial in trials]
    head = None
    if put:
        head = light.fit(choice.candidate, np.arange(len(job.labels)), choice.strength).cpu()
        figures["trainable_parameters"] = sum(value.numel() for value in head.parameters())
    figures["head"] = str(choice.candidate)
    return Outcome(rows, figures), choice, head


def _row(trial: HeadTrial, measured: str) -> Mapping[str, Any]:
    """A trial's row of ``history.csv``, its value in the column ``measured``."""
    return {
        "phase": "head",
        "head": str(trial.candidate),
        "strength": trial.strength,
        "val_loss": trial.loss,
        measured: trial.value,
        "smoothed": round(trial.smoothed, 5),
        "seconds": trial.seconds,
    }
