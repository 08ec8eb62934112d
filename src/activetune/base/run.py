"""The options that every stage has, given once: their names and types, their defaults, and what a stage can't use.

A stage takes them as ``**run_options: Unpack[RunOptions]`` and calls :meth:`Run.of` first. An option that can't change
anything there is named in that call, and refused with a sentence when it is given: no option is taken and ignored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from activetune.base.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")


class RunOptions(TypedDict, total=False):
    """Keyword options of every stage.

    Attributes:
        seed: of every random choice, 0 or more (default 0).
        device: ``auto`` (default), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
        precision: of matrix products: ``auto`` (default) takes the fastest that the device computes natively.
        workers: processes that decode images, or of the stage itself; -1 (default) chooses, 0 works in this process.
        overwrite: replace what the output holds.
        resume: go on with a run that was cut off; a finished one of the same inputs is kept.
        quiet: no progress and no notes on stderr.
    """

    seed: int
    device: str
    precision: str
    workers: int
    overwrite: bool
    resume: bool
    quiet: bool


@dataclass(frozen=True)
class Idle:
    """An option that changes nothing in a stage.

    Attributes:
        reason: why, as the end of a sentence that begins with the stage's name.
        allowed: values, beside the default, that are accepted all the same, as they ask for what the stage does anyway.
    """

    reason: str
    allowed: tuple[object, ...] = ()


MOST_SEED = 2**62  # torch takes 64 bits, and rounds count on from it
NO_CHANCE = Idle("draws nothing at random")
PROCESSOR_ONLY = Idle("works on the processor alone", ("cpu",))
FULL_PRECISION = Idle("computes in full precision alone", ("fp32",))
NO_PRODUCTS = Idle("computes no matrix products", ("fp32",))

ONE_PROCESS = Idle("works in one process", (0, 1))


@dataclass(frozen=True)
class Run:
    """The options of one run, all of them known; see :class:`RunOptions`."""

    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    workers: int = -1
    overwrite: bool = False
    resume: bool = False
    quiet: bool = False

    @classmethod
    def of(cls, stage: str, options: RunOptions, **idle: Idle) -> Run:
        """The options of a stage, of which those in ``idle`` change nothing there.

        Raises:
            TypeError: an option that no stage has. UsageError: a value that is impossible, or that this stage can't
                honour.
        """
        unknown = sorted(options.keys() - {field.name for field in dataclasses.fields(cls)})
        if unknown:
            raise TypeError(f"{stage}() got an unexpected keyword argument {unknown[0]!r}")
        run = cls(**options)
        run._refuse_impossible(stage)
        _refuse_idle(stage, run, idle)
        return run

    def within(self) -> RunOptions:
        """The options of a stage within this one: where and how to compute, not what to do with an output."""
        return {"device": self.device, "precision": self.precision, "workers": self.workers, "quiet": self.quiet}

    def _refuse_impossible(self, stage: str) -> None:
        if not 0 <= self.seed <= MOST_SEED:
            raise UsageError(f"{stage}: seed can't be {self.seed}; give 0 to {MOST_SEED:,}")
        if self.workers < -1:
            raise UsageError(f"{stage}: workers can't be {self.workers}; give -1 (chosen), or 0 or more processes")
        check_precision(self.precision)


def check_precision(precision: str) -> None:
    """Refuse a precision that there is not.

    Raises:
        UsageError: not one of ``PRECISIONS``.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision {precision!r} is not known; allowed: {', '.join(PRECISIONS)}")


def _refuse_idle(stage: str, run: Run, idle: Mapping[str, Idle]) -> None:
    for name, why in idle.items():
        value: Any = getattr(run, name)
        default = type(run).__dataclass_fields__[name].default
        if value != default and value not in why.allowed:
            given = f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}"
            raise UsageError(f"{stage} {why.reason}, so {given} can't be given here; leave it out")
