"""Stage 1 of ViSFT: each task's head alone, on the frozen backbone, by the one training loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from activetune.base.arrays import NO_INDICES, IntArray
from activetune.base.artefact import check_files, read_manifest
from activetune.base.errors import UsageError, first_line
from activetune.base.files import read_json, write_json
from activetune.base.ranks import together
from activetune.base.settings import flatten
from activetune.data.identity import Contents
from activetune.data.labels import Labels
from activetune.data.loading import read_usable
from activetune.data.pool import Pool
from activetune.networks.backbones import ImageSettings
from activetune.networks.heads import Head, make_head
from activetune.networks.imbalance import Imbalance
from activetune.networks.network import Network
from activetune.networks.tensors import read_tensors, write_tensors
from activetune.supervision.config import Entry, HeadStage, Visft
from activetune.tasks import Task
from activetune.training.batches import Batches
from activetune.training.job import Job, Outcome
from activetune.training.loop import fit
from activetune.training.streams import Course, Stream

KIND, HEADS = "visft", "heads"  # of a run's manifest, and its folder of heads
WEIGHTS, CONFIG = "head.safetensors", "config.json"
SHOWN = 64  # images that a head which reads the scale of its features is shown


@dataclass(frozen=True)
class Lesson:
    """A task of the run, with what it is trained on.

    Attributes:
        labels: of the images that can be decoded. pool: these images, in the order of ``labels``.
        whole: the pool that they come from. held_out: positions among the labels that no stage trains on.
        number: its place among the tasks.
    """

    entry: Entry
    task: Task
    labels: Labels
    pool: Pool
    whole: Pool
    held_out: IntArray
    number: int

    @property
    def name(self) -> str:
        """That of its head."""
        return self.entry.called

    @property
    def trained_on(self) -> IntArray:
        """Positions among the labels that are not held out."""
        return np.setdiff1d(np.arange(len(self.labels)), self.held_out)

    def stream(self, batch_size: int, accumulation: int, seed: int, *, weight: float = 1.0) -> Stream:
        """Its batches, one endless sequence."""
        positions, strata = self.trained_on, self.task.strata(self.labels)
        batches = Batches(positions, strata, batch_size, seed + self.number, accumulation=accumulation, count=1)
        task = self.task.prepared(self.labels, positions, Imbalance())
        return Stream(task, self.pool, self.labels, batches, NO_INDICES, weight, self.name)

    def as_evaluated(self, position: int, settings: ImageSettings) -> Tensor:
        """An image as it is evaluated, uint8 (3, H, W)."""
        image = read_usable(self.pool, position, about=self.task.enough(settings, None))
        return self.task.transform(image, None, settings, None)[0]

    def held_out_stream(self, seed: int) -> Stream:
        """The images that it is scored on."""
        batches = Batches(NO_INDICES, self.task.strata(self.labels), 1, seed, count=0)
        return Stream(self.task, self.pool, self.labels, batches, self.held_out, name=self.name)


class Stretches(Course):
    """A course of so many steps, saved after each stretch of them; every stream is one endless sequence of batches.

    Args:
        steps: in all. schedule: steps after which the cosine would reach zero, at least ``steps``.
        warmup: share of the schedule that the rise takes. every: steps of a stretch. label, rate: see :class:`Course`.
    """

    def __init__(self, steps: int, schedule: int, *, warmup: float, every: int, label: str = "", rate: str = "lr"):
        self.label, self.rate = label, rate
        every = min(every, steps)
        super().__init__(every, -(-steps // every), warmup=round(warmup * schedule), total=schedule)
        self.wanted = steps

    def told(self, epoch: int, last: int) -> str:
        """See :class:`Course`; there are no epochs here."""
        return f"step {self.until(epoch):,} of {self.until(last):,}"

    def until(self, epoch: int) -> int:
        """See :class:`Course`; the last stretch ends at the steps that are wanted."""
        return min(epoch * self.steps, self.wanted)

    def begin(self, epoch: int, streams: Sequence[Stream]) -> None:
        """See :class:`Course`; a single stream goes on where the stretch before has ended."""
        if len(streams) == 1:
            first = self.until(epoch)
            streams[0].batches.span(first, self.until(epoch + 1) - first)


def held_out(labels: Labels, share: float, seed: int) -> IntArray:
    """Positions of the images that are held out, by their ids: the same of every task, whatever its images."""
    drawn = [int.from_bytes(blake2b(f"{seed}:{item}".encode(), digest_size=8).digest(), "big") for item in labels.ids]
    return np.flatnonzero(np.asarray(drawn, dtype=np.float64) / 2.0**64 < share)


def held_out_of_all(lessons: Sequence[Lesson], *, use_cache: bool) -> list[IntArray]:
    """Positions held out of each task: also of images that another task, or another id, holds out with the same bytes.

    Two pools of one folder may have other ids: ``images/1.jpg`` and ``1.jpg``.
    """
    digests = []
    for lesson in lessons:
        contents = Contents(lesson.pool, remember=use_cache)
        contents.read()
        digests.append([one.tobytes() for one in contents.digests_N])
    out = {each[row] for lesson, each in zip(lessons, digests, strict=True) for row in lesson.held_out.tolist()}
    return [np.flatnonzero([one in out for one in each]) for each in digests]


def train_head(job: Job, lesson: Lesson, options: Visft) -> tuple[Head, Outcome]:
    """Train the head of a task on the job's network, whose backbone stays as it is."""
    stage = lesson.entry.stage(options.heads)
    network = job.network
    network.requires_grad_(False)
    head = job.fresh_head()
    network.put_head(head, lesson.name)
    together(lambda: _adapt(job, head, lesson))
    if not stage.steps:
        return head, Outcome([])
    label = f"stage 1, {lesson.name}"
    every, rate = options.save_every, HeadStage.flat_names["lr"]
    course = Stretches(stage.steps, stage.steps, warmup=stage.warmup, every=every, label=label, rate=rate)
    stream = lesson.stream(stage.batch_size, stage.accumulation, job.seed)
    outcome = fit(job, [stream], course, stage.optimisation(head.lr), phase=f"head_{lesson.name}")
    return head, outcome


