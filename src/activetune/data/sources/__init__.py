"""Where pools come from, one module a source; a new file is a new source.

A module defines ``ABOUT`` (its line in ``activetune list formats``), ``SUFFIXES`` (of the files that it opens),
``FOLDERS`` (whether it opens folders), ``ELSEWHERE`` (whether also those behind an address) and
``find(path, options) -> Listing | None``, which lists a pool without loading an image and returns None where the path
holds nothing of its kind. Sources are asked in the order of their names, and the first that finds an image has the
path.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

from activetune.base.discovery import modules_of
from activetune.data.remote.location import Location, RemotePath
from activetune.data.sources._listing import Listing, OpenOptions

Find = Callable[[Location, OpenOptions], Listing | None]


def sources() -> dict[str, ModuleType]:
    """The modules of all sources by name."""
    return modules_of(__name__)


def suffixes() -> list[str]:
    """The suffixes of the files that are pools, sorted."""
    return sorted({suffix for module in sources().values() for suffix in module.SUFFIXES})


def finders(path: Location) -> Iterator[Find]:
    """The ``find`` of every source that may know a path: by its suffix, or those of folders for a folder."""
    suffix, is_folder, elsewhere = path.suffix.lower(), path.is_dir(), isinstance(path, RemotePath)
    for module in sources().values():
        if elsewhere and not module.ELSEWHERE:
            continue
        if module.FOLDERS if is_folder else suffix in module.SUFFIXES:
            yield module.find
