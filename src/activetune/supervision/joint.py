"""Stage 2 of ViSFT: low-rank additions to the backbone, trained under all frozen heads, one task per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from activetune.base.progress import progress
from activetune.base.ranks import rank_and_world, together
from activetune.evaluation.metrics import told_score
from activetune.networks.adapters import inject
from activetune.networks.network import Network
from activetune.supervision.config import HeadStage, Visft
from activetune.supervision.drift import Features, weight_drift
from activetune.supervision.heads import Lesson, Stretches
from activetune.training.batches import derive
from activetune.training.finite import settings_to_change
from activetune.training.job import Job, Outcome
from activetune.training.loop import fit
from activetune.training.validation import validated

SEEN = 128  # images by which the drift of features is told
KEPT = "the heads of stage 1"  # by a run that goes on with other settings of stage 2


class Joint(Stretches):
    """The course of stage 2: its history tells how far the weights have moved.

    Args:
        network: with additions.
    """

    kept = KEPT

    def __init__(self, network: Network, options: Visft):
        stage = options.joint
        schedule = stage.schedule or stage.steps
        every, label = options.save_every, "stage 2"
        super().__init__(stage.steps, schedule, warmup=stage.warmup, every=every, label=label)
        self.network, self.head_dropout = network, stage.head_dropout

    def settle(self, network: Network) -> None:
        """See :class:`Course`."""
        if not self.head_dropout:
            network.heads.eval()

    def columns(self) -> dict[str, Any]:
        """See :class:`Course`."""
        return {"weight_drift": round(weight_drift(self.network.backbone), 8)}


def train_jointly(
    job: Job, lessons: Sequence[Lesson], drawn: Sequence[Lesson], options: Visft
) -> tuple[Outcome, dict[str, Any]]:
    """Put additions on the backbone below its frozen heads, and train them.

    Args:
        lessons: all tasks, which are scored. drawn: those that batches are drawn of.

    Returns:
        The loop's outcome, and figures: each task's score on its held-out images before and after, and the drift.
    """
    network = job.network
    network.requires_grad_(False)
    precision, heads = job.runtime.precision, options.heads
    remedy = settings_to_change(precision, {HeadStage.flat_names["lr"]: heads.lr} if heads.lr else {})
    before = job.once("before", lambda: scores(job, lessons, remedy), shared=True)
    settings = job.backbone.settings
    shown = together(lambda: [lesson.as_evaluated(position, settings) for lesson, position in _some(lessons)])
    start = Features.of(job.backbone, shown, job.runtime)
    inject(job.backbone.network, options.additions, seed=derive(job.seed, 0, -1))
    stage = options.joint
    streams = [
        lesson.stream(stage.batch_size, stage.accumulation, job.seed, weight=lesson.entry.weight) for lesson in drawn
    ]
    outcome = fit(job, streams, Joint(network, options), stage.optimisation(), phase="joint")
    rates = {"lr": stage.lr, "alpha": options.additions.alpha}
    after = scores(job, lessons, settings_to_change(precision, rates, kept=KEPT))
    figures = {
        "in_domain": {name: {"frozen": before[name], "joint": after[name]} for name in after},
        "weight_drift": weight_drift(job.backbone),
        "feature_cosine": Features.of(job.backbone, shown, job.runtime).cosine(start),
    }
    return outcome, figures


def scores(job: Job, lessons: Sequence[Lesson], remedy: str) -> dict[str, Any]:
    """The primary metric and the loss of each task on its held-out images.

    Args:
        remedy: what to change where a head's outputs are not finite.
    """
    found = {}
    for lesson in lessons:
        if not len(lesson.held_out):
            continue
        stream, settings = lesson.held_out_stream(job.seed), job.backbone.settings
        about, count = (f"of the task {lesson.name}", remedy), len(lesson.held_out) // rank_and_world()[1]
        with progress(count, f"scoring {lesson.name}", quiet=job.quiet) as meter:
            measured = validated(job.network, stream, settings, job.runtime, about=about, advance=meter.advance)
        found[lesson.name] = {lesson.task.primary: measured.value, "loss": measured.loss, "n": len(lesson.held_out)}
    return found


def _some(lessons: Sequence[Lesson]) -> list[tuple[Lesson, int]]:
    """Images of every task in turn, the held-out ones first."""
    each = -(-SEEN // len(lessons))
    return [
        (lesson, int(position))
        for lesson in lessons
        for position in (lesson.held_out if len(lesson.held_out) else range(len(lesson.labels)))[:each]
    ]


def told(figures: Mapping[str, Any]) -> list[str]:
    """The figures of a run as lines of text."""
    lines = []
    for name, found in figures["in_domain"].items():
        metric = next(iter(found["frozen"]))
        before, after = (told_score(metric, found[when][metric]) for when in ("frozen", "joint"))
        lines.append(f"{name}: {before} -> {after}")
    cosine = figures["feature_cosine"]
    lines.append(
        f"weights moved by {100 * figures['weight_drift']:.3g} %; cosine of features to the start: "
        f"{cosine['pooled']:.4f} pooled, {cosine['tokens']:.4f} of tokens"
    )
    return lines
