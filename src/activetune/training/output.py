"""The folder of a model while it is trained: what marks it unfinished, its checkpoints, what goes when it is done."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from activetune.base.artefact import MANIFEST, prepare_folder, read_manifest
from activetune.base.errors import UsageError
from activetune.base.files import read_json, remove, replacing, write_json
from activetune.base.fingerprint import as_json, digest, digest_json
from activetune.base.settings import flatten
from activetune.evaluation.model import MODEL_FILES
from activetune.networks.adapters import ADAPTER_FILES
from activetune.training.job import Job
from activetune.training.settings import Optimisation
from activetune.training.streams import Stream

WORK, RUN = ".unfinished", "run.json"  # a folder and a file that go when the run is done
INPUTS = "pool, labels, backbone, settings or seed"
OWN_FILES = (*MODEL_FILES, *ADAPTER_FILES, "selections.csv", "rejected.csv", WORK, RUN)


def is_finished(folder: Path, run: str, kind: str = "model") -> bool:
    """Whether the folder holds what a run has finished."""
    return (folder / MANIFEST).is_file() and read_manifest(folder, kind).get("run") == run


def open_folder(
    folder: Path, run: str, *, overwrite: bool, resume: bool, files: Sequence[str] = OWN_FILES, inputs: str = INPUTS
) -> None:
    """Make a folder to work in, empty it of an earlier result, or take up that of the same run, cut off earlier.

    Args:
        files: that such a result owns. inputs: what a run is made from, in words.

    Raises:
        UsageError: it holds an unfinished run of other inputs, or something else.
    """
    unfinished = (folder / RUN).is_file() and not (folder / MANIFEST).is_file()
    if unfinished and not overwrite:
        if not resume:
            raise UsageError(f"{folder} holds an unfinished run; go on with --resume or start again with --overwrite")
        if read_json(folder / RUN).get("run") != run:
            raise UsageError(
                f"{folder} holds an unfinished run with another {inputs}; "
                "give the same ones to go on with --resume, or --overwrite to start again"
            )
    else:
        prepare_folder(folder, files, overwrite=overwrite)
        write_json(folder / RUN, {"run": run})
    (folder / WORK).mkdir(exist_ok=True)


def clear(folder: Path) -> None:
    """Remove what an unfinished run alone needs."""
    (folder / RUN).unlink(missing_ok=True)
    shutil.rmtree(folder / WORK, ignore_errors=True)


def withdraw(folder: Path, files: Sequence[str] = ("rejected.csv",)) -> None:
    """Leave no trace of a run that was refused before it had kept anything.

    Args:
        files: that it has written by then, folders too.
    """
    if any(path.is_file() for path in (folder / WORK).rglob("*")):
        return
    for name in (WORK, RUN, *files):
        remove(folder / name)


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after its last finished epoch: one file, replaced as a whole.

    Attributes:
        path: ``WORK/PHASE.pt``. fingerprint: digest of what the training is made from; a file with another one is
            refused. device: where the content is loaded to.
    """

    path: Path
    fingerprint: str
    device: torch.device

    @classmethod
    def of(cls, job: Job, streams: Sequence[Stream], options: Optimisation, phase: str) -> Checkpoint:
        """The checkpoint of a job's training on streams, in a phase.

        All settings of the recipe count, and where it trains with other options than it was given, those instead.
        The numbers of the first head differ a little between machines, and are left out of the digest.
        """
        items: list[str] = []
        for stream in streams:
            items += [stream.task.name, str(stream.weight), *stream.labels.ids, *map(str, stream.labels.answers)]
            items += map(str, stream.held_out)
        made_from = digest(job.backbone.fingerprint, *items, str(job.seed), job.runtime.precision)
        settings = as_json({**job.settings, **flatten(options)})
        fingerprint = digest_json({"phase": phase, "options": settings, "job": made_from})
        return cls(job.work / f"{phase}.pt", fingerprint, job.runtime.device)

    def save(self, content: Mapping[str, Any]) -> None:
        """Replace the file."""
        with replacing(self.path) as partial:
            torch.save({"fingerprint": self.fingerprint, **content}, partial)

    def load(self) -> dict[str, Any] | None:
        """The content; None where there is no file yet.

        Raises:
            UsageError: it belongs to another training.
        """
        if not self.path.is_file():
            return None
        content: dict[str, Any] = torch.load(self.path, map_location=self.device, weights_only=True)
        if content["fingerprint"] != self.fingerprint:
            raise UsageError(
                f"{self.path.parent.parent} holds an unfinished run with other labels, backbone, settings or seed; "
                "give the same ones to go on with --resume, or --overwrite to start again"
            )
        return content
