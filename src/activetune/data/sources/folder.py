"""A folder of images, searched recursively.

Labels: an image is labelled with the name of the folder it lies in, unless that is the same for all of them or they
lie in the root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from activetune.base.errors import UsageError
from activetune.data.formats import IMAGE_SUFFIXES, is_image_name
from activetune.data.sources._files import FileSource, absent_files, folder_labels
from activetune.data.sources._listing import Listing, OpenOptions

ABOUT = f"folder of images ({', '.join(sorted(IMAGE_SUFFIXES))}), searched recursively"
SUFFIXES: tuple[str, ...] = ()
FOLDERS = True


def find(root: Path, options: OpenOptions) -> Listing | None:
    """The images below a folder; ids are their paths relative to it."""
    links: set[str] = set()
    paths = sorted(_walk(str(root), "", links))
    if not paths:
        return None
    absent = absent_files(root, paths, [position for position, path in enumerate(paths) if path in links])
    return Listing(paths, folder_labels(paths), FileSource(root, paths, absent))


def _walk(folder: str, prefix: str, links: set[str]) -> Iterator[str]:
    """Relative paths (with ``/``) of the images below a folder; hidden entries are left out, links are followed
    to files only, so that a link back up can't make the walk endless. ``links`` gets the paths that are links.
    """
    below: list[str] = []
    try:
        entries = os.scandir(folder)
    except OSError as error:
        raise UsageError(f"the folder {folder} can't be listed ({error.strerror})") from None
    with entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            if not name.isascii() and not _is_utf8(name):
                raise UsageError(f"{folder} holds a file name that is not UTF-8 ({name!r}); rename it")
            if entry.is_dir(follow_symlinks=False):
                below.append(name)
            elif is_image_name(name):
                if entry.is_symlink():
                    links.add(prefix + name)
                yield prefix + name
    for name in below:
        yield from _walk(os.path.join(folder, name), f"{prefix}{name}/", links)


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
