"""Pool x labels x backbone -> model, by a recipe."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

import torch

from activetune.base.artefact import read_manifest, write_manifest
from activetune.base.config import field_defaults
from activetune.base.errors import ActivetuneError
from activetune.base.files import write_bytes
from activetune.base.fingerprint import digest_json, record_of
from activetune.base.memory import Portions
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
from activetune.base.runtime import Runtime, resolve_runtime, spent
from activetune.base.settings import flatten
from activetune.base.unfinished import WORK, clear, withdrawing
from activetune.data.identity import Contents
from activetune.data.ids import Ids, read_excluded
from activetune.data.labels import Labels
from activetune.data.loading import read_usable
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.evaluation.estimate import describe_estimate
from activetune.evaluation.model import MODEL_FILES, Model, Prepare, load, save_model
from activetune.networks.adapters import ADAPTER_FILES
from activetune.networks.backbones import Backbone, load_backbone
from activetune.networks.network import CLASSIFICATION, Network
from activetune.selection.audit import audit_beside
from activetune.tasks import Task, task_of
from activetune.training.answers import Given, answers_to, usable, without_audit, without_items
from activetune.training.finite import rates_among, refuse_outputs, refuse_weights, settings_to_change
from activetune.training.job import Job, Outcome, digests_of
from activetune.training.origin import PICKS, Origin, origin_of
from activetune.training.output import MODEL, REJECTED, write_history
from activetune.training.recipe import Recipe, make_recipe, recipes
from activetune.training.trackers import Tracker, asked_trackers
from activetune.training.tracking import TRACKING, Tracking, tracked

DEFAULT = "bundled"  # the backbone where nothing tells which
SHOWN = 16  # labelled images that a model must have finite outputs on before it is saved


def finetune(
    pool: Pool | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    task: str = CLASSIFICATION,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    exclude: Ids | None = None,
    head: str | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    recipe: str = "auto",
    preset: str | None = None,
    settings: Mapping[str, Any] | None = None,
    use_cache: bool = True,
    track: str | Sequence[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> Model:
    """Train a network on the labelled items of a pool.

    Args:
        task: what is asked about the images, see ``activetune list tasks``.
        pool: a pool, or what :func:`activetune.open_pool` opens.
        out: folder for ``model.safetensors``, ``config.json``, ``history.csv`` and ``manifest.json``.
        labels: answers, ``{id: answer}``, or a file or folder of them; None takes the pool's own. What is missing there
            (None, NaN, "") is not answered.
        classes: names of the model's outputs, in order; those without a label get an output too. None takes the
            classes that occur.
        exclude: ids, or a file of them (such as that of :func:`activetune.check`), treated as if they were not there.
        head: its kind, see ``activetune list heads``; None takes the one that the task prefers.
        backbone, weights: see :func:`activetune.load_backbone`; None takes the backbone from whose embeddings the
            items of a label file were selected, where that is known, with its weights; otherwise ``bundled``.
        recipe, preset, settings: see ``activetune list recipes``.
        track: trackers that get settings, history and scores beside ``out``'s own files: ``tensorboard``, ``wandb``
            (offline), ``mlflow``, ``trackio``. Their records lie in ``out/tracking``; nothing is sent.
        run_options: see :class:`activetune.RunOptions`; ``resume`` goes on from the last epoch of a run that was cut
            off in ``out``, or from the step in which a signal ended it.

    Returns:
        The model, saved. The items chosen on (epoch, strength) are carved out of ``labels``; nothing else is looked at.

    Raises:
        UsageError: labels that do not fit the pool or the task, ``out`` not empty, unknown names, a recipe that can't
            train the task. MissingExtra: a tracker that is not installed.
    """
    run = Run.of("finetune", run_options)
    chosen = make_recipe(recipe, preset, dict(settings or {}))
    of_task, trackers = _task(task, head, recipe, chosen), asked_trackers(track)
    asked = _Asked(of_task, head or "", labels, classes, exclude, backbone, weights, recipe, use_cache, trackers)
    with shared_run(run, out, folder=True) as (run, _):
        opened = together(lambda: pool if isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet))
        return _finetuned(opened, asked, chosen, Path(out), run)


@dataclass(frozen=True)
class _Asked:
    """What was given, beside the pool; see :func:`finetune`."""

    task: Task
    head: str
    labels: Given
    classes: Sequence[str] | None
    exclude: Ids | None
    backbone: str | None
    weights: str | Path | None
    recipe: str
    use_cache: bool
    trackers: Mapping[str, type[Tracker]]


def _task(name: str, head: str | None, recipe: str, chosen: Recipe) -> Task:
    """The task that is asked for, as the recipe chooses models for it.

    Raises:
        UsageError: no such task or head, or the recipe can't train it.
    """
    task = task_of(name, head)
    chosen.refuse(recipe, name, head)
    return chosen.choosing_for(task)


def _finetuned(pool: Pool, asked: _Asked, recipe: Recipe, folder: Path, run: Run) -> Model:
    """The model; every process goes through here, and the first one alone does what ``from_first`` is given."""
    given, excluded = from_first(lambda: _given(asked, recipe, pool, run.quiet))
    runtime = together(lambda: resolve_runtime(device_of_rank(run.device), run.precision))
    origin = from_first(lambda: _origin(asked, given, pool))
    backbone, told = in_turn(lambda: _backbone_of(asked, recipe, origin, run.quiet))
    with_weights_of_first(backbone)
    note(f"backbone: {told}; recipe: {asked.recipe}", run.quiet)
    made_from = from_first(lambda: _made_from(pool, given, excluded, backbone, asked, recipe, runtime, run))
    this = digest_json(made_from)
    if from_first(lambda: MODEL.is_there(folder, this, run)):
        return load(folder)

    started = time.perf_counter()
    with withdrawing(folder, (REJECTED,)):
        kept, rejected = from_first(lambda: usable(pool, given, asked.task, folder / REJECTED, run.workers, run.quiet))
    job = replace(_job(pool, kept, backbone, recipe, runtime, folder, run, asked), aside=frozenset(excluded))
    with tracked(asked.trackers, folder, _told(made_from, recipe), quiet=run.quiet) as tracking:
        outcome = _trained(recipe, replace(job, track=tracking.follow), folder, tracking)
        more = {"run": this, "rejected": rejected, "weights_file": _text(backbone.weights_file)}
        model = together(lambda: _save(job, outcome, {**made_from, **more}, folder, started) if is_first() else None)
        tracking.follow(outcome.history)
        tracking.end(read_manifest(folder, "model")["figures"] if is_first() else {})
    selected = origin is not None and origin.kind in PICKS
    taken = recipes()[outcome.figures["recipe"]] if "recipe" in outcome.figures else recipe
    for sentence in describe_estimate(outcome.figures, trained_on=not taken.frozen, selected=selected):
        note(sentence, run.quiet)
    return model or load(folder)


def _made_from(
    pool: Pool,
    labels: Labels,
    excluded: Collection[str],
    backbone: Backbone,
    asked: _Asked,
    recipe: Recipe,
    runtime: Runtime,
    run: Run,
) -> dict[str, Any]:
    """What the model is made from, for its manifest; its digest tells this run from others."""
    from_pool = recipe.learns_from_pool(asked.task.name, asked.head, labels, len(pool) - len(excluded))
    teaching = pool.subset([item for item in pool.ids if item not in excluded]) if from_pool and excluded else pool
    return {
        **digests_of(pool, labels, classes=bool(asked.classes), use_cache=asked.use_cache),
        "backbone": backbone.name,
        "weights": backbone.fingerprint,
        "recipe": asked.recipe,
        "options": record_of(recipe),
        "seed": run.seed,
        "precision": runtime.precision,
        **({"whole_pool": Contents(teaching, remember=asked.use_cache).fingerprint} if from_pool else {}),
        **({} if asked.task.name == CLASSIFICATION else {"task": asked.task.name}),
        **({"head": asked.head} if asked.head else {}),
    }


def _given(asked: _Asked, recipe: Recipe, pool: Pool, quiet: bool) -> tuple[Labels, set[str]]:
    """The answers to train on, and the items that are treated as if they were not there.

    Where images without a label teach too, those of an audit are among them.

    Raises:
        UsageError: no answer that a model may learn from is left; ids that the pool does not have.
    """
    excluded = set(read_excluded(asked.exclude, pool.position, what=f"the pool {pool.name}"))
    answered = answers_to(asked.task, asked.labels, pool, asked.classes, quiet=quiet)
    labels = without_audit(answered, asked.labels, asked.task, quiet=quiet)
    if excluded:
        labels = without_items(labels, excluded, asked.task, asked.classes, quiet=quiet)
    if recipe.learns_from_pool(asked.task.name, asked.head, labels, len(pool) - len(excluded)):
        excluded |= audit_beside(asked.labels) & pool.position.keys()
    return labels, excluded


def _told(made_from: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The settings of a run by flat name, as trackers get them."""
    return {**{name: value for name, value in made_from.items() if name != "options"}, **flatten(recipe)}


