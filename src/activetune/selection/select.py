"""Embeddings -> selection: which items to label."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from activetune.base.arrays import FloatArray
from activetune.base.artefact import holds, prepare_folder, refuse_another_kind
from activetune.base.progress import note
from activetune.base.ranks import device_of_rank, from_first, is_first, shared_run, together
from activetune.base.run import FULL_PRECISION, Run, RunOptions
from activetune.base.runtime import limited_threads, peak_memory_mb, resolve_runtime
from activetune.data.ids import Ids
from activetune.data.label_notes import describe_names
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.evaluation.doubt import Doubt
from activetune.evaluation.model import Model
from activetune.features.artefact import Embeddings, map_features
from activetune.features.distances import coverage
from activetune.features.holding import Holding
from activetune.selection.artefact import (
    SELECTION_FILES,
    Selection,
    load_selection,
    made_by,
    save_selection,
    write_blank_labels,
)
from activetune.selection.budget import parse_budget
from activetune.selection.carrying_out import BudgetResult, carry_out
from activetune.selection.constraints import (
    Answers,
    Losses,
    Metadata,
)
from activetune.selection.evidence import gather
from activetune.selection.levels import Kinds, Levels, Stored, by_size, covering, pick_in_partitions, refined
from activetune.selection.model_doubt import doubt_of
from activetune.selection.problem import Evidence, Picks
from activetune.selection.request import Given, Request
from activetune.selection.resolved_budget import ResolvedBudget
from activetune.selection.selectors import Selector
from activetune.selection.sharing import deal, rows_of

__all__ = ["parse_budget", "select"]


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
    task: str | None = None,
    model: Model | str | os.PathLike[str] | None = None,
    pool: Pool | str | os.PathLike[str] | None = None,
    audit: int = 0,
    levels: int = 1,
    partitions: int | None = None,
    refine: bool = False,
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
        labels: answers to items, or a file of them: ``"2/class"`` and ``balance="label"`` count what an image shows.
        task: what ``labels`` answer; None: the task of ``model``, without one classification.
        model: a finetuned model, or its folder, whose doubt the method reads in place of that of a classifier learned
            from ``labelled``. pool: where the images are that it looks at; None: where the embeddings say.
        audit: random items, beside the budget, that are set aside to score models on: never picked, never trained on.
        levels: 1, or 2 for pools beyond memory: the pool is partitioned by k-means, and each partition
            selected from by itself.
        partitions: how many, 2 or more; None: so many that one holds 50,000 items or so.
        refine: after two levels swap picks wherever that brings the whole pool nearer to them.
        out: folder for ``selection.csv``, ``manifest.json`` and a ``labels.csv`` (kept if filled in), or ``overwrite``.
        threads: processor threads used, -1 for all: what ``workers`` means here.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps what ``out`` holds if it is this selection.

    Returns:
        The selection, best first where the method ranks; its manifest holds figures, notes and any shortfall.

    Raises:
        UsageError: what is unknown, impossible or of the wrong shape; labels that are needed and not known.
    """
    run, apart = Run.of("select", run_options, precision=FULL_PRECISION), Levels.asked(levels, partitions, refine)
    request = Request(
        embeddings=embeddings,
        budget=budget,
        method=method,
        preset=preset,
        settings=settings or {},
        labelled=labelled,
        exclude=exclude,
        candidates=candidates,
        min_distance=min_distance,
        balance=balance,
        metadata=metadata,
        losses=losses,
        labels=labels,
        task=task,
        model=model,
        pool=pool,
        audit=audit,
        levels=apart,
        seed=run.seed,
    )
    with shared_run(run, out, folder=True) as (run, _):
        given = together(lambda: request.read(quiet=run.quiet) if is_first() else None)
        return _select(given, embeddings, out, run, run.workers if threads is None else threads)


