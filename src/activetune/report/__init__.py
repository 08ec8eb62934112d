"""Reports: one self-contained HTML page, no network needed to read it."""

from __future__ import annotations

from pathlib import Path

from activetune.base.artefact import MANIFEST
from activetune.base.errors import UsageError
from activetune.base.files import read_json
from activetune.base.locks import holds_output
from activetune.report.demo import write_demo_report
from activetune.report.simulation import write_simulation_report

__all__ = ["write_report"]

_WRITERS = {"demo": write_demo_report, "simulation": write_simulation_report}


@holds_output("folder", folder=True)
def write_report(folder: Path, *, overwrite: bool = False) -> Path:
    """Make ``report.html`` from what a folder holds.

    Raises:
        UsageError: the folder holds no results that there is a report for, or a report already.
    """
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else {}
    writer = _WRITERS.get(str(manifest.get("kind")))
    if writer is None:
        raise UsageError(f"{folder} holds nothing to report on; expected a finished folder of: {', '.join(_WRITERS)}")
    if (folder / "report.html").exists() and not overwrite:
        raise UsageError(f"{folder / 'report.html'} exists already; give --overwrite to make it again")
    return writer(folder)
