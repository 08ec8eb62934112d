"""What files say of images, in one form for all formats, and the answers that a task makes of it.

A format lists images with their objects; here names become items of the pool, boxes and regions are held to the image,
and whatever can't be used is counted by kind. ``docs/annotations.md`` has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from activetune.base.errors import RejectedImage, UsageError, some
from activetune.base.progress import progress
from activetune.data.annotations._export import Export
from activetune.data.annotations._matching import match
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Box, Polygons, Runs, Shape, are_shares, drawn, may_show, rectangle
from activetune.data.answers import class_names
from activetune.data.images import MAX_PIXELS
from activetune.data.kinds import VOID, Answer, Boxes, Names, Sentences, fingerprint_of
from activetune.data.labels import Labels
from activetune.data.near_names import nearest_spellings
from activetune.data.pool import Pool

BACKGROUND = "background"
ROUNDING = 1.0  # pixels that a box may reach beyond its image before a word is said


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
    """

    listed: Sequence[Listed]
    classes: Sequence[str] | None = None
    whole: bool = False


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


def answers_of(found: Found, asked: Asked) -> Labels:
    """The answers to the items that a format lists.

    Raises:
        UsageError: there is none.
    """
    problems, classes = asked.problems, _classes(found, asked)
    _refuse_other_objects(found, classes, asked)
    _refuse_shares(found, asked)
    make = _makers(asked, classes)[asked.task]
    matched = match([listed.name for listed in found.listed], asked.pool, problems)
    answers: dict[str, Answer] = {}
    waiting: set[str] = set()
    with progress(len(found.listed), "reading answers", quiet=asked.quiet) as meter:
        for listed in found.listed:
            meter.advance()
            item = matched.get(listed.name)
            if item is None:
                continue
            answer = make(listed, item) if listed.answered and not _unreadable(listed, problems) else None
            if answer is None:
                waiting.add(item)
            elif item not in answers:
                answers[item] = answer
            elif fingerprint_of(answers[item]) != fingerprint_of(answer):
                problems.add(
                    "images listed twice with different answers, the first counts", f"{item!r}, {listed.where}"
                )
    refuse_nothing(len(answers), asked)
    waiting -= answers.keys()
    return Labels(list(answers), list(answers.values()), classes, len(waiting))


def _unreadable(listed: Listed, problems: Problems) -> bool:
    """Whether none of an image's objects can be read: it is not answered, which is not the same as showing none."""
    if listed.things or not listed.broken:
        return False
    problems.add("images none of whose objects can be read, left out", listed.where)
    return True


def _refuse_other_objects(found: Found, classes: Sequence[str], asked: Asked) -> None:
    """Raise where there are objects, and none is of a class that counts or has what the task is about."""
    things = [thing for listed in found.listed for thing in listed.things]
    if not things:
        return
    names = {thing.name for thing in things}
    refuse_other_classes(names, classes, asked)
    if asked.task == "multilabel" or any(_fits(thing, asked.task) for thing in things):
        return
    needed = "regions (polygons, run lengths or masks)" if asked.task == "segmentation" else "boxes"
    told = asked.problems.told()
    raise UsageError(
        f"{asked.problems.where}: none of its {len(things):,} objects has what {asked.task} needs, {needed}"
        f"{f'; {told}' if told else ''}"
    )


def _refuse_shares(found: Found, asked: Asked) -> None:
    """Raise where all boxes fit into one pixel: they are in shares of the image, where pixels are meant."""
    if asked.task != "detection":
        return
    boxes = [thing.box for listed in found.listed if not listed.relative for thing in listed.things if thing.box]
    if are_shares(boxes):
        raise UsageError(
            f"{asked.problems.where}: its {len(boxes):,} boxes are shares of the image from 0 to 1, and pixels are "
            "expected; multiply them by its width and height"
        )


def refuse_other_classes(names: Collection[str], classes: Sequence[str], asked: Asked) -> None:
    """Raise where none of the names in a file is among the classes: all images would seem to show nothing."""
    if set(names).isdisjoint(classes):
        meant = nearest_spellings(names, classes)
        advice = "".join(f"; {right!r} is spelt {wrong!r} there" for wrong, right in sorted(meant.items())[:1])
        raise UsageError(
            f"{asked.problems.where} holds the classes {some(sorted(names))}, none of which is among the given ones "
            f"({some(classes)}){advice}"
        )


