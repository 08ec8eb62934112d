"""The answers that a task makes of what a file lists: names become items of the pool, objects become answers.

Whatever can't be used is counted by kind. ``docs/annotations.md`` has the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from activetune.base.errors import UsageError, some
from activetune.base.progress import progress
from activetune.data.annotations._legend import BACKGROUND, is_void
from activetune.data.annotations._listed import Asked, Found, Listed, Thing
from activetune.data.annotations._matching import match
from activetune.data.annotations._placed import boxes_of, known_things, mask_of
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import are_shares
from activetune.data.answers import class_names
from activetune.data.kinds import Answer, Names, Sentences, fingerprint_of
from activetune.data.labels import Labels
from activetune.data.near_names import nearest_spellings


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
    if asked.task != "detection" or found.pixels:
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
    met = sorted({thing.name for listed in found.listed for thing in listed.things})
    if found.classes is None:
        own = met
    else:  # a class that was renamed or added since, and not in the list, counts all the same
        in_masks = asked.task == "segmentation"  # where void regions are called as the background, and are no class
        own = [*found.classes, *(name for name in met if not (in_masks and (name == BACKGROUND or is_void(name))))]
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
        "multilabel": lambda listed, item: Names.of(
            [thing.name for thing in known_things(listed, position, asked.problems)]
        ),
        "captioning": lambda listed, item: Sentences(tuple(listed.sentences)) if listed.sentences else None,
        "detection": lambda listed, item: boxes_of(listed, item, position, asked),
        "segmentation": lambda listed, item: mask_of(listed, item, position, asked),
    }
