"""What a ViSFT run is asked for: its backbone, its tasks, and how both stages train.

A TOML file::

    backbone = "timm/vit_tiny_patch16_224"
    stage1_steps = 2000
    steps = 1000

    [[tasks]]
    task = "detection"
    pool = "coco/images"
    labels = "coco/instances.json"
    head = "detr"
    weight = 0.3
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from activetune.base.config import (
    check_settings,
    configure,
    field_types,
    preset_of,
    refuse_unknown_settings,
)
from activetune.base.errors import UsageError, repeated, unknown_name
from activetune.base.settings import Settings
from activetune.base.toml_files import Tables
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.networks.adapters import LowRank
from activetune.networks.backbones import is_folder
from activetune.tasks import task_of, tasks
from activetune.training.settings import Optimisation

TABLE = "tasks"  # of the config's entries
SOURCES = ("pool", "labels")  # of a task, which are no settings of it


@dataclass(frozen=True)
class HeadStage(Settings):
    """Stage 1: each task's head alone, on the frozen backbone.

    Attributes:
        steps: batches of each head; 0 leaves heads as they start, at random.
        lr: peak learning rate, on a linear rise and a cosine; 0 takes the head's own.
        batch_size: images per step. accumulation: parts in which a batch goes through, to save memory.
        warmup: share of the steps that the rise takes. weight_decay: of all weights but norms and biases.
        clip: largest gradient norm, 0 is off.
    """

    flat_names: ClassVar[Mapping[str, str]] = {
        "steps": "stage1_steps",
        "lr": "stage1_lr",
        "batch_size": "stage1_batch_size",
        "accumulation": "stage1_accumulation",
        "warmup": "stage1_warmup",
        "weight_decay": "stage1_weight_decay",
        "clip": "stage1_clip",
    }

    steps: int = 2000
    lr: float = 0.0
    batch_size: int = 8
    accumulation: int = 1
    warmup: float = 0.05
    weight_decay: float = 1e-4
    clip: float = 0.1

    def __post_init__(self) -> None:
        check_settings(
            "visft",
            ("stage1_steps", self.steps, 0, np.inf),
            ("stage1_lr", self.lr, 0, np.inf),
            ("stage1_batch_size", self.batch_size, 1, np.inf),
            ("stage1_accumulation", self.accumulation, 1, self.batch_size),
            ("stage1_warmup", self.warmup, 0, 0.9),
            ("stage1_weight_decay", self.weight_decay, 0, np.inf),
            ("stage1_clip", self.clip, 0, np.inf),
        )

    def optimisation(self, own: float) -> Optimisation:
        """The loop's options.

        Args:
            own: the head's own learning rate.
        """
        return _optimisation(self, lr=self.lr or own)


@dataclass(frozen=True)
class JointStage(Settings):
    """Stage 2: additions to the backbone under all frozen heads, one task per step.

    Attributes:
        steps: batches in all. schedule: batches after which the cosine would reach zero; 0 takes ``steps``. lr, warmup,
            batch_size, accumulation, weight_decay, clip: see :class:`HeadStage`.
        checkpointing: compute activations again in the backward pass instead of keeping them.
        head_dropout: whether the frozen heads drop units at random, as in their own training.
    """

    steps: int = 1000
    schedule: int = 0
    lr: float = 1e-4
    batch_size: int = 8
    accumulation: int = 1
    warmup: float = 0.05
    weight_decay: float = 1e-4
    clip: float = 0.1
    checkpointing: bool = False
    head_dropout: bool = True

    def __post_init__(self) -> None:
        check_settings(
            "visft",
            ("steps", self.steps, 1, np.inf),
            ("schedule", self.schedule, 0, np.inf),
            ("warmup", self.warmup, 0, 0.9),
        )
        if 0 < self.schedule < self.steps:
            raise UsageError(
                f"visft: a schedule of {self.schedule:,} ends before {self.steps:,} steps; give more, or 0"
            )
        self.optimisation()

    def optimisation(self) -> Optimisation:
        """The loop's options."""
        return _optimisation(self, lr=self.lr, checkpointing=self.checkpointing)


