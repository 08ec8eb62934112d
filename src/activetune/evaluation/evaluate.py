"""Model x pool -> scores, and model x pool -> predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import parse_json, prepare_file, read_json, replacing, write_json
from activetune.base.fingerprint import digest
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import NO_CHANCE, Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.base.tables import write_csv
from activetune.data.corruption import shifted_pools
from activetune.data.identity import Contents
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool, check_complete
from activetune.evaluation.scores import ScoreKeeper, Scores
from activetune.evaluation.truth import truth_of
from activetune.networks.model import Model, load, predictions


@holds_output(folder=False)
def evaluate(
    model: Model | str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str],
    *,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> Scores:
    """Score a model on the labelled items of a pool.

    Args:
        labels: answers, ``{id: class}``, or a file of them; None takes the pool's own. Items without an
            answer are left out.
        out: a file for ``scores.json``.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps ``out`` if it holds the scores of this
            model, pool and labels already. Nothing is drawn here, so no ``seed``.

    Returns:
        Top-1 over all items and over each class, balanced accuracy, macro F1, top-5, calibration error and a confusion
        matrix. A class that the model does not know counts as wrong.

    Raises:
        UsageError: no labels, ids that the pool does not have, no class in common.
    """
    run = Run.of("evaluate", run_options, seed=NO_CHANCE)
    model = model if isinstance(model, Model) else load(model)
    pool = pool if isinstance(pool, Pool) else open_pool(pool)
    answers = truth_of(labels, pool, model.classes, run.quiet)
    labelled = pool.subset(answers.ids)
    contents = Contents(labelled)
    if out is not None and run.resume and Path(out).is_file():
        kept = _kept_scores(Path(out), _key(model, contents, answers))
        if kept is not None:
            return kept
    path = None if out is None else _prepare_scores(Path(out), overwrite=run.overwrite)
    runtime = resolve_runtime(run.device, run.precision)
    keeper = ScoreKeeper(model.classes, answers.names)
    rejected = 0
    batches = predictions(model, labelled, runtime=runtime, workers=run.workers, contents=contents, quiet=run.quiet)
    for batch in batches:
        rejected += len(batch.rejected)
        keeper.add(batch.probs_BC, [answers.names[position] for position in batch.positions])
    contents.save()
    check_complete(len(answers), len(keeper), rejected, "the scores")
    if not len(keeper):
        raise ActivetuneError(f"none of the {len(answers):,} labelled images of {pool.name} can be decoded")
    if rejected:
        note(f"{rejected:,} of {len(answers):,} images were skipped: they can't be decoded", run.quiet)
    scores = keeper.scores()
    if path is not None:
        made_from = {"pool": pool.name, "rejected": rejected, "key": _key(model, contents, answers)}
        write_json(path, {**scores.as_dict(), **made_from})
    return scores


def _kept_scores(path: Path, key: str) -> Scores | None:
    """The scores in a file, if they are those of this model, pool and labels; None where a score is missing."""
    found = read_json(path)
    try:
        return Scores.from_dict(found) if found.get("key") == key else None
    except KeyError:
        return None


def _key(model: Model, contents: Contents, answers: Labels) -> str:
    """Digest of what scores are made from: the model, the labelled images, their labels."""
    return digest(model.fingerprint, contents.fingerprint, *answers.names)


def _prepare_scores(path: Path, *, overwrite: bool) -> Path:
    """The file to write; where it holds scores already, say which, and how to have both."""
    try:
        found = read_json(path) if path.is_file() and not overwrite else {}
    except ActivetuneError:
        found = {}
    if "top1" not in found:
        return prepare_file(path, overwrite=overwrite)
    raise UsageError(
        f"{path} exists already; nothing was written: it holds the scores on {found.get('pool')} "
        f"(top-1 {found['top1']}, {found.get('n')} items); --out FILE keeps both, --overwrite replaces them, --resume "
        "keeps those of the same run"
    )


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
    content: dict[str, Any] = {"model": model.fingerprint, "sets": {}}
    path = None if out is None else Path(out)
    if path is not None:
        before = read_json(path) if run.resume and path.is_file() else {}
        if before.get("model") == content["model"]:
            content = before
        else:
            prepare_file(path, overwrite=run.overwrite)
    found: dict[str, dict[int, float]] = {}
    for kind, severity, file in pools:
        pool = open_pool(file)
        known = content["sets"].get(file.stem, {})
        if not known or known.get("pool_fingerprint") != pool.fingerprint:
            note(file.stem, run.quiet)
            scores = evaluate(model, pool, **run.within())
            known = {"top1": scores.top1, "n": scores.n, "pool_fingerprint": pool.fingerprint}
            content["sets"][file.stem] = known
            content["mean_top1"] = float(np.mean([one["top1"] for one in content["sets"].values()]))
            if path is not None:
                write_json(path, content)
        found.setdefault(kind, {})[severity] = known["top1"]
    return found


@holds_output(folder=False)
def predict(
    model: Model | str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> list[tuple[str, str, float]]:
    """Predict the class of every image of a pool.

    Args:
        out: a ``.csv`` or ``.parquet`` file with the columns id, label, probability; images that can't be decoded
            are listed beside it in ``NAME.rejected.csv``.
        run_options: see :class:`activetune.RunOptions`; nothing is drawn here, so no ``seed``.

    Returns:
        (id, class name, its probability) in the pool's order, without the images that can't be decoded.
    """
    run = Run.of("predict", run_options, seed=NO_CHANCE)
    model = model if isinstance(model, Model) else load(model)
    pool = pool if isinstance(pool, Pool) else open_pool(pool)
    path = None if out is None else prepare_file(Path(out), overwrite=run.overwrite)
    if path is not None and path.suffix.lower() not in (".csv", ".parquet"):
        raise UsageError(f"{path}: predictions are written as .csv or .parquet")
    runtime = resolve_runtime(run.device, run.precision)
    contents = Contents(pool)
    key = digest(model.fingerprint, *pool.ids)
    journal = None if path is None else _Journal(path, key, contents, run.resume)
    rows: list[tuple[str, str, float]] = []
    rejected: list[tuple[str, str]] = []
    for done_rows, done_rejected, _ in journal.done if journal else ():
        rows += [(item, name, prob) for item, name, prob in done_rows]
        rejected += [(item, reason) for item, reason in done_rejected]
    first_batch = len(journal.done) if journal else 0
    batches = predictions(
        model,
        pool,
        runtime=runtime,
        workers=run.workers,
        first_batch=first_batch,
        contents=contents,
        quiet=run.quiet,
    )
    for batch in batches:
        best = batch.probs_BC.argmax(axis=1)
        probs = batch.probs_BC[np.arange(len(best)), best]
        found = [
            (pool.ids[position], model.classes[index], float(prob))
            for position, index, prob in zip(batch.positions, best, probs, strict=True)
        ]
        refused = [(pool.ids[position], reason) for position, reason in batch.rejected]
        rows += found
        rejected += refused
        if journal:
            done = len(rows) + len(rejected)
            journal.add(found, refused, contents.digest_of(done - len(found) - len(refused), done))
    contents.save()
    check_complete(len(pool), len(rows), len(rejected), "the predictions" if path is None else str(path))
    if path is not None:
        _write_predictions(path, rows)
        if rejected:
            listing = prepare_file(path.with_name(f"{path.stem}.rejected.csv"), overwrite=True)
            write_csv(listing, ("id", "reason"), rejected)
            note(f"{len(rejected):,} of {len(pool):,} images were skipped; {listing} lists the reasons", run.quiet)
    if journal:
        journal.remove()
    return rows


class _Journal:
    """What a prediction run has finished, batch by batch, beside its output: a line of JSON each.

    The first line is the key, of the model and the ids. A batch's is its rows, its rejected items and the digest of its
    images' bytes, which must be what they were when the run goes on.
    """

    def __init__(self, path: Path, key: str, contents: Contents, resume: bool):
        self.path = path.with_name(f".{path.name}.partial.jsonl")
        self.done: list[tuple[list[Any], list[Any], str]] = []
        lines = self.path.read_text(encoding="utf-8").splitlines() if resume and self.path.is_file() else []
        same = not lines or lines[0] == key
        for line in lines[1:] if same else ():
            try:
                self.done.append(parse_json(line))
            except ValueError:  # the line that was being written when the process died
                break
        if not same or not self._same_images(contents):
            raise UsageError(
                f"{path} was begun with another model or pool; give the same ones to go on with --resume, "
                "or leave --resume out to start again"
            )
        content = [key, *(json.dumps(batch) for batch in self.done)]
        with replacing(self.path) as partial:
            partial.write_text("\n".join(content) + "\n", encoding="utf-8")

    def add(self, rows: list[tuple[str, str, float]], rejected: list[tuple[str, str]], content: str) -> None:
        """Note a finished batch."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([rows, rejected, content]) + "\n")

    def _same_images(self, contents: Contents) -> bool:
        """Whether the images of the finished batches are what they were."""
        contents.read(sum(len(rows) + len(rejected) for rows, rejected, _ in self.done))
        start = 0
        for rows, rejected, content in self.done:
            stop = start + len(rows) + len(rejected)
            if contents.digest_of(start, stop) != content:
                return False
            start = stop
        return True

    def remove(self) -> None:
        """The output is complete."""
        self.path.unlink(missing_ok=True)


def _write_predictions(path: Path, rows: list[tuple[str, str, float]]) -> None:
    header = ("id", "label", "probability")
    if path.suffix.lower() == ".csv":
        write_csv(path, header, [(item, name, f"{prob:.6f}") for item, name, prob in rows])
        return
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    types = (pa.string(), pa.string(), pa.float32())
    table = pa.table({name: pa.array(c, t) for name, c, t in zip(header, columns, types, strict=True)})
    with replacing(path) as partial:
        pq.write_table(table, partial)
