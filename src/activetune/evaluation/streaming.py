"""A model's answers as lines of JSON, each batch as soon as it is there; no more than a batch is kept."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Unpack

from activetune.base.errors import UsageError
from activetune.base.files import prepare_file, replacing
from activetune.base.locks import locked
from activetune.base.names import as_known
from activetune.base.run import NO_CHANCE, Idle, Run, RunOptions
from activetune.base.runtime import Runtime, resolve_runtime
from activetune.data.listed import as_they_come, pool_of_paths
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.evaluation.model import Model, Prediction, load, predictions
from activetune.tasks import Form, holds_lines

BATCH = 64  # images
STREAMED = Idle("gives each answer once, as a line, when it streams")

Record = dict[str, Any]


def stream_predictions(
    model: Model | str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str] | None = None,
    *,
    ids: Iterable[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> Iterator[Record]:
    """Predict image by image, without end if there is none; no more than a batch is kept in memory.

    >>> for record in activetune.stream_predictions("model", "photos"):
    ...     print(record["id"], record.get("label", record.get("error")))
    leaf/1.png leaf
    leaf/2.png leaf
    sky/1.png sky
    sky/2.png sky

    Args:
        pool: of the images; None: ``ids`` are paths of image files, relative ones from the current folder.
        ids: of the images to predict, in this order, taken as they come: a batch goes through the network as soon as
            no further one waits. None: all of the pool.
        run_options: see :class:`activetune.RunOptions`; nothing is drawn here and nothing kept, so no ``seed``,
            ``overwrite`` or ``resume``.

    Returns:
        An object per image, in order, with its ``id`` and, by task, ``label`` and ``probability``; ``labels``;
        ``objects`` (``category``, ``category_id``, ``bbox``, ``score``); ``caption``; or ``png`` in base64, ``height``
        and ``width`` of a mask. An image that can't be used has ``error`` instead.

    Raises:
        UsageError: neither pool nor ids.
    """
    run = Run.of("predict", run_options, seed=NO_CHANCE, overwrite=STREAMED, resume=STREAMED)
    if pool is None and ids is None:
        raise UsageError("give a pool, or ids")
    model = model if isinstance(model, Model) else load(model)
    opened = pool if pool is None or isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet)
    runtime = resolve_runtime(run.device, run.precision)
    if ids is not None:
        return _of_names(model, opened, ids, runtime)
    assert opened is not None
    return _of_pool(model, opened, runtime, workers=run.workers, quiet=run.quiet)


def write_lines(records: Iterable[Record], file: BinaryIO) -> tuple[int, int]:
    """Write records as lines of JSON, each at once; returns how many there are, and how many of them are errors."""
    count = errors = 0
    for record in records:
        file.write(json.dumps(record).encode("ascii") + b"\n")
        file.flush()
        count += 1
        errors += "error" in record
    return count, errors


def write_lines_file(records: Iterable[Record], path: Path, *, overwrite: bool) -> tuple[int, int]:
    """The same into a file, which appears under its name once it is whole.

    Raises:
        UsageError: it is there, and ``overwrite`` is off or it holds something else.
    """
    with locked(path, folder=False):
        prepare_file(path, own=holds_lines, overwrite=overwrite)
        with replacing(path) as partial, partial.open("wb") as file:
            return write_lines(records, file)


def _of_pool(model: Model, pool: Pool, runtime: Runtime, *, workers: int, quiet: bool) -> Iterator[Record]:
    """The records of all images of a pool, in its order."""
    form = model.task.form(model.classes)
    options: dict[str, Any] = {"batch_size": BATCH, "workers": workers, "quiet": quiet}
    for batch in predictions(model, pool, runtime=runtime, **options):
        yield from _records(model, pool, batch, form)


def _of_names(model: Model, pool: Pool | None, ids: Iterable[str], runtime: Runtime) -> Iterator[Record]:
    """The records of images that are named, in groups as they come."""
    for group in as_they_come(ids, BATCH):
        if pool is None:
            yield from _of_pool(model, pool_of_paths(group), runtime, workers=0, quiet=True)
            continue
        meant = as_known(group, pool.position)
        known = pool.subset([item for item in meant if item in pool.position])
        found = _of_pool(model, known, runtime, workers=0, quiet=True)
        for item in meant:
            yield next(found) if item in pool.position else {"id": item, "error": f"not in {pool.name}"}


def _records(model: Model, pool: Pool, batch: Prediction, form: Form) -> Iterator[Record]:
    """The records of a batch, in the pool's order."""
    found: dict[int, Record] = {
        position: {"id": pool.ids[position], "error": reason} for position, reason in batch.rejected
    }
    if batch.outputs is not None:
        answers = model.task.answers(batch.outputs, batch.sizes, model.backbone.settings, model.classes)
        for position, answer in zip(batch.positions, answers, strict=True):
            found[position] = form.record(pool.ids[position], answer)
    for position in sorted(found):
        yield found[position]
