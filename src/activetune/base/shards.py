"""Long work over many items cut into shards, which one process or several finish one by one, each with a checksum.

A shard is a run of items in their order; it begins where a batch begins, so that the same batches are computed whoever
computes them. The work's folder holds ``plan.json`` (what the work is, and how it is cut) and of each shard:

- ``000012.claim``: the process that has taken it. The file is created or it is not: no two processes take one shard.
- the files of its result, named by whoever writes them;
- ``000012.json``, its seal, written last: the digest of the result, and what is to be known beside it.

Claims hold for one run, seals for good: the run that begins removes the claims, which a dead process may have left,
and goes on with the shards that have no seal, or one that does not fit its result.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from activetune.base.errors import ActivetuneError, UsageError
from activetune.base.files import read_json, remove, write_json
from activetune.base.fingerprint import digest_file

SHARD, MOST = 1024, 10_000  # items of a shard, and shards, where nothing else is asked for
PLAN = "plan.json"
SEEN_SECONDS = 10.0  # until a network share must show what another machine has written
_SEAL = re.compile(r"(\d{6,})\.json")


@dataclass(frozen=True)
class Plan:
    """How work is cut.

    Attributes:
        key: digest of what the work is made from. items: N. batch_size: items that are computed together.
        shard_size: items of a shard, whole batches; the last shard may be smaller.
    """

    key: str
    items: int
    batch_size: int
    shard_size: int

    @classmethod
    def of(cls, key: str, items: int, batch_size: int, shard_size: int | None = None) -> Plan:
        """A plan of shards of ``shard_size`` items or somewhat more, as they are whole batches.

        Raises:
            UsageError: a shard without an item.
        """
        if shard_size is not None and shard_size < 1:
            raise UsageError(f"shard_size must be at least 1, not {shard_size}")
        batches = -(-(shard_size or max(SHARD, -(-items // MOST))) // batch_size)
        return cls(key, items, batch_size, batches * batch_size)

    def __len__(self) -> int:
        return -(-self.items // self.shard_size)

    def bounds(self, shard: int) -> range:
        """The positions of a shard's items."""
        return range(shard * self.shard_size, min(self.items, (shard + 1) * self.shard_size))

    def batches(self, shard: int, finished: int = 0) -> Iterator[range]:
        """The positions of a shard's batches after the first ``finished`` ones."""
        bounds = self.bounds(shard)
        for start in range(bounds.start + finished * self.batch_size, bounds.stop, self.batch_size):
            yield range(start, min(start + self.batch_size, bounds.stop))


@dataclass(frozen=True)
class Shards:
    """The folder of one work's shards."""

    folder: Path
    plan: Plan

    @classmethod
    def begin(cls, folder: Path, plan: Plan) -> Shards:
        """Begin work in a folder, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / PLAN, asdict(plan))
        return cls(folder, plan)

    @classmethod
    def begun(cls, folder: Path) -> Shards:
        """The work that was begun in a folder, cut as it was then.

        Raises:
            ActivetuneError: its plan is damaged.
        """
        content = read_json(folder / PLAN)
        try:
            plan = Plan(**content)
            if not isinstance(plan.key, str) or min(plan.items, plan.batch_size, plan.shard_size) < 1:
                raise ValueError
        except (TypeError, ValueError):
            raise ActivetuneError(
                f"{folder / PLAN} is damaged; start again with --overwrite instead of --resume"
            ) from None
        return cls(folder, plan)

    def place(self, shard: int, suffix: str = "") -> Path:
        """Where a shard's result lies."""
        return self.folder / f"{shard:06}{suffix}"

    # One process among several ---------------------------------------------------------------------------------

    def claim(self, shard: int) -> bool:
        """Take a shard; False: another process has it, or it is finished."""
        if self.is_sealed(shard):
            return False
        try:
            with self.place(shard, ".claim").open("x", encoding="utf-8") as file:
                file.write(f"{os.getpid()} on {socket.gethostname()}\n")
        except FileExistsError:
            return False
        return True

    def seal(self, shard: int, result: Path, told: Mapping[str, Any]) -> None:
        """Finish a shard.

        Args:
            result: its file, which is closed and sure on disk. told: what is to be known beside it.
        """
        content = {"file": str(result.relative_to(self.folder)), "digest": digest_file(result), **told}
        write_json(self.place(shard, ".json"), content)

    def is_sealed(self, shard: int) -> bool:
        """Whether a shard has a seal."""
        return self.place(shard, ".json").is_file()

    def counted(self) -> set[int]:
        """The shards that have a seal."""
        names = (_SEAL.fullmatch(entry.name) for entry in os.scandir(self.folder))
        return {int(found[1]) for found in names if found}

    def claimed(self) -> bool:
        """Whether any process has taken a shard."""
        return any(self.folder.glob("*.claim"))

    def check_seen(self) -> None:
        """Check that this process sees the folder as the one that leads has left it.

        Raises:
            ActivetuneError: it does not.
        """
        deadline = time.monotonic() + SEEN_SECONDS
        while True:
            with contextlib.suppress(ActivetuneError, OSError, TypeError):
                if Plan(**read_json(self.folder / PLAN)) == self.plan:
                    return
            if time.monotonic() > deadline:
                raise ActivetuneError(
                    f"a process on {socket.gethostname()} does not see {self.folder} as the first process has written "
                    "it; all processes need the same files under the same names, for instance on NFS"
                )
            time.sleep(0.2)  # a network share shows new files a moment later

    # The process that leads ------------------------------------------------------------------------------------

    def free(self) -> None:
        """Remove the claims of processes that no longer work here."""
        for claim in self.folder.glob("*.claim"):
            claim.unlink(missing_ok=True)

    def sealed(self) -> tuple[dict[int, dict[str, Any]], list[int]]:
        """The seals of the shards that are finished and undamaged, and the shards that turned out to be damaged.

        The damaged ones are removed, so that they are made again.
        """
        whole: dict[int, dict[str, Any]] = {}
        damaged = []
        for shard in sorted(self.counted()):
            if shard < len(self.plan) and (found := self._seal(shard)) is not None:
                whole[shard] = found
                continue
            damaged.append(shard)
            for path in self.folder.glob(f"{shard:06}*"):
                remove(path)
        return whole, damaged

    def result(self, seal: Mapping[str, Any]) -> Path:
        """The file of a finished shard."""
        return self.folder / str(seal["file"])

    def clear(self) -> None:
        """Remove the folder: what it held has become the artefact."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _seal(self, shard: int) -> dict[str, Any] | None:
        """A shard's seal; None where it or the result is damaged."""
        try:
            found = read_json(self.place(shard, ".json"))
            result = self.result(found)
            inside = result.resolve().is_relative_to(self.folder.resolve())
            return found if inside and digest_file(result) == found["digest"] else None
        except (ActivetuneError, OSError, KeyError):
            return None
