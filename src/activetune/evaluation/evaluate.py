"""Model x pool -> scores, and model x pool -> predictions."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import prepare_file, read_json, write_json
from activetune.base.fingerprint import digest
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import NO_CHANCE, Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.data.corruption import shifted_pools
from activetune.data.identity import Contents
from activetune.data.ids import Ids, read_ids
from activetune.data.kinds import fingerprint_of
from activetune.data.label_notes import describe_predicted
from activetune.data.labels import Labels, keep
from activetune.data.opening import open_pool
from activetune.data.pool import Pool, check_complete
from activetune.evaluation.metrics import told, told_score
from activetune.evaluation.model import Model, Prediction, load, predictions
from activetune.tasks import Batch, Scored, Task


@holds_output(folder=False)
def evaluate(
    model: Model | str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str],
    *,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    only: Ids | None = None,
    out: str | os.PathLike[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> Scored:
    """Score a model on the labelled items of a pool.

    Args:
        labels: answers, ``{id: class}``, or a file of them; None takes the pool's own. Items without an
            answer are left out.
        only: ids, or a file with a column ``id``, such as a selection's ``audit.csv``: the others are left out.
        out: a file for ``scores.json``.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps ``out`` if it holds the scores of this
            model, pool and labels already. Nothing is drawn here, so no ``seed``.

    Returns:
        :class:`~activetune.evaluation.scores.Scores` of one class per image: top-1 over all items and over each class,
        balanced accuracy, macro F1, top-5, calibration error and a confusion matrix. Other tasks have their own scores,
        by name. A class that the model does not know counts as wrong.

    Raises:
        UsageError: no labels, ids that the pool does not have, no class in common.
    """
    run = Run.of("evaluate", run_options, seed=NO_CHANCE)
    model = model if isinstance(model, Model) else load(model)
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet)
    task = model.task
    for sentence in describe_predicted(labels):
        note(sentence, run.quiet)
    answers = _among(task.truth_of(labels, pool, model.classes, quiet=run.quiet), only, pool)
    labelled = pool.subset(answers.ids)
    contents = Contents(labelled)
    if out is not None and run.resume and Path(out).is_file():
        kept = _kept_scores(Path(out), _key(model, contents, answers), task)
        if kept is not None:
            return kept
    path = None if out is None else _prepare_scores(Path(out), overwrite=run.overwrite)
    scores, rejected = score_items(model, labelled, answers, run, contents)
    if path is not None:
        made_from = {"pool": pool.name, "rejected": rejected, "key": _key(model, contents, answers)}
        write_json(path, {**scores.as_dict(), **made_from})
    return scores


def score_items(
    model: Model,
    labelled: Pool,
    answers: Labels,
    run: Run,
    contents: Contents,
    watch: Callable[[Prediction], None] | None = None,
) -> tuple[Scored, int]:
    """Run a model over items with known answers, and score it.

    Args:
        labelled: the items of the answers, in their order. contents: of these. watch: sees each batch of outputs.

    Returns:
        The scores, and how many images were skipped.

    Raises:
        ActivetuneError: none of the images can be decoded.
    """
    runtime = resolve_runtime(run.device, run.precision)
    scorer = model.task.scorer(answers, model.backbone.settings, model.classes)
    scored = rejected = 0
    batches = predictions(model, labelled, runtime=runtime, workers=run.workers, contents=contents, quiet=run.quiet)
    for batch in batches:
        rejected += len(batch.rejected)
        if batch.outputs is not None:
            scored += len(batch.positions)
            scorer.update(batch.outputs, Batch.untaught(batch.positions, batch.sizes))
            if watch is not None:
                watch(batch)
    contents.save()
    check_complete(len(answers), scored, rejected, "the scores")
    if not scored:
        raise ActivetuneError(
            f"none of the {len(answers):,} labelled images of {labelled.name} can be decoded; give others, or see why "
            "with 'activetune check'"
        )
    if rejected:
        note(f"{rejected:,} of {len(answers):,} images were skipped: they can't be decoded", run.quiet)
    return scorer.scores(), rejected


def _among(answers: Labels, only: Ids | None, pool: Pool) -> Labels:
    """The answers to some items alone.

    Raises:
        UsageError: none of them is answered.
    """
    if only is None:
        return answers
    asked = read_ids(only, pool.position, what=f"the pool {pool.name}", where="the items to score on")
    kept = keep(answers, asked)
    if not len(kept):
        raise UsageError(f"none of the {len(asked):,} items to score on is answered; label them, or leave --only out")
    return kept


def _kept_scores(path: Path, key: str, task: Task) -> Scored | None:
    """The scores in a file, if they are those of this model, pool and labels; None where a score is missing."""
    found = read_json(path)
    try:
        return task.scores_of(found) if found.get("key") == key else None
    except KeyError:
        return None


def _key(model: Model, contents: Contents, answers: Labels) -> str:
    """Digest of what scores are made from: the model, the labelled images, their labels."""
    return digest(model.fingerprint, contents.fingerprint, *map(fingerprint_of, answers.answers))


def _prepare_scores(path: Path, *, overwrite: bool) -> Path:
    """The file to write; where it holds scores already, say which, and how to have both."""
    try:
        found = read_json(path) if path.is_file() and not overwrite else {}
    except ActivetuneError:
        found = {}
    primary = found.get("primary", "top1")
    if primary not in found:
        return prepare_file(path, own=_holds_scores, overwrite=overwrite)
    raise UsageError(
        f"{path} exists already; nothing was written: it holds the scores on {found.get('pool')} "
        f"({_score(primary, found[primary])}, {found.get('n')} items); --out FILE keeps both, "
        "--overwrite replaces them, --resume keeps those of the same run"
    )


def _holds_scores(path: Path) -> bool:
    """Whether a file is of the kind that is written here: scores on a pool, or on shifted pools."""
    try:
        found = read_json(path)
    except ActivetuneError:
        return False
    return {"n", found.get("primary", "top1")} <= found.keys() or {"model", "sets"} <= found.keys()


def _score(primary: str, value: Any) -> str:
    return told_score(primary, value) if isinstance(value, float) else f"{told(primary)} {value}"


@holds_output(folder=False)
def evaluate_shifts(
    model: Model | str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> dict[str, dict[int, float]]:
    """Score a model on every shifted pool in a folder of :func:`activetune.corrupt`.

    Args:
        out: a JSON file.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps the scores of this model in ``out`` and
            adds those that are missing. Nothing is drawn here, so no ``seed``.

    Returns:
        Top-1 by kind and severity.

    Raises:
        UsageError: no shifted pool there.
    """
    run = Run.of("evaluate", run_options, seed=NO_CHANCE)
    model = model if isinstance(model, Model) else load(model)
    pools = list(shifted_pools(Path(folder)))
    if not pools:
        raise UsageError(f"{folder} holds no shifted pool; make some with: activetune corrupt POOL --out {folder}")
    sets: dict[str, dict[str, Any]] = {}
    before: dict[str, Any] = {}
    path = None if out is None else Path(out)
    if path is not None:
        before = read_json(path) if run.resume and path.is_file() else {}
        if before.get("model") == model.fingerprint:
            sets = _whole_sets(before.get("sets"), {file.stem for *_, file in pools})
        else:
            prepare_file(path, own=_holds_scores, overwrite=run.overwrite)
    found: dict[str, dict[int, float]] = {}
    for kind, severity, file in pools:
        pool = open_pool(file, quiet=run.quiet)
        if sets.get(file.stem, {}).get("pool_fingerprint") != pool.fingerprint:
            note(file.stem, run.quiet)
            scores = evaluate(model, pool, **run.within())
            sets[file.stem] = {"top1": scores.value, "n": scores.n, "pool_fingerprint": pool.fingerprint}
        found.setdefault(kind, {})[severity] = sets[file.stem]["top1"]
        if path is not None:
            mean = float(np.mean([one["top1"] for one in sets.values()]))
            now = {"model": model.fingerprint, "sets": dict(sets), "mean_top1": mean}
            if now != before:
                write_json(path, now)
            before = now
    return found


def _whole_sets(found: Any, names: Collection[str]) -> dict[str, dict[str, Any]]:
    """The scores of shifted pools of some names in a file that may be damaged; one that lacks a number is left out."""
    pairs = found.items() if isinstance(found, dict) else ()
    named = ((name, one) for name, one in pairs if name in names and isinstance(one, dict))
    return {name: one for name, one in named if isinstance(one.get("top1"), float)}
