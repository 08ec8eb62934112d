"""What an exported folder says of itself in ``manifest.json``: the ids of its images, its classes, its task.

Other programs give images names of their own, and some formats can't hold an id at all. The manifest joins both again.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from activetune.base.files import MANIFEST, parse_json
from activetune.data.annotations._files import Files

KIND = "export"
MOST = 2**30  # bytes of a manifest


@dataclass(frozen=True)
class Export:
    """An exported folder.

    Attributes:
        written_as: the format. task: of its answers. classes: in order.
        items: ids by the names of the image files, without folder and suffix. folders: class names by their folders.
    """

    written_as: str
    task: str
    classes: Sequence[str]
    items: Mapping[str, str]
    folders: Mapping[str, str]

    def item(self, name: str) -> str:
        """The id of the image that a file is called as; the name itself where the export has no such image."""
        base = posixpath.basename(name)
        return self.items.get(posixpath.splitext(base)[0], self.items.get(base, name))


def exported(files: Files) -> Export | None:
    """What the manifest of an exported folder or zip says; None where there is none that can be used."""
    named = [name for name in files.names if posixpath.basename(name) == MANIFEST and name.count("/") <= 1]
    if files.single is not None or not named:
        return None
    try:
        about = parse_json(files.peek(min(named, key=lambda name: (name.count("/"), name)))[:MOST] or b"{}")
    except ValueError:
        return None
    if not isinstance(about, dict) or about.get("kind") != KIND or about.get("format") != 1:
        return None
    classes = about.get("classes")
    listed = classes if isinstance(classes, list) and all(isinstance(name, str) for name in classes) else []
    return Export(
        str(about.get("written_as", "")),
        str(about.get("task", "")),
        list(dict.fromkeys(listed)),
        _texts(about.get("items")),
        _texts(about.get("folders")),
    )


def _texts(value: Any) -> dict[str, str]:
    """The entries of an object that are texts."""
    found = value if isinstance(value, dict) else {}
    return {name: text for name, text in found.items() if isinstance(text, str)}
