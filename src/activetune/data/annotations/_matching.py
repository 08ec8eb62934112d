"""Which image of a pool a name in a file of answers stands for.

A name is looked for as it is; then, from its whole path to its last part alone, as the end of an id, with its suffix
and without. Folders that only say what lies in them (``images``, ``masks``, ``Annotations`` …) do not count, so that
``train/masks/7.png`` is found for ``train/images/7.jpg``. A part of a path that several images share finds none. Where
a name and the id that it finds lie in folders of different names, that is told. Where the pool is a table, what is no
id is looked for among its paths: files of ``select --images`` are called otherwise.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from activetune.base.errors import UsageError, some
from activetune.base.names import by_comparable, comparable
from activetune.data.annotations._problems import Problems
from activetune.data.pool import Pool

MASK_FOLDERS = frozenset(
    {
        *("mask", "masks", "label", "labels", "annotation", "annotations", "annot", "gt", "groundtruth"),
        *("ground_truth", "segmentation", "segmentations", "segmentationclass", "targets"),
    }
)
IMAGE_FOLDERS = frozenset({"image", "images", "img", "imgs", "jpegimages", "photos", "rgb", "input", "inputs"})
PATHS = ("path", "file_name")  # columns of a table of images
SAYS_NOTHING = MASK_FOLDERS | IMAGE_FOLDERS
SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}$")
MASK_ENDING = re.compile(r"[_-](masks?|labels?|gt|seg)$", re.IGNORECASE)  # of a mask's name behind that of its image
WRITTEN_OUT = re.compile(r"-[0-9a-f]{8}(\.\w+)?$")  # a file of ``select --images`` whose id holds a folder
EXACT = -1  # parts that were taken away in front of a name


def match(names: Iterable[str], pool: Pool, problems: Problems, *, without: Collection[str] = ()) -> dict[str, str]:
    """The ids by the names that stand for them; what stands for none is counted.

    Args:
        without: ids that no name stands for.

    Raises:
        UsageError: no name stands for any image.
    """
    wanted = list(dict.fromkeys(names))
    ids = [item for item in pool.ids if item not in without] if without else pool.ids
    found, several = _found(wanted, ids)
    if left := [name for name in wanted if name not in found and name not in several]:
        items = {path: item for path, item in _by_path(pool).items() if item not in without}
        by_path, shared = _found(left, list(items))
        found.update({name: place._replace(item=items[place.item]) for name, place in by_path.items()})
        several.update(shared)
    by_item: dict[str, list[str]] = defaultdict(list)
    for name, place in found.items():
        by_item[place.item].append(name)
    contested: set[str] = set()
    for item, rivals in by_item.items():
        nearest = min(found[name].taken for name in rivals)
        best = [name for name in rivals if found[name].taken == nearest]
        if len(best) > 1:
            problems.add("names that fit an image alike, left out", f"{some(best)} for {item!r}", len(best))
            contested.update(best)
            best = []
        for name in set(rivals) - set(best):
            del found[name]
    strangers = [name for name in wanted if name not in found and name not in contested and name not in several]
    if several:
        told = f"{next(iter(several))!r}: write its path below the pool"
        problems.add("names of several images, left out", told, len(several))
    if not found and wanted:
        example = f"; its ids are such as {ids[0]!r}" if ids else ""
        if all(WRITTEN_OUT.search(name) for name in wanted):
            example += ", and files of 'select --images DIR' are those of the pool DIR/images.csv"
        raise UsageError(
            f"{problems.where}: none of its {len(wanted):,} names ({some(wanted)}) stands for one image of the pool "
            f"{pool.name}{example}{'; ' + problems.told() if problems.found else ''}"
        )
    if strangers:
        problems.add("names without an image in the pool, left out", repr(strangers[0]), len(strangers))
    moved = [name for name in found if found[name].moved]
    if moved:
        told = f"{moved[0]!r} for {found[moved[0]].item!r}"
        problems.add("names taken for images in folders of other names", told, len(moved))
    return {name: place.item for name, place in found.items()}


class _Place(NamedTuple):
    """What a name was found for.

    Attributes:
        item: the id. taken: parts of the name that were taken away in front.
        moved: whether the id, too, has other parts in front of what it shares with the name.
    """

    item: str
    taken: int
    moved: bool


SEVERAL = _Place("", EXACT, False)


def _by_path(pool: Pool) -> dict[str, str]:
    """The ids by the paths that a table of images has beside them; a path that several items have is left out."""
    column = None if pool.further is None else next((one for one in PATHS if one in pool.further.names()), None)
    if pool.further is None or column is None:
        return {}
    cells, found = pool.further.values(column), dict[str, str | None]()
    for item, row in zip(pool.ids, range(len(pool)) if pool.rows is None else pool.rows, strict=True):
        path = cells[row]
        if isinstance(path, str):
            found[path] = None if path in found else item
    return {path: item for path, item in found.items() if item is not None}


def _found(names: Sequence[str], ids: Sequence[str]) -> tuple[dict[str, _Place], dict[str, None]]:
    """What each name was found for; then the names that several ids have."""
    known, spelt = set(ids), by_comparable(ids)
    found: dict[str, _Place] = {}
    for name in names:
        item = name if name in known else spelt.get(comparable(name))
        if item is not None:
            found[name] = _Place(item, EXACT, False)
    several: dict[str, None] = {}
    if len(found) < len(names):
        index = _Index(ids)
        for name in names:
            place = None if name in found else index.find(name)
            if place is SEVERAL:
                several[name] = None
            elif place is not None:
                found[name] = place
    return found, several


class _Index:
    """The ids by their ends, with suffix and without; None for an end that several have."""

    def __init__(self, ids: Sequence[str]):
        self._whole: dict[str, str | None] = {}
        self._ends: dict[str, str | None] = {}
        for item in ids:
            for parts in _spellings(item):
                for start in range(len(parts)):
                    end, ends = "/".join(parts[start:]), self._ends if start else self._whole
                    ends[end] = item if ends.get(end, item) == item else None

    def find(self, name: str) -> _Place | None:
        """What a name stands for; :data:`SEVERAL` where several ids end so, None where none does."""
        spellings = _spellings(name)
        *folders, last = spellings[1]
        spellings.append([*folders, MASK_ENDING.sub("", last)])
        for start in range(len(spellings[0])):
            for ends in (self._whole, self._ends):
                for parts in spellings:
                    end = "/".join(parts[start:])
                    if end in ends:
                        item = ends[end]
                        return SEVERAL if item is None else _Place(item, start, start > 0 and ends is self._ends)
        return None


def _spellings(path: str) -> list[list[str]]:
    """The parts that count of a path, with its suffix and without."""
    *folders, last = comparable(path).split("/")
    kept = [folder for folder in folders if folder and folder.lower() not in SAYS_NOTHING]
    return [[*kept, last], [*kept, SUFFIX.sub("", last)]]
