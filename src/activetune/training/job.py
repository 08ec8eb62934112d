"""What a recipe gets (:class:`Job`), and what it returns (:class:`Outcome`).

Shape legend: L labelled items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.files import read_json, write_json
from activetune.base.fingerprint import digest
from activetune.base.ranks import from_first
from activetune.base.runtime import Runtime, seeded
from activetune.data.identity import Contents
from activetune.data.kinds import fingerprint_of
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.data.splits import validation_splits
from activetune.networks.backbones import Backbone
from activetune.networks.heads import Head
from activetune.networks.network import Network
from activetune.networks.regression import Measure
from activetune.tasks import ClassTask, Task, make_task


def untold(history: Sequence[Mapping[str, Any]]) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Job:
    """All that a recipe gets.

    Attributes:
        pool: the L labelled items alone, all of them decodable, in the order of ``labels``.
        labels: their answers; a class may have none.
        held_out: positions (among the L) carved out for validation, empty where labels are too few. A recipe that
            chooses by them trains on them only in a final fit after the choice.
        whole_pool: the pool that the labelled items come from, whose features may be cached. aside: its items that
            nothing may be learned from.
        network: the backbone, without a head yet; a recipe trains it in place and puts a head on it.
        runtime: device and precision. seed: of every random choice.
        work: folder for what an unfinished run needs, such as the state after each epoch; it goes when the run is done.
        resume: go on from what is in ``work``. use_cache: read and fill the user's cache of features.
        workers: processes that decode images, -1 chooses. quiet: no progress and no notes.
        task: what is asked about the images. head: the kind of its head; empty: the one that the task prefers.
        settings: all settings of the recipe by flat name; a checkpoint made with others is refused.
        track: gets the history after each epoch. A run within the run, such as a pilot, has nobody to tell.
    """

    pool: Pool
    labels: Labels
    held_out: IntArray
    whole_pool: Pool
    network: Network
    runtime: Runtime
    seed: int
    work: Path
    resume: bool = False
    use_cache: bool = True
    workers: int = -1
    quiet: bool = False
    task: Task = field(default_factory=make_task)
    head: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    track: Callable[[Sequence[Mapping[str, Any]]], None] = untold
    aside: frozenset[str] = frozenset()

    @property
    def teaching(self) -> Sequence[str]:
        """The pool's items that may be learned from, with a label or without."""
        ids = self.whole_pool.ids
        return [item for item in ids if item not in self.aside] if self.aside else ids

    def fresh_head(self, kind: str = "") -> Head:
        """A head for the job's task, by default of the kind that was asked for; its random start is the seed's."""
        with seeded(self.seed):
            return self.task.head(self.backbone, self.labels, kind or self.head)

    def new_head(self, kind: str = "") -> Head:
        """Put a fresh head on the job's network; see :meth:`fresh_head`."""
        return self.network.put_head(self.fresh_head(kind), self.task.name)

    @property
    def has_linear_probe(self) -> bool:
        """Whether logistic regression fits the head: a linear layer on pooled features, for classes of whole images."""
        return isinstance(self.task, ClassTask) and self.head in ("", "linear")

    @property
    def measure(self) -> Measure:
        """See :attr:`ClassTask.measure`."""
        assert isinstance(self.task, ClassTask)
        return self.task.measure

    @property
    def targets(self) -> IntArray:
        """See :meth:`ClassTask.targets`."""
        assert isinstance(self.task, ClassTask)
        return self.task.targets(self.labels)

    def once(self, name: str, find: Callable[[], dict[str, Any]], *, shared: bool = False) -> dict[str, Any]:
        """The plain values that ``find`` gives in the first process, asked for once: a run that goes on reads them.

        For what is reported or decided, and comes out otherwise the second time: seconds, or a choice by them.

        Args:
            shared: the processes find them together, such as scores of which each computes a part.
        """
        path = self.work / f"{name}.json"
        found = find() if shared and not from_first(path.is_file) else None

        def kept() -> dict[str, Any]:
            if not path.is_file():
                write_json(path, find() if found is None else found)
            return read_json(path)

        return from_first(kept)

    @property
    def backbone(self) -> Backbone:
        """The network below its heads."""
        return self.network.backbone

    @property
    def measured(self) -> str:
        """The name of the figure that models are chosen by, a column of ``history.csv``: ``val_top1``."""
        return self.task.column

    @property
    def strata(self) -> IntArray:
        """(L,) the stratum of each labelled item, of which splits keep the shares; see :meth:`Task.strata`."""
        return self.task.strata(self.labels)

    def splits(self, folds: int, rng: np.random.Generator) -> list[IntArray]:
        """The parts that a head is validated on, see :func:`~activetune.data.splits.validation_splits`.

        Of an image with several classes the rarest is not all: it is held out too where no other image shows that one.
        """
        several = isinstance(self.task, ClassTask) and self.targets.ndim == 2
        return validation_splits(self.strata, self.held_out, folds, rng, alone_too=several)

    @property
    def not_held_out(self) -> IntArray:
        """Positions of the labelled items that are trained on, ascending."""
        return np.setdiff1d(np.arange(len(self.labels)), self.held_out)


@dataclass(frozen=True)
class Outcome:
    """What a recipe returns; the trained network, with its head, is the job's.

    Attributes:
        history: one row per epoch or trial, the lines of ``history.csv``; rows may have different columns.
        figures: for the manifest, such as ``kept_epoch`` and ``estimate``.
        files: contents by name of further files that are written beside the model.
    """

    history: Sequence[Mapping[str, Any]]
    figures: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def digests_of(pool: Pool, labels: Labels, *, classes: bool = True, use_cache: bool = True) -> dict[str, str]:
    """What labelled images are, for the manifest of what is trained on them: digests of their bytes and answers.

    Args:
        classes: whether the list of classes counts, beside those that answers name. use_cache: see
            :class:`Contents`.
    """
    return {
        "pool_fingerprint": Contents(pool.subset(labels.ids), remember=use_cache).fingerprint,
        "labels": digest(*labels.ids, *map(fingerprint_of, labels.answers), *(labels.classes if classes else ())),
    }
