"""What files say of images, in one form for all formats: images with their objects, and what they are read for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from activetune.base.errors import UsageError
from activetune.data.annotations._export import Export
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Box, Shape
from activetune.data.pool import Pool


class Thing(NamedTuple):
    """An object of an image; a name alone where a format knows no more.

    Attributes:
        name: its class. box: ``x_left, y_top, x_right, y_bottom`` in pixels. shape: its region.
        crowd: it stands for several objects, or for one that is not to be scored. damaged: its place was given and
            can't be read, which its reader has told.
    """

    name: str
    box: Box | None = None
    shape: Shape | None = None
    crowd: bool = False
    damaged: bool = False


@dataclass
class Listed:
    """An image that a file lists.

    Attributes:
        name: what the file calls it. where: its place in the file, for messages.
        size: height and width as the file has them, None where it does not say.
        things: its objects; an image without any is as good as one with many. sentences: what is said of it.
        relative: boxes and polygons are in shares of width and height.
        answered: False: it is listed, and nobody has answered it yet.
        broken: how many of its objects can't be read at all.
    """

    name: str
    where: str
    size: tuple[int, int] | None = None
    things: list[Thing] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)
    relative: bool = False
    answered: bool = True
    broken: int = 0

    def add(self, thing: Thing | None) -> None:
        """Take an object; None: one that can't be read."""
        if thing is None:
            self.broken += 1
        else:
            self.things.append(thing)


def size_from(height: object, width: object) -> tuple[int, int] | None:
    """Height and width as a file declares them, numbers or the texts of some; None where it does not say."""
    try:
        sides = [float(side) if isinstance(side, int | float | str) else 0.0 for side in (height, width)]
    except (ValueError, OverflowError):
        return None
    return (int(sides[0]), int(sides[1])) if all(side >= 1 and side.is_integer() for side in sides) else None


def crowd_from(value: object) -> bool:
    """Whether a cell says that an object is a crowd: 1 or true, also as text; NaN stands for nothing."""
    if isinstance(value, str):
        return value.strip().lower() in ("1", "1.0", "true", "yes")
    return bool(value) and value == value


def sentence(value: object) -> str:
    """A sentence without blanks around it.

    Raises:
        UsageError: it is no text.
    """
    if not isinstance(value, str):
        raise UsageError("it is no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can hold
        raise UsageError("it is not valid Unicode text") from None
    return value.strip()


@dataclass(frozen=True)
class Found:
    """What a format has read: images, and all classes in order where the file has a list of them.

    Attributes:
        whole: the list is that of masks, and ``background`` is a class where it stands there alone.
        pixels: boxes are in pixels for sure, however small all of them are.
    """

    listed: Sequence[Listed]
    classes: Sequence[str] | None = None
    whole: bool = False
    pixels: bool = False


@dataclass(frozen=True)
class Asked:
    """What answers are read for.

    Attributes:
        classes: the classes that count, in order; None takes those of the file.
        export: what an exported folder says of itself, where the answers lie in one.
    """

    pool: Pool
    task: str
    problems: Problems
    classes: Sequence[str] | None = None
    quiet: bool = False
    export: Export | None = None

    def called(self, name: str) -> str:
        """The id that a file's name stands for in an exported folder; else the name itself."""
        return name if self.export is None else self.export.item(name)