def _adapt(job: Job, head: Head, lesson: Lesson) -> None:
    """Show a head that reads the scale of its features some of them."""
    if type(head).adapt is Head.adapt:
        return
    found = []
    for position in lesson.trained_on[:SHOWN].tolist():
        image = lesson.as_evaluated(position, job.backbone.settings)
        with torch.inference_mode(), job.runtime.autocast():
            last = job.backbone.eval().last(image[None].to(job.runtime.device))
            found.append(job.backbone.as_tokens(last) if head.reads != "pooled" else job.backbone.pool(last))
    head.adapt(torch.stack(found, dim=1))


def save_head(head: Head, lesson: Lesson, folder: Path) -> None:
    """Write a head; its config last, so that a folder with one is finished."""
    write_tensors(folder / WEIGHTS, head.state_dict())
    described = {"task": lesson.entry.task, "classes": list(lesson.labels.classes), "head": head.describe()}
    write_json(folder / CONFIG, described)


def taken_head(folder: Path, lesson: Lesson, made_with: Mapping[str, Any]) -> Head:
    """A head that an earlier run has trained on the same backbone.

    Args:
        folder: that run's. made_with: what its manifest must say, by name: the weights' digest, the seed, the share of
            the images that is held out.

    Raises:
        UsageError: no such head, or one of another backbone, of other held-out images, or for other answers.
    """
    place, manifest = folder / HEADS / lesson.name, read_manifest(folder, KIND)
    told = {**manifest.get("options", {}), **manifest}
    other = [name for name, value in made_with.items() if told.get(name) != value]
    if other:
        raise UsageError(
            f"the heads in {folder} were trained with other {' and '.join(other)}; give the same ones here"
        )
    if not (place / CONFIG).is_file():
        raise UsageError(f"{folder} has no head for the task {lesson.name}; train it there, or leave heads out")
    check_files(folder, manifest, f"{HEADS}/{lesson.name}")
    described = read_json(place / CONFIG)
    if (described["task"], described["classes"]) != (lesson.entry.task, list(lesson.labels.classes)):
        raise UsageError(
            f"the head {place} answers {described['task']} of other classes than the labels of {lesson.name}; "
            "leave heads out"
        )
    return load_head(place)


def load_head(folder: Path) -> Head:
    """The head that a folder holds.

    Raises:
        UsageError: one of its files is damaged.
    """
    again = "copy the folder again, or start again with --overwrite"
    described, state = read_json(folder / CONFIG), read_tensors(folder / WEIGHTS, again)
    try:
        told = described["head"]
        options = told.get("options", {})
        head = make_head(told["kind"], told["size"], told["outputs"], told.get("room", "classes"), **options)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{folder / CONFIG} is damaged ({first_line(error)}); {again}") from None
    try:
        head.load_state_dict(state)
    except RuntimeError as error:
        raise UsageError(f"{folder / WEIGHTS} does not fit {CONFIG} ({first_line(error)}); {again}") from None
    return head


def settings_of_head(entry: Entry, options: Visft) -> dict[str, Any]:
    """All settings that stage 1 of a task depends on."""
    own = {f"task_{name}": value for name, value in flatten(entry).items() if name != "weight"}
    return {**flatten(options.heads), "validation": options.validation, "save_every": options.save_every, **own}


def job_of(lesson: Lesson, network: Network, settings: Mapping[str, Any], shared: Mapping[str, Any]) -> Job:
    """What the loop gets for a task.

    Args:
        settings: that a checkpoint must have been made with. shared: what is the same for all tasks.
    """
    return Job(
        pool=lesson.pool,
        labels=lesson.labels,
        held_out=NO_INDICES,
        whole_pool=lesson.whole,
        network=network,
        task=lesson.task,
        head=lesson.entry.head,
        settings=settings,
        **shared,
    )
