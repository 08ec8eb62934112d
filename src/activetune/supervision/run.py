"""Supervised finetuning of a backbone: config -> heads, additions, and a merged backbone that every command takes."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from activetune.base.artefact import read_manifest, write_manifest
from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import sweep_all, write_bytes
from activetune.base.fingerprint import digest, digest_file, digest_json, record_of
from activetune.base.progress import note
from activetune.base.ranks import (
    device_of_rank,
    from_first,
    in_turn,
    is_first,
    shared_run,
    together,
    with_weights_of_first,
)
from activetune.base.run import Run, RunOptions
from activetune.base.runtime import resolve_runtime, spent
from activetune.base.settings import flatten
from activetune.base.unfinished import RUN, WORK, Output, clear, withdrawing
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.networks.adapters import adapter_files, check_additions, merge
from activetune.networks.backbones import Backbone, load_backbone, save_backbone
from activetune.networks.heads import Head
from activetune.networks.network import Network
from activetune.supervision.config import Asked, Config, Entry, read_config
from activetune.supervision.heads import (
    CONFIG,
    HEADS,
    KIND,
    Lesson,
    held_out,
    held_out_of_all,
    job_of,
    load_head,
    save_head,
    settings_of_head,
    taken_head,
    train_head,
)
from activetune.supervision.joint import train_jointly
from activetune.tasks import Task, task_of
from activetune.training.answers import answers_to, usable
from activetune.training.job import Job, Outcome, digests_of
from activetune.training.output import write_history
from activetune.training.trackers import Tracker, asked_trackers
from activetune.training.tracking import TRACKING, tracked

LORA, BACKBONE, REJECTED = "lora", "backbone.safetensors", "rejected"
STAGE_2 = "stage-2"  # the folder that it works in; no task can have the name
OUTPUT = Output(
    KIND,
    called="backbone",
    files=(HEADS, LORA, BACKBONE, CONFIG, "history.csv", REJECTED, TRACKING, WORK, RUN),
    inputs="backbone, tasks, labels, settings or seed",
    second_stage=(STAGE_2,),
)


@dataclass(frozen=True)
class Supervised:
    """What ``visft`` has made.

    Attributes:
        folder: also a name of the merged backbone, see :func:`activetune.load_backbone`.
        figures: ``in_domain`` scores of each task before and after stage 2, ``weight_drift``, ``feature_cosine``,
            seconds and peak memory of each stage.
    """

    folder: Path
    figures: Mapping[str, Any]

    def backbone(self) -> Backbone:
        """The merged backbone."""
        return load_backbone(str(self.folder))


def visft(
    config: Mapping[str, Any] | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    use_cache: bool = True,
    track: str | Sequence[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> Supervised:
    """Finetune a backbone by tasks (ViSFT): train heads on it, then low-rank additions to it under these heads.

    Jiang et al., "Supervised Fine-tuning in turn Improves Visual Foundation Models", 2024. Stage 1 trains each task's
    head on the frozen backbone, one after the other. Stage 2 freezes the heads, and trains additions to the queries
    and values; each step draws one task by its weight, from (seed, step) alone.

    >>> found = activetune.visft("coco.toml", out="taught")  # trains for minutes  # doctest: +SKIP
    >>> activetune.finetune("photos", backbone=str(found.folder), out="model")  # the same  # doctest: +SKIP

    Args:
        config: a TOML file, or a mapping of the same content: ``backbone``, ``weights``, settings, and ``tasks``, each
            with ``task``, ``pool``, ``labels``, ``head`` and ``weight``; see ``docs/visft.md``.
        out: folder for ``heads/``, ``lora/`` (peft's format), ``backbone.safetensors`` (merged, in its library's
            layout), ``config.json``, ``history.csv`` and ``manifest.json``.
        preset: ``paper`` takes the released code's settings. settings: these win over the config.
        use_cache: remember the digests of image files. track: see :func:`activetune.finetune`.
        run_options: see :class:`activetune.RunOptions`; ``resume`` goes on from the last state of the stage in which a
            run was cut off.

    Raises:
        UsageError: a config that can't be read or honoured, labels that do not fit their pool or task, ``out`` not
            empty.
    """
    run = Run.of(KIND, run_options)
    asked, trackers = read_config(config, preset, dict(settings or {})), asked_trackers(track)
    with shared_run(run, out, folder=True) as (run, _):
        return _Stages(asked, Path(out), run, use_cache, trackers).finished()


class _Stages:
    """One run, stage after stage; every process goes through here, and the first one alone writes."""

    def __init__(self, asked: Config, folder: Path, run: Run, use_cache: bool, trackers: Mapping[str, type[Tracker]]):
        self.asked, self.folder, self.run, self.use_cache = asked, folder, run, use_cache
        self.trackers = trackers
        self.started = time.perf_counter()
        self.figures: dict[str, Any] = {}

    def finished(self) -> Supervised:
        """All of it."""
        run, folder = self.run, self.folder
        given = together(lambda: [opened(asked, run.quiet) for asked in self.asked.tasks])
        self.runtime = together(lambda: resolve_runtime(device_of_rank(run.device), run.precision))
        backbone = in_turn(lambda: load_backbone(self.asked.backbone, self.asked.weights))
        with_weights_of_first(backbone)
        together(lambda: check_additions(backbone.network, self.asked.options.additions))  # before hours of stage 1
        made_from = from_first(lambda: self._made_from(given, backbone))
        this = digest_json(made_from)
        if from_first(lambda: self._is_there(this, self._first_stage(made_from))):
            return Supervised(folder, read_manifest(folder, KIND)["figures"])
        told = {name: value for name, value in made_from.items() if name not in ("options", "tasks")}
        with tracked(self.trackers, folder, {**told, **flatten(self.asked.options)}, quiet=run.quiet) as self.tracking:
            with withdrawing(folder, (REJECTED, TRACKING)):
                network, history = self._trained_stages(given, backbone)
            together(lambda: self._save(network, history, {**made_from, "run": this}) if is_first() else None)
            self.tracking.follow(history)
            self.tracking.end(self.figures)
        return Supervised(folder, read_manifest(folder, KIND)["figures"])

    # Stages -------------------------------------------------------------------------------------------------------

    def _trained_stages(
        self, given: Sequence[tuple[Entry, Task, Pool, Labels]], backbone: Backbone
    ) -> tuple[Network, list[Mapping[str, Any]]]:
        """The network behind both stages, and their history."""
        try:
            from_first(self.tracking.begin)
            lessons = self._lessons(given)
            network = Network(backbone).to(self.runtime.device)
            history = self._heads(network, lessons)
            history += self._jointly(network, lessons)
        except ActivetuneError:
            self.tracking.end({}, finished=False)
            raise
        return network, history

    def _heads(self, network: Network, lessons: Sequence[Lesson]) -> list[Mapping[str, Any]]:
        """Stage 1: every head that is not there yet."""
        history: list[Mapping[str, Any]] = []
        for lesson in lessons:  # one that can't be made is refused before the first is trained
            together(self._job_of_head(lesson, network).fresh_head)
        for lesson in lessons:
            head, found = self._head(network, lesson)
            network.put_head(head, lesson.name)
            history += found["history"]
            self.figures.setdefault("stage1", {})[lesson.name] = found["spent"]
        return history

    def _head(self, network: Network, lesson: Lesson) -> tuple[Head, dict[str, Any]]:
        """A task's head, trained or read, and what its training told."""
        started, place = time.perf_counter(), self.folder / HEADS / lesson.name
        job = self._job_of_head(lesson, Network(network.backbone))
        if from_first((place / CONFIG).is_file):
            return together(lambda: load_head(place)), job.once("done", dict)
        head, outcome = self._trained(job, lesson)
        rows = [dict(row) for row in outcome.history]
        found = job.once("done", lambda: {"history": rows, "spent": spent(started)})
        together(lambda: save_head(head, lesson, place) if is_first() else None)
        return head, found

    def _job_of_head(self, lesson: Lesson, network: Network) -> Job:
        """What the loop gets for a task of stage 1; settings of stage 2 change nothing of it."""
        return job_of(lesson, network, settings_of_head(lesson.entry, self.asked.options), self._shared(lesson.name))

    def _trained(self, job: Job, lesson: Lesson) -> tuple[Head, Outcome]:
        """A head, trained here or taken from an earlier run."""
        if self.asked.heads is None:
            return train_head(job, lesson, self.asked.options)
        held_out_share = self.asked.options.validation  # of other ones they may have learned
        same = {"weights": job.backbone.fingerprint, "seed": self.run.seed, "validation": held_out_share}
        return together(lambda: taken_head(Path(str(self.asked.heads)), lesson, same)), Outcome([])

    def _jointly(self, network: Network, lessons: Sequence[Lesson]) -> list[Mapping[str, Any]]:
        """Stage 2."""
        started = time.perf_counter()
        drawn = [lesson for lesson in lessons if lesson.entry.weight]
        settings = {**flatten(self.asked.options), "network": network.fingerprint}
        job = job_of(drawn[0], network, settings, self._shared(STAGE_2))
        outcome, figures = train_jointly(job, lessons, drawn, self.asked.options)
        stage = job.once("done", lambda: spent(started))
        self.figures |= {"stage2": stage, **figures, "trainable_parameters": outcome.figures["trainable_parameters"]}
        return list(outcome.history)

    def _shared(self, name: str) -> dict[str, Any]:
        """What jobs have in common; each works in a folder of its own."""
        work = self.folder / WORK / name
        from_first(lambda: work.mkdir(parents=True, exist_ok=True))
        run = self.run
        common: dict[str, Any] = {"runtime": self.runtime, "seed": run.seed, "workers": run.workers, "quiet": run.quiet}
        common |= {"resume": run.resume, "use_cache": self.use_cache, "track": self.tracking.follow}
        return {**common, "work": work}

    # The folder ---------------------------------------------------------------------------------------------------

    def _made_from(self, given: Sequence[tuple[Entry, Task, Pool, Labels]], backbone: Backbone) -> dict[str, Any]:
        """What the result is made from; its digest tells this run from others."""
        return {
            "backbone": backbone.name,
            "weights": backbone.fingerprint,
            "options": record_of(self.asked.options),
            "tasks": [
                {
                    **record_of(entry),
                    **digests_of(pool, labels, use_cache=self.use_cache),
                }
                for entry, _, pool, labels in given
            ],
            **({} if self.asked.heads is None else {"heads": _heads_of(Path(self.asked.heads))}),
            "seed": self.run.seed,
            "precision": self.runtime.precision,
        }

    def _first_stage(self, made_from: Mapping[str, Any]) -> str:
        """Digest of what the heads alone are made from."""
        entries, options = [one.entry for one in self.asked.tasks], self.asked.options
        tasks = [
            {**settings_of_head(entry, options), **{name: one[name] for name in one if name not in record_of(entry)}}
            for entry, one in zip(entries, made_from["tasks"], strict=True)
        ]
        return digest_json({**made_from, "options": None, "tasks": tasks})

    def _is_there(self, this: str, first_stage: str) -> bool:
        """Whether the folder holds the result already; if not, it is made ready for it."""
        sweep_all(self.folder)
        return OUTPUT.is_there(self.folder, this, self.run, first_stage=first_stage)

    def _lessons(self, given: Sequence[tuple[Entry, Task, Pool, Labels]]) -> list[Lesson]:
        """The tasks with the images that can be decoded."""
        listings = self.folder / REJECTED
        from_first(lambda: listings.mkdir(exist_ok=True))
        lessons = [self._lesson(*one, number, listings) for number, one in enumerate(given)]
        apart = from_first(lambda: held_out_of_all(lessons, use_cache=self.use_cache))
        for lesson, out in zip(lessons, apart, strict=True):
            if len(out) == len(lesson.labels):
                raise UsageError(f"visft: all {len(out):,} images of {lesson.name} are held out; label more")
            if not len(out) and self.asked.options.validation:
                note(f"no image of {lesson.name} is held out, so it is not scored; label more", self.run.quiet)
        return [replace(lesson, held_out=out) for lesson, out in zip(lessons, apart, strict=True)]

    def _lesson(self, entry: Entry, task: Task, pool: Pool, labels: Labels, number: int, listings: Path) -> Lesson:
        """A task with the images that can be decoded; the others are listed."""
        listing, run = listings / f"{entry.called}.csv", self.run
        kept, _ = from_first(lambda: usable(pool, labels, task, listing, run.workers, run.quiet))
        out = held_out(kept, self.asked.options.validation, run.seed)
        return Lesson(entry, task, kept, pool.subset(kept.ids), pool, out, number)

    def _save(self, network: Network, history: Sequence[Mapping[str, Any]], made_from: Mapping[str, Any]) -> None:
        """Additions, merged backbone, history; the manifest last."""
        folder = self.folder
        for name, content in adapter_files(network.backbone.network, self.asked.options.additions).items():
            write_bytes(folder / LORA / name, content)
        merge(network.backbone.network)
        save_backbone(network.backbone, folder)
        write_history(folder, history)
        self.figures["seconds"] = round(time.perf_counter() - self.started, 3)
        files = (BACKBONE, CONFIG, HEADS, LORA, "history.csv", REJECTED)
        write_manifest(folder, KIND, {**made_from, "figures": self.figures}, files=files)
        clear(folder)


def _heads_of(folder: Path) -> str:
    """Digest of the heads of an earlier run."""
    files = sorted((folder / HEADS).rglob("*.safetensors"))
    return digest(*(f"{file.parent.name}:{digest_file(file)}" for file in files))


def opened(asked: Asked, quiet: bool) -> tuple[Entry, Task, Pool, Labels]:
    """A task of the config with its pool and labels."""
    entry, task = asked.entry, task_of(asked.entry.task, asked.entry.head or None)
    try:
        pool = asked.pool if isinstance(asked.pool, Pool) else open_pool(asked.pool, quiet=quiet)
        return entry, task, pool, answers_to(task, asked.labels, pool, quiet=quiet)
    except UsageError as error:
        raise UsageError(f"visft, task {entry.called}: {error}") from None
