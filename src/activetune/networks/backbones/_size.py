"""``NAME@SIZE``: a backbone on images of another size than its publisher's, as most sources take it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from activetune.base.errors import UsageError, first_line

LARGEST = 4096


def split_size(prefix: str, name: str) -> tuple[str, int | None]:
    """A source's name without ``@SIZE``, and the size in pixels; None where there is none.

    >>> split_size("timm", "vit_tiny_patch16_224@112"), split_size("bundled", "")
    (('vit_tiny_patch16_224', 112), ('', None))

    Raises:
        UsageError: no number after the last @, or one that is no possible size.
    """
    rest, at, size = name.rpartition("@")
    if not at or any(Path(path).exists() for path in (name, name.partition("#")[2]) if path):
        return name, None  # a folder, or a file of weights, with an @ in its name
    if not size.isdecimal() or not 1 <= int(size) <= LARGEST:
        given = f"{prefix}/{name}" if rest else f"{prefix}{name}"
        raise UsageError(f"{given} asks for images of {size or 'no'} pixels; give a number up to {LARGEST} after the @")
    return rest, int(size)


@contextlib.contextmanager
def readable(name: str, pixels: int | None) -> Iterator[None]:
    """Turn what a network raises about images of a size that was asked for into a sentence; None: none was.

    Raises:
        UsageError: the network can't read them.
    """
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        if pixels is None:
            raise
        raise UsageError(f"{name} can't read images of {pixels} pixels ({first_line(error)})") from None
