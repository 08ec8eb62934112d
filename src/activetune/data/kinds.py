"""What an answer may be, beside a class name: several names, the class of every pixel, boxes, sentences.

| task | answer |
|---|---|
| classification | ``str``, a class name |
| multilabel | :class:`Names`, which may be none |
| segmentation | :class:`Mask`, decoded where it is used |
| detection | :class:`Boxes`, which may be none |
| captioning | :class:`Sentences`, at least one |

An answer is immutable, and ``fingerprint`` tells it from every other one. Pixels are counted from the upper left corner
of the upright image, as it is decoded here; boxes are ``x_left, y_top, x_right, y_bottom`` in pixels, not rounded.
Shape legend: K objects of an image, H x W pixels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest, digest_array

VOID = -1  # the class of a pixel that is not scored and teaches nothing
Indices = npt.NDArray[np.int32]


@dataclass(frozen=True)
class Names:
    """The classes that an image shows: distinct names in ascending order, or none of them."""

    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, names: Sequence[str]) -> Names:
        """Names in any order, each as often as it comes.

        >>> Names.of(["dog", "cat", "dog"]).names
        ('cat', 'dog')
        """
        return cls(tuple(sorted(set(names))))

    @property
    def fingerprint(self) -> str:
        """Digest of the names."""
        return digest("names", *self.names)


class Mask(ABC):
    """The class of every pixel of an image, as positions in the labels' list of classes.

    It is not loaded: ``pixels`` decodes it each time.
    """

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, without decoding where a file's header tells them."""

    @abstractmethod
    def pixels(self) -> Indices:
        """(H, W) positions in the list of classes, ``VOID`` where no class is known.

        Raises:
            UsageError: the mask can't be read, or holds a value that stands for no class.
        """

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Digest of what ``pixels`` gives, or of all that it is made from."""


@dataclass(frozen=True, eq=False)
class ArrayMask(Mask):
    """A mask in memory.

    Attributes:
        array_HW: (H, W) positions in the list of classes, ``VOID`` where no class is known; any whole numbers.
    """

    array_HW: npt.NDArray[np.integer[Any] | np.bool_]

    @property
    def size(self) -> tuple[int, int]:
        """See :class:`Mask`."""
        height, width = self.array_HW.shape
        return int(height), int(width)

    def pixels(self) -> Indices:
        """See :class:`Mask`."""
        return np.ascontiguousarray(self.array_HW, dtype=np.int32)

    @cached_property
    def fingerprint(self) -> str:
        """See :class:`Mask`."""
        return digest("mask", digest_array(np.ascontiguousarray(self.array_HW)))


@dataclass(frozen=True, eq=False)
class Boxes:
    """The objects of an image; K is 0 where it shows none.

    Attributes:
        xyxy_K4: (K, 4) float32 corners, ``x_left < x_right`` and ``y_top < y_bottom``. names: K class names.
        crowd_K: (K,) whether a box stands for a crowd, in which detections are neither right nor wrong.
    """

    xyxy_K4: npt.NDArray[np.float32]
    names: tuple[str, ...]
    crowd_K: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.xyxy_K4.shape != (len(self.names), 4) or self.crowd_K.shape != (len(self.names),):
            raise UsageError(f"{len(self.names)} names for boxes of shape {self.xyxy_K4.shape}; give one each")

    @classmethod
    def of(cls, xyxy: Sequence[Sequence[float]], names: Sequence[str], crowd: Sequence[bool] | None = None) -> Boxes:
        """Boxes from plain lists.

        >>> Boxes.of([[0, 0, 10, 20]], ["cat"]).xyxy_K4.shape
        (1, 4)
        """
        corners = np.asarray(xyxy, dtype=np.float32).reshape(-1, 4)
        return cls(corners, tuple(names), np.asarray(crowd or [False] * len(names), dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of corners, names and crowds."""
        return digest("boxes", digest_array(self.xyxy_K4), digest_array(self.crowd_K), *self.names)


@dataclass(frozen=True, eq=False)
class Detections:
    """The objects that a model finds in an image, in any order; K is 0 where it finds none.

    Attributes:
        boxes: K boxes, none of which is a crowd. scores_K: (K,) float32, how sure the model is of each, in [0, 1].
    """

    boxes: Boxes
    scores_K: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.scores_K.shape != (len(self.boxes),):
            raise UsageError(f"scores of shape {self.scores_K.shape} for {len(self.boxes)} boxes; give one each")

    @classmethod
    def of(cls, xyxy: Sequence[Sequence[float]], names: Sequence[str], scores: Sequence[float]) -> Detections:
        """Detections from plain lists.

        >>> len(Detections.of([[0, 0, 10, 20]], ["cat"], [0.9]))
        1
        """
        return cls(Boxes.of(xyxy, names), np.asarray(scores, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Sentences:
    """What is said of an image, at least one sentence, in the order given."""

    texts: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.texts:
            raise UsageError("an image without a sentence has no caption; leave it out")

    @property
    def fingerprint(self) -> str:
        """Digest of the sentences."""
        return digest("sentences", *self.texts)


Answer = str | Names | Mask | Boxes | Sentences


def fingerprint_of(answer: Answer) -> str:
    """Digest of an answer of any kind; a class name is its own.

    >>> fingerprint_of("cat")
    'cat'
    """
    return answer if isinstance(answer, str) else answer.fingerprint
