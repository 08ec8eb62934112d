"""A model's answers to every image of a pool, as files that survive any kill (``journal.py``)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Unpack

import torch
from PIL import Image

from activetune.base.cluster import Cluster, Engine
from activetune.base.errors import UsageError
from activetune.base.files import replacing, sweep_all
from activetune.base.fingerprint import digest
from activetune.base.memory import Portions
from activetune.base.progress import note, progress
from activetune.base.ranks import agreed, from_first, shared_run, together
from activetune.base.run import NO_CHANCE, Run, RunOptions
from activetune.base.runtime import Runtime
from activetune.base.shards import Plan, Shards
from activetune.base.tables import header_of, read_table, write_csv
from activetune.data.identity import Contents
from activetune.data.loading import Loaded, read_usable
from activetune.data.opening import open_pool, refuse_in_pool
from activetune.data.pool import Pool, check_complete
from activetune.evaluation.journal import Journal, Lines, Rejects, Rows, all_lines
from activetune.evaluation.model import Model, Prepare, load, predicted
from activetune.features.sharing import SAVE_EVERY_SECONDS, Work, shared_precision, worked_through
from activetune.tasks import Form, JsonLines, Row, picture_name, refuse_one_name, refuse_others

BATCH = 64  # images
FORMATS = ("auto", "jsonl")
TABLES = (".csv", ".parquet")  # suffixes
PICTURES, LISTED = "pictures.csv", ("id", "file")  # which pictures are drawn into a folder


def predict(
    model: Model | str | os.PathLike[str],
    pool: Pool | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    format: str = "auto",
    draw: str | os.PathLike[str] | None = None,
    shard_size: int | None = None,
    engine: str | None = None,
    address: str | None = None,
    processes: int | None = None,
    **run_options: Unpack[RunOptions],
) -> list[Row]:
    """Predict the answer of every image of a pool.

    The processes of a launch by ``torchrun`` share the work when each of them makes the call; so do those of Ray.

    Args:
        out: of classes and captions a ``.csv`` or ``.parquet`` file, of boxes a ``.json`` file, of masks a folder;
            images that can't be decoded are listed beside it in ``NAME.rejected.csv``. A ``.jsonl`` file of any task
            has a line of JSON per image, as :func:`activetune.stream_predictions` gives them.
        format: ``auto``: by task and name of ``out``; ``jsonl``: lines of JSON, whatever its name.
        draw: a folder for pictures, PNG, of the images with their answers drawn in, and ``pictures.csv``, which lists
            them; needs ``out``. Other files there are never replaced.
        shard_size: images of a shard, the unit of work, in whole batches of 64; None: 1024.
        engine, address, processes: of Ray, see :class:`activetune.base.cluster.Engine`.
        run_options: see :class:`activetune.RunOptions`; nothing is drawn here, so no ``seed``.

    Returns:
        A row per image in the pool's order, without those that can't be decoded: (id, class name, its probability);
        of several classes (id, names with their probabilities); of masks (id, file, its digest); of boxes (id, objects:
        name, score, left, top, width, height); of captions (id, sentence). Of lines of JSON (id, object), with those
        that can't be decoded. Without ``out`` no mask is written: :meth:`Model.predict` gives them.

    Raises:
        UsageError: an output of the wrong kind, or one that is there already.
    """
    if draw is not None and out is None:
        raise UsageError("pictures are drawn from the written predictions; give out beside draw")
    run, chosen = Run.of("predict", run_options, seed=NO_CHANCE), Engine(engine, address, processes)
    with shared_run(run, out, folder=False) as (run, held):
        loaded = model if isinstance(model, Model) else together(lambda: load(model))
        given = pool if isinstance(pool, Pool) else together(lambda: open_pool(pool, quiet=run.quiet))
        form, contents = _form(loaded, out, format, draw), Contents(given)
        own = ("jsonl",) if isinstance(form, JsonLines) else ()  # a run of lines can't go on as a table, nor a table so
        key = digest(loaded.fingerprint, *own, *given.ids)
        agreed(key, "the processes see different images or models; give all of them the same")
        from_first(lambda: _refuse(form, given, out, draw))
        journal = None if out is None else Journal(Path(out), form, given.ids, key, contents)
        rows = from_first(lambda: _kept(journal, run))
        if rows is None:
            cluster = held.enter_context(chosen.cluster(run.device))
            precision = shared_precision(run.device, run.precision, cluster)  # a device that is not there: no trace
            shards, pending = _begun(journal, Plan.of(digest(key, precision), len(given), BATCH, shard_size), run, held)
            common = (given, shards, run.workers, run.device, precision, contents.told(), SAVE_EVERY_SECONDS)
            work = _Answering(*common, loaded, form, None if journal is None else journal.path)
            rows = _answered(work, pending, journal, contents, cluster, run)
        if journal is not None and draw is not None:
            from_first(lambda: _draw(given, rows, form, journal.path, Path(draw), run.quiet))
    return rows


def _form(model: Model, out: str | os.PathLike[str] | None, format: str, draw: object) -> Form:
    """How the answers are written.

    Raises:
        UsageError: an unknown format, or pictures of lines.
    """
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; there are: {', '.join(FORMATS)}")
    form = model.task.form(model.classes)
    if format != "jsonl" and (out is None or Path(out).suffix.lower() != ".jsonl"):
        return form
    if out is not None and Path(out).suffix.lower() in TABLES:
        raise UsageError(f"{out} names a table, and the format is jsonl; give a name that ends in .jsonl, or no format")
    if draw is not None:
        raise UsageError("pictures are not drawn of JSON lines; leave --draw out, or give --out another name")
    return JsonLines(form)


def _refuse(form: Form, pool: Pool, out: str | os.PathLike[str] | None, draw: str | os.PathLike[str] | None) -> None:
    """Refuse what can't be written, and outputs that lie in the pool."""
    form.refuse(pool.ids)
    if out is not None and not Path(out).suffix:
        refuse_in_pool(Path(out), pool, "--out")
    if draw is not None and out is not None:
        _refuse_pictures(pool, Path(draw), Path(out))


