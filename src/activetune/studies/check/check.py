"""Pool -> findings: what to look at before anything is trained on it, a page of it, and the ids to leave out."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

from activetune.base.artefact import REPORT, holds, read_manifest, write_manifest
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest_json
from activetune.base.locks import holds_output
from activetune.base.printing import aligned
from activetune.base.progress import note
from activetune.base.run import NO_CHANCE, NO_PRODUCTS, PROCESSOR_ONLY, Run, RunOptions
from activetune.base.runtime import resolve_runtime
from activetune.base.tables import write_csv
from activetune.base.unfinished import RUN, WORK, Output, clear
from activetune.data.labels import Labels
from activetune.data.pool import Pool
from activetune.features.artefact import Embeddings, origin
from activetune.networks.backbones import load_backbone
from activetune.report import write_report
from activetune.report.subject import FINDINGS
from activetune.studies.check.asked import Asked
from activetune.studies.check.finding import Found
from activetune.studies.check.given import Given

KIND, EXCLUDE = "check", "exclude.csv"
OUTPUT = Output(
    KIND,
    called="check",
    files=(FINDINGS, EXCLUDE, REPORT, WORK, RUN),
    inputs="pool, test pool, labels, features, checks or settings",
)
COLUMNS = ("id", "kind", "value", "threshold", "other", "exclude", "why")
WITHOUT = {
    "labels": "not made, as the pool has no labels; give --labels FILE",
    "test": "not made; give the images that models will be scored on with --test POOL",
}


@dataclass(frozen=True)
class Checked:
    """What ``check`` has found.

    Attributes:
        folder: with ``findings.csv``, ``exclude.csv`` and ``report.html``.
        summary: one row per check, in the order of the page: ``kind``, ``title``, ``findings``, ``share`` of the pool's
            images (0 to 1), ``excluded``, ``remark`` on the pool as a whole, ``skipped``: why it was not made.
        images: number of the pool's images. excluded: number of ids in ``exclude.csv``.
    """

    folder: Path
    summary: Sequence[Mapping[str, Any]]
    images: int
    excluded: int

    def table(self) -> str:
        """The summary as aligned text, with what there is to say of the pool below it."""
        rows = [("check", "findings", "of images", "excluded"), *map(_cells, self.summary)]
        told = [(row["kind"], row["skipped"] or row["remark"]) for row in self.summary]
        return "\n".join([*aligned(rows), *(f"{kind}: {text}" for kind, text in told if text)])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    if row["skipped"]:
        return row["kind"], "-", "-", "-"
    return row["kind"], f"{row['findings']:,}", f"{100 * row['share']:.2f} %", f"{row['excluded']:,}"


@holds_output(folder=True)
def check(
    pool: Pool | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    test: Pool | str | os.PathLike[str] | None = None,
    labels: Labels | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    embeddings: Embeddings | str | os.PathLike[str] | None = None,
    test_embeddings: Embeddings | str | os.PathLike[str] | None = None,
    backbone: str | None = None,
    weights: str | Path | None = None,
    checks: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    drop: Sequence[str] | None = None,
    use_cache: bool = True,
    **run_options: Unpack[RunOptions],
) -> Checked:
    """Look for what is wrong with a pool: copies, test images in it, damaged, dark or blurred images, class names.

    >>> print(activetune.check("photos", checks=["unreadable", "exact_duplicate"], out="checked").table())
    check            findings  of images  excluded
    unreadable              0     0.00 %         0
    exact_duplicate         0     0.00 %         0

    Args:
        pool: a pool, or what :func:`activetune.open_pool` opens. test: what models will be scored on.
        out: folder for ``findings.csv``, ``exclude.csv`` (ids for ``exclude`` of ``select``) and ``report.html``.
        labels: class names, or a file of them; None: the pool's own, where it has some.
        embeddings, test_embeddings: features, by which near duplicates are found, too, or folders of ``embed``.
        backbone, weights: compute these instead, see :func:`activetune.load_backbone`.
        checks: names of those to make, see ``activetune list checks``; None: all.
        settings: of the checks, by ``CHECK.NAME``: ``{"dark.below": 0.2}``.
        drop: names of the checks whose findings ``exclude.csv`` lists; None: copies of an image that stays, images of
            the test set, blank ones.
        use_cache: remember digests of images, and features.
        run_options: see :class:`activetune.RunOptions`. Nothing is drawn here, so no ``seed``; ``device`` and
            ``precision`` are for a ``backbone``. ``resume`` goes on after the images that were read.

    Raises:
        UsageError: unknown checks or settings, labels or features of other images, ``out`` not empty, or an unfinished
            check of something else in it.
    """
    run, asked = _run(run_options, backbone), Asked.of(checks, settings or {}, drop)
    _refuse_contradictions(test, embeddings, test_embeddings, backbone, weights)
    if test is None and all(one.needs == "test" for one in asked.checks.values()):
        raise UsageError(f"{', '.join(asked.checks)} looks for images of a test pool; give that with --test POOL")
    network = None if backbone is None else load_backbone(backbone, weights)
    folder = Path(out)
    given = [Given.of(pool, labels, embeddings, network, use_cache=use_cache, quiet=run.quiet)]
    if test is not None:
        given.append(Given.of(test, None, test_embeddings, network, use_cache=use_cache, quiet=run.quiet))
    if not given[0].labels and all(one.needs == "labels" for one in asked.checks.values()):
        raise UsageError(f"{', '.join(asked.checks)} looks at classes, and no image has one; give --labels FILE")
    made_from = {**asked.record(), "pools": [one.record() for one in given]}
    this = digest_json(made_from)
    if run.resume and not run.overwrite and holds(folder, KIND, {"run": this}):
        _refuse_changed(folder, given)
    if OUTPUT.is_there(folder, this, run):
        return _finished(folder)
    found = _found(asked, given, folder / WORK, run)
    figures = _write(folder, asked, found, len(given[0].pool))
    names = {"pool": origin(given[0].pool), "test": origin(given[1].pool) if test is not None else None}
    contents = {"contents": [one.contents.fingerprint for one in given], "figures": figures}
    write_manifest(folder, KIND, {**made_from, "run": this, "names": names, **contents}, files=(FINDINGS,))
    note("writing the report", run.quiet)
    return _finished(folder)


def _run(options: RunOptions, backbone: str | None) -> Run:
    """The options of the run; without a backbone there is nothing to choose a device for."""
    idle = {} if backbone is not None else {"device": PROCESSOR_ONLY, "precision": NO_PRODUCTS}
    run = Run.of("check", options, seed=NO_CHANCE, **idle)
    if backbone is not None:
        resolve_runtime(run.device, run.precision)  # refused here, before an earlier result makes room
    return run


def _refuse_contradictions(
    test: object, embeddings: object, test_embeddings: object, backbone: str | None, weights: object
) -> None:
    if backbone is not None and (embeddings is not None or test_embeddings is not None):
        raise UsageError("embeddings are given, and a backbone to compute them; give one of the two")
    if weights is not None and backbone is None:
        raise UsageError("weights are given without the backbone that they belong to; give --backbone NAME, too")
    if test_embeddings is not None and (test is None or embeddings is None):
        raise UsageError("the test pool's embeddings are compared with the pool's; give --test and --embeddings, too")


def _refuse_changed(folder: Path, given: Sequence[Given]) -> None:
    """Refuse to keep a finished check of images that have changed since."""
    if read_manifest(folder, KIND)["contents"] != [one.contents.fingerprint for one in given]:
        raise UsageError(f"images were changed since {folder} was made; give --overwrite to check them again")


def _found(asked: Asked, given: Sequence[Given], work: Path, run: Run) -> dict[str, Found | str]:
    """The findings of each check; where it could not be made, why."""
    examined = given[0].examined(asked.measures(), work / "pool", "checking", run)
    tested = None
    if len(given) > 1 and (measures := asked.measures(of_test=True)):
        tested = given[1].examined(measures, work / "test", "checking the test pool", run)
    found: dict[str, Found | str] = {}
    for name, one in asked.checks.items():
        lacks = (one.needs == "labels" and not examined.labels) or (one.needs == "test" and tested is None)
        found[name] = WITHOUT[one.needs] if lacks else one.find(examined, tested)
    return found


def _write(folder: Path, asked: Asked, found: Mapping[str, Found | str], images: int) -> dict[str, Any]:
    """Write ``findings.csv`` and ``exclude.csv``; returns the figures for the manifest."""
    rows: list[tuple[object, ...]] = []
    excluded: dict[str, tuple[str, str, str, str]] = {}
    summary = []
    for name, one in found.items():
        findings = [] if isinstance(one, str) else one.findings
        dropped = name in asked.dropped
        for finding in findings:
            cells = ("" if number is None else f"{number:g}" for number in (finding.value, finding.threshold))
            rows.append((finding.id, name, *cells, finding.other, "yes" if dropped else "no", finding.why))
            if dropped:
                excluded.setdefault(finding.id, (finding.id, name, finding.other, finding.why))
        items = len({finding.id for finding in findings})
        told = {"skipped": one, "remark": ""} if isinstance(one, str) else {"skipped": "", "remark": one.remark}
        counts: dict[str, float] = {
            "findings": len(findings),
            "share": items / images,
            "excluded": items if dropped else 0,
        }
        about = (inspect.getdoc(type(asked.checks[name])) or "").splitlines()[0]
        row: dict[str, Any] = {"kind": name, "title": asked.checks[name].title, "about": about}
        summary.append(row | counts | told)
    write_csv(folder / FINDINGS, COLUMNS, rows)
    write_csv(folder / EXCLUDE, ("id", "kind", "other", "why"), excluded.values())
    return {"rows": summary, "images": images, "excluded": len(excluded)}


def _finished(folder: Path) -> Checked:
    """What a folder with a manifest holds; its page is made where it is not there yet."""
    if not (folder / REPORT).is_file():
        write_report(folder, quiet=True)
    clear(folder)
    figures = read_manifest(folder, KIND)["figures"]
    return Checked(folder, figures["rows"], figures["images"], figures["excluded"])
