"""Predictions as files that survive any kill: a journal while they are made, a note of their origin afterwards.

Beside ``p.csv`` lies ``.p.csv.partial.jsonl`` while the run goes on: its key, then a line of JSON per batch with the
rows, the rejected items, the digest of the images and that of the line itself: from a damaged line on, the batches are
predicted again. Once the run is done it is ``.p.csv.json``: the key, the digests
of the images and of ``p.csv``, by which ``--resume`` recognises a finished run.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.files import parse_json, prepare_file, read_json, replacing, write_json
from activetune.base.fingerprint import digest, digest_file
from activetune.base.tables import header_of, read_table, write_csv
from activetune.data.identity import Contents
from activetune.tasks import Form, Row

REJECTED = ("id", "reason")

Rows = list[Row]
Rejects = list[tuple[str, str]]


class Journal:
    """The files of one prediction run.

    Args:
        out: the output, as the form has it. form: makes it. ids: the pool's. key: digest of the model and of these.
        contents: the pool's images, which must be what they were when a run goes on or is kept.
    """

    def __init__(self, out: Path, form: Form, ids: Sequence[str], key: str, contents: Contents):
        path = form.file(out)
        self.path, self.form, self.ids, self.key, self.contents = path, form, ids, key, contents
        self.listing = path.with_name(f"{path.stem}.rejected.csv")
        self._lines = path.with_name(f".{path.name}.partial.jsonl")
        self._note = path.with_name(f".{path.name}.json")

    def finished(self) -> Rows | None:
        """The predictions of this key that are there already, finished and unchanged."""
        if not self._note.is_file() or not self.path.is_file():
            return None
        if read_json(self._note) != self._made_from():
            return None
        self._lines.unlink(missing_ok=True)
        self.form.sweep(self.path)
        listed = read_table(self.listing) if self.listing.is_file() else {}
        refused = set(listed["id"]) if tuple(listed) == REJECTED else set()
        return self.form.read(self.path, [item for item in self.ids if item not in refused])

    def begin(self, *, overwrite: bool, resume: bool) -> tuple[Rows, Rejects, int]:
        """Make ready for a run, or go on with one: what it has found so far, in how many batches.

        Raises:
            UsageError: the output exists, or was begun from something else.
        """
        going_on = resume and not overwrite and self._lines.is_file()
        lines = self._lines.read_text(encoding="utf-8", errors="replace").splitlines() if going_on else []
        batches = _whole(lines[1:])
        if lines and (lines[0] != self.key or not self._same_images(batches)):
            raise UsageError(
                f"{self.path} was begun with another model or pool; give the same ones to go on with --resume, "
                "or --overwrite to start again"
            )
        if not lines:
            cut_off = self._lines.is_file()
            self.form.prepare(self.path, self.ids, overwrite=overwrite, cut_off=cut_off)
            if not cut_off:  # otherwise the list is of the run that was cut off here
                prepare_file(self.listing, own=_holds_rejects, overwrite=overwrite)
        self.form.sweep(self.path)
        with replacing(self._lines) as partial:
            partial.write_text("\n".join([self.key, *map(_line, batches)]) + "\n", encoding="utf-8")
        self._note.unlink(missing_ok=True)  # what an earlier run finished here is being replaced
        rows = [tuple(row) for found, *_ in batches for row in found]
        return rows, [(item, reason) for _, refused, _ in batches for item, reason in refused], len(batches)

    def add(self, rows: Rows, rejected: Rejects, start: int) -> None:
        """Note a finished batch, which begins with the pool's image ``start``."""
        images = self.contents.digest_of(start, start + len(rows) + len(rejected))
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(_line([rows, rejected, images]) + "\n")

    def finish(self, rows: Rows, rejected: Rejects) -> None:
        """Write the output and the list of rejects; one that an earlier run left goes."""
        if rejected:
            write_csv(self.listing, REJECTED, rejected)
        elif self.listing.is_file() and _holds_rejects(self.listing):
            self.listing.unlink()
        self.form.write(self.path, rows)
        write_json(self._note, self._made_from())
        self._lines.unlink()

    def _made_from(self) -> dict[str, str]:
        """What the note of a finished run holds."""
        return {"key": self.key, "images": self.contents.fingerprint, "digest": digest_file(self.path)}

    def _same_images(self, batches: list[list[Any]]) -> bool:
        """Whether the images of the finished batches are what they were."""
        counts = [len(rows) + len(rejected) for rows, rejected, _ in batches]
        self.contents.read(sum(counts))
        stops = list(itertools.accumulate(counts))
        return all(
            self.contents.digest_of(stop - count, stop) == images
            for count, stop, (_, _, images) in zip(counts, stops, batches, strict=True)
        )


def _holds_rejects(path: Path) -> bool:
    return header_of(path) == REJECTED


def _line(batch: list[Any]) -> str:
    """A batch with a digest of itself."""
    return json.dumps([*batch, digest(json.dumps(batch))])


def _whole(lines: list[str]) -> list[list[Any]]:
    """The batches of a journal up to the first line that is damaged, or was being written when the process died."""
    found: list[list[Any]] = []
    for line in lines:
        try:
            *batch, own = parse_json(line)
        except (ValueError, TypeError):
            break
        if own != digest(json.dumps(batch)):
            break
        found.append(batch)
    return found
