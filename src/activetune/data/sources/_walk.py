"""Listing what lies below a folder, images and whatever does not count. No image is opened that has a suffix."""

from __future__ import annotations

import os
import posixpath
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from activetune.base.errors import UsageError
from activetune.data.formats import IMAGE_SUFFIXES, START, looks_like_image, suffix_of
from activetune.data.reading import read_start
from activetune.data.remote.files import RemoteFiles
from activetune.data.remote.listing import Entry, entries_below
from activetune.data.remote.location import Location, RemotePath, State, insist
from activetune.data.sources import _listing as reasons
from activetune.data.sources._listing import LeftOut

SYSTEM_FOLDERS = frozenset({"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN"})
DRIVE = re.compile(r"[A-Za-z]:")


def unwanted_name(name: str) -> str | None:
    """Why an archive's member is left out by its path, which has ``/`` between folders; None where it is not."""
    parts = name.split("/")
    if ".." in parts or posixpath.isabs(name) or DRIVE.match(name):
        return reasons.OUTSIDE
    if any(part in SYSTEM_FOLDERS for part in parts):
        return reasons.SYSTEM
    return reasons.HIDDEN if any(part.startswith(".") for part in parts) else None


@dataclass
class Walk:
    """What lies below a folder, by paths relative to it, with ``/``.

    Attributes:
        images: by suffix or, without one, by their first bytes; not sorted.
        linked: those of them that are links themselves.
        others: regular files that are no images.
        states: of files elsewhere, as they were listed.
    """

    images: list[str] = field(default_factory=list)
    linked: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    states: dict[str, State] = field(default_factory=dict)


@dataclass(frozen=True)
class _Folder:
    """A folder to list: as it is reached, where it really lies, and what stands before its entries' names."""

    path: str
    real: str
    prefix: str


def walk(root: Location, *, follow_links: bool = False, quiet: bool = False) -> Walk:
    """List a folder with all that is below it.

    Linked files are taken wherever they lie, since each is named one by one. Of linked folders those are taken that lie
    in the pool but would not be listed there (below a hidden folder), and with ``follow_links`` those outside. A folder
    is listed once, however many links lead to it, so that none can make the walk endless. Elsewhere there are no links.

    Args:
        quiet: no sentences about a long listing elsewhere.

    Raises:
        UsageError: a folder that can't be listed, or a name that is not UTF-8. ReadingFault: it lies elsewhere, and is
            out of reach.
    """
    return _walk_elsewhere(root, quiet) if isinstance(root, RemotePath) else _walk_here(root, follow_links)


def _walk_here(root: str | os.PathLike[str], follow_links: bool) -> Walk:
    found = Walk()
    real_root = os.path.realpath(root)
    seen: set[str] = set()
    links: list[_Folder] = []
    waiting = [_Folder(os.fspath(root), real_root, "")]
    while waiting:
        folder = waiting.pop()
        if folder.real in seen:
            found.left_out.add(reasons.LINK_AGAIN)
        elif not follow_links and not _is_below(folder.real, real_root):
            found.left_out.add(reasons.LINK_OUT)
        else:
            seen.add(folder.real)
            _list(folder, found, waiting, links)
        if not waiting and links:  # the pool's own folders first, so that an image is listed where it lies
            links.sort(key=lambda link: link.path, reverse=True)
            waiting.append(links.pop())
    return found


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def _list(folder: _Folder, found: Walk, waiting: list[_Folder], links: list[_Folder]) -> None:
    """Sort a folder's entries."""
    try:
        entries = os.scandir(folder.path)
    except OSError as error:
        raise UsageError(f"the folder {folder.path} can't be listed ({error.strerror}); check its rights") from None
    with entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                found.left_out.add(reasons.HIDDEN)
            elif name in SYSTEM_FOLDERS:
                found.left_out.add(reasons.SYSTEM)
            elif not name.isascii() and not _is_utf8(name):
                raise UsageError(f"{folder.path} holds a file name that is not UTF-8 ({name!r}); rename it")
            elif entry.is_symlink():
                _follow(entry, folder, found, links)
            elif entry.is_dir(follow_symlinks=False):
                waiting.append(_below(folder, name, os.path.join(folder.real, name)))
            elif entry.is_file(follow_symlinks=False):
                _add(entry, folder.prefix, found)
            else:
                found.left_out.add(reasons.SPECIAL)


def _below(folder: _Folder, name: str, real: str) -> _Folder:
    return _Folder(os.path.join(folder.path, name), real, f"{folder.prefix}{name}/")


def _follow(entry: os.DirEntry[str], folder: _Folder, found: Walk, links: list[_Folder]) -> None:
    """Sort a link by what it leads to."""
    try:
        mode = os.stat(entry.path).st_mode
    except OSError:  # one that is named like an image is listed, and rejected with the reason when it is read
        if suffix_of(entry.name) in IMAGE_SUFFIXES:
            found.images.append(folder.prefix + entry.name)
            found.linked.add(folder.prefix + entry.name)
        else:
            found.left_out.add(reasons.DANGLING)
        return
    if stat.S_ISDIR(mode):
        links.append(_below(folder, entry.name, os.path.realpath(entry.path)))
    elif stat.S_ISREG(mode):
        if _add(entry, folder.prefix, found):
            found.linked.add(folder.prefix + entry.name)
    else:
        found.left_out.add(reasons.SPECIAL)


def _add(entry: os.DirEntry[str], prefix: str, found: Walk) -> bool:
    """Sort a regular file; returns whether it is an image."""
    suffix = suffix_of(entry.name)
    if suffix in IMAGE_SUFFIXES or (not suffix and looks_like_image(read_start(entry.path, START))):
        found.images.append(prefix + entry.name)
        return True
    found.others.append(prefix + entry.name)
    return False


def _is_utf8(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


# Elsewhere ------------------------------------------------------------------------------------------------------------

READERS = 16  # threads that look at the beginnings of files without a suffix


def _walk_elsewhere(root: RemotePath, quiet: bool) -> Walk:
    """The same below an address: what counts is told by names alone, but for files without a suffix."""
    found = Walk()
    untold: list[Entry] = []
    for entry in entries_below(root, quiet=quiet):
        suffix = suffix_of(entry.name)
        if reason := unwanted_name(entry.name):
            found.left_out.add(reason)
            continue
        found.states[entry.name] = entry.state
        if suffix in IMAGE_SUFFIXES:
            found.images.append(entry.name)
        elif suffix or not entry.state.size:
            found.others.append(entry.name)
        else:
            untold.append(entry)
    if untold:
        source = RemoteFiles(root, [entry.name for entry in untold], found.states)
        with ThreadPoolExecutor(READERS, "looking") as executor:
            starts = executor.map(lambda row: insist(root, lambda: source.start(row, START)), range(len(untold)))
            for entry, start in zip(untold, starts, strict=True):
                (found.images if looks_like_image(start) else found.others).append(entry.name)
    return found
