"""Which image of a pool a name in a file of answers stands for.

A name is looked for as it is; then, from its whole path to its last part alone, as the end of an id, with its suffix
and without. Folders that only say what lies in them (``images``, ``masks``, ``Annotations`` …) do not count, so that
``train/masks/7.png`` is found for ``train/images/7.jpg``. A part of a path that several images share finds none. Where
a name and the id that it finds lie in folders of different names, that is told. Where the pool is a table, what is no
id is looked for among its paths: files of ``select --images`` are called otherwise.

A name that stands for nothing so is looked for without what other programs add to one: Label Studio 8 digits in front,
Roboflow ``_jpg.rf.<digest>`` behind, web servers an address around it (:func:`bare_names`). That is told.
"""

from __future__ import annotations

import re
import urllib.parse
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

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
FARTHER = 10**6  # than any other, a name that had to be changed
DATE = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
UPLOAD = re.compile(rf"^(?!{DATE}-)[0-9a-f]{{8}}-")  # before a name that Label Studio was given; not a day
UPLOAD_FOLDER = re.compile(r"^(?:.*/)?(?:data|media)/upload/\d+/")
ROBOFLOW = re.compile(r"_([A-Za-z]{3,4})\.rf\.[0-9A-Za-z]{16,}\.\w+$")


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
    if left := [name for name in wanted if name not in found and name not in several]:
        bare, shared = _found_bare(left, ids)
        found.update(bare)
        several.update(shared)
    contested = _settle(found, problems)
    strangers = [name for name in wanted if name not in found and name not in contested and name not in several]
    if several:
        told = f"{next(iter(several))!r}: write its path below the pool"
        problems.add("names of several images, left out", told, len(several))
    if not found and wanted:
        _refuse_strangers(wanted, ids, pool, problems)
    if strangers:
        problems.add("names without an image in the pool, left out", repr(strangers[0]), len(strangers))
    _tell(found, problems)
    return {name: place.item for name, place in found.items()}


def _settle(found: dict[str, _Place], problems: Problems) -> set[str]:
    """Leave one name for each image, the nearest; returns those that fit one alike, which are left out."""
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
    return contested


def _refuse_strangers(wanted: Sequence[str], ids: Sequence[str], pool: Pool, problems: Problems) -> NoReturn:
    """Raise for a file of which no name stands for an image."""
    example = f"; its ids are such as {ids[0]!r}" if ids else ""
    if all(WRITTEN_OUT.search(name) for name in wanted):
        example += ", and files of 'select --images DIR' are those of the pool DIR/images.csv"
    raise UsageError(
        f"{problems.where}: none of its {len(wanted):,} names ({some(wanted)}) stands for one image of the pool "
        f"{pool.name}{example}{'; ' + problems.told() if problems.found else ''}"
    )


def _tell(found: Mapping[str, _Place], problems: Problems) -> None:
    """Count the names that were not taken as they are."""
    told = {
        "names taken for images in folders of other names": [name for name in found if found[name].moved],
        "names read without what an upload, an address or Roboflow adds to them": [
            name for name in found if found[name].bare
        ],
    }
    for what, names in told.items():
        if names:
            problems.add(what, f"{names[0]!r} for {found[names[0]].item!r}", len(names))


class _Place(NamedTuple):
    """What a name was found for.

    Attributes:
        item: the id. taken: parts of the name that were taken away in front, fewer for what is nearer.
        moved: whether the id, too, has other parts in front of what it shares with the name.
        bare: whether it was found without what other programs add to names.
    """

    item: str
    taken: int
    moved: bool
    bare: bool = False


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


def _found_bare(names: Sequence[str], ids: Sequence[str]) -> tuple[dict[str, _Place], dict[str, None]]:
    """The same for names of which other programs have made others: any name that is one as it is comes before them."""
    index = _Index(ids)
    found: dict[str, _Place] = {}
    several: dict[str, None] = {}
    for name in names:
        for bare in bare_names(name):
            place = index.find(bare)
            if place is SEVERAL:
                several[name] = None
            elif place is not None:
                found[name] = place._replace(taken=place.taken + FARTHER, bare=True)
            if place is not None:
                break
    return found, several


def bare_names(name: str) -> Iterator[str]:
    """A name without what uploading it, asking for it or augmenting it has added, step by step; not the name itself.

    >>> list(bare_names("/data/upload/1/a1b2c3d4-7.jpg")), list(bare_names("https://host/a%20b.jpg?x=1"))
    (['a1b2c3d4-7.jpg', '7.jpg'], ['a b.jpg'])
    >>> list(bare_names("train/7_jpg.rf.0123456789abcdef0123456789abcdef.jpg")), list(bare_names("7.jpg"))
    (['train/7.jpg'], [])
    """
    for change in (_path_in_address, _without_folder, _without_digits, _without_roboflow):
        changed = change(name)
        if changed and changed != name:
            yield changed
            name = changed


def _path_in_address(name: str) -> str:
    """The path of an address, and signs that are written as ``%20``."""
    if "://" in name:
        try:
            name = urllib.parse.urlsplit(name).path.lstrip("/")
        except ValueError:  # no address, for instance of brackets that don't close
            return name
    return urllib.parse.unquote(name)


def _without_folder(name: str) -> str:
    """A name below the folder of Label Studio's uploads, wherever its server lies."""
    return UPLOAD_FOLDER.sub("", name)


def _without_digits(name: str) -> str:
    """A name without the 8 digits that Label Studio puts before what is uploaded."""
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{UPLOAD.sub('', last)}"


def _without_roboflow(name: str) -> str:
    """``7.jpg`` for ``7_jpg.rf.<digest>.jpg``, as Roboflow calls what it exports."""
    return ROBOFLOW.sub(r".\1", name)


def before_upload(names: Iterable[str], pool: Pool) -> dict[str, str]:
    """What each name in Label Studio was called when it was uploaded; itself where it is no upload, or in the pool so.

    A file that is uploaded twice has two names there, of which each begins with digits of its own.
    """
    known = {comparable(item).rpartition("/")[2] for item in pool.ids}
    uploaded = {
        name: _without_digits(_without_folder(name))
        for name in names
        if UPLOAD_FOLDER.match(name) and comparable(name).rpartition("/")[2] not in known
    }
    return {name: uploaded.get(name, name) for name in names}


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
