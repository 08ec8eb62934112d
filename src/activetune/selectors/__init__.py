"""Selectors by name; one module a method, the module's name is the method's name on the command line.

Adding a selector is adding a file with one class derived from :class:`Selector` (docs: CONTRIBUTING.md).
"""

from __future__ import annotations

from typing import Any

from activetune.config import configure
from activetune.discovery import class_of, modules_of
from activetune.errors import UsageError, unknown_name
from activetune.selectors._base import Selector

__all__ = ["Selector", "make_selector", "selectors"]


def selectors() -> dict[str, type[Selector]]:
    """The selector classes by name."""
    return {name: class_of(module, Selector) for name, module in modules_of(__name__, __path__).items()}


def make_selector(method: str, preset: str | None = None, settings: dict[str, Any] | None = None) -> Selector:
    """Build a selector from its name, a preset and single settings (these win).

    Raises:
        UsageError: unknown method, preset or setting (the nearest is named), or a value of the wrong kind.
    """
    known = selectors()
    if method not in known:
        raise unknown_name("selector", method, known)
    cls = known[method]
    if preset is not None and preset not in cls.presets:
        has = ", ".join(sorted(cls.presets)) or "none"
        raise UsageError(f"the selector {method} has no preset {preset!r}; it has: {has}")
    return configure(cls, {**(cls.presets[preset] if preset else {}), **(settings or {})}, what=f"selector {method}")
