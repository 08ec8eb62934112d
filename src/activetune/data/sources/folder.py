"""A folder of images, searched recursively.

Labels: an image is labelled with the name of the folder it lies in, unless that is the same for all of them or they
lie in the root; where a ``metadata.csv`` or ``.jsonl`` of Hugging Face's imagefolder gives labels, these count instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from activetune.base.errors import UsageError
from activetune.base.tables import read_table
from activetune.data.formats import suffix_of
from activetune.data.pool import ImageSource
from activetune.data.remote.files import RemoteFiles
from activetune.data.remote.location import Location, RemotePath, quoted
from activetune.data.remote.ranged import on_this_machine
from activetune.data.sources._files import FileSource, absent_files, folder_labels, optional_below
from activetune.data.sources._further import TableColumns
from activetune.data.sources._listing import NAMES_NOTHING, Listing, OpenOptions
from activetune.data.sources._metadata import is_metadata, metadata_labels
from activetune.data.sources._walk import Walk, walk

ABOUT = (
    "folder of images, searched recursively; its sub-folders' names are labels, or the column label of a "
    "metadata.csv or .jsonl with file_name"
)
SUFFIXES: tuple[str, ...] = ()
FOLDERS = True
ELSEWHERE = True


def find(root: Location, options: OpenOptions) -> Listing:
    """The images below a folder; ids are their paths relative to it."""
    found = walk(root, follow_links=options.follow_links, quiet=options.quiet)
    paths = sorted(found.images)
    tables, notes = dict[str, Mapping[str, Sequence[Any]]](), []
    for path in filter(is_metadata, found.others if paths else ()):
        try:
            tables[path] = _table(root, path)
        except UsageError as error:  # another program's table of that name
            notes.append(f"not used: {error}")
    labels, strangers, several = metadata_labels(tables, paths, notes.append)
    found.left_out.add(NAMES_NOTHING, strangers)
    for path in found.others:
        if path not in tables:
            found.left_out.add_file(suffix_of(path))
    labels = folder_labels(paths) if labels is None and not several else labels
    files = partial(optional_below, root, found.states)
    further = TableColumns(paths, list(tables), partial(_table, root), files) if tables else None
    return Listing(paths, labels, _source(root, paths, found), found.left_out, notes, further, several=several)


def _source(root: Location, paths: Sequence[str], found: Walk) -> ImageSource:
    if isinstance(root, RemotePath):
        return RemoteFiles(root, paths, {path: found.states[path] for path in paths})
    return FileSource(root, paths, absent_files(root, paths, [row for row, p in enumerate(paths) if p in found.linked]))


def _table(root: Location, path: str) -> Mapping[str, Sequence[Any]]:
    """The columns of a metadata table in the folder."""
    place = root / path if isinstance(root, Path) else root / quoted(root, path)
    with on_this_machine(place) as file:
        return read_table(file)
