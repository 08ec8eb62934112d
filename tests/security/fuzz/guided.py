"""The cases of one reader, led by coverage: one that reaches new lines of the package becomes a seed.

atheris (Apache-2.0) instruments the package as it is imported, and has libFuzzer choose which case is changed; how it
is changed, what is a fault and what is told are those of ``loop.py``. libFuzzer knows an input as bytes: the files of a
case, packed. The corpus stays in a folder, so that each night goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import struct
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import atheris

with atheris.instrument_imports(include=["activetune"]):
    from tests.security.fuzz.loop import Fuzzer, Told, told_apart, wanted_cases
    from tests.security.fuzz.targets import Case, target_called
    from tests.security.fuzz.watch import Watch

STEP = 50  # cases between two lines of tallies
LARGEST = 2**20  # bytes of a case
Returned = TypeVar("Returned")


def packed(case: Case) -> bytes:
    """A case as bytes: the length of a header, the header (names and lengths in JSON), the files."""
    header = json.dumps([[name, len(content)] for name, content in case.items()]).encode()
    return struct.pack("<I", len(header)) + header + b"".join(case.values())


def unpacked(data: bytes) -> Case | None:
    """The case; None for bytes that hold none."""
    if len(data) < 4:
        return None
    start = 4 + struct.unpack_from("<I", data)[0]
    try:
        lengths = json.loads(data[4:start])
    except ValueError:
        return None
    case = {}
    for name, length in lengths:
        case[name] = data[start : start + length]
        start += length
    return case


def told_of(call: Callable[..., Returned]) -> Callable[..., Returned]:
    """The same, whose exceptions are shown: libFuzzer would end the process with a line that says nothing."""

    def guarded(*given: Any) -> Returned:
        try:
            return call(*given)
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
            os._exit(1)

    return guarded


class Guided:
    """A reader under libFuzzer, which never returns: the process ends after the last case."""

    def __init__(self, fuzzer: Fuzzer, cases: int, told: Told):
        self.fuzzer, self.cases, self.told, self.started = fuzzer, cases, told, time.monotonic()

    def run(self, corpus: Path, seed: int) -> None:
        """Begin with the corpus and the seeds; what reaches new lines is written to the corpus."""
        corpus.mkdir(parents=True, exist_ok=True)
        for number, case in enumerate(self.fuzzer.seeds):
            (corpus / f"seed-{number}").write_bytes(packed(case))
        unlimited = ["-timeout=3600", "-rss_limit_mb=0"]  # the limits are those of ``watch.py``
        options = [f"-seed={seed + 1}", f"-max_len={LARGEST}", "-cross_over=0", *unlimited]
        arguments = [sys.argv[0], *options, "-verbosity=0", f"-artifact_prefix={corpus.parent}/", str(corpus)]
        atheris.Setup(arguments, told_of(self._read), custom_mutator=told_of(self._changed))
        atheris.Fuzz()

    def _read(self, data: bytes) -> None:
        case = unpacked(data)
        if case is None:
            return
        self.fuzzer.read(case)
        tally = self.fuzzer.tally
        if tally.cases % STEP == 0 or tally.cases == self.cases:
            self.told.tell(tally, self.fuzzer.target.name, self.started)
        if tally.cases == self.cases:
            os._exit(0)

    def _changed(self, data: bytes, largest: int, seed: int) -> bytes:
        draw = random.Random(seed)
        case = unpacked(data) or draw.choice(self.fuzzer.seeds)
        made = packed(self.fuzzer.changed(case, draw))
        return made if len(made) <= largest else packed(case)[:largest]


def main() -> None:
    """Run the cases of one target."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("wanted", type=wanted_cases, help="a target's name, and how many cases: NAME=CASES")
    parser.add_argument("--corpus", type=Path, required=True)
    asked = parser.parse_args()
    name, cases = asked.wanted
    with told_apart(asked.folder) as (told, watch):
        Guided(instrumented(name, asked.folder, asked.seed, watch), cases, told).run(
            asked.corpus / re.sub(r"\W+", "_", name), asked.seed
        )


def instrumented(name: str, folder: Path, seed: int, watch: Watch) -> Fuzzer:
    """The fuzzer of a target, whose seeds have imported what their reader needs."""
    with atheris.instrument_imports(include=["activetune"]):
        return Fuzzer(target_called(name), folder, seed, watch)


if __name__ == "__main__":
    main()
