"""``activetune demo``: the whole loop, offline, on the 1,797 handwritten digits that come with scikit-learn.

embed -> select 20, 50 and 100 by four methods -> linear probe -> score on held-out images, several seeds.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from PIL import Image

from activetune.base.artefact import MANIFEST, contents, holds, write_manifest
from activetune.base.errors import UsageError
from activetune.base.files import replacing, sweep, write_json
from activetune.base.locks import holds_output
from activetune.base.progress import note, progress
from activetune.base.run import Run, RunOptions
from activetune.base.tables import read_table, write_csv
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.features.artefact import Embeddings
from activetune.features.embedding import EmbedOptions, embed, take
from activetune.recipes.linear_probe import LinearProbe
from activetune.report import write_report
from activetune.report.demo_results import summarise
from activetune.selection.artefact import Selection, save_selection
from activetune.selection.select import select
from activetune.studies.simulation.cells import fit_head
from activetune.studies.simulation.scoring import score_head

METHODS = ("random", "k_center", "k_means", "activeft")
CELLS = (*((method, "bundled") for method in METHODS), ("k_means", "pixels"))  # selector, features
BUDGETS = (20, 50, 100)
TEST_SHARE = 0.3
MARKER = "demo.json"
HEADER = ("method", "features", "budget", "seed", "top1", "seconds")


@holds_output(folder=True)
def demo(
    out: str | os.PathLike[str],
    *,
    seeds: int = 3,
    **run_options: Unpack[RunOptions],
) -> str:
    """Run the loop and write ``results.csv`` and ``report.html``; a second run in ``out`` reuses the embeddings.

    Args:
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps a finished demo of the same seeds.

    Returns:
        The table: mean ± standard deviation of top-1 over the seeds, and seconds, as text.

    Raises:
        UsageError: ``out`` holds something else and ``overwrite`` is off.
    """
    run = Run.of("demo", run_options)
    seed, quiet = run.seed, run.quiet
    folder = Path(out)
    if run.resume and not run.overwrite and _finished(folder, seed, seeds):
        note(f"{folder} holds this demo already, finished", quiet)
        return _table(summarise(read_table(folder / "results.csv")))
    folder = _open(folder, run.overwrite)
    _write_digits(folder / "images")
    options = EmbedOptions().within(run)
    embeddings = _embed(open_pool(folder / "images"), folder / "embeddings", options, quiet)
    pixels = Embeddings.from_numpy(_pixels(folder / "images", embeddings.ids), embeddings.ids, embeddings.labels)
    pool, test = _split(embeddings, seed)
    results = _cells({"bundled": embeddings, "pixels": pixels}, pool, test, seeds, folder, run)
    write_csv(folder / "results.csv", HEADER, results)
    write_manifest(
        folder,
        "demo",
        {
            "methods": METHODS,
            "budgets": BUDGETS,
            "seeds": seeds,
            "seed": seed,
            "pool_items": len(pool),
            "test_items": len(test),
            "embeddings": embeddings.fingerprint,
        },
    )
    write_report(folder, overwrite=True, quiet=quiet)
    columns = dict(zip(HEADER, map(list, zip(*results, strict=True)), strict=True))
    return _table(summarise(columns))


def _open(folder: Path, overwrite: bool) -> Path:
    """A new folder, or one that an earlier demo began; the manifest goes first, as it is written last."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --out must name a folder")
    if contents(folder) and not (folder / MARKER).is_file() and not overwrite:
        raise UsageError(f"the output folder {folder} is not empty; choose another --out, or give --overwrite")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for place in (place for place in folder.rglob("*") if place.is_dir()):
        sweep(place)
    write_json(folder / MARKER, {"made_by": "activetune demo"})
    return folder


def _finished(folder: Path, seed: int, seeds: int) -> bool:
    return (folder / "report.html").is_file() and holds(folder, "demo", {"seed": seed, "seeds": seeds})


def _embed(pool: Pool, folder: Path, options: EmbedOptions, quiet: bool) -> Embeddings:
    """The embeddings that an earlier demo left, whole or begun, if they still fit; new ones otherwise."""
    try:
        return embed(pool, out=folder, options=options, resume=True, quiet=quiet)
    except UsageError:
        return embed(pool, out=folder, options=options, overwrite=True, quiet=quiet)


def _write_digits(folder: Path) -> None:
    """The digits as 8 x 8 grey PNG files, in a folder per class; files that are there already are left as they are."""
    from sklearn.datasets import load_digits

    data = load_digits()
    for number, (picture, digit) in enumerate(zip(data.images, data.target, strict=True)):
        path = folder / str(digit) / f"{number:04d}.png"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial:
                Image.fromarray(np.round(picture * (255 / 16)).astype(np.uint8)).save(partial, "PNG")


def _pixels(folder: Path, ids: Any) -> np.ndarray:
    return np.stack([np.asarray(Image.open(folder / item), dtype=np.float32).ravel() / 255 for item in ids])


def _split(embeddings: Embeddings, seed: int) -> tuple[list[str], list[str]]:
    """The items that are selected from, and those that are held out."""
    order = np.random.default_rng(seed).permutation(len(embeddings))
    held = round(TEST_SHARE * len(embeddings))
    test, pool = ([embeddings.ids[row] for row in rows] for rows in (np.sort(order[:held]), np.sort(order[held:])))
    return pool, test


def _cells(
    sources: Mapping[str, Embeddings], pool: list[str], test: list[str], seeds: int, folder: Path, run: Run
) -> list[tuple[Any, ...]]:
    """Select, probe and score for each cell, budget and seed; returns the rows of ``results.csv``."""
    rows = []
    with progress(len(CELLS) * len(BUDGETS) * seeds, "selecting and probing", unit="cells", quiet=run.quiet) as meter:
        for (method, features), budget, number in itertools.product(CELLS, BUDGETS, range(seeds)):
            source, seed = sources[features], run.seed + number
            # One thread: products this small gain nothing from more, and lose much where the machine is shared.
            chosen = select(take(source, pool), budget=budget, method=method, seed=seed, device=run.device, workers=1)
            top1 = _probe(source, chosen, test, seed)
            rows.append((method, features, budget, seed, top1, chosen.manifest["figures"]["seconds"]))
            if features == "bundled":
                _keep(chosen, folder / "selections" / f"{method}-{budget}-{number}")
            meter.advance()
    return rows


def _probe(embeddings: Embeddings, chosen: Selection, test: list[str], seed: int) -> float:
    """Top-1 on the held-out items of a linear probe trained on the chosen ones; they choose its strength too."""
    training = take(embeddings, chosen.ids)
    labels = Labels.of(dict(zip(training.ids, training.labels or (), strict=True)))
    head = fit_head(LinearProbe(), training, labels, seed)
    assert head is not None
    return score_head(head, labels.classes, take(embeddings, test)).top1


def _keep(selection: Selection, folder: Path) -> None:
    (folder / MANIFEST).unlink(missing_ok=True)
    save_selection(selection, folder)


def _table(rows: list[dict[str, Any]]) -> str:
    """The summary as aligned text."""
    header = f"{'selector':<22}" + "".join(f"{f'{budget} labels':>16}" for budget in BUDGETS) + f"{'seconds':>10}"
    lines = [
        f"{row['name']:<22}"
        + "".join(f"{100 * row['top1'][b][0]:>9.1f} ± {100 * row['top1'][b][1]:>4.1f}" for b in BUDGETS)
        + f"{row['seconds']:>10.3f}"
        for row in rows
    ]
    return "\n".join([header, *lines])
