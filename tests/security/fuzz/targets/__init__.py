"""What is fuzzed, one module per kind of reader; a new file here is found by itself.

A module defines ``targets()``. ``tests/security/test_fuzz.py`` fails where a source of pools or a format of answers has
no target.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

Case = dict[str, bytes]  # files by their paths in the folder of a case


@dataclass(frozen=True)
class Target:
    """A reader.

    Attributes:
        name: for the table. made: writes good files into a folder of its own and gives them as cases.
        read: reads the case in a folder; it may raise what is explained, and nothing else.
        short: share of the cases that a short run takes, for readers that are slow. fixed: beginning of the names of
            files that are never changed.
    """

    name: str
    made: Callable[[Path], list[Case]]
    read: Callable[[Path], object]
    short: float = 1.0
    fixed: str = ""


def targets() -> Iterator[Target]:
    """All of them."""
    for info in pkgutil.iter_modules(__path__):
        if not info.name.startswith("_"):
            yield from importlib.import_module(f"{__name__}.{info.name}").targets()


def target_called(name: str) -> Target:
    """The one of this name."""
    return next(target for target in targets() if target.name == name)


def case_of(folder: Path) -> Case:
    """The files in a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
