"""Reports: one page per folder, made of the panels that have what they need; no network is needed to read it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from activetune.base.artefact import MANIFEST, REPORT, check_files, contents
from activetune.base.errors import UsageError, repeated, some, unknown_name
from activetune.base.files import read_json
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import NO_CHANCE, NO_PRODUCTS, ONE_PROCESS, PROCESSOR_ONLY, Run, RunOptions
from activetune.base.toml_files import read_toml
from activetune.data.labels import Labels
from activetune.data.opening import open_pool
from activetune.data.pool import Pool
from activetune.features.artefact import Embeddings, load_embeddings

__all__ = ["write_report"]


@holds_output("folder", folder=True)
def write_report(
    folder: str | os.PathLike[str],
    *,
    pool: Pool | str | os.PathLike[str] | None = None,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    embeddings: Embeddings | str | os.PathLike[str] | None = None,
    layouts: Sequence[str] | None = None,
    **run_options: Unpack[RunOptions],
) -> Path:
    """Make ``report.html`` of a finished folder, and return its path.

    The page is one file that opens from disk without a network; the small pictures of a map of more than 10,000 items
    lie beside it in ``report_files/``. Its panels are found in ``report/panels/``.

    Args:
        folder: made by ``embed``, ``select``, ``finetune``, ``simulate``, ``compare``, ``visft``, ``check`` or
            ``demo``; or a project of ``next``.
        pool: where the images are; None: where the folder says. For a model it must be given, with items whose answers
            are known: the model answers them, and its mistakes are shown.
        labels: known answers, or a file of them; None: the pool's own, or a selection's ``labels.csv``.
        embeddings: features for the map; None: those that the folder names, for a model those of its own backbone.
        layouts: of the map: ``pca`` (the default), ``tsne``, ``umap`` (which needs ``activetune[umap]``), or several.
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps a report that is there. Only the report of a
            model runs a network: elsewhere ``device``, ``precision`` and ``workers`` can't be chosen.

    Raises:
        UsageError: the folder holds no results that there is a report for, or a report already; a layout that is not
            known; labels or embeddings that do not belong to the folder.

    Example:
        >>> activetune.write_report("sel")
        PosixPath('sel/report.html')
    """
    from activetune.report.subject import KINDS, MODEL, USED, Given, Subject

    folder = Path(folder)
    manifest = _manifest(folder)
    kind = str(manifest.get("kind"))
    if kind not in KINDS:
        there = folder.is_file() or any(contents(folder))
        what = "holds nothing to report on" if there else "does not exist or is empty"
        raise UsageError(f"{folder} {what}; expected a finished folder of: {', '.join(KINDS)}")
    answers = kind == MODEL and pool is not None  # a network runs
    idle = {} if answers else {"device": PROCESSOR_ONLY, "precision": NO_PRODUCTS, "workers": ONE_PROCESS}
    run = Run.of("report", run_options, **idle, **({} if "layouts" in USED[kind] else {"seed": NO_CHANCE}))
    _check_layouts(layouts)
    _refuse_idle(kind, {"pool": pool, "labels": labels, "embeddings": embeddings, "layouts": layouts})
    check_files(folder, manifest)
    path = folder / REPORT
    if path.exists() and run.resume and not run.overwrite:
        return path
    if path.exists() and not run.overwrite:
        raise UsageError(f"{path} exists already; give --overwrite to make it again")
    opened = pool if pool is None or isinstance(pool, Pool) else open_pool(pool, quiet=run.quiet)
    features = embeddings if embeddings is None or isinstance(embeddings, Embeddings) else load_embeddings(embeddings)
    note("writing the report", run.quiet)
    return _write(Subject(folder, manifest, run, Given(opened, labels, features, tuple(layouts or ("pca",)))), path)


def _manifest(folder: Path) -> Mapping[str, Any]:
    """What says what a folder is: its manifest, or the settings of a project."""
    from activetune.report.subject import PROJECT, SETTINGS

    if (folder / SETTINGS).is_file():
        command = f"activetune next {shlex.quote(str(folder))}"
        return {"kind": PROJECT, "command": command, **read_toml(folder / SETTINGS)}
    return read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}


def _check_layouts(layouts: Sequence[str] | None) -> None:
    from activetune.report.maps import LAYOUTS

    for name in layouts or ():
        if name not in LAYOUTS:
            raise unknown_name("layout", name, LAYOUTS)
    if twice := repeated(layouts or ()):
        raise UsageError(f"layouts must be distinct; repeated: {some(twice)}")


def _refuse_idle(kind: str, given: Mapping[str, object]) -> None:
    """Refuse what could change nothing in the report of a kind of folder.

    Raises:
        UsageError: something is given that it does not read.
    """
    from activetune.report.subject import MODEL, USED

    idle = [name for name, value in given.items() if value is not None and name not in USED[kind]]
    if idle:
        raise UsageError(f"the report of a {kind} folder reads no {' and no '.join(idle)}; leave that out")
    alone = [name for name, value in given.items() if value is not None and name != "pool"]
    if kind == MODEL and given["pool"] is None and alone:
        raise UsageError(f"without a pool a model's report reads no {' and no '.join(alone)}; give --pool POOL too")


def _write(subject: Any, path: Path) -> Path:
    """Draw all panels that stand, and write the page."""
    from activetune.report.opening import opening
    from activetune.report.page import Page
    from activetune.report.panels import panels

    page = Page(*opening(subject))
    for panel in panels():
        if panel.stands(subject):
            panel.draw(subject, page)
    return page.replace(path)