def _fits(thing: Thing, task: str) -> bool:
    return thing.shape is not None or (task == "detection" and thing.box is not None)


def refuse_nothing(count: int, asked: Asked) -> None:
    """Raise where no answer was read at all."""
    if not count:
        told = asked.problems.told()
        raise UsageError(
            f"{asked.problems.where} holds no answer for {asked.task}{f': {told}' if told else ''}; give a file "
            "that has some, or say with --task what is answered there"
        )


def _classes(found: Found, asked: Asked) -> list[str]:
    """The classes in order: those asked for, those of the file, or all names that occur in it, sorted."""
    if asked.task == "captioning":
        return []
    if asked.classes is not None:
        return checked_classes(asked.classes)
    own = found.classes
    if own is None:
        own = sorted({thing.name for listed in found.listed for thing in listed.things})
    if asked.export is not None and asked.export.classes:  # in their order, and what was added since behind them
        return list(dict.fromkeys([*asked.export.classes, *own]))
    names = list(dict.fromkeys(own))
    if found.whole:
        return names
    return [BACKGROUND, *(name for name in names if name != BACKGROUND)] if asked.task == "segmentation" else names


def checked_classes(classes: Sequence[str]) -> list[str]:
    """A list of classes that a user gave.

    Raises:
        UsageError: one is given twice, or has no name.
    """
    names = class_names(classes, "the classes")
    if None in names or len(set(names)) < len(names):
        raise UsageError("the classes must be distinct names; give each once")
    return [name for name in names if name is not None]


Maker = Callable[[Listed, str], Answer | None]


def _makers(asked: Asked, classes: Sequence[str]) -> Mapping[str, Maker]:
    """What makes an answer of a listed image, by task; None: it is not answered."""
    position = {name: number for number, name in enumerate(classes)}
    return {
        "multilabel": lambda listed, item: Names.of([thing.name for thing in _known(listed, position, asked.problems)]),
        "captioning": lambda listed, item: Sentences(tuple(listed.sentences)) if listed.sentences else None,
        "detection": lambda listed, item: _boxes(listed, item, position, asked),
        "segmentation": lambda listed, item: _mask(listed, item, position, asked),
    }


def _known(listed: Listed, position: Mapping[str, int], problems: Problems) -> list[Thing]:
    """The objects whose class counts."""
    kept = [thing for thing in listed.things if thing.name in position]
    if len(kept) < len(listed.things):
        for thing in listed.things:
            if thing.name not in position:
                problems.add("objects of a class that is not among the given ones, left out", repr(thing.name))
    return kept


def size_of(item: str, declared: tuple[int, int] | None, asked: Asked) -> tuple[int, int] | None:
    """Height and width of an image; None where they are not known, or not those that the file has."""
    problems, pool = asked.problems, asked.pool
    try:
        size = pool.size(pool.position[item])
    except RejectedImage as error:
        if declared is None or declared[0] * declared[1] > MAX_PIXELS:
            problems.add("images whose size can't be read, left out", f"{item!r}, {error}")
            return None
        return declared
    if declared is None or size == declared:
        return size
    (height, width), (own_height, own_width) = declared, size
    turned = ": sizes are those of the photo as it is shown, turned upright" if size == declared[::-1] else ""
    problems.add(
        "images of another size than their annotation is for, left out",
        f"{item!r} has {own_width} x {own_height} pixels, its annotation {width} x {height}{turned}",
    )
    return None


# Detection ------------------------------------------------------------------------------------------------------------