def _job(
    pool: Pool,
    labels: Labels,
    backbone: Backbone,
    recipe: Recipe,
    runtime: Runtime,
    folder: Path,
    run: Run,
    asked: _Asked,
) -> Job:
    """What the recipe gets; notes on the labels are told."""
    task = asked.task
    for sentence in task.describe(labels, treated=recipe.evens_classes):
        note(sentence, run.quiet)
    if idle := _idle(task, recipe):
        note(f"{' and '.join(idle)} change nothing here: {task.name} has no labels to smooth", run.quiet)
    return Job(
        pool=pool.subset(labels.ids),
        labels=labels,
        held_out=recipe.hold_out(task.strata(labels), run.seed),
        whole_pool=pool,
        network=Network(backbone).to(runtime.device),
        runtime=runtime,
        seed=run.seed,
        work=folder / WORK,
        resume=run.resume,
        use_cache=asked.use_cache,
        workers=run.workers,
        quiet=run.quiet,
        task=task,
        head=asked.head,
        settings=flatten(recipe),
    )


def _idle(task: Task, recipe: Recipe) -> list[str]:
    """The settings of label smoothing that were changed, where the task has none."""
    given, defaults = flatten(recipe), field_defaults(type(recipe))
    names = [name for name in ("label_smoothing", "head_smoothing") if name in given]
    return [name for name in names if not task.smooths and given[name] != defaults[name]]


