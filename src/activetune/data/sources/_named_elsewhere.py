"""The files that a manifest elsewhere names: those of its own store, and none of this machine or of another server.

Whoever wrote such a manifest is not the one who reads it. So a name is a path relative to the manifest's folder, or an
address of the same bucket or server; everything else is an item that is rejected.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from activetune.base.urls import is_address
from activetune.data.remote.files import RemoteFiles
from activetune.data.remote.listing import entries_in
from activetune.data.remote.location import RemotePath, State

FOREIGN = "the manifest lies elsewhere, and names a file of this machine or of another server"


def files_named_elsewhere(folder: RemotePath, names: Sequence[str | None]) -> RemoteFiles:
    """A source of the files that a manifest in ``folder`` names, None where an item has none.

    The folders that they lie in are listed, which tells those that are missing, and the states of the others.
    """
    root = _store(folder)
    below = folder.address.rstrip("/")[len(root.address) :].lstrip("/")
    paths, absent = [""] * len(names), dict[int, str]()
    for row, name in enumerate(names):
        if not name or "\0" in name:
            absent[row] = "no file is named"
        elif (path := _in_store(root, below, name)) is None:
            absent[row] = FOREIGN
        else:
            paths[row] = path
    wanted = {path for row, path in enumerate(paths) if row not in absent}
    states = _states(root, wanted)
    if states:  # a server that lists nothing tells nothing of its files either
        absent |= {
            row: "no such file at its address"
            for row, path in enumerate(paths)
            if row not in absent and path not in states
        }
    return RemoteFiles(root, paths, states, absent)


def _store(folder: RemotePath) -> RemotePath:
    """The bucket or server that a folder lies in."""
    protocol, _, rest = folder.address.partition("://")
    parts = 3 if protocol == "hf" else 1  # datasets/OWNER/NAME is to a hub what a bucket is to a store
    return RemotePath(f"{protocol}://{'/'.join(rest.split('/')[:parts])}")


def _in_store(root: RemotePath, below: str, name: str) -> str | None:
    """A name as a path in the store; None where it is none."""
    name = name.replace("\\", "/")
    if is_address(name):
        if not name.startswith(f"{root.address}/"):
            return None
        path = name[len(root.address) + 1 :]
    elif ":" in name.partition("/")[0] or name.startswith(("/", "~")):
        return None
    else:
        path = posixpath.join(below, name)
    path = posixpath.normpath(path)
    return None if path.startswith("..") else path


def _states(root: RemotePath, paths: set[str]) -> dict[str, State]:
    folders = sorted({posixpath.dirname(path) for path in paths})
    return {entry.name: entry.state for entry in entries_in(root, folders) if entry.name in paths}
