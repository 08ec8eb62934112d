"""What turns a backbone's features into answers; one module a head.

A head is a module here with one subclass of :class:`Head`; its name is the file's name. Adding a head is adding a file.
"""

from __future__ import annotations

from activetune.base.discovery import class_of, modules_of
from activetune.base.errors import unknown_name
from activetune.networks.heads._head import Head

__all__ = ["Head", "heads", "make_head"]


def heads() -> dict[str, type[Head]]:
    """The head classes by name; those that read tokens first."""
    found: dict[str, type[Head]] = {name: class_of(module, Head) for name, module in modules_of(__name__).items()}
    return dict(sorted(found.items(), key=lambda item: (not item[1].reads_tokens, item[0])))


def make_head(kind: str, size: int, outputs: int) -> Head:
    """A head by its name, its classifier at zero.

    Args:
        size: D, of a token or of a pooled feature, as the head reads them.

    Raises:
        UsageError: unknown name.
    """
    known = heads()
    if kind not in known:
        raise unknown_name("head", kind, known)
    return known[kind](size, outputs)
