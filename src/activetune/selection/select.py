"""Embeddings -> selection: which items to label."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from activetune.base.arrays import IntArray
from activetune.base.artefact import holds, prepare_folder
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest_array, digest_stream
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import FULL_PRECISION, Run, RunOptions
from activetune.base.runtime import limited_threads, peak_memory_mb, resolve_runtime
from activetune.base.settings import flatten
from activetune.data.label_notes import describe_names
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.data.presence import Presence
from activetune.evaluation.doubt import Doubt
from activetune.evaluation.model import Model, load
from activetune.features.artefact import Embeddings, load_embeddings
from activetune.features.distances import Float32, coverage, pieces, unit_rows
from activetune.networks.network import CLASSIFICATION
from activetune.selection.artefact import (
    SELECTION_FILES,
    Selection,
    load_selection,
    made_by,
    save_selection,
    write_blank_labels,
)
from activetune.selection.audit import set_aside
from activetune.selection.budget import parse_budget
from activetune.selection.carrying_out import BudgetResult, carry_out
from activetune.selection.constraints import (
    PREDICTED,
    Answers,
    Ids,
    Limits,
    Losses,
    Metadata,
    read_limits,
    read_losses,
    with_labels,
)
from activetune.selection.evidence import gather
from activetune.selection.images import items_of
from activetune.selection.model_doubt import TOLD, doubt_of, refuse_unread
from activetune.selection.problem import Evidence
from activetune.selection.resolved_budget import ResolvedBudget, needs_order, resolve_budget
from activetune.selection.selectors import Selector, make_selector, selectors
from activetune.tasks import make_task

__all__ = ["parse_budget", "select"]


@holds_output(folder=True)
def select(
    embeddings: Embeddings | str | os.PathLike[str],
    *,
    budget: int | float | str,
    method: str = "auto",
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    labelled: Answers | None = None,
    exclude: Ids | None = None,
    candidates: Ids | None = None,
    min_distance: float | None = None,
    balance: str | None = None,
    metadata: Metadata | None = None,
    losses: Losses | None = None,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    task: str = CLASSIFICATION,
    model: Model | str | os.PathLike[str] | None = None,
    pool: Pool | str | os.PathLike[str] | None = None,
    audit: int = 0,
    out: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    **run_options: Unpack[RunOptions],
) -> Selection:
    """Choose the items to label.

    Args:
        embeddings: embeddings (N x D, or N x T x D for methods that read patch tokens), or a folder or NumPy file.
        budget: how many: a number, a share of the items (``"5%"``, ``0.05``), ``"2/class"`` where labels are known, or
            ``"coverage:0.95"`` / ``"coverage:0.95@0.6"``: the fewest of an ordered method that cover so much.
        method: a selector's name. preset, settings: its settings, see ``activetune list selectors``.
        labelled: what has a label, never picked: ids, ``{id: class name}``, :class:`Labels`, or a file (id, label).
        exclude: ids (or a file) treated as if they were not there. candidates: the only ids (or a file) to pick from.
        min_distance: no pick nearer than this to another or to a labelled item; Euclidean on features of unit length.
        balance: a column (``label``, ``predicted``, or one of ``metadata``) whose values get equal shares.
        metadata: a CSV/Parquet file with a column ``id``, or its columns as a mapping.
        losses: ``{id: loss}`` by the current model, or a file (id, loss), for ``ods``; None: expected from the labels.
        labels: answers to ``task``, or a file of them: ``"2/class"`` and ``balance="label"`` count what an image shows.
        model: a finetuned model, or its folder, whose doubt the method reads in place of that of a classifier learned
            from ``labelled``. pool: where the images are that it looks at; None: where the embeddings say.
        audit: random items, beside the budget, that are set aside to score models on: never picked, never trained on.
        out: folder for ``selection.csv``, ``manifest.json`` and a ``labels.csv`` (kept if filled in), or ``overwrite``.
        threads: processor threads used, -1 for all: what ``workers`` means here.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps what ``out`` holds if it is this selection.

    Returns:
        The selection, best first where the method ranks; its manifest holds figures, notes and any shortfall.

    Raises:
        UsageError: what is unknown, impossible or of the wrong shape; labels that are needed and not known.
    """
    run, source = Run.of("select", run_options, precision=FULL_PRECISION), _place(embeddings)
    embeddings, presence = _with_labels(_loaded(embeddings), labels, task, run.quiet)
    selector = _selector(embeddings, method, preset, dict(settings or {}))
    guide = _guide_of(model, pool, selector, method, balance)
    limits = read_limits(embeddings, labelled, exclude, candidates, presence, None if guide is None else guide.classes)
    asked = {"method": method, "preset": preset, "budget": str(budget), "seed": run.seed}
    shape: dict[str, Any] = {"budget": budget, "min_distance": min_distance, "balance": balance, "metadata": metadata}
    given = _given(embeddings, selector, asked, guide, limits, losses, audit, source, **shape)
    return _select(given, out, run, run.workers if threads is None else threads)


def _place(embeddings: Embeddings | str | os.PathLike[str]) -> str | None:
    """Where embeddings lie; None: in memory."""
    return None if isinstance(embeddings, Embeddings) else str(Path(embeddings).absolute())


@dataclass(frozen=True)
class _Given:
    """The inputs of a selection, read and checked.

    Attributes:
        guide: the model whose doubt the method reads, where one is given.
        asked: the method with its settings, the budget and the seed, for the manifest. notes: on what was taken
            instead of what was asked for. aside: positions of the audit. source: where the embeddings lie; None: in
            memory.
    """

    embeddings: Embeddings
    limits: Limits
    budget: ResolvedBudget
    losses_N: Float32 | None
    guide: _Guide | None
    selector: Selector
    asked: Mapping[str, Any]
    notes: Mapping[str, str]
    aside: IntArray
    source: str | None


def _given(
    embeddings: Embeddings,
    selector: Selector,
    asked: Mapping[str, Any],
    guide: _Guide | None,
    limits: Limits,
    losses: Losses | None,
    audit: int,
    source: str | None,
    *,
    budget: int | float | str,
    **shape: Any,
) -> _Given:
    """What is selected from and how many; see :func:`select`.

    Args:
        shape: distances and equal shares that the picks keep.
    """
    method = asked["method"]
    limits, aside = set_aside(limits, audit, asked["seed"])
    losses_N = None if losses is None else _losses_for(selector, method, embeddings, losses)
    resolved = resolve_budget(embeddings, limits, budget, **shape)
    selector, notes = (selector, {}) if resolved.coverage is None else _in_order(selector, method, budget)
    asked = {**asked, "options": flatten(selector)}
    return _Given(embeddings, limits, resolved, losses_N, guide, selector, asked, notes, aside, source)


def _in_order(selector: Selector, method: str, budget: int | float | str) -> tuple[Selector, dict[str, str]]:
    """The method that picks one by one in place of a selector, and a note where that is another one.

    Raises:
        UsageError: there is none.
    """
    ordered = selector.in_order()
    if ordered is None:
        raise needs_order(method, budget)
    if ordered is selector:
        return selector, {}
    name = next(name for name, cls in selectors().items() if type(ordered) is cls)
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


@dataclass(frozen=True)
class _Guide:
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
) -> _Guide | None:
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
    return _Guide(model if isinstance(model, Model) else load(model), opened)


def _select(given: _Given, out: str | os.PathLike[str] | None, run: Run, threads: int) -> Selection:
    """Make the selection, and save it where a folder is given; or find it there."""
    folder = None if out is None else Path(out)
    runtime = resolve_runtime(run.device, "fp32")
    request = {**given.asked, **_request_of(given)}
    as_read = json.loads(json.dumps(request, default=str))
    if folder is not None and run.resume and not run.overwrite and holds(folder, "selection", as_read):
        selection = load_selection(folder)
        write_blank_labels(selection.to_label, folder)
        return selection
    if folder is not None and not (run.overwrite and folder.is_dir()):
        prepare_folder(folder, SELECTION_FILES)  # refuses now; an old selection is kept until the new one is there

    with limited_threads(threads):
        result, figures = _compute(given, str(runtime.device), run)
    picks, notes = result.picks, {**given.notes, **result.picks.notes, **result.notes}
    where = {name: given.embeddings.manifest.get(name) for name in ("pool", "pool_path")}
    where["embeddings_path"] = given.source
    where["made_by"] = made_by(given.embeddings.manifest)
    manifest = {**request, **where, **result.entries, "figures": figures, **({"notes": notes} if notes else {})}
    ids, kept = [given.embeddings.ids[row] for row in picks.positions], ""
    audit = [given.embeddings.ids[row] for row in given.aside]
    selection = Selection(ids, [float(score) for score in picks.scores], list(picks.reasons), manifest, audit)
    if folder is not None:
        selection = save_selection(selection, prepare_folder(folder, SELECTION_FILES, overwrite=True))
        kept = write_blank_labels(selection.to_label, folder)
    about_names = describe_names(given.limits.class_counts)
    for sentence in (*about_names, *notes.values(), result.entries.get("shortfall", ""), kept):
        note(sentence, run.quiet or not sentence)
    return selection


def _compute(given: _Given, device: str, run: Run) -> tuple[BudgetResult, dict[str, Any]]:
    """Gather the evidence, pick, and measure the picks."""
    selector, limits, seed = given.selector, given.limits, int(given.asked["seed"])
    evidence = replace(_evidence(given.embeddings, limits, selector, device), losses_N=given.losses_N)
    started = time.perf_counter()
    if given.guide is not None:
        evidence = _by_guide(evidence, doubt_of(given.guide.model, given.embeddings, run, given.guide.pool))
    wanted = _wanted(selector, limits, guided=given.guide is not None) | (
        {"probs_NC"} if given.budget.column == PREDICTED else set()
    )
    gathered = gather(evidence, wanted, method=given.asked["method"], seed=seed)
    result = carry_out(given.budget, selector, gathered, seed)
    seconds = time.perf_counter() - started
    return result, _figures(given.embeddings, evidence, given.budget, result, seconds)


def _with_labels(
    embeddings: Embeddings,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None,
    task: str,
    quiet: bool,
) -> tuple[Embeddings, Presence | None]:
    """See :func:`with_labels`, of labels however they are given."""
    if labels is None and task != CLASSIFICATION:
        raise UsageError(f"the task {task} says what the labels answer, and there are none; give labels too")
    if labels is None or isinstance(labels, Labels):
        return with_labels(embeddings, labels)
    return with_labels(embeddings, make_task(task).labels_of(labels, items_of(embeddings), quiet=quiet))


def _loaded(embeddings: Embeddings | str | os.PathLike[str]) -> Embeddings:
    return embeddings if isinstance(embeddings, Embeddings) else load_embeddings(embeddings)


# Evidence ---------------------------------------------------------------------------------------------------------


def _selector(embeddings: Embeddings, method: str, preset: str | None, settings: dict[str, Any]) -> Selector:
    """The selector, for embeddings of the shape that it reads."""
    selector = make_selector(method, preset, settings)
    tokens = embeddings.features_ND.ndim == 3
    if tokens and selector.needs and "tokens_NTD" not in selector.needs:
        raise UsageError(f"{method} reads pooled features (N x D), not patch tokens; embed without --tokens")
    if not tokens and "tokens_NTD" in selector.needs:
        raise UsageError(f"{method} reads patch tokens (N x T x D), not pooled features; embed with --tokens")
    return selector


def _evidence(embeddings: Embeddings, limits: Limits, selector: Selector, device: str) -> Evidence:
    """The evidence that needs no training."""
    source = embeddings.features_ND
    features_ND = unit_rows(source) if source.ndim == 2 else _token_means(source)
    if not all(np.isfinite(features_ND[part]).all() for part in pieces(*features_ND.shape)):
        raise UsageError("the features hold NaN or infinite values; embed again")
    return Evidence(
        features_ND,
        limits.labelled,
        limits.excluded,
        limits.closed,
        device=device,
        answers_L=limits.answers_L,
        tokens_NTD=source if source.ndim == 3 else None,
    )


def _by_guide(evidence: Evidence, doubt: Doubt) -> Evidence:
    """The evidence with what a model tells; losses that were given stay."""
    losses_N = doubt.losses_N if evidence.losses_N is None else evidence.losses_N
    return replace(evidence, probs_NC=doubt.shares_NC, losses_N=losses_N)


def _token_means(tokens_NTD: np.ndarray) -> Float32:
    """(N, D) rows of unit length along the mean of an item's tokens."""
    count, tokens, size = tokens_NTD.shape
    features_ND = np.empty((count, size), dtype=np.float32)
    for part in pieces(count, tokens * size):
        features_ND[part] = unit_rows(tokens_NTD[part].mean(axis=1, dtype=np.float32))
    return features_ND


