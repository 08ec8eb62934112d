"""Finding the modules of a package: a new file is a new method, no table to edit."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import activetune


def modules_of(package: str) -> dict[str, ModuleType]:
    """The public modules of a package by their command-line name (the file's name without a trailing ``_``).

    The package is imported when this is called: a room may find what stands above it, and still import only downwards.
    """
    return {name: importlib.import_module(f"{package}.{file}") for name, file in _files(package).items()}


def names_of(package: str, *, having: str = "") -> list[str]:
    """The names under which the public modules of a package would be found; none of them is imported.

    Args:
        package: within activetune, such as ``selection.selectors``.
        having: a name in capitals that the module mentions; "" for all modules.
    """
    folder = Path(activetune.__path__[0], *package.split("."))
    files = (info.name for info in pkgutil.iter_modules([str(folder)]))
    names = (name for name in files if not name.startswith("_"))
    if having:
        names = (name for name in names if re.search(rf"\b{having}\b", (folder / f"{name}.py").read_text("utf-8")))
    return sorted(name.rstrip("_") for name in names)


@functools.cache
def _files(package: str) -> dict[str, str]:
    path = importlib.import_module(package).__path__
    names = sorted(info.name for info in pkgutil.iter_modules(path) if not info.name.startswith("_"))
    return {name.rstrip("_"): name for name in names}


def classes_of(package: str, base: type) -> dict[str, Any]:
    """The methods of a package by name: of each public module the one class that derives from ``base``.

    Raises:
        TypeError: a module that defines none, or several.
    """
    return {name: _class_of(module, base) for name, module in modules_of(package).items()}


def _class_of(module: ModuleType, base: type) -> type:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise TypeError(f"{module.__name__} must define one {base.__name__}, it defines {len(found)}")
    return found[0]
