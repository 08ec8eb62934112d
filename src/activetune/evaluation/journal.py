"""Predictions as files that survive any kill: shards while they are made, a note of their origin afterwards.

Beside ``p.csv`` lies the folder ``.p.csv.unfinished`` while the run goes on, with a file of lines of JSON per shard
(``base/shards.py``): per batch its rows, the rejected items, the digests of the images and that of the line itself.
From a damaged line on, the batches are predicted again. Once the run is done it is ``.p.csv.json``: the key, the
digests of the images and of ``p.csv``, by which ``--resume`` recognises a finished run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.files import parse_json, prepare_file, read_json, remove, write_json
from activetune.base.fingerprint import digest, digest_file
from activetune.base.shards import PLAN, Plan, Shards
from activetune.base.tables import header_of, read_table, write_csv
from activetune.data.identity import Contents, item_digest
from activetune.data.loading import Loaded
from activetune.data.pool import Pool, check_complete
from activetune.features.sharing import all_sealed, unfinished
from activetune.tasks import Form, Row

REJECTED = ("id", "reason")

Rows = list[Row]
Rejects = list[tuple[str, str]]
Answered = Callable[[Loaded], tuple[Rows, Rejects]]  # what is kept of a batch


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
        self.work = path.with_name(f".{path.name}.unfinished")
        self._earlier = path.with_name(f".{path.name}.partial.jsonl")  # what a run of an earlier version kept
        self._note = path.with_name(f".{path.name}.json")

    def finished(self) -> Rows | None:
        """The predictions of this key that are there already, finished and unchanged."""
        if not self._note.is_file() or not self.path.is_file():
            return None
        if read_json(self._note) != self._made_from():
            return None
        remove(self.work)
        self.form.sweep(self.path)
        listed = read_table(self.listing) if self.form.lists_rejects and self.listing.is_file() else {}
        refused = set(listed["id"]) if tuple(listed) == REJECTED else set()
        return self.form.read(self.path, [item for item in self.ids if item not in refused])

    def begin(self, plan: Plan, *, overwrite: bool, resume: bool, quiet: bool) -> tuple[Plan, list[int]]:
        """Make ready for a run, or go on with one: how it is cut, and the shards that are still to be made.

        Raises:
            UsageError: the output exists, or was begun from something else.
        """
        cut_off = (self.work / PLAN).is_file()
        if cut_off and resume and not overwrite:
            shards = Shards.begun(self.work)
            if (shards.plan.key, shards.plan.items) != (plan.key, plan.items):
                raise UsageError(begun_otherwise(self.path))
            plan = shards.plan
            pending = unfinished(shards, self.contents, begun_otherwise(self.path), quiet=quiet)
        else:
            cut_off = cut_off or self._earlier.is_file()
            self.form.prepare(self.path, self.ids, overwrite=overwrite, cut_off=cut_off)
            if not cut_off and self.form.lists_rejects:  # otherwise the list is of the run that was cut off here
                prepare_file(self.listing, own=_holds_rejects, overwrite=overwrite)
            self._earlier.unlink(missing_ok=True)
            remove(self.work)
            Shards.begin(self.work, plan)
            pending = list(range(len(plan)))
        self.form.sweep(self.path)
        self._note.unlink(missing_ok=True)  # what an earlier run finished here is being replaced
        return plan, pending

    def finish(self, rows: Rows, rejected: Rejects) -> None:
        """Write the output and the list of rejects; one that an earlier run left goes."""
        if rejected and self.form.lists_rejects:
            write_csv(self.listing, REJECTED, rejected)
        elif self.form.lists_rejects and self.listing.is_file() and _holds_rejects(self.listing):
            self.listing.unlink()
        self.form.write(self.path, rows)
        write_json(self._note, self._made_from())
        remove(self.work)

    def _made_from(self) -> dict[str, str]:
        """What the note of a finished run holds."""
        return {"key": self.key, "images": self.contents.fingerprint, "digest": digest_file(self.path)}


class Lines:
    """The answers of one shard; see :class:`activetune.features.sharing.Growing`.

    Args:
        answered: what is kept of a batch. out: the output, as an error names it.

    Raises:
        UsageError: images that a process has answered before it died were changed since.
    """

    def __init__(self, shards: Shards, shard: int, pool: Pool, answered: Answered, out: Path):
        self._shards, self._shard, self._answered, self._out = shards, shard, answered, out
        self._path = shards.place(shard, ".jsonl")
        kept = _whole(self._path.read_bytes().splitlines()) if self._path.is_file() else []
        self._digests = [digest for _, _, digests in kept for digest in digests]
        self._rejected: Rejects = [(item, reason) for _, refused, _ in kept for item, reason in refused]
        self._rows, self.batches = sum(len(rows) for rows, _, _ in kept), len(kept)
        begun = shards.plan.bounds(shard)[: len(self._digests)]
        if [item_digest(pool, position).hex() for position in begun] != self._digests:
            raise UsageError(begun_otherwise(out))
        self._file = self._path.open("wb")
        self._file.writelines(map(_line, kept))

    def add(self, batch: Loaded) -> int:
        """Answer a batch; it is kept at once."""
        rows, rejected = self._answered(batch)
        digests = [digest.hex() for digest in batch.digests]
        self._file.write(_line([rows, rejected, digests]))
        self._file.flush()
        self._digests += digests
        self._rejected += rejected
        self._rows += len(rows)
        self.batches += 1
        return len(batch.images)

    def save(self) -> None:
        """Make sure what was added."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def seal(self) -> None:
        """Finish the shard."""
        wanted = len(self._shards.plan.bounds(self._shard))
        check_complete(wanted, self._rows, len(self._rejected), str(self._out))
        self.close()
        told = {"rows": self._rows, "rejected": self._rejected, "digests": "".join(self._digests)}
        self._shards.seal(self._shard, self._path, told)

    def close(self) -> None:
        """Keep what was added."""
        if not self._file.closed:
            try:
                self.save()
            finally:
                self._file.close()


def all_lines(shards: Shards, contents: Contents) -> tuple[Rows, Rejects]:
    """The rows and the rejected items of all shards, in the pool's order.

    Raises:
        ActivetuneError: a shard is missing or damaged.
    """
    rows: Rows = []
    rejected: Rejects = []
    for seal in all_sealed(shards, contents):
        for found, refused, _ in _whole(shards.result(seal).read_bytes().splitlines()):
            rows += map(tuple, found)
            rejected += [(item, reason) for item, reason in refused]
    return rows, rejected


def begun_otherwise(out: Path) -> str:
    """What is said of a run that can't be gone on with."""
    return (
        f"{out} was begun with another model, pool or precision; give the same ones to go on with --resume, or "
        "--overwrite to start again"
    )


def _holds_rejects(path: Path) -> bool:
    return header_of(path) == REJECTED


def _line(batch: Sequence[Any]) -> bytes:
    """A batch with a digest of itself."""
    return json.dumps([*batch, digest(json.dumps(batch))]).encode("ascii") + b"\n"


def _whole(lines: list[bytes]) -> list[list[Any]]:
    """The batches of a shard up to the first line that is damaged, or was being written when the process died."""
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
