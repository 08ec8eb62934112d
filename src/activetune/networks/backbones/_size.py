"""``NAME@SIZE`` or ``NAME@HEIGHTxWIDTH``: a backbone on images of another size than its publisher's."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from activetune.base.errors import UsageError, first_line, is_out_of_memory
from activetune.base.names import whole_number

LARGEST = 4096
Size = tuple[int, int]  # height, width


def split_size(prefix: str, name: str) -> tuple[str, Size | None]:
    """A source's name without ``@SIZE``, and height and width in pixels; None where there is none.

    >>> split_size("timm", "vit_tiny_patch16_224@112"), split_size("bundled", "")
    (('vit_tiny_patch16_224', (112, 112)), ('', None))
    >>> split_size("timm", "vit_tiny_patch16_224@192x256")
    ('vit_tiny_patch16_224', (192, 256))

    Raises:
        UsageError: no number after the last @, or one that is no possible size.
    """
    rest, at, size = name.rpartition("@")
    if not at or any(map(os.path.exists, (name, name.partition("#")[2]))):
        return name, None  # a folder, or a file of weights, with an @ in its name
    height, times, width = size.partition("x")
    width = width if times else height
    sides = whole_number(height) or 0, whole_number(width) or 0
    if not all(1 <= side <= LARGEST for side in sides):
        given = f"{prefix}/{name}" if rest else f"{prefix}{name}"
        allowed = f"a number up to {LARGEST}, or HEIGHTxWIDTH,"
        raise UsageError(f"{given} asks for images of {size or 'no'} pixels; give {allowed} after the @")
    return rest, sides


def told(size: Size) -> str:
    """``224`` for a square, ``192x256`` for another size.

    >>> told((224, 224)), told((192, 256))
    ('224', '192x256')
    """
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"


def as_option(size: Size) -> int | Size:
    """A size as an option of a library's constructor: one number for a square."""
    return size[0] if size[0] == size[1] else size


@contextlib.contextmanager
def readable(name: str, size: Size | None) -> Iterator[None]:
    """Turn what a network raises about images of a size that was asked for into a sentence; None: none was.

    Raises:
        UsageError: the network can't read them.
    """
    try:
        yield
    except (AssertionError, RuntimeError, ValueError) as error:
        if size is None or is_out_of_memory(error):
            raise
        raise UsageError(
            f"{name} can't read images of {told(size)} pixels ({first_line(error)}); give another @SIZE, or none"
        ) from None
