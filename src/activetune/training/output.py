"""The folder of a model while it is trained: what marks it unfinished, and what goes when it is done."""

from __future__ import annotations

import shutil
from pathlib import Path

from activetune.base.artefact import MANIFEST, prepare_folder, read_manifest
from activetune.base.errors import UsageError
from activetune.base.files import read_json, write_json
from activetune.networks.model import ADAPTER_FILES, MODEL_FILES

WORK, RUN = ".unfinished", "run.json"  # a folder and a file that go when the run is done
OWN_FILES = (*MODEL_FILES, *ADAPTER_FILES, "selections.csv", "rejected.csv", WORK, RUN)


def is_finished(folder: Path, run: str) -> bool:
    """Whether the folder holds the finished model of a run."""
    return (folder / MANIFEST).is_file() and read_manifest(folder, "model").get("run") == run


def open_folder(folder: Path, run: str, *, overwrite: bool, resume: bool) -> None:
    """Make a folder to work in, empty it of a model, or take up that of the same run, cut off earlier.

    Raises:
        UsageError: it holds an unfinished run of other inputs, or something else.
    """
    unfinished = (folder / RUN).is_file() and not (folder / MANIFEST).is_file()
    if unfinished and not overwrite:
        if not resume:
            raise UsageError(f"{folder} holds an unfinished run; go on with --resume or start again with --overwrite")
        if read_json(folder / RUN).get("run") != run:
            raise UsageError(
                f"{folder} holds an unfinished run with another pool, labels, backbone, settings or seed; "
                "give the same ones to go on with --resume, or --overwrite to start again"
            )
    else:
        prepare_folder(folder, OWN_FILES, overwrite=overwrite)
        write_json(folder / RUN, {"run": run})
    (folder / WORK).mkdir(exist_ok=True)


def clear(folder: Path) -> None:
    """Remove what an unfinished run alone needs."""
    (folder / RUN).unlink(missing_ok=True)
    shutil.rmtree(folder / WORK, ignore_errors=True)


def withdraw(folder: Path) -> None:
    """Leave no trace of a run that was refused before it had kept anything."""
    if (folder / WORK).is_dir() and any((folder / WORK).iterdir()):
        return
    shutil.rmtree(folder / WORK, ignore_errors=True)
    for name in (RUN, "rejected.csv"):
        (folder / name).unlink(missing_ok=True)