def _kept(journal: Journal | None, run: Run) -> Rows | None:
    """The rows of a finished run that is to be kept."""
    if journal is None or not run.resume or run.overwrite or (kept := journal.finished()) is None:
        return None
    note(f"{journal.path} holds these predictions already, finished", run.quiet)
    return kept


def _begun(journal: Journal | None, plan: Plan, run: Run, held: contextlib.ExitStack) -> tuple[Shards, Sequence[int]]:
    """The shards, begun or gone on with, and those that are still to be made; without an output in a temporary folder.

    Args:
        held: what the first process holds until the run ends.
    """
    if journal is not None:
        begin = {"overwrite": run.overwrite, "resume": run.resume, "quiet": run.quiet}
        plan, pending = from_first(lambda: journal.begin(plan, **begin))
        return Shards(journal.work, plan), pending

    def begun() -> Path:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="activetune-")))
        return Shards.begin(folder, plan).folder

    return Shards(from_first(begun), plan), range(len(plan))


def _answered(
    work: _Answering,
    pending: Sequence[int],
    journal: Journal | None,
    contents: Contents,
    cluster: Cluster | None,
    run: Run,
) -> Rows:
    """The rows of all images; call it in all processes that share the run."""
    worked_through(work, pending, cluster, quiet=run.quiet)

    def finished() -> Rows:
        rows, rejected = all_lines(work.shards, contents)
        contents.save()
        check_complete(len(work.pool), len(rows), len(rejected), str(work.file or "the predictions"))
        if journal is not None:
            journal.finish(rows, rejected)
            listed = f"{len(rejected):,} of {len(work.pool):,} images were skipped; {journal.listing} lists the reasons"
            note(listed, run.quiet or not rejected)
        return rows

    return from_first(finished)


@dataclass(frozen=True)
class _Answering(Work):
    """A model's answers to every image.

    Attributes:
        file: of the output, beside which a form may write files of its own; None: nothing is written.
    """

    model: Model
    form: Form
    file: Path | None

    label: ClassVar[str] = "predicting"

    @property
    def network(self) -> torch.nn.Module:
        """See :class:`Work`."""
        return self.model.network

    @property
    def prepare(self) -> Callable[[Image.Image], torch.Tensor]:
        """See :class:`Work`."""
        return Prepare(self.model.task, self.model.backbone.settings)

    @property
    def about(self) -> int:
        """See :class:`Work`."""
        return Prepare(self.model.task, self.model.backbone.settings).enough

    def open(self, shard: int, runtime: Runtime, portions: Portions) -> Lines:
        """See :class:`Work`."""
        where = self.file or Path("the predictions")
        return Lines(self.shards, shard, self.pool, lambda batch: self._answer(batch, runtime, portions), where)

    def _answer(self, batch: Loaded, runtime: Runtime, portions: Portions) -> tuple[Rows, Rejects]:
        """What is kept of a batch, in the pool's order."""
        model, ids = self.model, self.pool.ids
        rows: dict[int, Row] = {}
        for found in predicted(model.network, batch, runtime, portions):
            if found.outputs is not None:
                answers = model.task.answers(found.outputs, found.sizes, model.backbone.settings, model.classes)
                for position, answer in zip(found.positions, answers, strict=True):
                    rows[position] = self.form.row(ids[position], answer, self.file)
        rejected: Rejects = []
        for position, reason in batch.rejected:
            row = self.form.refused(ids[position], reason)
            if row is None:
                rejected.append((ids[position], reason))
            else:
                rows[position] = row
        return [rows[position] for position in sorted(rows)], rejected


def _refuse_pictures(pool: Pool, folder: Path, out: Path) -> None:
    """Refuse a folder for pictures that lies in the pool, is the output, or holds something else.

    Raises:
        UsageError: it does.
    """
    refuse_in_pool(folder, pool, "--draw")
    refuse_one_name(pool.ids, "pictures")
    if folder.resolve() == out.resolve() or folder.is_file():
        raise UsageError(
            f"--draw names {'the output' if folder.resolve() == out.resolve() else 'a file'}, {folder}; nothing was "
            "written: give a folder of its own"
        )
    before = _drawn(folder)
    refuse_others(folder, map(picture_name, pool.ids), None if before is None else set(before), "--draw")


def _drawn(folder: Path) -> dict[str, str] | None:
    """The items of the pictures that were drawn into a folder before, by file; None: none were."""
    listing = folder / PICTURES
    if header_of(listing) != LISTED:
        return None
    listed = read_table(listing)
    return dict(zip(listed["file"], listed["id"], strict=True))


def _draw(pool: Pool, rows: Rows, form: Form, file: Path, folder: Path, quiet: bool) -> None:
    """List the pictures, and write one of each image with its answer drawn in; those that are there are replaced.

    They are listed no sooner, for what is listed is taken for this command's own from then on.
    """
    sweep_all(folder)
    listed = {**(_drawn(folder) or {}), **{picture_name(item): item for item in pool.ids}}
    write_csv(folder / PICTURES, LISTED, [(item, name) for name, item in listed.items()])
    with progress(len(rows), "drawing", quiet=quiet) as meter:
        for row in rows:
            image = read_usable(pool, pool.position[row[0]])
            with replacing(folder / picture_name(row[0])) as partial:
                form.picture(image, row, file).save(partial, format="PNG")
            meter.advance(1)
