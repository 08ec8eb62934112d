"""Ends a stage before its n-th file operation, for every n, runs it again with --resume, and compares what comes out.

Run as ``python -m tests.faults.walk``; each line of its input is a scenario, a folder and perhaps ``all``, or
``random`` with a number of moments and a seed, or ``full`` with a number of sizes of a disk, separated by tabs, and
answered by lines of which the last is ``end CODE``. This one process imports what the stages need and forks a child for
each scenario, which forks one for each run, so nothing is imported twice. An audit hook counts what Python does to
files below the scenario's folder: opening for writing, renaming, removing, making folders, truncating, changing modes.
Before the n-th operation the child ends with ``os._exit``, as a killed process does. Then the disk is full from the
n-th operation on, or read-only from the first: that must end in a sentence. Without ``all`` only one of the operations
that are alike is taken: same call and same file name but for digits, and none of those that leave a folder as the one
before them does (mode changes, locks, the removal of a partial file that has its last name already).
"""

from __future__ import annotations

import csv
import errno
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from activetune.base.interrupts import answer_signals
from activetune.cli import run
from tests.faults.scenarios import SCENARIOS

KILLED = 77
TERMINATED = -signal.SIGTERM  # as a fault
LARGE = 2**30  # bytes of a disk that nothing here fills
MOST = 3  # operations of a scenario that are taken without ``all``
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "os.link", "shutil.rmtree")
GROWS = ("open", "os.mkdir")
VOLATILE = re.compile(
    r"seconds|created|memory|per_second|share$|in_all$|^bound$|^cache$|^lr$|^(?:history|results|curves)\.csv$|pid|since|started"
)

REMEMBERED = re.compile(r"/cache/")  # costs time where it is missing, never the result
NEUTRAL = re.compile(r"os\.chmod|\.lock$|open .*\.partial$|remove .*\.partial$|sqlite")


# Counting ---------------------------------------------------------------------------------------------------------


class Operations:
    """The file operations of this process below a folder; the one numbered ``last`` meets a fault.

    Args:
        fault: 0 ends the process; an errno is what this operation and all later ones that need space fail with;
            ``TERMINATED`` sends the process a SIGTERM.
    """

    def __init__(self, folder: Path, last: int = -1, fault: int = 0):
        self.prefix, self.last, self.fault = str(folder) + os.sep, last, fault
        self.kinds: list[str] = []
        self.active = False
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not writes and not (isinstance(mode, str) and set(mode) & set("wax+")):
                return
        elif event in CHANGES:
            path = arguments[0]
        else:
            return
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        name = str(Path.cwd() / name)
        if not name.startswith(self.prefix):
            return
        if len(self.kinds) == self.last and not self.fault:
            os._exit(KILLED)
        if len(self.kinds) == self.last and self.fault == TERMINATED:
            self.active = False  # what comes now is the end
            os.kill(os.getpid(), signal.SIGTERM)
        if self.fault > 0 and len(self.kinds) >= self.last and (event in GROWS or self.fault == errno.EROFS):
            raise OSError(self.fault, os.strerror(self.fault), name)
        self.kinds.append(f"{event} {re.sub(r'[0-9a-f]{8,}|[0-9]+|tmp[a-z0-9_]{8}', '#', name[len(self.prefix) :])}")


def in_child(
    work: Callable[[], int],
    said: Path | None = None,
    tell: bool = False,
    kill_after: float | None = None,
    meanwhile: Callable[[], object] | None = None,
) -> int:
    """Run something in a fork of this process; its exit code.

    What it says on stderr goes to the file ``said``; what it prints is dropped, unless ``tell``. ``kill_after`` so many
    seconds it is killed. ``meanwhile`` is called every few milliseconds.
    """
    sys.stdout.flush()
    pid = os.fork()
    if not pid:
        try:
            if not tell:
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if said is not None:
                os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
            code = work()
            sys.stdout.flush()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)  # the moment is any: what is asserted afterwards holds at all of them
        os.kill(pid, signal.SIGKILL)
    while meanwhile is not None and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        meanwhile()
        time.sleep(0.002)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# Comparing --------------------------------------------------------------------------------------------------------


def outcome(folder: Path) -> dict[str, Any]:
    """What lies in a folder, file by file, without times and figures of the machine."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not REMEMBERED.search(str(path)))
    return {path.relative_to(folder).as_posix(): _content(path) for path in files}


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return _steady(json.loads(path.read_text()))
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [_steady(row) for row in csv.DictReader(file)]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pydict()
    if path.suffix == ".npy":
        return np.load(path).tolist()
    return "page" if path.suffix == ".html" else path.read_bytes()


def _steady(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _steady(part) for name, part in value.items() if not VOLATILE.search(str(name))}
    return [_steady(part) for part in value] if isinstance(value, list) else value


def differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Where two outcomes differ; numbers may by a millionth."""
    if isinstance(expected, dict) and isinstance(found, dict):
        names = sorted(found.keys() ^ expected.keys())
        told = [f"{place}/{name} {'is too many' if name in found else 'is missing'}" for name in names]
        return told + [
            line
            for name in found.keys() & expected.keys()
            for line in differences(found[name], expected[name], f"{place}/{name}")
        ]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for number, (a, b) in pairs for line in differences(a, b, f"{place}[{number}]")]
    if found == expected:
        return []
    try:
        same = abs(float(found) - float(expected)) <= 1e-6 * max(1.0, abs(float(expected)))
    except (TypeError, ValueError):
        same = False
    return [] if same else [f"{place}: {str(found)[:60]!r} instead of {str(expected)[:60]!r}"]


