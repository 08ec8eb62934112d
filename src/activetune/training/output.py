"""What a training writes while it goes on and when it is done: checkpoints, and its history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from activetune.base.errors import UsageError
from activetune.base.files import replacing
from activetune.base.fingerprint import as_json, digest, digest_json
from activetune.base.settings import flatten
from activetune.base.tables import write_csv
from activetune.base.unfinished import RUN, WORK, Output
from activetune.evaluation.model import MODEL_FILES
from activetune.networks.adapters import ADAPTER_FILES
from activetune.training.job import Job
from activetune.training.settings import Optimisation
from activetune.training.streams import Stream
from activetune.training.tracking import TRACKING

REJECTED = "rejected.csv"
MODEL = Output(
    "model",
    called="model",
    files=(*MODEL_FILES, *ADAPTER_FILES, "selections.csv", REJECTED, TRACKING, WORK, RUN),
    inputs="pool, labels, backbone, settings or seed",
)


def write_history(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``history.csv``: the columns of all rows as they come up, empty where a row has none."""
    columns = list(dict.fromkeys(name for row in rows for name in row)) or ["phase"]
    write_csv(folder / "history.csv", columns, [[row.get(name, "") for name in columns] for row in rows])


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