def _optimisation(stage: HeadStage | JointStage, **own: Any) -> Optimisation:
    """What both stages tell the loop, and what is a stage's own."""
    return Optimisation(
        batch_size=stage.batch_size,
        accumulation=stage.accumulation,
        weight_decay=stage.weight_decay,
        clip=stage.clip,
        label_smoothing=0.0,
        **own,
    )


@dataclass(frozen=True)
class Visft(Settings):
    """How both stages train.

    Attributes:
        heads, joint: the stages. additions: of stage 2; ``alpha`` / ``rank`` scales them.
        validation: share of the images, by their ids, that no stage trains on; every task is scored on its part of
            them before and after stage 2. An image that several tasks have answers to is held out of all.
        save_every: steps between two states that a run that was cut off goes on from.
    """

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {  # of the released code (docs/visft.md)
            "stage1_steps": 150_000,
            "stage1_lr": 5e-5,
            "stage1_warmup": 2_000 / 150_000,
            "steps": 50_000,
            "schedule": 100_000,
            "lr": 1e-5,
            "warmup": 2_000 / 100_000,
            "rank": 64,
            "alpha": 1,
            "checkpointing": True,
            "save_every": 500,
        }
    }

    heads: HeadStage = HeadStage()
    joint: JointStage = JointStage()
    additions: LowRank = LowRank(rank=64, alpha=64)
    validation: float = 0.2
    save_every: int = 100

    def __post_init__(self) -> None:
        check_settings("visft", ("validation", self.validation, 0, 0.9), ("save_every", self.save_every, 1, np.inf))


@dataclass(frozen=True)
class Entry(Settings):
    """One of the ``[[tasks]]``.

    Attributes:
        task: see ``activetune list tasks``. head: of the kinds that answer it; empty takes the one it prefers.
        weight: how often stage 2 draws a batch of it, against the others.
        name: of the task here; empty takes ``task``.
        stage1_steps, stage1_lr, stage1_batch_size, stage1_warmup: of this head alone; 0 takes the run's.
    """

    task: str = ""
    head: str = ""
    weight: float = 0.0
    name: str = ""
    stage1_steps: int = 0
    stage1_lr: float = 0.0
    stage1_batch_size: int = 0
    stage1_warmup: float = 0.0

    def __post_init__(self) -> None:
        if self.task and not re.fullmatch(r"[a-z][a-z0-9_]*", self.called):
            raise UsageError(f"a task can't be called {self.called!r}; give a word of small letters, digits and _")
        check_settings(
            f"the task {self.called}",
            ("weight", self.weight, 0, np.inf),
            ("stage1_steps", self.stage1_steps, 0, np.inf),
            ("stage1_lr", self.stage1_lr, 0, np.inf),
            ("stage1_batch_size", self.stage1_batch_size, 0, np.inf),
            ("stage1_warmup", self.stage1_warmup, 0, 0.9),
        )

    @property
    def called(self) -> str:
        """The name of the task here."""
        return self.name or self.task

    def stage(self, options: HeadStage) -> HeadStage:
        """Stage 1 of this task."""
        names = ("stage1_steps", "stage1_lr", "stage1_batch_size", "stage1_warmup")
        own = {name.removeprefix("stage1_"): getattr(self, name) for name in names if getattr(self, name)}
        return replace(options, **own)


PAPER: Mapping[str, Mapping[str, Any]] = {  # what the preset says of a task, where neither its entry nor the run does
    "captioning": {
        "weight": 0.4,
        "head": "lstm",
        "stage1_lr": 4e-4,
        "stage1_batch_size": 256,
        "stage1_steps": 100_000,
        "stage1_warmup": 2_000 / 100_000,
    },
    "segmentation": {"weight": 0.3, "head": "mask2former"},
    "detection": {"weight": 0.3, "head": "detr"},
}