# Walking ----------------------------------------------------------------------------------------------------------


class Walk:
    """One scenario: what is there before, the command, and every way of ending it."""

    def __init__(self, root: Path, line: list[str], prepare: Callable[[Path], None], disk: str = ""):
        self.root, self.line, self.prepare = root, line, prepare
        self.place = root / disk / "place"
        self.before = root / "before"
        self.before.mkdir(parents=True)
        prepare(self.before)

    def fresh(self) -> None:
        """The place as it is before the command."""
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.before, self.place, symlinks=True)

    def run(self, *extra: str, without: str = "", last: int = -2, fault: int = 0) -> Callable[[], int]:
        """The command as what a child does; ``last``: the operation that meets the fault, -1 only counts."""

        def work() -> int:
            os.chdir(self.place)
            os.environ["ACTIVETUNE_CACHE"] = str(self.place / "cache")
            answer_signals()
            operations = Operations(self.place, last, fault)
            operations.active = last >= -1
            code = run([part for part in [*self.line, *extra] if part != without])
            operations.active = False
            if last == -1:
                (self.root / "operations.json").write_text(json.dumps(operations.kinds))
            return code

        return work

    def undisturbed(self, meanwhile: Callable[[], object] | None = None) -> list[str]:
        """The outcome to compare with, and the kinds of the operations that lead there."""
        self.fresh()
        assert in_child(self.run("--quiet", last=-1), meanwhile=meanwhile) == 0, "the scenario itself fails"
        self.expected = outcome(self.place)
        kinds: list[str] = json.loads((self.root / "operations.json").read_text())
        return kinds

    def ended_before(self, number: int) -> list[str]:
        """Kill the run before an operation and run again; what is wrong then."""
        self.fresh()
        old = outcome(self.place)
        code = in_child(self.run("--quiet", last=number))
        if code not in (KILLED, 0):  # 0: what is remembered of the pool's files spared it an operation
            return [f"the run ended with {code} instead of being killed"]
        return self.made_up_for(old)

    def failing_from(self, number: int, fault: int) -> list[str]:
        """The disk is full or read-only from an operation on; what is wrong then, and with a new run once it is not."""
        self.fresh()
        old = outcome(self.place)
        said = self.root / "said"
        code = in_child(self.run("--quiet", last=number, fault=fault), said)
        told = said.read_text()
        if not explained(code, told, "the disk is full" if fault == errno.ENOSPC else "read-only"):
            return [f"it ends with {code} and {told!r}"]
        return self.made_up_for(old)

    def filling(self, disk: SmallDisk, size: int) -> list[str]:
        """The disk has room for so many bytes; what is wrong then, and with a new run once there is more."""
        disk.resize(LARGE)
        self.fresh()
        disk.resize(size)
        old = outcome(self.place)
        said = self.root / "said"
        code = in_child(self.run("--quiet"), said)
        disk.resize(LARGE)
        if not explained(code, said.read_text(), "the disk is full"):
            return [f"it ends with {code} and {said.read_text()!r}"]
        return self.made_up_for(old)

    def terminated_before(self, number: int) -> list[str]:
        """Send the run a SIGTERM before an operation and run again; what is wrong then."""
        self.fresh()
        old = outcome(self.place)
        said = self.root / "said"
        code = in_child(self.run("--quiet", last=number, fault=TERMINATED), said)
        if code not in (143, 0) or (code and not said.read_text().startswith("terminated; ")):
            return [f"the run ended with {code} and {said.read_text()!r} instead of being terminated"]
        if locks := [path.name for path in self.place.rglob("*.lock")]:
            return [f"it leaves its locks behind: {locks}"]
        return self.made_up_for(old)

    def ended_after(self, seconds: float) -> list[str]:
        """Kill the run (SIGKILL) some time after its start, wherever it is, and run again; what is wrong then."""
        self.fresh()
        old = outcome(self.place)
        code = in_child(self.run("--quiet"), kill_after=seconds)
        return self.made_up_for(old) if code in (-signal.SIGKILL, 0) else [f"the run ended with {code}"]

    def made_up_for(self, old: dict[str, Any]) -> list[str]:
        """Run again with --resume after a fault; what is wrong then."""
        code = in_child(self.run("--quiet", "--resume", without="--overwrite"))
        if code == 2 and "--overwrite" in self.line:
            stayed = {name: content for name, content in outcome(self.place).items() if name in old}
            lost = differences(stayed, old)
            if lost:
                return ["it is refused, and the old result is damaged:", *lost]
            code = in_child(self.run("--quiet"))
        if code:
            return [f"running again ends with {code}"]
        return differences(outcome(self.place), self.expected)


