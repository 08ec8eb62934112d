"""Reports: one self-contained HTML page, no network needed to read it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Unpack

from activetune.base.artefact import MANIFEST
from activetune.base.errors import UsageError
from activetune.base.files import read_json
from activetune.base.locks import holds_output
from activetune.base.progress import note
from activetune.base.run import NO_CHANCE, NO_PRODUCTS, ONE_PROCESS, PROCESSOR_ONLY, Run, RunOptions
from activetune.report.comparison import write_comparison_report
from activetune.report.contact_sheet import contact_sheet
from activetune.report.demo import write_demo_report
from activetune.report.findings import write_check_report
from activetune.report.simulation import write_simulation_report
from activetune.selection.artefact import CONTACT_SHEET

__all__ = ["write_report"]

REPORT = "report.html"
_WRITERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "check": (write_check_report, REPORT),
    "comparison": (write_comparison_report, REPORT),
    "demo": (write_demo_report, REPORT),
    "selection": (contact_sheet, CONTACT_SHEET),
    "simulation": (write_simulation_report, REPORT),
}


@holds_output("folder", folder=True)
def write_report(folder: Path, **run_options: Unpack[RunOptions]) -> Path:
    """Make ``report.html`` from what a folder holds, of a selection its contact sheet ``picks.html``.

    Args:
        run_options: see :class:`activetune.RunOptions`; ``resume`` keeps a report that is there. A report draws nothing
            and runs no network: the other options can't be chosen.

    Raises:
        UsageError: the folder holds no results that there is a report for, or a report already.
    """
    run = Run.of(
        "report", run_options, seed=NO_CHANCE, device=PROCESSOR_ONLY, precision=NO_PRODUCTS, workers=ONE_PROCESS
    )
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    kind = str(manifest.get("kind"))
    if kind not in _WRITERS:
        raise UsageError(f"{folder} holds nothing to report on; expected a finished folder of: {', '.join(_WRITERS)}")
    writer, name = _WRITERS[kind]
    there = (folder / name).exists()
    if there and run.resume and not run.overwrite:
        return folder / name
    if there and not run.overwrite:
        raise UsageError(f"{folder / name} exists already; give --overwrite to make it again")
    note("writing the report", run.quiet)
    return writer(folder)
