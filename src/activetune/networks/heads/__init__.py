"""What turns a backbone's features into answers; one module a head, in the room of the answers that it gives.

A head is a module with one subclass of :class:`Head` in ``classes``, ``masks``, ``boxes`` or ``sentences``; its name is
the file's name. Adding a head is adding a file.
"""

from __future__ import annotations

import contextlib
import inspect
from typing import Any, Literal, get_args

from activetune.base.discovery import classes_of
from activetune.base.errors import UsageError, unknown_name
from activetune.networks.heads._head import CLASSES, ClassHead, Head

__all__ = [
    "CLASSES",
    "ROOMS",
    "ClassHead",
    "Head",
    "Room",
    "heads",
    "make_class_head",
    "make_head",
    "options_of",
    "parse_head",
]

Room = Literal["classes", "masks", "boxes", "sentences"]
ROOMS: tuple[Room, ...] = get_args(Room)
FIRST = {"tokens": 0, "map": 1, "pooled": 2}


def heads(room: Room = "classes") -> dict[str, type[Head]]:
    """The head classes of a room by name; those that read tokens first."""
    found: dict[str, type[Head]] = classes_of(f"{__name__}.{room}", Head)
    return dict(sorted(found.items(), key=lambda item: (FIRST[item[1].reads], item[0])))


def make_class_head(kind: str, size: int, outputs: int) -> ClassHead:
    """A head that gives a logit per class, by its name.

    Raises:
        UsageError: unknown name.
    """
    head = make_head(kind, size, outputs)
    assert isinstance(head, ClassHead)
    return head


def make_head(kind: str, size: int, outputs: int, room: Room = "classes", **options: Any) -> Head:
    """A head by its name; its last layer is at zero where it gives a number per class.

    Args:
        kind: ``detr``, or with options of its own ``detr:queries=50;layers=3``.
        size: D of what the head reads. options: those of the head's constructor, see :meth:`Head.options`.

    Raises:
        UsageError: unknown name or option, or a value of the wrong kind.
    """
    cls, given = parse_head(kind, room)
    return cls(size, outputs, **given, **options)


def parse_head(text: str, room: Room = "classes") -> tuple[type[Head], dict[str, Any]]:
    """The class of a head, and the options that stand behind its name.

    >>> parse_head("detr:queries=50;layers=3", "boxes")[1]
    {'queries': 50, 'layers': 3}

    Raises:
        UsageError: unknown name or option, or a value of the wrong kind.
    """
    name, _, rest = text.partition(":")
    known = heads(room)
    if name not in known:
        raise unknown_name("head", name, known)
    defaults = options_of(known[name])
    found: dict[str, Any] = {}
    for part in (part for part in rest.split(";") if part.strip()):
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or option not in defaults:
            has = f"it has {', '.join(defaults)}" if defaults else "it has none"
            raise UsageError(
                f"the head {name} has no option {part.strip()!r}; {has} (write {name}:option=value;option=value)"
            )
        found[option] = _value(name, option, value, whole=isinstance(defaults[option], int))
    return known[name], found


def _value(head: str, option: str, text: str, *, whole: bool) -> int | float:
    """The value of an option: sizes and numbers of parts are 1 at least, shares less than 1.

    Raises:
        UsageError: no number, or out of this range.
    """
    with contextlib.suppress(ValueError):
        if whole and int(text) >= 1:
            return int(text)
        if not whole and 0 <= float(text) < 1:
            return float(text)
    allowed = "whole number from 1 on" if whole else "number from 0 to less than 1"
    raise UsageError(f"the head {head}: {option} can't be {text!r}; give a {allowed}")


def options_of(cls: type[Head]) -> dict[str, int | float]:
    """The numbers that a head's constructor takes beside its sizes, with their defaults."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {one.name: one.default for one in parameters if isinstance(one.default, int | float)}
