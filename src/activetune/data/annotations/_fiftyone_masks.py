"""Masks in FiftyOne's dataset folder, of images or of what a box holds: files of their own, or arrays in the list."""

from __future__ import annotations

import base64
import io
import posixpath
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from activetune.base.errors import RejectedImage, UsageError, first_line
from activetune.base.numpy_files import array_in
from activetune.data.annotations._files import Files
from activetune.data.annotations._legend import Legend
from activetune.data.annotations._listed import Asked
from activetune.data.annotations._masks import as_pool, decode_mask, encoded_array, mask_labels
from activetune.data.annotations._matching import match
from activetune.data.annotations._problems import Problems
from activetune.data.annotations._shapes import Box, Inset
from activetune.data.identity import Place
from activetune.data.images import MAX_PIXELS
from activetune.data.labels import Labels
from activetune.data.pool import ImageSource

IMAGES = "data"  # the folder of the images
MOST = 8 * MAX_PIXELS  # bytes of a mask that stands in the list


def has_mask(label: Any) -> bool:
    """Whether a label, or one object of it, has a mask."""
    return isinstance(label, dict) and (label.get("mask") is not None or bool(label.get("mask_path")))


class Masks:
    """The masks of a dataset.

    Args:
        listing: the name of the list of samples, beside which the masks' folder lies.
    """

    def __init__(self, files: Files, listing: str):
        self._files, self._listing, self._known = files, listing, set(files.names)

    def inside(self, entry: Mapping[str, Any], box: Box, place: str, problems: Problems) -> Inset | None:
        """The region that an object's mask makes in its box; None where that can't be used, which is told."""
        try:
            if entry.get("mask") is not None:
                return Inset.of(_array(entry["mask"]), box)
            return Inset.of(decode_mask(self._files.read(self._file(entry["mask_path"]))), box)
        except (ValueError, RejectedImage, UsageError) as error:
            problems.add("masks of objects that can't be used, their box is void", f"{place}: {error}")
            return None

    def of_images(self, labels: Iterable[tuple[str, Any, str]], legend: Legend | None, asked: Asked) -> Labels:
        """The masks of whole images.

        Args:
            labels: what an image is called, its label, and the label's place in the list.
            legend: what the masks' values stand for.
        """
        problems, named = asked.problems, list(labels)
        matched = match([name for name, *_ in named], asked.pool, problems)
        inline: dict[int, bytes] = {}
        places: list[str] = []  # the file of each mask, or its place in the list
        indices: dict[str, int] = {}
        for name, label, place in named:
            item = matched.get(name)
            if item is None or label is None:
                continue
            if not isinstance(label, dict) or label.get("_cls") != "Segmentation":
                problems.add("samples with other labels than Segmentation, left out", place)
                continue
            if item in indices:
                problems.add("images listed twice, the first mask counts", f"{item!r}, {place}")
                continue
            try:
                if label.get("mask") is not None:
                    inline[len(places)] = encoded_array(_array(label["mask"]))
                else:
                    place = self._file(label.get("mask_path"))
            except ValueError as error:
                problems.add("masks that can't be used, left out", f"{place}: {error}")
                continue
            indices[item] = len(places)
            places.append(place)
        where = str(self._files.path)
        files = self._files.source([self._listing if row in inline else place for row, place in enumerate(places)])
        return mask_labels(as_pool(where, places, _Encoded(inline, files)), indices, legend, asked)

    def _file(self, path: Any) -> str:
        """The name of a mask's file; see :func:`_mask_file`."""
        return _mask_file(self._known, posixpath.dirname(self._listing), path)


@dataclass(frozen=True)
class _Encoded:
    """Masks that stand in the list, encoded, and those in files, as the images of a pool."""

    inline: Mapping[int, bytes]
    files: ImageSource

    @property
    def parallel(self) -> bool:
        """See :class:`ImageSource`."""
        return self.files.parallel

    def read(self, index: int) -> bytes:
        """See :class:`ImageSource`."""
        return self.inline[index] if index in self.inline else self.files.read(index)

    def place(self, index: int) -> Place | None:
        """See :class:`ImageSource`."""
        return None if index in self.inline else self.files.place(index)


def _array(value: Any) -> npt.NDArray[Any]:
    """The array of a mask that stands in the file: a ``.npy`` file, packed by zlib, in base64.

    Raises:
        ValueError: it is no such text, or unpacks to more than a mask has.
    """
    if isinstance(value, dict):
        value = value.get("$binary")
    if isinstance(value, dict):
        value = value.get("base64")
    if not isinstance(value, str):
        raise ValueError("its mask is no text that holds an array")
    try:
        unpacking = zlib.decompressobj()
        content = unpacking.decompress(base64.b64decode(value, validate=True), MOST)
    except (ValueError, zlib.error) as error:
        raise ValueError(f"its mask can't be unpacked ({first_line(error)})") from None
    if not unpacking.eof:
        raise ValueError(f"its mask is cut off, or unpacks to more than {MOST:,} bytes")
    return array_in(io.BytesIO(content), len(content))


def _mask_file(known: Collection[str], home: str, path: Any) -> str:
    """The name of a mask's file, which lies in the dataset's folder; of a path from another machine by its end.

    Args:
        known: the files. home: the folder of the list.

    Raises:
        ValueError: there is none.
    """
    if not isinstance(path, str) or not path:
        raise ValueError("it has neither a mask nor a mask_path")
    parts = posixpath.normpath(path.replace("\\", "/")).split("/")
    ends = (posixpath.join(home, *parts[start:]) for start in range(len(parts)) if parts[start] not in ("", ".."))
    images = posixpath.join(home, IMAGES, "")
    found = next((end for end in ends if end in known and not end.startswith(images)), None)
    if found is None:
        raise ValueError(f"its mask {path!r} is not in the folder")
    return found
