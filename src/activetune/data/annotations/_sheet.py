"""What is written in a format: images with their answers or predictions, and those that are still to be labelled.

Shape legend: K objects of an image, H x W pixels.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from activetune.base.errors import RejectedImage, UsageError, first_line
from activetune.base.files import write_bytes
from activetune.base.fingerprint import digest
from activetune.base.progress import progress
from activetune.data.annotations._legend import BACKGROUND, is_void
from activetune.data.annotations._problems import Problems
from activetune.data.formats import is_image_name
from activetune.data.image_files import image_file, image_suffix
from activetune.data.kinds import VOID, Boxes, Mask, Names, Sentences, fingerprint_of
from activetune.data.pool import Pool

LONGEST = 80  # bytes of an image's name in a folder
RESERVED = re.compile(r"^(classes|obj|readme|license|train|val|valid|test|con|prn|aux|nul|(com|lpt)\d)(\.|$)", re.I)
TASKS = ("classification", "multilabel", "detection", "segmentation", "captioning")


class Region(NamedTuple):
    """The pixels of a mask that have one class.

    Attributes:
        name: its class; ``void`` where no class is known. void: whether it is that. inside_HW: which pixels.
    """

    name: str
    void: bool
    inside_HW: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Sheet:
    """Images of a pool with what is known of them, to be written in a format.

    Attributes:
        task: one of ``TASKS``. pool: the images. ids: those that are written, in order.
        answers: by id (:mod:`activetune.data.kinds`); an image without one is still to be labelled.
        classes: in the order of their positions.
        scores: of predictions, one per name or box of an answer; None: the answers are people's.
        suggestions: what a model says of the same images, shown beside (Label Studio).
        link: image files of the pool are linked, not copied.
        image_url: what stands in front of an id in the address of its image (Label Studio).
    """

    task: str
    pool: Pool
    ids: Sequence[str]
    answers: Mapping[str, Any]
    classes: Sequence[str]
    scores: Mapping[str, Sequence[float]] | None = None
    suggestions: Sheet | None = None
    link: bool = False
    image_url: str = ""
    quiet: bool = False
    problems: Problems = field(default_factory=lambda: Problems("export"))

    @property
    def fingerprint(self) -> str:
        """Digest of all that is written but the images' content."""
        rows = [f"{item} {_told(self.answers.get(item))} {self.score(item)}" for item in self.ids]
        more = "" if self.suggestions is None else self.suggestions.fingerprint
        return digest("sheet", self.task, str(self.link), self.image_url, more, *self.classes, "", *rows)

    def names(self, item: str) -> tuple[str, ...]:
        """The class names of an image's answer; none where it shows none, or is not answered."""
        answer = self.answers.get(item)
        if isinstance(answer, str):
            return (answer,)
        return answer.names if isinstance(answer, Names | Boxes) else ()

    def sentences(self, item: str) -> tuple[str, ...]:
        """The sentences of an image's answer."""
        answer = self.answers.get(item)
        return answer.texts if isinstance(answer, Sentences) else ()

    def boxes(self, item: str) -> Iterator[tuple[str, tuple[float, float, float, float], bool, float | None]]:
        """Name, corners, whether it is a crowd, and score of each box of an image's answer."""
        answer = self.answers.get(item)
        if isinstance(answer, Boxes):
            scores: Sequence[float | None] = self.score(item) or [None] * len(answer)
            rows = zip(
                answer.names, answer.xyxy_K4.astype(float).tolist(), answer.crowd_K.tolist(), scores, strict=True
            )
            for name, corners, crowd, score in rows:
                yield name, tuple(corners), crowd, score

    def regions(self, item: str) -> Iterator[Region]:
        """The regions of an image's mask, without the background; void pixels are one too."""
        answer = self.answers.get(item)
        if not isinstance(answer, Mask):
            return
        pixels_HW = answer.pixels()
        for position in np.unique(pixels_HW).tolist():
            if position == VOID:
                yield Region("void", True, pixels_HW == VOID)
            elif self.classes[position] != BACKGROUND:
                yield Region(self.classes[position], False, pixels_HW == position)

    def score(self, item: str) -> Sequence[float] | None:
        """The scores of an image's answer, where they are known."""
        return None if self.scores is None else self.scores.get(item)

    def size(self, item: str) -> tuple[int, int] | None:
        """Height and width of an image; None where it can't be read, which is counted."""
        try:
            return self.pool.size(self.pool.position[item])
        except RejectedImage as error:
            self.problems.add("images that can't be read, left out", f"{item!r}, {error}")
            return None

    def sized(self) -> Iterator[tuple[str, int, int]]:
        """Id, height and width of each image that can be read."""
        with progress(len(self.ids), "writing answers", quiet=self.quiet) as meter:
            for item in self.ids:
                size = self.size(item)
                if size is not None:
                    yield item, *size
                meter.advance()

    def shown_classes(self) -> list[str]:
        """The classes that a person chooses from: without the background, which is what nobody draws."""
        if self.task == "segmentation":
            return [name for name in self.classes if name != BACKGROUND]
        return list(self.classes)

    def refuse_void_names(self) -> None:
        """Raise where a class of masks has a name that stands for void in the written file."""
        met = [name for name in self.classes if is_void(name, self.task)]
        if met:
            raise UsageError(f"the class {met[0]!r} would be read back as void, as no class; rename it")

    def copied(self, folder: Path, below: str | Mapping[str, str]) -> dict[str, str]:
        """Copy the images into a folder under distinct names, or link them there.

        Args:
            below: the folder in it for all images, or for each by id.

        Returns:
            Each image's path below the folder, by id, without those that can't be read.
        """
        found: dict[str, str] = {}
        stems = stems_of(self.ids)
        with progress(len(self.ids), "linking images" if self.link else "copying images", quiet=self.quiet) as meter:
            for item in self.ids:
                home = below if isinstance(below, str) else below[item]
                try:
                    found[item] = self._put(item, folder, posixpath.join(home, stems[item]))
                except RejectedImage as error:
                    self.problems.add("images that can't be read, left out", f"{item!r}, {error}")
                meter.advance()
        return found

    def _put(self, item: str, folder: Path, stem: str) -> str:
        """Copy or link one image; returns its path below the folder."""
        index = self.pool.position[item]
        if not self.link:
            content, suffix = image_file(self.pool, index)
            write_bytes(folder / f"{stem}{suffix}", content)
            return f"{stem}{suffix}"
        place = self.pool.place(index)
        if place is None or "\0" in place.name or self.pool.tells:
            raise UsageError(
                f"{item} of {self.pool.name} is no file of its own that a link could lead to; leave --link out"
            )
        path = folder / f"{stem}{image_suffix(self.pool, index)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            path.symlink_to(os.path.realpath(place.name))
        except OSError as error:
            raise UsageError(f"{path} can't be made a link ({first_line(error)}); leave --link out") from None
        return path.relative_to(folder).as_posix()


