"""``activetune demo``: the whole loop, offline, on images that are there already.

embed -> select some by several methods -> linear probe -> score on held-out images, several seeds; then the job itself
with the picks of one method: label -> finetune -> evaluate -> predict -> ONNX, and a page with pictures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from activetune.base.artefact import MANIFEST, contents, holds, read_manifest, refuse_another_kind, write_manifest
from activetune.base.errors import UsageError
from activetune.base.files import read_json, remove, sweep, write_json
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import Run, RunOptions
from activetune.base.tables import read_table, write_csv
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.evaluation.statistics import mean_and_spread
from activetune.features.artefact import Embeddings
from activetune.features.embedding import EmbedOptions, embed
from activetune.report import write_report
from activetune.report.demo_results import SCORES, summarise
from activetune.selection.artefact import ANSWERS
from activetune.studies.demo.comparison import HEADER, METHODS, compared, pixels_of
from activetune.studies.demo.job import EXPORT_FILES, MODEL, PREDICTIONS, JobPlace, do_job, told_job
from activetune.studies.demo.pools import DEFAULT, DemoPool, demo_pool

MARKER = "demo.json"
IMAGES, EMBEDDINGS, SELECTIONS = "images", "embeddings", "selections"
MADE = (IMAGES, EMBEDDINGS, SELECTIONS, MODEL, PREDICTIONS, *EXPORT_FILES, "results.csv", "report.html")


@holds_output(folder=True)
def demo(
    out: str | os.PathLike[str],
    *,
    data: str = DEFAULT,
    seeds: int = 3,
    **run_options: Unpack[RunOptions],
) -> str:
    """Run the loop and write ``results.csv``, ``report.html`` and a model; a second run reuses the embeddings.

    Args:
        data: ``cells``, blood cells of three classes, one of them far more frequent than the others; or ``digits``.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps a finished demo of the same data and seeds.

    Returns:
        The tables: mean ± standard deviation over the seeds of balanced accuracy and of top-1, and seconds, as text.

    Raises:
        UsageError: no such data; no seed; ``out`` holds something else and ``overwrite`` is off, or answers that a
            person has given.
    """
    run = Run.of("demo", run_options)
    if seeds < 1:
        raise UsageError(f"seeds can't be {seeds}; give 1 or more")
    folder, pool = Path(out), demo_pool(data, run.seed)
    asked = {"data": data, "seed": run.seed, "seeds": seeds}
    if run.resume and not run.overwrite and (folder / "report.html").is_file() and holds(folder, "demo", asked):
        note(f"{folder} holds this demo already, finished", run.quiet)
        return _told(folder)
    place = JobPlace(folder, pool.budgets[-1])
    _open(place, data, run.overwrite)
    _write_images(folder / IMAGES, pool)
    embeddings = _embed(open_pool(folder / IMAGES, quiet=True), folder / EMBEDDINGS, run)
    sources = {"bundled": embeddings}
    if pool.pixels:
        sources["pixels"] = Embeddings.from_numpy(pixels_of(pool, embeddings.ids), embeddings.ids, embeddings.labels)
    results = compared(sources, pool, seeds, folder / SELECTIONS, run)
    write_csv(folder / "results.csv", HEADER, results)
    scores = do_job(place, pool, run)
    write_manifest(folder, "demo", {**asked, **_facts(pool, embeddings), "job": scores})
    write_report(folder, overwrite=True, quiet=run.quiet)
    return _told(folder)


def _facts(pool: DemoPool, embeddings: Embeddings) -> dict[str, Any]:
    """What the manifest says beside what was asked."""
    return {
        "question": pool.question,
        "about": pool.about,
        "classes": pool.classes,
        "methods": METHODS,
        "budgets": pool.budgets,
        "pool_items": len(pool.pictures) - len(pool.test),
        "test_items": len(pool.test),
        "embeddings": embeddings.fingerprint,
    }


# The folder -------------------------------------------------------------------------------------------------------


def _open(place: JobPlace, data: str, overwrite: bool) -> None:
    """A new folder, or one that an earlier demo began; the manifest goes first, as it is written last.

    Raises:
        UsageError: the folder holds something else, and ``overwrite`` is off; or answers of a person, which are never
            written over.
    """
    folder = place.folder
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out must name a folder")
    refuse_another_kind(folder, "demo")
    marker = folder / MARKER
    earlier = read_json(marker).get("data", "digits") if marker.is_file() else None
    if contents(folder) and earlier is None and not overwrite:
        raise UsageError(f"the output folder {folder} is not empty; choose another --out, or give --overwrite")
    if earlier not in (None, data) and not overwrite:
        raise UsageError(
            f"{folder} holds the demo on {earlier}, not on {data}; choose another --out, or give --overwrite"
        )
    others = earlier not in (None, data)
    for labels in sorted(folder.glob(f"{SELECTIONS}/*/{ANSWERS}")) if others else [place.labels]:
        _refuse_answers(labels)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for name in MADE if others else ():
        remove(folder / name)
    for path in (path for path in folder.rglob("*") if path.is_dir()):
        sweep(path)
    write_json(marker, {"made_by": "activetune demo", "data": data})


def _refuse_answers(labels: Path) -> None:
    """Refuse a label file that a person has worked on: it has other columns, or answers that the demo doesn't give.

    Raises:
        UsageError: it is such.
    """
    if not labels.exists():
        return
    columns = read_table(labels)
    rows = zip(columns.get("id", ()), columns.get("label", ()), strict=False)
    if columns.keys() != {"id", "label"} or any(label and label != item.partition("/")[0] for item, label in rows):
        raise UsageError(
            f"{labels} holds answers that the demo has not given, and would write over; choose another --out, or move "
            f"{labels.parent} away"
        )


def _write_images(folder: Path, pool: DemoPool) -> None:
    """The pictures in a folder per class, and which of them are picked from and held out: ``pool.csv``, ``test.csv``.

    Thousands of small files are not synced one by one: one that was cut off has another size, and is written again.
    """
    for item, content in pool.pictures.items():
        path = folder / item
        if not path.is_file() or path.stat().st_size != len(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    answers = sorted(pool.answers.items())
    write_csv(folder / "pool.csv", ("path", "label"), [row for row in answers if row[0] not in pool.test])
    write_csv(folder / "test.csv", ("path", "label"), [row for row in answers if row[0] in pool.test])


def _embed(pool: Pool, folder: Path, run: Run) -> Embeddings:
    """The embeddings that an earlier demo left, whole or begun, if they still fit; new ones otherwise."""
    options = EmbedOptions().within(run)
    try:
        return embed(pool, out=folder, options=options, resume=True, quiet=run.quiet)
    except UsageError:
        return embed(pool, out=folder, options=options, overwrite=True, quiet=run.quiet)


# What is said -----------------------------------------------------------------------------------------------------


def _told(folder: Path) -> str:
    """The result of a finished demo as text."""
    manifest, rows = read_manifest(folder, "demo"), summarise(read_table(folder / "results.csv"))
    budgets = manifest["budgets"]
    tables = [_table(rows, budgets, f"{name}, %", score) for score, name in SCORES.items()]
    return "\n\n".join([*tables, told_job(manifest["job"])])


def _table(rows: Sequence[Mapping[str, Any]], budgets: Sequence[int], title: str, score: str) -> str:
    """One score of all selectors, as aligned text."""
    header = f"{title:<24}" + "".join(f"{f'{budget} labels':>16}" for budget in budgets) + f"{'seconds':>10}"
    lines = []
    for row in rows:
        scores = "".join(f"{mean_and_spread(row[score][budget], factor=100):>16}" for budget in budgets)
        lines.append(f"{row['name']:<24}{scores}{row['seconds']:>10.3f}")
    return "\n".join([header, *lines])