def _select(
    given: Given | None,
    embeddings: Embeddings | str | os.PathLike[str],
    out: str | os.PathLike[str] | None,
    run: Run,
    threads: int,
) -> Selection:
    """Make the selection, and save it where a folder is given; or find it there.

    Every process goes through here. The first one alone has what was given, and writes.
    """
    folder = None if out is None else Path(out)
    runtime = together(lambda: resolve_runtime(device_of_rank(run.device), "fp32"))
    kept = from_first(lambda: _kept(_known(given), folder, run))
    if kept is not None:
        return kept
    with limited_threads(threads):
        result, figures = _compute(given, embeddings, str(runtime.device), run)
    return from_first(lambda: _saved(_known(given), result, figures, folder, run))


def _known(given: Given | None) -> Given:
    """What was given, in the first process."""
    assert given is not None
    return given


def _kept(given: Given, folder: Path | None, run: Run) -> Selection | None:
    """The selection that the folder holds already, where it is this one and shall be kept; else None.

    Raises:
        UsageError: the folder holds something else.
    """
    if folder is None:
        return None
    if run.resume and not run.overwrite and holds(folder, "selection", _as_read(given)):
        selection = load_selection(folder)
        write_blank_labels(selection.to_label, folder)
        return selection
    refuse_another_kind(folder, "selection")
    if not (run.overwrite and folder.is_dir()):  # refuses now; an old selection is kept until the new one is there
        prepare_folder(folder, "selection", SELECTION_FILES)
    return None


def _as_read(given: Given) -> dict[str, Any]:
    """What makes this selection, as a manifest holds it."""
    found: dict[str, Any] = json.loads(json.dumps({**given.asked, **given.entries}, default=str))
    return found


def _saved(given: Given, result: BudgetResult, figures: Mapping[str, Any], folder: Path | None, run: Run) -> Selection:
    """The selection, in its folder where there is one."""
    picks, notes = result.picks, {**given.notes, **result.picks.notes, **result.notes}
    where = {name: given.embeddings.manifest.get(name) for name in ("pool", "pool_path")}
    where["embeddings_path"] = given.source
    where["made_by"] = made_by(given.embeddings.manifest)
    request = {**given.asked, **given.entries}
    figures = {**figures, **_classes_met(given, picks)}
    manifest = {**request, **where, **result.entries, "figures": figures, **({"notes": notes} if notes else {})}
    ids, kept = [given.embeddings.ids[row] for row in picks.positions], ""
    audit = [given.embeddings.ids[row] for row in given.limits.aside]
    selection = Selection(ids, [float(score) for score in picks.scores], list(picks.reasons), manifest, audit)
    if folder is not None:
        selection = save_selection(selection, prepare_folder(folder, "selection", SELECTION_FILES, overwrite=True))
        kept = write_blank_labels(selection.to_label, folder)
    about_names = describe_names(given.limits.class_counts)
    for sentence in (*about_names, *notes.values(), result.entries.get("shortfall", ""), kept):
        note(sentence, run.quiet or not sentence)
    return selection


@dataclass(frozen=True)
class _Told:
    """What every process knows of a selection.

    Attributes:
        total: N.
    """

    selector: Selector
    budget: ResolvedBudget
    levels: Levels | None
    method: str
    seed: int
    total: int

    @classmethod
    def of(cls, given: Given) -> _Told:
        """What the first process tells."""
        method, seed = given.asked["method"], int(given.asked["seed"])
        return cls(given.selector, given.budget, given.levels, method, seed, len(given.embeddings))


def _compute(
    given: Given | None, embeddings: Embeddings | str | os.PathLike[str], device: str, run: Run
) -> tuple[BudgetResult, dict[str, Any]]:
    """Gather the evidence, pick, and measure the picks."""
    told = from_first(lambda: _Told.of(_known(given)))
    holding, own = together(lambda: Holding.of(told.total))
    source = together(lambda: map_features(embeddings) if given is None else given.embeddings.features_ND)
    if told.levels is not None:
        kinds = from_first(lambda: _kinds(_known(given)))
        return _compute_in_partitions(told, told.levels, kinds, Stored(source, own), device, holding, run.quiet)
    evidence = _evidence(source, given, device, holding, own)
    started = time.perf_counter()
    gathered = evidence if given is None or holding.world > 1 else _gathered(evidence, given, run)
    result = together(lambda: carry_out(told.budget, told.selector, gathered, told.seed))
    seconds = time.perf_counter() - started
    cover = np.concatenate([result.picks.positions, evidence.labelled_everywhere])
    near = coverage(evidence.features_ND, cover, evidence.population, holding)
    return result, {**result.picks.figures, **result.figures, **near, **_spent(seconds, holding)}


