"""A model's answers to every image of a pool, as files that survive any kill (``journal.py``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Unpack

from activetune.base.errors import UsageError
from activetune.base.files import replacing, sweep_all
from activetune.base.fingerprint import digest
from activetune.base.locks import holds_output
from activetune.base.progress import note, progress
from activetune.base.run import NO_CHANCE, Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.base.tables import header_of, read_table, write_csv
from activetune.data.identity import Contents
from activetune.data.loading import read_usable
from activetune.data.opening import open_pool, refuse_in_pool
from activetune.data.pool import Pool, check_complete
from activetune.evaluation.journal import Journal, Rejects, Rows
from activetune.evaluation.model import Model, Prediction, load, predictions
from activetune.tasks import Form, Row, picture_name, refuse_others

PICTURES, LISTED = "pictures.csv", ("id", "file")  # which pictures are drawn into a folder


@holds_output(folder=False)
def predict(
    model: Model | str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    draw: str | os.PathLike[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> list[Row]:
    """Predict the answer of every image of a pool.

    Args:
        out: of classes and captions a ``.csv`` or ``.parquet`` file, of boxes a ``.json`` file, of masks a folder;
            images that can't be decoded are listed beside it in ``NAME.rejected.csv``.
        draw: a folder for pictures, PNG, of the images with their answers drawn in, and ``pictures.csv``, which lists
            them; needs ``out``. Other files there are never replaced.
        run_options: see :class:`activetune.RunOptions`; nothing is drawn here, so no ``seed``.

    Returns:
        A row per image in the pool's order, without those that can't be decoded: (id, class name, its probability);
        of several classes (id, names with their probabilities); of masks (id, file, its digest); of boxes (id, objects:
        name, score, left, top, width, height); of captions (id, sentence). Without ``out`` no mask is written:
        :meth:`Model.predict` gives them.

    Raises:
        UsageError: an output of the wrong kind, or one that is there already.
    """
    if draw is not None and out is None:
        raise UsageError("pictures are drawn from the written predictions; give out beside draw")
    run = Run.of("predict", run_options, seed=NO_CHANCE)
    model = model if isinstance(model, Model) else load(model)
    pool = pool if isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet)
    contents = Contents(pool)
    form = model.task.form(model.classes)
    form.refuse(pool.ids)
    if out is not None and not Path(out).suffix:
        refuse_in_pool(Path(out), pool, "--out")
    if draw is not None:
        _claim_pictures(pool, Path(draw))
    key = digest(model.fingerprint, *pool.ids)
    journal = None if out is None else Journal(Path(out), form, pool.ids, key, contents)
    if journal is not None and run.resume and not run.overwrite and (kept := journal.finished()) is not None:
        note(f"{out} holds these predictions already, finished", run.quiet)
        if draw is not None:
            _draw(pool, kept, form, journal.path, Path(draw), run.quiet)
        return kept
    rows = _predicted(model, pool, run, form, journal, contents, out)
    if journal is not None and draw is not None:
        _draw(pool, rows, form, journal.path, Path(draw), run.quiet)
    return rows


def _predicted(
    model: Model, pool: Pool, run: Run, form: Form, journal: Journal | None, contents: Contents, out: object
) -> Rows:
    """The rows of all images, each batch kept as soon as it is there."""
    runtime = resolve_runtime(run.device, run.precision)  # first: a device that is not there leaves no trace
    rows: Rows = []
    rejected: Rejects = []
    first_batch = 0
    if journal is not None:
        rows, rejected, first_batch = journal.begin(overwrite=run.overwrite, resume=run.resume)
    options: dict[str, Any] = {"workers": run.workers, "first_batch": first_batch, "quiet": run.quiet}
    found: Rows = []
    refused: Rejects = []
    for batch in predictions(model, pool, runtime=runtime, contents=contents, **options):
        found += _rows(model, pool, batch, form, None if journal is None else journal.path)
        refused += [(pool.ids[position], reason) for position, reason in batch.rejected]
        if not batch.last:
            continue
        if journal is not None:
            journal.add(found, refused, len(rows) + len(rejected))
        rows += found
        rejected += refused
        found, refused = [], []
    contents.save()
    check_complete(len(pool), len(rows), len(rejected), "the predictions" if out is None else str(out))
    if journal is not None:
        journal.finish(rows, rejected)
        listed = f"{len(rejected):,} of {len(pool):,} images were skipped; {journal.listing} lists the reasons"
        note(listed, run.quiet or not rejected)
    return rows


def _claim_pictures(pool: Pool, folder: Path) -> None:
    """List in a folder the pictures that will be drawn there.

    Raises:
        UsageError: it lies in the pool, or holds something else.
    """
    refuse_in_pool(folder, pool, "--draw")
    listing, names = folder / PICTURES, [picture_name(item) for item in pool.ids]
    before = read_table(listing) if header_of(listing) == LISTED else None
    refuse_others(folder, names, None if before is None else set(before["file"]), "--draw")
    sweep_all(folder)
    earlier = {} if before is None else dict(zip(before["file"], before["id"], strict=True))
    listed = {**earlier, **dict(zip(names, pool.ids, strict=True))}
    write_csv(listing, LISTED, [(item, name) for name, item in listed.items()])


def _draw(pool: Pool, rows: Rows, form: Form, file: Path, folder: Path, quiet: bool) -> None:
    """Write a picture of each image with its answer drawn in; pictures that are there are replaced."""
    with progress(len(rows), "drawing", quiet=quiet) as meter:
        for row in rows:
            image = read_usable(pool, pool.position[row[0]])
            with replacing(folder / picture_name(row[0])) as partial:
                form.picture(image, row, file).save(partial, format="PNG")
            meter.advance(1)


def _rows(model: Model, pool: Pool, batch: Prediction, form: Form, file: Path | None) -> Rows:
    """What is kept of a batch's answers."""
    if batch.outputs is None:
        return []
    answers = model.task.answers(batch.outputs, batch.sizes, model.backbone.settings, model.classes)
    items = (pool.ids[position] for position in batch.positions)
    return [form.row(item, answer, file) for item, answer in zip(items, answers, strict=True)]