def _trained(recipe: Recipe, job: Job, folder: Path, tracking: Tracking) -> Outcome:
    """Run the recipe; a run that is refused before it has kept anything leaves no trace."""
    with withdrawing(folder, (REJECTED, TRACKING)):
        try:
            from_first(tracking.begin)
            outcome = recipe.run(job)
            from_first(lambda: _refuse_not_finite(job))
        except ActivetuneError:
            tracking.end({}, finished=False)
            raise
    return outcome


def _refuse_not_finite(job: Job) -> None:
    """Raise :class:`NotFinite` for a model with weights, or outputs on some of its items, that are not finite."""
    network, runtime = job.network.eval(), job.runtime
    remedy = settings_to_change(runtime.precision, rates_among(job.settings, "lr", "head_lr"))
    refuse_weights(network, "at the end, so no model was saved", remedy)
    prepare = Prepare(job.task, job.backbone.settings)
    shown = [prepare(read_usable(job.pool, row, about=prepare.enough)) for row in range(min(SHOWN, len(job.pool)))]
    with torch.inference_mode(), runtime.autocast():
        portions = Portions(runtime.device, quiet=True)
        for _, outputs in portions.of(len(shown), lambda part: network(torch.stack(shown[part]).to(runtime.device))):
            refuse_outputs(outputs, "the outputs", "at the end, so no model was saved", remedy)


def _origin(asked: _Asked, labels: Labels, pool: Pool) -> Origin | None:
    """Where the labelled items were selected, which is of use where no backbone is given."""
    file = asked.labels if isinstance(asked.labels, str | os.PathLike) else None
    return origin_of(file, labels.ids, pool.name) if file is not None or asked.labels is None else None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _backbone_of(asked: _Asked, recipe: Recipe, origin: Origin | None, quiet: bool) -> tuple[Backbone, str]:
    """The backbone that is asked for, or the one that the labelled items were selected by, and how it is told."""
    backbone, weights, options = asked.backbone, asked.weights, recipe.construction()
    if backbone is not None or origin is None:
        name = backbone or DEFAULT
        return load_backbone(name, weights, options=options), name
    if weights is None:
        origin.check()
    network = load_backbone(origin.backbone, weights or origin.weights, options=options)
    if weights is None and origin.fingerprint and network.fingerprint != origin.fingerprint:
        note(f"the weights of {origin.backbone} are not those that {origin.folder} was made with", quiet)
    return network, origin.told


def _save(job: Job, outcome: Outcome, made_from: Mapping[str, Any], folder: Path, started: float) -> Model:
    """Write the artefact, its manifest last, and drop what only an unfinished run needs."""
    write_history(folder, outcome.history)
    for name, content in outcome.files.items():
        write_bytes(folder / name, content)
    details = {name: made_from[name] for name in ("task", "recipe", "options") if name in made_from}
    model = save_model(job.network, job.labels.classes, folder, details)
    figures = {
        "n_train": len(job.not_held_out),
        "n_validation": len(job.held_out),
        **outcome.figures,
        **job.task.figures(job.labels),
        **spent(started),
    }
    write_manifest(folder, "model", {**made_from, "figures": figures}, files=(*MODEL_FILES, *ADAPTER_FILES))
    clear(folder)
    return model
