"""Labelled pool -> learning curves of selectors x recipes x budgets x seeds.

The pool's labels are hidden and revealed for picked items alone; models are scored on a test set that chooses nothing.
The parts: ``parts.py`` opens and splits pool and test set, ``features.py`` embeds them, ``asked.py`` holds what is
asked for, ``budgets.py`` counts budgets out, ``plan.py`` lists the selections and models to make, ``cells.py`` makes
and scores them, ``kept.py`` reads what is finished, ``processes.py`` runs several at once, ``tables.py`` writes the
results.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from activetune.base.artefact import MANIFEST, begin, begun_by, cut_off, prepare_folder, read_manifest, write_manifest
from activetune.base.errors import UsageError
from activetune.base.files import LOCK, read_json, sweep_all, write_json
from activetune.base.fingerprint import digest_json
from activetune.base.launch import refuse_company
from activetune.base.locks import holds_output
from activetune.base.progress import note, progress
from activetune.base.run import Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.base.tables import write_csv
from activetune.data.pool import Pool
from activetune.features.embedding import EmbedOptions
from activetune.networks.backbones import load_backbone
from activetune.networks.network import CLASSIFICATION
from activetune.report import write_report
from activetune.report.simulation_results import CURVES, FAILED, PER_CLASS, RESULTS, table
from activetune.studies.simulation.asked import Asked
from activetune.studies.simulation.features import SPLIT, Features, embed_parts
from activetune.studies.simulation.kept import CELLS, MODELS, SELECTIONS, Row, kept_cell
from activetune.studies.simulation.parts import ONE, Answers, Question, open_parts
from activetune.studies.simulation.plan import Plan, unused_settings
from activetune.studies.simulation.processes import choose_processes, run_chains
from activetune.studies.simulation.records import record
from activetune.studies.simulation.setup import Setup
from activetune.studies.simulation.tables import told_scores, write_tables
from activetune.tasks import Task, task_of
from activetune.training.trackers import Tracker, asked_trackers
from activetune.training.tracking import TRACKING

MARKER, MADE_BY = "simulation.json", "activetune simulate"
TABLES = (RESULTS, PER_CLASS, CURVES, FAILED, SPLIT)
FILES = (*TABLES, "report.html", "map.npz", "map.npy", MARKER)  # .npy: of earlier versions
FOLDERS = (CELLS, SELECTIONS, MODELS, TRACKING, "embeddings")


@dataclass(frozen=True)
class Simulation:
    """A finished simulation.

    Attributes:
        folder: where it lies. rows: finished cells, the columns of ``results.csv``.
        failures: cells that failed, with their sentence as ``error``.
    """

    folder: Path
    rows: Sequence[Row]
    failures: Sequence[Row]

    def table(self) -> str:
        """The primary score, mean ± standard deviation over the seeds, as aligned text."""
        return table(self.folder)


@holds_output(folder=True)
def simulate(
    pool: Pool | str | os.PathLike[str],
    *,
    test: Pool | str | os.PathLike[str],
    methods: str | Iterable[str],
    budgets: str | int | float | Iterable[str | int | float],
    recipes: str | Iterable[str] | None = None,
    seeds: int = 3,
    task: str = CLASSIFICATION,
    labels: Answers = None,
    test_labels: Answers = None,
    head: str | None = None,
    out: str | os.PathLike[str],
    backbone: str = "bundled",
    weights: str | Path | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    rounds_start: str | None = None,
    splits: str = ONE,
    keep_models: bool = False,
    use_cache: bool = True,
    track: str | Sequence[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> Simulation:
    """Compare selectors and recipes on a pool whose labels are known.

    Args:
        pool: a pool, or what :func:`activetune.open_pool` opens; items without an answer are left out.
        test: another pool for scoring, or a share of ``pool`` (``"30%"``) that is held out.
        methods, recipes: ``NAME``, ``NAME:PRESET`` or ``NAME:setting=value;setting=value``; recipes None:
            ``linear_probe``, or those of the run that is gone on with.
        budgets: numbers, shares (``"1%"``) or ``"2/class"``.
        task, head: see ``activetune list tasks`` and ``activetune list heads``; None: the head that the task prefers.
        labels, test_labels: the answers, or a file of them; None: those that ``pool`` and ``test`` bring themselves.
        seeds: repetitions, with the seeds ``seed``, ``seed + 1``, ...
        out: folder for ``results.csv``, ``report.html`` and more. backbone, weights: as for ``load_backbone``.
        settings: settings of methods and recipes by their name, or by their whole text.
        rounds_start: makes the first selection for methods that learn from labels; None: ``random``, or as before.
        splits: which items a share holds out: ``"one"``, the same for all seeds, or ``"per-seed"``, others for each
            seed, so that the spread over seeds holds the difference between splits too.
        keep_models: keep the models of recipes that train the backbone.
        track: trackers that get the learning curves, by number of labels; see :func:`activetune.finetune`.
        run_options: see :class:`activetune.RunOptions`. ``workers`` are processes; -1: one per core, or one where an
            accelerator does the work; results do not depend on it. ``overwrite`` begins again; ``resume`` keeps what
            ``out`` holds of this simulation, and adds what is new in methods, recipes, budgets and seeds.

    Returns:
        The finished cells and the failed ones; a failure does not stop the others.

    Raises:
        UsageError: unknown names, impossible budgets, labels that are not known, ``out`` not empty or of another pool.
        ActivetuneError: a process died.
    """
    refuse_company("simulate")  # its cells finetune, one by one
    run = Run.of("simulate", run_options)
    trackers = asked_trackers(track)
    question = Question(task_of(task, head), labels, test_labels)
    asked = Asked.of(methods, recipes, budgets, _seeds(run.seed, seeds), rounds_start, dict(settings or {}), task, head)
    for name in unused_settings(settings or {}, [*asked.methods, *asked.recipes, asked.start]):
        note(f"the settings of {name!r} change nothing: it is not asked for", run.quiet)
    parts = open_parts(pool, test, splits, asked.seeds, run.quiet, question)
    setup = Setup.of(parts, Path(out), run, backbone, weights, head, use_cache=use_cache, keep_models=keep_models)
    return _recorded(_simulate(asked, setup, run), question.task, trackers, run)


def _simulate(asked: Asked, setup: Setup, run: Run) -> Simulation:
    """Embed both sides, go on with what the folder holds of this simulation, make its cells, and report them."""
    folder, parts = setup.folder, setup.parts
    runtime = resolve_runtime(run.device, run.precision)
    network = load_backbone(setup.backbone, setup.weights)
    identity = {"backbone": network.name, "weights": network.fingerprint, "precision": runtime.precision}
    made_from = {
        **parts.made_from(use_cache=setup.use_cache),
        **identity,
        **({"head": setup.head} if setup.head else {}),
    }
    begun = _begun(folder, made_from, overwrite=run.overwrite, resume=run.resume)
    asked = asked if begun is None else asked.beside(begun)
    asked.refuse_idle_start()
    asked.plan(parts, made_from, parts.listed)  # an impossible budget is refused before anything is written
    _claim(folder, {"made_from": made_from, **asked.as_dict()}, afresh=begun is None, overwrite=run.overwrite)
    options = EmbedOptions().within(run)
    tokens = any(method.tokens for method in (*asked.methods, asked.start))
    frozen = any(recipe.frozen for recipe in asked.recipes)
    test_tokens = frozen and parts.task.head_class(setup.head).reads != "pooled"
    how = {"tokens": tokens, "test_tokens": test_tokens, "use_cache": setup.use_cache, "quiet": run.quiet}
    embed_parts(parts, asked.seeds, network, options, folder, **how)
    features = Features(parts, folder)
    plan = asked.plan(parts, made_from, features.stock)
    processes = choose_processes(run.workers, len(plan.chains()), runtime.device)
    started = time.perf_counter()
    simulation = _run(plan, replace(setup, workers=run.workers if processes == 1 else 0), processes, run.quiet)
    primary = parts.task.primary
    score = {"name": primary, "told": parts.task.shown.get(primary, "top-1")}
    content = {**features.figures(plan.seeds), "made_from": made_from, "score": score}
    content["seconds"] = round(time.perf_counter() - started, 3)
    _finish(simulation, plan, content, run.quiet)
    return simulation


def _recorded(simulation: Simulation, task: Task, trackers: Mapping[str, type[Tracker]], run: Run) -> Simulation:
    described = read_manifest(simulation.folder, "simulation")
    record(simulation.rows, told_scores(task), trackers, simulation.folder, described, quiet=run.quiet)
    return simulation


def _seeds(first: int, count: int) -> list[int]:
    if count < 1:
        raise UsageError(f"a simulation needs at least one seed, not {count}; give --seeds 1 or more")
    return list(range(first, first + count))


def _begun(folder: Path, made_from: Mapping[str, str], *, overwrite: bool, resume: bool) -> Mapping[str, Any] | None:
    """The request of the earlier run that the folder holds, to go on with it; None: begin afresh.

    Raises:
        UsageError: the folder holds a simulation that nobody asked to go on with, or one made from something else.
    """
    begun = None if overwrite else _marker(folder)
    if begun is None:
        return None
    if not resume:
        raise UsageError(f"{folder} holds a simulation; add to it with --resume, or start again with --overwrite")
    names = dict.fromkeys([*made_from, *begun["made_from"]])
    other = [name for name in names if begun["made_from"].get(name) != made_from.get(name)]
    if other and begun_by(folder) == digest_json(made_from):
        return None  # this simulation was killed when it had begun to overwrite the other one
    earlier, asked = (found.get("splits", ONE) for found in (begun["made_from"], made_from))
    if earlier != asked:
        raise UsageError(
            f"{folder} holds a simulation with --splits {earlier}, whose results can't stand beside those of --splits "
            f"{asked}; give --splits {earlier} to go on with --resume, or another --out"
        )
    if other:
        raise UsageError(
            f"{folder} holds a simulation made from another {' and '.join(other)} (images or answers); give the same "
            "to go on with --resume, or --overwrite to start again"
        )
    return begun


def _marker(folder: Path) -> Mapping[str, Any] | None:
    """The note that a simulation leaves in its folder first; None: the folder is none of ours."""
    found = read_json(folder / MARKER) if (folder / MARKER).is_file() else {}
    return found if found.get("made_by") == MADE_BY else None


def _claim(folder: Path, marker: Mapping[str, Any], *, afresh: bool, overwrite: bool) -> None:
    """Make the folder ready and note in it which simulation it holds; the manifest comes last."""
    ours = _marker(folder) is not None or cut_off(folder)
    key = digest_json(marker["made_from"])
    if afresh:
        prepare_folder(folder, "simulation", (*(FOLDERS if ours else ()), *FILES), overwrite=overwrite, key=key)
    else:
        begin(folder, key)
    if ours:  # what killed processes wrote or held: the folder's own lock is this run's
        sweep_all(folder)
        for lock in folder.glob(f"embeddings/*/{LOCK}"):
            lock.unlink(missing_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    write_json(folder / MARKER, {"made_by": MADE_BY, **marker})


# Running ----------------------------------------------------------------------------------------------------------


def _run(plan: Plan, setup: Setup, processes: int, quiet: bool) -> Simulation:
    """Make the missing cells; an early end leaves the finished ones and their ``results.csv``."""
    chains = plan.chains()
    cells = {cell.name: cell for chain in chains for round_ in chain.rounds for cell in round_.cells}
    kept = {name: row for name, cell in cells.items() if (row := kept_cell(setup.folder, cell)) is not None}
    if kept:
        note(f"{len(kept):,} of {len(cells):,} cells are finished already", quiet)
    rows: list[Row] = list(kept.values())
    todo = [chain for chain in chains if any(cell.name not in kept for round_ in chain.rounds for cell in round_.cells)]
    with progress(len(cells), "simulating", unit="cells", done=len(kept), quiet=quiet) as meter:

        def done(new: list[Row]) -> None:
            rows.extend(new)
            meter.advance(len(new))

        try:
            if todo:
                run_chains(setup, todo, min(processes, len(todo)), done)
        finally:
            rows = [{**row, "split": row["seed"] if setup.parts.per_seed else ONE} for row in rows]
            simulation = _sorted(plan, setup.folder, [*rows, *plan.shared(rows)])
            write_tables(simulation.folder, simulation.rows, setup.parts.task)
    return simulation


def _sorted(plan: Plan, folder: Path, rows: Iterable[Row]) -> Simulation:
    """Rows in the order of the plan, not in the order in which they were finished; failed ones apart."""
    texts = [*([entry.text for entry in entries] for entries in (plan.recipes, plan.methods)), plan.budgets]

    def place(row: Row) -> tuple[int, ...]:
        names = (row["recipe"], row["method"], row["budget"])
        return (*(known.index(name) for known, name in zip(texts, names, strict=True)), row["seed"])

    ordered = sorted(rows, key=place)
    fine, failed = ([row for row in ordered if ("error" in row) is bad] for bad in (False, True))
    return Simulation(folder, fine, failed)


def _finish(simulation: Simulation, plan: Plan, content: Mapping[str, Any], quiet: bool) -> None:
    """Write the failures, the manifest and the report."""
    folder = simulation.folder
    with contextlib.suppress(OSError):  # where no model was kept it is empty
        (folder / MODELS).rmdir()
    columns = ("method", "recipe", "budget", "seed", "error")
    write_csv(folder / FAILED, columns, [[row[name] for name in columns] for row in simulation.failures])
    described = {
        "methods": [method.text for method in plan.methods],
        "recipes": [recipe.text for recipe in plan.recipes],
        "budgets": [_told(text, plan.counts(text)) for text in plan.budgets],
        "seeds": plan.seeds,
        "rounds": [method.text for method in plan.methods if method.in_rounds],
        "start": plan.start.text,
        "settings": {entry.text: dict(entry.options) for entry in (*plan.methods, *plan.recipes)},
    }
    write_manifest(folder, "simulation", {**described, **content, "failed": len(simulation.failures)}, files=TABLES)
    write_report(folder, overwrite=True, quiet=quiet)


def _told(text: str, counts: Sequence[int]) -> dict[str, Any]:
    """A budget for the manifest; ``k`` is the mean where seeds with splits of their own have different numbers."""
    return {"text": text, "k": round(sum(counts) / len(counts)), "least": min(counts), "most": max(counts)}
