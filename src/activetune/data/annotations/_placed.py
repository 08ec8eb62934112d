"""Answers with a place in their image: the boxes and the mask that its listed objects make, held to the image.

What can't be used is counted by kind; ``docs/annotations.md`` has the rules.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from activetune.base.errors import RejectedImage
from activetune.data.annotations._legend import BACKGROUND
from activetune.data.annotations._listed import Asked, Listed, Thing
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import (
    Box,
    Inset,
    Polygons,
    Runs,
    Shape,
    drawn,
    may_show,
    rectangle,
    turned,
)
from activetune.data.images import MAX_PIXELS
from activetune.data.kinds import VOID, Answer, Boxes

ROUNDING = 1.0  # pixels that a box may reach beyond its image before a word is said


def known_things(listed: Listed, position: Mapping[str, int], problems: Problems) -> list[Thing]:
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


def turned_by(box: Box | None, told: object, place: str, problems: Problems) -> Box | None:
    """The box around one that an object's attribute ``rotation`` turns: CVAT writes both in COCO and Pascal VOC.

    Args:
        told: the attribute, a number of degrees or its text; anything else is an attribute of other meaning.
    """
    try:
        degrees = float(told) if isinstance(told, int | float | str) and not isinstance(told, bool) else 0.0
        around = turned(box, degrees) if box is not None and degrees else box
    except (ValueError, OverflowError):
        return box
    if around != box:
        problems.add("boxes that their attribute rotation turns, read as the box around them", place)
    return around


# Detection ------------------------------------------------------------------------------------------------------------


def boxes_of(listed: Listed, item: str, position: Mapping[str, int], asked: Asked) -> Boxes | None:
    """The boxes of an image, cut off at its borders; None where objects are known and no box of them is."""
    size = size_of(item, listed.size, asked)
    if size is None:
        return None
    known = []
    for thing in known_things(listed, position, asked.problems):
        if thing.box is None and isinstance(thing.shape, Runs) and thing.shape.size != size:
            asked.problems.add("regions of another size than their image, left out", listed.where)
            thing = thing._replace(shape=None, damaged=True)
        known.append(thing)
    scale = size[::-1] if listed.relative else (1, 1)
    boxed = [(thing, box) for thing in known if (box := _box_of(thing, scale)) is not None]
    unboxed = len(known) - len(boxed) - sum(thing.damaged for thing in known)  # damaged ones were told of
    if unboxed:
        asked.problems.add("objects without a box, left out", listed.where, unboxed)
    given_K4 = np.asarray([box for _, box in boxed], dtype=np.float64).reshape(-1, 4)
    corners_K4, kept = _held(given_K4, size, listed, asked)
    if not kept and listed.broken + len(known):
        asked.problems.add("images none of whose objects can be read, left out", listed.where)
        return None
    things = [boxed[row][0] for row in kept]
    names, crowd = [thing.name for thing in things], [thing.crowd for thing in things]
    return Boxes(corners_K4[kept], tuple(names), np.asarray(crowd, dtype=np.bool_))


def _box_of(thing: Thing, scale: tuple[int, int]) -> Box | None:
    """The box, or that around the region, in pixels; run lengths are in pixels always."""
    box = thing.box if thing.box is not None or thing.shape is None else thing.shape.bounds()
    if box is None or (thing.box is None and isinstance(thing.shape, Runs)):
        return box
    left, top, right, bottom = box
    return left * scale[0], top * scale[1], right * scale[0], bottom * scale[1]


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


def mask_of(listed: Listed, item: str, position: Mapping[str, int], asked: Asked) -> Answer | None:
    """The mask that an image's regions make; None where its objects have boxes alone."""
    size = size_of(item, listed.size, asked)
    if size is None:
        return None
    things = known_things(listed, position, asked.problems)
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
    return shape.scaled(size[1], size[0]) if relative and isinstance(shape, Polygons | Inset) else shape