def _wanted(selector: Selector, limits: Limits, *, guided: bool) -> frozenset[str]:
    """The fields that the method gets: those it needs, and those it uses where two classes are known to learn from.

    Args:
        guided: whether a model tells what there is to tell, so that nothing is learned from answers.
    """
    if guided:
        return selector.needs
    return selector.needs | (selector.uses - {"tokens_NTD"} if len(limits.classes) >= 2 else frozenset())


# Figures and manifest ---------------------------------------------------------------------------------------------


def _figures(
    embeddings: Embeddings, evidence: Evidence, resolved: ResolvedBudget, result: BudgetResult, seconds: float
) -> dict[str, Any]:
    cover = np.concatenate([result.picks.positions, evidence.labelled])
    figures = {
        **result.picks.figures,
        **result.figures,
        **coverage(evidence.features_ND, cover, evidence.population),
        "seconds": round(seconds, 4),
        "peak_memory_mb": round(peak_memory_mb(), 1),
    }
    if (presence := resolved.presence) is not None:
        figures["classes_met"] = int((presence.counts(result.picks.positions) > 0).sum())
        figures["classes_known"] = len(presence.names)
    elif embeddings.labels is not None:
        figures["classes_met"] = len({embeddings.labels[row] for row in result.picks.positions} - {None})
        figures["classes_known"] = len({embeddings.labels[row] for row in evidence.population} - {None})
    return figures


