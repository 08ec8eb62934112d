"""What is asked of a selection, read: the items, which of them may be picked, how many, and by what."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest_array, digest_stream
from activetune.base.ranks import rank_and_world
from activetune.base.settings import flatten
from activetune.data.ids import Ids
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.data.presence import Presence
from activetune.evaluation.model import Model, load, task_at
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.features.distances import Float32
from activetune.networks.network import CLASSIFICATION
from activetune.selection.audit import set_aside
from activetune.selection.constraints import (
    PREDICTED,
    Answers,
    Limits,
    Losses,
    Metadata,
    read_limits,
    read_losses,
    with_labels,
)
from activetune.selection.images import items_of
from activetune.selection.levels import Levels
from activetune.selection.model_doubt import TOLD, refuse_unread
from activetune.selection.resolved_budget import ResolvedBudget, needs_order, resolve_budget
from activetune.selection.selectors import Selector, make_selector, selectors
from activetune.selection.sharing import refuse_apart, refuse_settings
from activetune.tasks import Task, make_task


@dataclass(frozen=True)
class Request:
    """The arguments of :func:`activetune.select` as they were given, but for ``levels``; see there."""

    embeddings: Embeddings | str | os.PathLike[str]
    budget: int | float | str
    method: str
    preset: str | None
    settings: Mapping[str, Any]
    labelled: Answers | None
    exclude: Ids | None
    candidates: Ids | None
    min_distance: float | None
    balance: str | None
    metadata: Metadata | None
    losses: Losses | None
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None
    task: str | None
    model: Model | str | os.PathLike[str] | None
    pool: Pool | str | os.PathLike[str] | None
    audit: int
    levels: Levels | None
    seed: int

    def read(self, *, quiet: bool) -> Given:
        """Read all of it.

        Raises:
            UsageError: what is unknown, impossible or of the wrong shape; labels that are needed and not known.
        """
        found, presence = _with_labels(_loaded(self.embeddings), self.labels, self.task, self.model, quiet)
        selector = _selector(found, self.method, self.preset, dict(self.settings))
        guide = _guide_of(self.model, self.pool, selector, self.method, self.balance)
        classes = None if guide is None else guide.classes
        limits = read_limits(found, self.labelled, self.exclude, self.candidates, presence, classes, quiet=quiet)
        return self._given(found, selector, guide, limits)

    def _given(self, embeddings: Embeddings, selector: Selector, guide: Guide | None, limits: Limits) -> Given:
        """What is selected from, and how many."""
        limits = set_aside(limits, self.audit, self.seed)
        losses_N = None if self.losses is None else _losses_for(selector, self.method, embeddings, self.losses)
        shape: dict[str, Any] = {
            "min_distance": self.min_distance,
            "balance": self.balance,
            "metadata": self.metadata,
        }
        resolved = resolve_budget(embeddings, limits, self.budget, **shape)
        selector, notes = (
            (selector, {})
            if resolved.coverage is None
            else _in_order(selector, self.method, self.budget, guided=guide is not None)
        )
        asked: dict[str, Any] = {"method": self.method, "preset": self.preset}
        asked |= {"budget": str(self.budget), "seed": self.seed, "options": flatten(selector)}
        source = _place(self.embeddings)
        given = Given(embeddings, limits, resolved, losses_N, guide, selector, asked, notes, source, self.levels)
        refuse_settings(selector, self.method, self.levels)
        if self.levels is not None or rank_and_world()[1] > 1:
            given.refuse_apart()
        return given


@dataclass(frozen=True)
class Given:
    """The inputs of a selection, read and checked.

    Attributes:
        guide: the model whose doubt the method reads, where one is given.
        asked: the method with its settings, the budget and the seed, for the manifest. notes: on what was taken
            instead of what was asked for. source: where the embeddings lie; None: in memory. levels: how the pool is
            partitioned; None: it is selected from as a whole.
    """

    embeddings: Embeddings
    limits: Limits
    budget: ResolvedBudget
    losses_N: Float32 | None
    guide: Guide | None
    selector: Selector
    asked: Mapping[str, Any]
    notes: Mapping[str, str]
    source: str | None
    levels: Levels | None

    @property
    def wanted(self) -> frozenset[str]:
        """The fields of the evidence that are gathered."""
        wanted = _wanted(self.selector, self.limits, guided=self.guide is not None)
        return wanted | ({"probs_NC"} if self.budget.column == PREDICTED else frozenset())

    def refuse_apart(self) -> None:
        """Refuse what several processes, or the partitions of a pool, can't be asked for.

        Raises:
            UsageError: it is such.
        """
        told = {"losses_N"} if self.losses_N is not None else set()
        partitioned = self.levels is not None
        how = {"guided": self.guide is not None, "partitioned": partitioned}
        refuse_apart(self.asked["method"], self.wanted - told, self.budget, **how)
        if self.embeddings.features_ND.ndim == 3 and partitioned:
            raise UsageError("two levels read pooled features (N x D), not patch tokens; embed without --tokens")

    @property
    def entries(self) -> dict[str, Any]:
        """The inputs of a selection beside its method, as the manifest keeps them; None: there is none.

        Ids and values are kept as digests; ``balance_values`` are those of classes too, for a budget per class.
        """
        embeddings, limits, resolved = self.embeddings, self.limits, self.budget

        def digest_of(rows: IntArray) -> str | None:
            return digest_stream(embeddings.ids[row] for row in rows) if len(rows) else None

        answers = (
            None if limits.answers_L is None else [limits.classes[row] if row >= 0 else "" for row in limits.answers_L]
        )
        values = resolved.groups
        return {
            "n": len(embeddings),
            "labelled": len(limits.labelled),
            "labelled_ids": digest_stream(embeddings.ids[row] for row in limits.labelled),
            "answers": None if answers is None else digest_stream(answers),
            "excluded": len(limits.excluded) or None,
            "excluded_ids": digest_of(limits.excluded),
            "closed": len(limits.closed) or None,
            "closed_ids": digest_of(limits.closed),
            "audit": len(limits.aside) or None,
            "levels": None if self.levels is None else self.levels.entry,
            "min_distance": resolved.min_distance or None,
            "balance_by": resolved.column,
            "balance_values": values and digest_stream([*values.names, "", *map(str, values.numbers_N)]),
            "classes_shown": None if resolved.presence is None else resolved.presence.fingerprint,
            "losses": None if self.losses_N is None else digest_array(self.losses_N),
            "model": None if self.guide is None else self.guide.model.fingerprint,
            "embeddings": embeddings.fingerprint,
            "pool_fingerprint": embeddings.manifest.get("pool_fingerprint"),
        }


@dataclass(frozen=True)
class Guide:
    """The model that is selected by, and where the images are that it looks at; None: where the embeddings say."""

    model: Model
    pool: Pool | None

    @property
    def classes(self) -> Sequence[str]:
        """Those that the model knows."""
        return self.model.classes


def _guide_of(
    model: Model | str | os.PathLike[str] | None,
    pool: Pool | str | os.PathLike[str] | None,
    selector: Selector,
    method: str,
    balance: str | None,
) -> Guide | None:
    """The model that is selected by, where one is given.

    Raises:
        UsageError: nothing here reads it, it is damaged, or a pool is given without it.
    """
    if model is None:
        if pool is not None:
            raise UsageError("a pool is for a model to look at, and there is none; give --model too, or leave it out")
        return None
    if balance != PREDICTED or selector.needs & TOLD:
        refuse_unread(selector, method)
    opened = pool if pool is None or isinstance(pool, Pool) else open_pool(pool, quiet=True)
    return Guide(model if isinstance(model, Model) else load(model), opened)


def _place(embeddings: Embeddings | str | os.PathLike[str]) -> str | None:
    """Where embeddings lie; None: in memory."""
    return None if isinstance(embeddings, Embeddings) else str(Path(embeddings).absolute())


def _loaded(embeddings: Embeddings | str | os.PathLike[str]) -> Embeddings:
    return embeddings if isinstance(embeddings, Embeddings) else load_embeddings(embeddings)


def _with_labels(
    embeddings: Embeddings,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
    task: str | None,
    model: Model | str | os.PathLike[str] | None,
    quiet: bool,
) -> tuple[Embeddings, Presence | None]:
    """See :func:`with_labels`, of labels however they are given."""
    if labels is None and task not in (None, CLASSIFICATION):
        raise UsageError(f"the task {task} says what the labels answer, and there are none; give labels too")
    if labels is None or isinstance(labels, Labels):
        return with_labels(embeddings, labels)
    return with_labels(embeddings, asked_task(task, model).labels_of(labels, items_of(embeddings), quiet=quiet))


def asked_task(task: str | None, model: Model | str | os.PathLike[str] | None) -> Task:
    """The task that labels answer: the one asked for, or else the model's own, or one class per image.

    Raises:
        UsageError: unknown task, or no such model.
    """
    if task is not None or model is None:
        return make_task(task or CLASSIFICATION)
    return model.task if isinstance(model, Model) else make_task(task_at(model))


def _selector(embeddings: Embeddings, method: str, preset: str | None, settings: dict[str, Any]) -> Selector:
    """The selector, for embeddings of the shape that it reads."""
    selector = make_selector(method, preset, settings)
    tokens = embeddings.features_ND.ndim == 3
    if tokens and selector.needs and "tokens_NTD" not in selector.needs:
        raise UsageError(f"{method} reads pooled features (N x D), not patch tokens; embed without --tokens")
    if not tokens and "tokens_NTD" in selector.needs:
        raise UsageError(f"{method} reads patch tokens (N x T x D), not pooled features; embed with --tokens")
    return selector


def _wanted(selector: Selector, limits: Limits, *, guided: bool) -> frozenset[str]:
    """The fields that the method gets: those it needs, and those it uses where two classes are known to learn from.

    Args:
        guided: whether a model tells what there is to tell, so that nothing is learned from answers.
    """
    if guided:
        return selector.needs
    return selector.needs | (selector.uses - {"tokens_NTD"} if len(limits.classes) >= 2 else frozenset())


def _in_order(
    selector: Selector, method: str, budget: int | float | str, *, guided: bool
) -> tuple[Selector, dict[str, str]]:
    """The method that picks one by one in place of a selector, and a note where that is another one.

    Args:
        guided: whether a model is given.

    Raises:
        UsageError: there is none, or none that reads the model.
    """
    ordered = selector.in_order()
    if ordered is None:
        raise needs_order(method, budget)
    if ordered is selector:
        return selector, {}
    name = next(name for name, cls in selectors().items() if type(ordered) is cls)
    if guided:
        refuse_unread(ordered, f"{name}, which {method} takes for a share to cover,", in_order=True)
    return ordered, {method: f"{name}: a share to cover needs a method whose every prefix is a selection"}


def _losses_for(selector: Selector, method: str, embeddings: Embeddings, losses: Losses) -> Float32:
    """The losses (N,) that a method reads.

    Raises:
        UsageError: it reads none, or they are not those of these items.
    """
    if "losses_N" not in selector.needs | selector.uses:
        readers = ", ".join(name for name, cls in selectors().items() if "losses_N" in cls.needs | cls.uses)
        raise UsageError(f"{method} reads no losses; leave them out, or choose a method that does: {readers}")
    return read_losses(embeddings, losses)
