"""How many frames of a video are items of a pool, as it is written behind the pool: ``clip.mp4@2fps``, ``videos@all``.

It is part of the pool's name, so that every command and every artefact that names the pool takes the same frames.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from activetune.base.errors import UsageError
from activetune.data.remote.location import Location, RemotePath, located

ALL = "all"
WRITTEN = re.compile(rf"(?P<path>.+)@(?P<rate>{ALL}|\d+(?:\.\d+)?fps)", re.DOTALL)
LARGEST, DECIMALS = 1000, 1000  # frames per second; parts of one


@dataclass(frozen=True)
class FrameRate:
    """Frames per second of playing time, at most; None: every frame."""

    per_second: Fraction | None

    @classmethod
    def of(cls, given: float | str) -> FrameRate:
        """``2``, ``0.5``, ``"2fps"`` or ``"all"``.

        Raises:
            UsageError: none of these, or outside 0.001 to 1,000.

        >>> str(FrameRate.of(0.5))
        '0.5fps'
        """
        text = str(given).strip().removesuffix("fps")
        if text == ALL:
            return cls(None)
        try:
            rate = Fraction(text).limit_denominator(DECIMALS)
        except (ValueError, ZeroDivisionError):
            raise UsageError(f"the frame rate {given!r} is not understood; give 1fps, 0.2fps or {ALL}") from None
        if not Fraction(1, DECIMALS) <= rate <= LARGEST:
            raise UsageError(
                f"the frame rate {given!r} is not possible: 0.001 to {LARGEST:,} frames per second, or {ALL}"
            )
        return cls(rate)

    def __str__(self) -> str:
        """As few digits, six at least where there are as many, as :meth:`of` reads the same rate from."""
        if self.per_second is None:
            return ALL
        written = [f"{float(self.per_second):.{digits}g}" for digits in range(6, 12)]
        found = (text for text in written if Fraction(text).limit_denominator(DECIMALS) == self.per_second)
        return f"{next(found, written[-1])}fps"


DEFAULT = FrameRate(Fraction(1))


def split_rate(name: str | os.PathLike[str]) -> tuple[Location, FrameRate | None]:
    """A pool's path, and the frame rate that is written behind it; an existing path is one whatever its name.

    An address has no frame rate: videos elsewhere are no pools.

    >>> split_rate("clips/a.mp4@0.5fps")[0].as_posix()
    'clips/a.mp4'

    Raises:
        UsageError: a rate that is not possible.
    """
    path = located(name)
    if isinstance(path, RemotePath):
        return path, None
    found = WRITTEN.fullmatch(os.fspath(name))
    if found is None or _exists(path):
        before, at, rate = os.fspath(name).rpartition("@")
        if at and not _exists(path) and _exists(Path(before).expanduser()):
            return Path(before).expanduser(), FrameRate.of(rate)  # written otherwise, or told how it is written
        return path, None
    return Path(found["path"]).expanduser(), FrameRate.of(found["rate"])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, a zero character
        return False
