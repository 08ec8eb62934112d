"""The cases of one reader, one after the other in one process; what they come to is printed as a line of JSON."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import activetune
from activetune.base.errors import ActivetuneError, explain_system_error
from tests.security.fuzz.mutation import changed
from tests.security.fuzz.structure import restructured
from tests.security.fuzz.targets import Case, Target, target_called
from tests.security.fuzz.watch import TooLong, Watch, limit_memory, peak

PACKAGE = str(Path(activetune.__file__).parent)
SEEDS, STEP = 500, 500  # cases that are kept as seeds; that are read between two lines
LONGEST_SENTENCE = 3_100  # signs
FAULT, EXPLAINED, READ = "fault", "explained", "read"


@dataclass
class Tally:
    """What the cases of a reader came to.

    Attributes:
        sentences: places in the package where an error was explained. faults: the first case of each kind, by its key.
        slowest: processor seconds of one case. peak: bytes of memory beyond those before the first case.
    """

    cases: int = 0
    read: int = 0
    sentences: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)
    slowest: float = 0.0
    peak: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For a line of JSON."""
        return {**self.__dict__, "sentences": sorted(self.sentences)}


class Fuzzer:
    """Changes seeds and reads them.

    Args:
        folder: of this process alone; ``case`` in it holds the case that is read, whatever happens to the process.
    """

    def __init__(self, target: Target, folder: Path, seed: int, watch: Watch):
        self.target, self.case_folder, self.draw = target, folder / "case", random.Random(f"{target.name} {seed}")
        self.faults, self.watch, self.tally = folder / "faults", watch, Tally()
        self.seeds = target.made(folder / "made" / re.sub(r"\W+", "_", target.name))
        self.case_folder.mkdir(exist_ok=True)
        good = 0
        for case in self.seeds:  # imports come before the first count
            self._write(case)
            with contextlib.suppress(ActivetuneError):
                target.read(self.case_folder)
                good += 1
        if not good:
            raise AssertionError(f"{target.name}: {good} of {len(self.seeds)} seeds can be read")
        limit_memory()
        self._base = peak()

    def run(self, cases: int) -> Tally:
        """So many cases."""
        for _ in range(cases):
            case = self.changed(self.draw.choice(self.seeds), self.draw)
            if self.read(case) and len(self.seeds) < SEEDS:
                self.seeds.append(case)
        return self.tally

    def read(self, case: Case) -> bool:
        """One case; whether it led to a sentence that no case led to before."""
        self._write(case)
        started = time.process_time()
        kind, key, told = self._outcome()
        self.tally.slowest = max(self.tally.slowest, time.process_time() - started)
        self.tally.cases += 1
        self.tally.read += kind == READ
        self.tally.peak = peak() - self._base
        if kind == FAULT and key not in self.tally.faults:
            self.tally.faults[key] = told
            self._keep(case, key)
        if kind != EXPLAINED or key in self.tally.sentences:
            return False
        self.tally.sentences.add(key)
        return True

    def changed(self, case: Case, draw: random.Random) -> Case:
        """A case in which one file is another one."""
        case = dict(case)
        names = [name for name in case if not name.startswith(self.target.fixed)] if self.target.fixed else list(case)
        if not names:
            return dict(draw.choice(self.seeds))
        name = draw.choice(names)
        if draw.random() < 0.6:
            case[name] = restructured(name, case[name], draw)
        else:
            case[name] = changed(case[name], draw, [seed[name] for seed in self.seeds[:20] if name in seed])
        if len(names) > 1 and draw.random() < 0.03:
            del case[name]
        return case

    def _write(self, case: Case) -> None:
        for entry in os.scandir(self.case_folder):
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else Path(entry.path).unlink()
        for name, content in case.items():
            path = self.case_folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def _outcome(self) -> tuple[str, str, str]:
        try:
            with self.watch.case():
                self.target.read(self.case_folder)
        except ActivetuneError as error:
            kind, key, told = _explained(error)
        except TooLong as error:
            kind, key, told = FAULT, f"too long at {_place(error)}", "more processor time than a case may take"
        except OSError as error:
            sentence = explain_system_error(error)
            kind, key = (
                (EXPLAINED, sentence[:40]) if sentence else (FAULT, f"{type(error).__name__} at {_place(error)}")
            )
            told = "".join(traceback.format_exception(error)[-6:])
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            kind, key = FAULT, f"{type(error).__name__} at {_place(error)}"
            told = "".join(traceback.format_exception(error)[-6:])
        else:
            kind, key, told = READ, "", ""
        if self.watch.seen:
            seen = self.watch.seen[0]
            return FAULT, re.sub(r"['\"].*['\"]", "…", seen), seen
        return kind, key, told

    def _keep(self, case: Case, key: str) -> None:
        place = self.faults / re.sub(r"[^\w.]+", "_", f"{self.target.name} {key}")[:120]
        for name, content in case.items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _explained(error: ActivetuneError) -> tuple[str, str, str]:
    """An explained error; one whose sentence is none is a fault."""
    text, place = str(error), _place(error)
    if "Traceback" in text or not text.strip():
        return FAULT, f"no sentence at {place}", text[:500]
    if len(text) > LONGEST_SENTENCE:
        return FAULT, f"a sentence of {len(text):,} signs at {place}", text[:500]
    return EXPLAINED, place, text


def _place(error: BaseException) -> str:
    """The innermost line of the package that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(PACKAGE)]
    if not own:
        return "?"
    return f"{os.path.relpath(own[-1].filename, PACKAGE)}:{own[-1].lineno}"


def main() -> None:
    """Run the cases of some targets, with a line of JSON now and then: what was found outlives the process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("wanted", nargs="+", type=wanted_cases, help="a target's name, and how many cases: NAME=CASES")
    asked = parser.parse_args()
    with told_apart(asked.folder) as (told, watch):
        for name, cases in asked.wanted:
            started, fuzzer = time.monotonic(), Fuzzer(target_called(name), asked.folder, asked.seed, watch)
            for start in range(0, cases, STEP):
                told.tell(fuzzer.run(min(STEP, cases - start)), name, started)


def wanted_cases(text: str) -> tuple[str, int]:
    """A target's name and a number of cases, with = between."""
    name, _, cases = text.rpartition("=")
    return name, int(cases)


@dataclass(frozen=True)
class Told:
    """Where the lines go."""

    file: TextIO

    def tell(self, tally: Tally, name: str, started: float) -> None:
        """What the cases of a reader have come to until now."""
        line = {**tally.as_dict(), "name": name, "seconds": time.monotonic() - started}
        self.file.write(json.dumps(line) + "\n")
        self.file.flush()


@contextlib.contextmanager
def told_apart(folder: Path) -> Iterator[tuple[Told, Watch]]:
    """What readers say is dropped; lines of tallies and the traceback of the fuzzer itself are not."""
    warnings.simplefilter("ignore")
    stdout, stderr = sys.stdout, sys.stderr
    sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (as long as the process runs)
    work = folder / "work"
    work.mkdir(exist_ok=True)
    os.environ["ACTIVETUNE_CACHE"], tempfile.tempdir = str(work / "cache"), str(work)
    try:
        yield Told(stdout), Watch(work)
    except Exception:
        traceback.print_exc(file=stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
