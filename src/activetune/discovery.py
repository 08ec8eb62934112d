"""Finding the modules of a package: a new file is a new method, no table to edit."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType


def modules_of(package: str, path: Iterable[str]) -> dict[str, ModuleType]:
    """The public modules of a package by their command-line name (the file's name without a trailing ``_``)."""
    return {name: importlib.import_module(f"{package}.{file}") for name, file in _files(package, tuple(path)).items()}


@functools.cache
def _files(package: str, path: tuple[str, ...]) -> dict[str, str]:
    names = sorted(info.name for info in pkgutil.iter_modules(list(path)) if not info.name.startswith("_"))
    return {name.rstrip("_"): name for name in names}


def class_of(module: ModuleType, base: type) -> type:
    """The one class that a method's module defines."""
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define one {base.__name__}, it defines {len(found)}")
    return found[0]
