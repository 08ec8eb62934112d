"""The record of a VeCAF loop: the items it selected, and the files in which a run that is cut off finds them again.

Shape legend: K selected items.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from activetune.base.errors import UsageError, first_line
from activetune.base.files import read_json, write_bytes, write_json
from activetune.recipes.vecaf.language import Moved
from activetune.selection.problem import Picks

COLUMNS = ("loop", "id", "rank", "score", "loss", "reason", "caption")


@dataclass
class LoopRecord:
    """The selection of a loop.

    Attributes:
        picks: the items, by position. losses_K: their losses; None where nothing was scored.
        moved: how far CEA moves them. captions: of the picks; empty where nothing is described.
        told: figures for the manifest: items scored, seconds, and the map from texts.
        seen: positions of the items that were looked at, and their losses; None where no later loop goes by them.
    """

    picks: Picks
    losses_K: np.ndarray | None = None
    moved: Moved | None = None
    captions: list[str] = field(default_factory=list)
    told: dict[str, Any] = field(default_factory=dict)
    seen: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def figures(self) -> dict[str, Any]:
        """For the manifest."""
        mean = {} if self.losses_K is None else {"mean_loss": float(self.losses_K.mean())}
        return {"k": len(self.picks.positions), **mean, **self.told}

    def write(self, folder: Path, loop: int) -> None:
        """Keep the record; it counts once its second file is there."""
        arrays: dict[str, np.ndarray] = {
            "positions": np.asarray(self.picks.positions, dtype=np.int64),
            "scores": np.asarray(self.picks.scores, dtype=np.float64),
        }
        if self.losses_K is not None:
            arrays["losses"] = np.asarray(self.losses_K, dtype=np.float32)
        if self.seen is not None:
            arrays |= {"seen": np.asarray(self.seen[0], dtype=np.int64), "seen_losses": self.seen[1]}
        if self.moved is not None:
            texts_KD = np.ascontiguousarray(self.moved.texts_KD, dtype=np.float32)
            arrays |= {"steps": self.moved.steps_K, "texts": texts_KD}
        words, numbers = _files(folder, loop)
        write_bytes(numbers, save(arrays))
        write_json(words, {"told": self.told, "reasons": list(self.picks.reasons), "captions": self.captions})

    @staticmethod
    def written(folder: Path, loop: int) -> bool:
        """Whether the record of a loop has been kept."""
        return _files(folder, loop)[0].is_file()

    @classmethod
    def read(cls, folder: Path, loop: int) -> LoopRecord:
        """The record that was kept.

        Raises:
            UsageError: it is damaged.
        """
        words, numbers = _files(folder, loop)
        state = read_json(words)
        try:
            arrays = load_file(numbers)
            moved = None
            if "steps" in arrays:
                moved = Moved(np.sort(arrays["positions"]), arrays["steps"], arrays["texts"])
            picks = Picks(arrays["positions"], arrays["scores"], state["reasons"])
            seen = (arrays["seen"], arrays["seen_losses"]) if "seen" in arrays else None
            return cls(picks, arrays.get("losses"), moved, state["captions"], state["told"], seen)
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise UsageError(
                f"{numbers}, or {words.name} beside it, is damaged ({first_line(error)}); start again with --overwrite "
                "instead of --resume"
            ) from None


def selections_csv(records: Sequence[LoopRecord], ids: Sequence[str]) -> bytes:
    """The content of ``selections.csv``: one row per loop and item."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for number, record in enumerate(records, start=1):
        picks = record.picks
        for rank, position in enumerate(picks.positions):
            loss = "" if record.losses_K is None else f"{record.losses_K[rank]:.6g}"
            caption = record.captions[rank] if record.captions else ""
            score = f"{picks.scores[rank]:.6g}"
            rows.writerow((number, ids[position], rank + 1, score, loss, picks.reasons[rank], caption))
    return text.getvalue().encode()


def _files(folder: Path, loop: int) -> tuple[Path, Path]:
    return folder / f"loop-{loop}.json", folder / f"loop-{loop}.safetensors"
