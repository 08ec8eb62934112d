"""What turns a backbone's features into answers; one module a head, in the room of the answers that it gives.

A head is a module with one subclass of :class:`Head` in ``classes``, ``masks``, ``boxes`` or ``sentences``; its name is
the file's name. Adding a head is adding a file.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from activetune.base.discovery import class_of, modules_of
from activetune.base.errors import unknown_name
from activetune.networks.heads._head import CLASSES, ClassHead, Head

__all__ = ["CLASSES", "ROOMS", "ClassHead", "Head", "Room", "heads", "make_class_head", "make_head"]

Room = Literal["classes", "masks", "boxes", "sentences"]
ROOMS: tuple[Room, ...] = get_args(Room)
FIRST = {"tokens": 0, "map": 1, "pooled": 2}


def heads(room: Room = "classes") -> dict[str, type[Head]]:
    """The head classes of a room by name; those that read tokens first."""
    found: dict[str, type[Head]] = {
        name: class_of(module, Head) for name, module in modules_of(f"{__name__}.{room}").items()
    }
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
        size: D of what the head reads. options: those of the head's constructor, see :meth:`Head.options`.

    Raises:
        UsageError: unknown name.
    """
    known = heads(room)
    if kind not in known:
        raise unknown_name("head", kind, known)
    return known[kind](size, outputs, **options)