def _boxes(listed: Listed, item: str, position: Mapping[str, int], asked: Asked) -> Boxes | None:
    """The boxes of an image, cut off at its borders; None where objects are known and no box of them is."""
    size = size_of(item, listed.size, asked)
    if size is None:
        return None
    scale = size[::-1] if listed.relative else (1, 1)
    known = _known(listed, position, asked.problems)
    boxed = [(thing, box) for thing in known if (box := _box_of(thing)) is not None]
    unboxed = len(known) - len(boxed) - sum(thing.damaged for thing in known)  # damaged ones were told of
    if unboxed:
        asked.problems.add("objects without a box, left out", listed.where, unboxed)
    given_K4 = np.asarray([box for _, box in boxed]).reshape(-1, 4) * (*scale, *scale)
    corners_K4, kept = _held(given_K4, size, listed, asked)
    if not kept and listed.broken + len(known):
        asked.problems.add("images none of whose objects can be read, left out", listed.where)
        return None
    things = [boxed[row][0] for row in kept]
    names, crowd = [thing.name for thing in things], [thing.crowd for thing in things]
    return Boxes(corners_K4[kept], tuple(names), np.asarray(crowd, dtype=np.bool_))


def _box_of(thing: Thing) -> Box | None:
    """The box, or that around the region."""
    return thing.box if thing.box is not None or thing.shape is None else thing.shape.bounds()


def _held(
    corners_K4: npt.NDArray[np.float64], size: tuple[int, int], listed: Listed, asked: Asked
) -> tuple[npt.NDArray[np.float32], list[int]]:
    """Boxes cut off at the borders of their image, and the rows of those with an area there."""
    height, width = size
    with np.errstate(over="ignore", invalid="ignore"):
        given = corners_K4.astype(np.float32)
        finite = np.isfinite(given).all(axis=1)
        area = finite & (given[:, 2] > given[:, 0]) & (given[:, 3] > given[:, 1])
        clipped = np.clip(given, 0, np.asarray([width, height, width, height], dtype=np.float32))
        inside = area & (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
        cut = inside & (np.abs(clipped - given) > ROUNDING).any(axis=1)
    told = (
        ("boxes that are no finite numbers, left out", ~finite),
        ("boxes without area, left out", finite & ~area),
        ("boxes outside of their image, left out", area & ~inside),
        ("boxes partly outside of their image, cut off at its border", cut),
    )
    for what, rows in told:
        if rows.any():
            first = int(np.flatnonzero(rows)[0])
            box = ", ".join(f"{value:g}" for value in corners_K4[first])
            asked.problems.add(what, f"{listed.where}, corners {box} in {width} x {height} pixels", int(rows.sum()))
    return clipped, np.flatnonzero(inside).tolist()


# Segmentation ---------------------------------------------------------------------------------------------------------


def _mask(listed: Listed, item: str, position: Mapping[str, int], asked: Asked) -> Answer | None:
    """The mask that an image's regions make; None where its objects have boxes alone."""
    size = size_of(item, listed.size, asked)
    if size is None:
        return None
    things = _known(listed, position, asked.problems)
    shaped = [thing for thing in things if thing.shape is not None]
    if things and not shaped:
        asked.problems.add("images whose objects have no regions, left out", f"{item!r}, {listed.where}")
        return None
    regions = []
    for thing in things:
        fits = not isinstance(thing.shape, Runs) or thing.shape.size == size
        if not fits:
            asked.problems.add("regions of another size than their image, their box is void", listed.where)
        elif thing.shape is None:
            asked.problems.add("objects without a region, their box is void", listed.where)
        shape = _region(thing if fits else thing._replace(shape=None), size, listed.relative)
        if shape is not None and not may_show(shape, size):
            asked.problems.add("regions outside of their image or without area, left out", listed.where)
        elif shape is not None:
            told = thing.shape is not None and fits
            regions.append((position[thing.name] if told else VOID, shape, thing.crowd))
    if not regions and (things or listed.broken):
        asked.problems.add("images none of whose objects can be read, left out", listed.where)
        return None
    return drawn(regions, size, position.get(BACKGROUND, VOID))


def _region(thing: Thing, size: tuple[int, int], relative: bool) -> Shape | None:
    """An object's region in pixels; where it has none its box, which nobody knows the pixels of."""
    shape = thing.shape if thing.shape is not None or thing.box is None else rectangle(thing.box)
    return shape.scaled(size[1], size[0]) if relative and isinstance(shape, Polygons) else shape