@dataclass(frozen=True)
class Asked:
    """A task of the config, with its pool and its labels as they were given: paths, or in Python what they open as."""

    entry: Entry
    pool: Pool | str
    labels: Labels | Mapping[str, Any] | str | None


@dataclass(frozen=True)
class Config(Settings):
    """All that a run is asked for.

    Attributes:
        backbone, weights: see :func:`activetune.load_backbone`.
        heads: a folder of ``visft`` whose heads are taken in place of stage 1; None trains them.
        preset: of the settings, that the file names; ``--preset`` wins.
    """

    backbone: str = "bundled"
    weights: str | None = None
    heads: str | None = None
    preset: str | None = None
    options: Visft = Visft()
    tasks: tuple[Asked, ...] = ()

    def __post_init__(self) -> None:
        for name in ("backbone", "weights", "heads"):
            if getattr(self, name) == "":
                raise UsageError(f"visft: {name} is empty; give a value, or leave it out")


def read_config(
    given: Mapping[str, Any] | str | os.PathLike[str], preset: str | None, settings: Mapping[str, Any]
) -> Config:
    """A run's config, from a TOML file or a mapping of the same content.

    Relative paths in a file are looked for beside it, then where the program runs.

    Args:
        preset: ``paper``; the file's own key ``preset`` otherwise. settings: these win over the file.

    Raises:
        UsageError: a file that can't be read, a name that nothing has (the nearest is told), a value of the wrong
            kind, a task without pool or weight, a head that does not fit its task.
    """
    file = Tables.read(given, TABLE, what="the config", of="task, pool, labels and weight")
    refuse_unknown_settings("visft", settings, field_types(Visft))
    preset = preset or file.keys.get("preset")
    published = preset_of(Visft, None if preset is None else str(preset), what="visft")
    config = configure(Config, {**published, **file.keys, **settings}, what="visft")
    given_here = {**file.keys, **settings}
    asked = [_asked(file, row, number, preset, given_here) for number, row in enumerate(file.rows, 1)]
    if twice := repeated(one.entry.called for one in asked):
        raise UsageError(f"visft: two tasks are called {twice[0]!r}; give each a name of its own with name = …")
    if not any(one.entry.weight for one in asked):
        raise UsageError("visft: every task has weight 0, so stage 2 has nothing to draw; give one a weight above 0")
    places = {name: file.beside(getattr(config, name)) for name in ("weights", "heads")}
    own = file.beside(config.backbone)  # a folder beside the file, unless it only has the name of a backbone
    places["backbone"] = own if is_folder(own) else config.backbone
    return replace(config, **places, preset=preset, tasks=tuple(asked))


def _asked(file: Tables, row: Mapping[str, Any], number: int, preset: str | None, run: Mapping[str, Any]) -> Asked:
    """A task of the config, checked.

    Args:
        run: settings that were given for all tasks, which a preset never replaces.
    """
    task = str(row.get("task", ""))
    if task not in tasks():
        raise unknown_name(f"task (task {number} of the config)", task, tasks())
    what = f"visft, task {number} ({task})"
    published = PAPER.get(task, {}) if preset == "paper" else {}
    settings = {**{name: value for name, value in published.items() if name not in run}, **row}
    pool, labels = (file.beside(settings.pop(name, None)) for name in SOURCES)
    entry = configure(Entry, settings, what=what, beside=SOURCES)
    if "weight" not in settings:
        raise UsageError(f"{what} has no weight; say how often stage 2 draws it, for instance weight = 0.3")
    if pool is None or pool == "":
        raise UsageError(f"{what} has no pool; give its images with pool = …")
    for name, value, kinds in (("pool", pool, Pool | str), ("labels", labels, Labels | Mapping | str | None)):
        if not isinstance(value, kinds):
            raise UsageError(f"{what}: {name} can't be {value!r}; give a path")
    task_of(task, entry.head or None)  # refuses a head that does not answer it
    return Asked(entry, pool, labels)
