"""Where a model can go: a module per target, with one subclass of :class:`Target`. Adding a target is adding a file."""

from __future__ import annotations

from activetune.base.discovery import classes_of
from activetune.base.errors import unknown_name
from activetune.handover.targets._target import Target

__all__ = ["Target", "make_target", "targets"]


def targets() -> dict[str, type[Target]]:
    """The classes of the targets by name: ``hub``, ``onnx``, ``torch-export``."""
    return {name.replace("_", "-"): found for name, found in classes_of(__name__, Target).items()}


def make_target(name: str) -> Target:
    """A target by its name.

    >>> make_target("onnx").file
    'model.onnx'

    Raises:
        UsageError: unknown name.
    """
    known = targets()
    if name not in known:
        raise unknown_name("target", name, known)
    found: Target = known[name]()
    return found