def stem_of(path: str) -> str:
    """The name of a file without folder and suffix.

    >>> stem_of("images/1.2.jpg")
    '1.2'
    """
    return posixpath.splitext(posixpath.basename(path))[0]


def stems_of(ids: Iterable[str]) -> dict[str, str]:
    """A distinct name without a suffix for each id, safe on every file system and in lists with blanks between names.

    It is the id where that will do; else signs are replaced, and a digest keeps it distinct.

    >>> stems_of(["1.jpg", "day 1/2.jpg"])
    {'1.jpg': '1', 'day 1/2.jpg': 'day_1_2-87a9b114'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for item in ids:
        plain = posixpath.splitext(item)[0] if is_image_name(item) else item
        safe = re.sub(r"[^\w.%=+@#-]+", "_", unicodedata.normalize("NFC", plain)).lstrip(".")
        safe = _cut(safe).rstrip(".")
        stem = safe if safe == plain and not RESERVED.match(safe) else f"{safe or '_'}-{_digest(item)}"
        while stem.casefold() in taken:
            stem = f"{safe or '_'}-{_digest(stem + item)}"
        taken.add(stem.casefold())
        found[item] = stem
    return found


def folders_of(names: Iterable[str]) -> dict[str, str]:
    """A distinct folder for each class name: the name itself where that will do."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        safe = re.sub(r"[/\\:*?\"<>|\x00-\x1f\x7f]+", "_", name)
        safe = _cut(safe).strip(". ")
        plain = safe == name and not name.startswith(("_", "@", "#", "$")) and not RESERVED.match(name)
        folder = name if plain else f"{safe.lstrip('_@#$')}-{_digest(name)}"
        while folder.casefold() in taken:
            folder = f"{folder}-{_digest(folder + name)}"
        taken.add(folder.casefold())
        found[name] = folder
    return found


def _cut(text: str) -> str:
    """A text of at most ``LONGEST`` bytes, which ends at a sign's end."""
    return text.encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")


def _told(answer: Any) -> str:
    return "" if answer is None else repr(fingerprint_of(answer))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def short(number: float) -> float:
    """A number with the 10 digits that tell every float32 apart, also as the sum of two.

    >>> short(10.100000381469727)
    10.10000038
    """
    return float(f"{number:.10g}")


def short_text(number: float) -> str:
    """The same as text, without an exponent where it is whole.

    >>> short_text(12.0), short_text(0.5)
    ('12', '0.5')
    """
    return f"{number:.10g}"


def column_runs(inside_HW: npt.NDArray[np.bool_]) -> list[int]:
    """COCO's run lengths: down the columns, outside first.

    >>> column_runs(np.array([[False, True], [True, True]]))
    [1, 3]
    """
    return runs_of(inside_HW.T.ravel())


def runs_of(flat: npt.NDArray[np.bool_]) -> list[int]:
    """How many values are alike by turns, those that are False first.

    >>> runs_of(np.array([True, True, False]))
    [0, 2, 1]
    """
    changes = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [len(flat)]])).tolist()
    return [0, *lengths] if len(flat) and flat[0] else lengths
