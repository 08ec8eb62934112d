"""Which classes an image shows, by its answer of any kind.

Shape legend: N items, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import IntArray
from activetune.base.errors import UsageError
from activetune.base.fingerprint import digest, digest_array
from activetune.data.kinds import Answer, Boxes, Mask, Names
from activetune.data.labels import Labels


def classes_present(answer: Answer, classes: Sequence[str]) -> tuple[int, ...]:
    """The classes that an image shows, ascending, as positions in the list of classes; none where it shows none.

    A crowd does not count: it teaches nothing of its class, and neither do pixels that are void.

    >>> classes_present(Names.of(["dog", "ant"]), ["ant", "bee", "dog"])
    (0, 2)

    Raises:
        UsageError: sentences, which name no class; a name that is none of the classes; a mask that can't be read.
    """
    return _present(answer, {name: number for number, name in enumerate(classes)})


def _present(answer: Answer, index: Mapping[str, int]) -> tuple[int, ...]:
    if isinstance(answer, Mask):
        pixels = answer.pixels()
        return tuple(np.unique(pixels[pixels >= 0]).tolist())
    if isinstance(answer, Boxes):
        names = {name for name, crowd in zip(answer.names, answer.crowd_K, strict=True) if not crowd}
    elif isinstance(answer, Names):
        names = set(answer.names)
    elif isinstance(answer, str):
        names = {answer}
    else:
        raise UsageError("sentences name no class; budgets per class and shares by class need classes")
    unknown = sorted(names - index.keys())
    if unknown:
        raise UsageError(
            f"an answer holds the class {unknown[0]!r}, which is none of the {len(index):,} classes; add it to them"
        )
    return tuple(sorted(index[name] for name in names))


def lost_classes(labels: Labels, kept: Labels) -> list[str]:
    """The classes, in their order, that some of the labels name and none of those that were kept does.

    Masks and sentences name none: a mask's pixels hold positions in the list of classes.

    >>> labels = Labels(["1.jpg", "2.jpg"], ["ant", "dog"], ["ant", "bee", "dog"])
    >>> lost_classes(labels, Labels(["1.jpg"], ["ant"], labels.classes))
    ['dog']
    """
    named, left = ({name for answer in one.answers for name in names_of(answer)} for one in (labels, kept))
    return [name for name in labels.classes if name in named - left]


def names_of(answer: Answer) -> Sequence[str]:
    """The class names that an answer holds: those of a mask are positions, and sentences have none."""
    if isinstance(answer, str):
        return (answer,)
    return answer.names if isinstance(answer, Names | Boxes) else ()


@dataclass(frozen=True)
class Presence:
    """Which items show which classes.

    Attributes:
        names: C classes. shown_NC: (N, C) whether an item is known to show a class; N C bytes.
    """

    names: Sequence[str]
    shown_NC: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, labels: Labels, ids: Sequence[str]) -> Presence:
        """Of items by their answers; those without an answer show nothing. Masks are decoded once each."""
        index = {name: number for number, name in enumerate(labels.classes)}
        position = {item: row for row, item in enumerate(ids)}
        shown_NC = np.zeros((len(ids), len(index)), dtype=bool)
        for item, answer in zip(labels.ids, labels.answers, strict=True):
            if (row := position.get(item)) is not None:
                shown_NC[row, list(_present(answer, index))] = True
        return cls(list(labels.classes), shown_NC)

    def among(self, positions: IntArray) -> Presence:
        """The same with those classes alone that one of the positions shows."""
        met = np.flatnonzero(self.counts(positions)).tolist()
        return Presence([self.names[number] for number in met], self.shown_NC[:, met])

    def counts(self, positions: IntArray) -> IntArray:
        """(C,) how many of the positions show each class."""
        counts_C: IntArray = self.shown_NC[positions].sum(axis=0, dtype=np.int64)
        return counts_C

    @property
    def fingerprint(self) -> str:
        """Digest of the classes and of who shows them."""
        return digest(*self.names, digest_array(np.packbits(self.shown_NC, axis=1)))


def rarest(shown_LC: npt.NDArray[np.bool_] | IntArray) -> IntArray:
    """(L,) the rarest class that each item shows; C for items that show none.

    >>> rarest(np.array([[1, 1], [0, 1], [0, 0]])).tolist()
    [0, 1, 2]
    """
    order = np.argsort(shown_LC.sum(axis=0), kind="stable")
    first = order[shown_LC[:, order].argmax(axis=1)] if len(order) else np.zeros(len(shown_LC), dtype=np.int64)
    found: IntArray = np.where(shown_LC.any(axis=1), first, len(order)).astype(np.int64)
    return found