def _kinds(given: Given) -> Kinds:
    limits = given.limits
    return Kinds.of(limits.total, limits.labelled, limits.excluded, limits.closed, given.losses_N)


def _compute_in_partitions(
    told: _Told, levels: Levels, kinds: Kinds, stored: Stored, device: str, holding: Holding, quiet: bool
) -> tuple[BudgetResult, dict[str, Any]]:
    """Pick from the partitions of a pool, and measure the picks."""
    budget, seed, started = told.budget.asked, told.seed, time.perf_counter()
    assert budget is not None
    how: dict[str, Any] = {"seed": seed, "device": device, "holding": holding, "quiet": quiet}
    picks, entries = pick_in_partitions(levels, stored, kinds, told.selector, budget, **how)
    if levels.refine:
        picks = refined(stored, kinds, told.selector, picks, seed, holding)
    seconds = time.perf_counter() - started
    near, sizes_K = covering(stored, kinds, picks.positions, holding)
    if levels.refine:
        picks = by_size(picks, sizes_K)
    result = BudgetResult(picks, {"asked": budget, "k": len(picks.positions), **entries})
    return result, {**near, **_spent(seconds, holding)}


def _spent(seconds: float, holding: Holding) -> dict[str, float]:
    """Figures on the cost; the memory is that of the process that took most."""
    memory = float(holding.largest(np.array([peak_memory_mb()]))[0])
    return {"seconds": round(seconds, 4), "peak_memory_mb": round(memory, 1)}


# Evidence ---------------------------------------------------------------------------------------------------------


def _evidence(source: FloatArray, given: Given | None, device: str, holding: Holding, own: slice) -> Evidence:
    """The evidence that needs no training, of this process's rows."""
    labelled, excluded, closed, losses_N = holding.dealt(
        lambda: deal(_known(given).limits, _known(given).losses_N, holding.world)
    )
    return Evidence(
        together(lambda: rows_of(source[own])),
        labelled,
        excluded,
        closed,
        device=device,
        answers_L=None if given is None or holding.world > 1 else given.limits.answers_L,
        losses_N=losses_N,
        tokens_NTD=source if source.ndim == 3 else None,
        holding=holding,
    )


def _gathered(evidence: Evidence, given: Given, run: Run) -> Evidence:
    """The evidence with what a model tells, given or learned from the answers."""
    if given.guide is not None:
        evidence = _by_guide(evidence, doubt_of(given.guide.model, given.embeddings, run, given.guide.pool))
    return gather(evidence, given.wanted, method=given.asked["method"], seed=int(given.asked["seed"]))


def _by_guide(evidence: Evidence, doubt: Doubt) -> Evidence:
    """The evidence with what a model tells; losses that were given stay."""
    losses_N = doubt.losses_N if evidence.losses_N is None else evidence.losses_N
    return replace(evidence, probs_NC=doubt.shares_NC, losses_N=losses_N)


# Figures and manifest ---------------------------------------------------------------------------------------------


def _classes_met(given: Given, picks: Picks) -> dict[str, int]:
    """How many classes the picks show, of those that are known."""
    embeddings = given.embeddings
    if (presence := given.budget.presence) is not None:
        met = int((presence.counts(picks.positions) > 0).sum())
        return {"classes_met": met, "classes_known": len(presence.names)}
    if embeddings.labels is None:
        return {}
    met = len({embeddings.labels[row] for row in picks.positions} - {None})
    return {
        "classes_met": met,
        "classes_known": len({embeddings.labels[row] for row in given.limits.population} - {None}),
    }