def explained(code: int, said: str, words: str) -> bool:
    """Whether a run went well, or ended with a sentence that has these words."""
    return code == 0 or (code > 0 and "unexpected" not in said and words in said.lower())


class SmallDisk:
    """A file system in memory at a folder, of whatever size; mounting it takes rights (``unshare --mount`` as root)."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "none", str(folder)], check=True)
        self.most = 0

    def resize(self, size: int) -> None:
        """Room for so many bytes in all."""
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.folder)], check=True)

    def used(self) -> int:
        """Bytes that are taken; ``most`` remembers the largest answer."""
        told = os.statvfs(self.folder)
        taken = (told.f_blocks - told.f_bfree) * told.f_frsize
        self.most = max(self.most, taken)
        return taken

    def remove(self) -> None:
        """Unmount it; what it holds is gone."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


def walk_full(scenario: str, folder: str, count: int) -> int:
    """Run a scenario on so many disks that are too small for it; prints a line per problem. Returns 1 if there is one.

    The sizes lie evenly between what is there before and the most that the undisturbed run takes.
    """
    line, prepare = SCENARIOS[scenario]
    root = Path(folder).resolve()
    disk = SmallDisk(root / "disk")
    try:
        place = Walk(root, line, prepare, "disk")
        place.fresh()
        before = disk.used()
        place.undisturbed(disk.used)
        growth, full, wrong = disk.most - before, 0, 0
        for number in range(count):
            size = before + int(growth * (number + 0.5) / count)
            for problem in place.filling(disk, size):
                wrong += 1
                print(f"a disk of {size:,} bytes, {before:,} of them taken: {problem}")
            full += "the disk is full" in (root / "said").read_text()
    finally:
        disk.remove()
    print(f"{scenario}: {count} disks too small by up to {growth:,} bytes, {full} were full, {wrong} problems")
    return min(wrong, 1)


def chosen(kinds: list[str], everything: bool) -> list[int]:
    """The operations to end at."""
    if everything:
        return list(range(len(kinds)))
    first = {kind: number for number, kind in reversed(list(enumerate(kinds))) if not NEUTRAL.search(kind)}
    numbers = sorted(first.values())
    return numbers[:: -(-len(numbers) // MOST)]


def walk_at_random(scenario: str, folder: str, count: int, seed: int) -> int:
    """Kill a scenario at so many moments; prints a line per problem. Returns 1 if there is one."""
    line, prepare = SCENARIOS[scenario]
    place = Walk(Path(folder).resolve(), line, prepare)
    began = time.monotonic()
    place.undisturbed()
    whole = time.monotonic() - began
    moments = random.Random(f"{seed} {scenario}")
    wrong = 0
    for number in range(count):
        seconds = moments.uniform(0, whole)
        for problem in place.ended_after(seconds):
            wrong += 1
            print(f"killed after {seconds:.3f} of {whole:.3f} seconds (moment {number} of seed {seed}): {problem}")
    print(f"{scenario}: killed at {count} moments of seed {seed}, {wrong} problems")
    return min(wrong, 1)


def walk(scenario: str, folder: str, everything: bool) -> int:
    """Walk one scenario; prints a line per problem. Returns 1 if there is one."""
    line, prepare = SCENARIOS[scenario]
    place = Walk(Path(folder).resolve(), line, prepare)
    kinds = place.undisturbed()
    numbers = chosen(kinds, everything)
    wrong = 0
    growing = [number for number in numbers if kinds[number].split()[0] in GROWS] if everything else numbers[1::4]
    trials = [
        *((f"killed before {number}", number, lambda at: place.ended_before(at)) for number in numbers),
        *((f"disk full from {number}", number, lambda at: place.failing_from(at, errno.ENOSPC)) for number in growing),
        *((f"terminated before {number}", number, place.terminated_before) for number in numbers[1::4]),
        ("read-only from 0", 0, lambda at: place.failing_from(at, errno.EROFS)),
    ]
    for name, number, trial in trials:
        for problem in trial(number):
            wrong += 1
            print(f"{name} ({kinds[number]}): {problem}")
    print(f"{scenario}: {len(trials)} faults at {len(numbers)} of {len(kinds)} operations, {wrong} problems")
    return min(wrong, 1)


def main() -> None:
    """Walk the scenarios that are asked for, each in a child."""
    with tempfile.TemporaryDirectory() as folder:
        SCENARIOS["finetune"][1](Path(folder))  # for its imports
        os.chdir(os.sep)
    for line in sys.stdin:
        scenario, folder, *rest = line.rstrip("\n").split("\t")
        if rest[:1] == ["random"]:
            trial = partial(walk_at_random, scenario, folder, int(rest[1]), int(rest[2]))
        elif rest[:1] == ["full"]:
            trial = partial(walk_full, scenario, folder, int(rest[1]))
        else:
            trial = partial(walk, scenario, folder, "all" in rest)
        code = in_child(trial, tell=True)
        print(f"end {code}", flush=True)


if __name__ == "__main__":
    main()