def _request_of(given: _Given) -> dict[str, Any]:
    """The inputs of a selection beside its method, as the manifest keeps them; None: not asked for."""
    embeddings, limits, resolved = given.embeddings, given.limits, given.budget

    def digest_of(rows: IntArray) -> str | None:
        return digest_stream(embeddings.ids[row] for row in rows) if len(rows) else None

    answers = (
        None if limits.answers_L is None else [limits.classes[row] if row >= 0 else "" for row in limits.answers_L]
    )
    values = None if resolved.column is None or resolved.groups is None else resolved.groups
    return {
        "n": len(embeddings),
        "labelled": len(limits.labelled),
        "labelled_ids": digest_stream(embeddings.ids[row] for row in limits.labelled),
        "answers": None if answers is None else digest_stream(answers),
        "excluded": len(limits.excluded) or None,
        "excluded_ids": digest_of(limits.excluded),
        "closed": len(limits.closed) or None,
        "closed_ids": digest_of(limits.closed),
        "audit": len(given.aside) or None,
        "min_distance": resolved.min_distance or None,
        "balance_by": resolved.column,
        "balance_values": values and digest_stream([*values.names, "", *map(str, values.numbers_N)]),
        "classes_shown": None if resolved.presence is None else resolved.presence.fingerprint,
        "losses": None if given.losses_N is None else digest_array(given.losses_N),
        "model": None if given.guide is None else given.guide.model.fingerprint,
        "embeddings": embeddings.fingerprint,
        "pool_fingerprint": embeddings.manifest.get("pool_fingerprint"),
    }
