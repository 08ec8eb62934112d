"""A model's answers to every image of a pool, as files that survive any kill (``journal.py``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Unpack

from activetune.base.fingerprint import digest
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import NO_CHANCE, Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.data.identity import Contents
from activetune.data.opening import open_pool
from activetune.data.pool import Pool, check_complete
from activetune.evaluation.journal import Journal, Rejects, Rows
from activetune.evaluation.model import Model, Prediction, load, predictions
from activetune.tasks import Form, Row


@holds_output(folder=False)
def predict(
    model: Model | str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> list[Row]:
    """Predict the answer of every image of a pool.

    Args:
        out: of classes a ``.csv`` or ``.parquet`` file with the columns id, label, probability, of masks a folder;
            images that can't be decoded are listed beside it in ``NAME.rejected.csv``.
        run_options: see :class:`activetune.RunOptions`; nothing is drawn here, so no ``seed``.

    Returns:
        (id, class name, its probability), or (id, file of the mask, its digest), in the pool's order, without the
        images that can't be decoded. Without ``out`` masks are left out: :meth:`Model.predict` gives them.
    """
    run = Run.of("predict", run_options, seed=NO_CHANCE)
    model = model if isinstance(model, Model) else load(model)
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet)
    runtime = resolve_runtime(run.device, run.precision)
    contents = Contents(pool)
    form = model.task.form(model.classes)
    key = digest(model.fingerprint, *pool.ids)
    journal = None if out is None else Journal(Path(out), form, pool.ids, key, contents)
    if journal is not None and run.resume and not run.overwrite and (kept := journal.finished()) is not None:
        note(f"{out} holds these predictions already, finished", run.quiet)
        return kept
    rows: Rows = []
    rejected: Rejects = []
    first_batch = 0
    if journal is not None:
        rows, rejected, first_batch = journal.begin(overwrite=run.overwrite, resume=run.resume)
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
        found = _rows(model, pool, batch, form, None if journal is None else journal.path)
        refused = [(pool.ids[position], reason) for position, reason in batch.rejected]
        if journal is not None:
            journal.add(found, refused, len(rows) + len(rejected))
        rows += found
        rejected += refused
    contents.save()
    check_complete(len(pool), len(rows), len(rejected), "the predictions" if out is None else str(out))
    if journal is not None:
        journal.finish(rows, rejected)
        listed = f"{len(rejected):,} of {len(pool):,} images were skipped; {journal.listing} lists the reasons"
        note(listed, run.quiet or not rejected)
    return rows


def _rows(model: Model, pool: Pool, batch: Prediction, form: Form, file: Path | None) -> Rows:
    """What is kept of a batch's answers."""
    if batch.outputs is None:
        return []
    answers = model.task.answers(batch.outputs, batch.sizes, model.backbone.settings, model.classes)
    items = (pool.ids[position] for position in batch.positions)
    return [form.row(item, answer, file) for item, answer in zip(items, answers, strict=True)]
