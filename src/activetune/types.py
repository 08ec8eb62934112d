"""The artefacts that flow through activetune, as frozen records joined by item id.

    pool -> embeddings -> selection -> labels -> model -> scores

Shape legend, used in every module: N items, D feature size, K budget (or centroids), C classes, T tokens,
L labelled items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from activetune.errors import UsageError, repeated, some
from activetune.fingerprint import digest, digest_array, digest_stream

FloatArray = npt.NDArray[np.floating[Any]]
IntArray = npt.NDArray[np.int64]


class ImageSource(Protocol):
    """Where the encoded images of a pool lie; picklable, so that decoding workers can have their own."""

    def read(self, index: int) -> bytes:
        """The encoded bytes of item ``index``."""
        ...

    def stamp(self) -> str:
        """A digest that changes when any item is added, removed or replaced; reads no image."""
        ...


@dataclass(frozen=True)
class Pool:
    """N images by id, not loaded.

    Attributes:
        name: what the user gave to open it.
        ids: N distinct item ids (a path relative to the pool's root, or the data set's key).
        labels: N class names, None where unknown; or None when the pool has no labels at all.
        source: reads an item's bytes.
        rows: position of each item inside ``source`` (None: the same position).
    """

    name: str
    ids: Sequence[str]
    labels: Sequence[str | None] | None
    source: ImageSource
    rows: IntArray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Item id to position."""
        return {item: index for index, item in enumerate(self.ids)}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of which items these are and of their content's stamps (size and time, or checksum)."""
        return digest(self.source.stamp(), *self.ids)

    def read(self, index: int) -> bytes:
        """The encoded bytes of the item at ``index``."""
        return self.source.read(index if self.rows is None else int(self.rows[index]))

    def subset(self, ids: Sequence[str]) -> Pool:
        """The pool of the given ids, in their order."""
        rows = np.asarray([self.position[item] for item in ids], dtype=np.int64)
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return Pool(self.name, list(ids), labels, self.source, rows if self.rows is None else self.rows[rows])


@dataclass(frozen=True)
class Embeddings:
    """Features of N items.

    Attributes:
        ids: N item ids.
        features_ND: (N, D) pooled features, or (N, T, D) patch tokens; float16 or float32, not normalised;
            a read-only memory map when loaded from disk.
        labels: N class names (None where unknown), or None.
        manifest: what they were made from (pool, backbone, weights, transform) and figures of the run.
    """

    ids: Sequence[str]
    features_ND: FloatArray
    labels: Sequence[str | None] | None = None
    manifest: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Item id to position."""
        return {item: index for index, item in enumerate(self.ids)}

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the ids and of the features' content."""
        features = self.manifest.get("features") or digest_array(np.asarray(self.features_ND))
        return digest(features, self.manifest.get("items") or digest_stream(self.ids))

    @classmethod
    def from_numpy(
        cls,
        features_ND: npt.ArrayLike,
        ids: Sequence[str] | None = None,
        labels: Sequence[str | None] | None = None,
    ) -> Embeddings:
        """Features made elsewhere: (N, D), finite; ids default to ``"0" … "N-1"``.

        Raises:
            UsageError: wrong shape, NaN or infinite values, repeated ids, lengths that differ.
        """
        features = np.asarray(features_ND)
        if features.ndim not in (2, 3) or 0 in features.shape:
            raise UsageError(f"features must be N x D (or N x T x D tokens) and not empty, not {features.shape}")
        if features.dtype not in (np.float16, np.float32):
            features = features.astype(np.float32)
        finite = np.empty(len(features), dtype=bool)
        for start in range(0, len(features), 4096):  # in pieces: features may fill the memory as they are
            rows = features[start : start + 4096]
            finite[start : start + 4096] = np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            raise UsageError(
                f"{int((~finite).sum()):,} of {len(features):,} feature rows hold NaN or infinite values, "
                f"the first at row {int(np.argmin(finite))}; remove or recompute them"
            )
        names = [str(index) for index in range(len(features))] if ids is None else [str(item) for item in ids]
        if len(names) != len(features) or (labels is not None and len(labels) != len(features)):
            raise UsageError(f"{len(features):,} feature rows, but {len(names):,} ids" + _label_count(labels))
        if len(set(names)) < len(names):
            raise UsageError(f"ids must be distinct; repeated: {some(repeated(names))}")
        return cls(names, features, None if labels is None else list(labels))


@dataclass(frozen=True)
class Evidence:
    """What a selector may look at; positions are rows of ``features_ND``.

    The first five fields are always there. The others are None unless the selector names them in its ``needs`` or
    ``uses``; ``activetune.evidence`` computes them from the labels that are known so far.

    Attributes:
        features_ND: (N, D) float32, rows of unit length (a zero vector stays zero).
        labelled: (L,) positions that already have a label: never picked, covered where the method can use it.
        excluded: positions that may not be picked and cover nothing: to be treated as if they were not there.
        closed: positions that may not be picked, yet are part of what the picks shall stand for.
        device: the torch device that heavy products run on.
        answers_L: (L,) class index of each labelled item, 0 to C - 1; -1 where the label is still to come.
        probs_NC: (N, C) class probabilities of the current model.
        head: the current model's last layer on ``features_ND``.
        dropout: predictions of the current model under random dropout.
        predicted_loss_N: (N,) the loss that a loss-prediction module expects on each item.
        losses_N: (N,) the current model's loss on each item, >= 0; known where the whole pool has labels, expected
            (the entropy of its predictions) elsewhere.
        likeness_N: (N,) probability in [0, 1], by a discriminator, that an item is one of the labelled.
        ranked_likeness_N: (N,) the same from a discriminator that also sees the ranks of the predicted losses.
        tokens_NTD: (N, T, D) patch tokens, not normalised, possibly a memory map.
    """

    features_ND: npt.NDArray[np.float32]
    labelled: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    excluded: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    closed: IntArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    device: str = "cpu"
    answers_L: IntArray | None = None
    probs_NC: npt.NDArray[np.float32] | None = None
    head: Classifier | None = None
    dropout: DropoutDraws | None = None
    predicted_loss_N: npt.NDArray[np.float32] | None = None
    losses_N: npt.NDArray[np.float32] | None = None
    likeness_N: npt.NDArray[np.float32] | None = None
    ranked_likeness_N: npt.NDArray[np.float32] | None = None
    tokens_NTD: FloatArray | None = None

    @cached_property
    def candidates(self) -> IntArray:
        """Positions that may be picked, ascending."""
        free = np.ones(len(self.features_ND), dtype=bool)
        for taken in (self.labelled, self.excluded, self.closed):
            free[taken] = False
        return np.flatnonzero(free)

    @cached_property
    def population(self) -> IntArray:
        """Positions that the picks and the labelled items shall stand for: all but the excluded, ascending."""
        present = np.ones(len(self.features_ND), dtype=bool)
        present[self.excluded] = False
        return np.flatnonzero(present)


class Classifier(Protocol):
    """A last layer: ``logits = features @ weight.T + bias``."""

    weight_CD: npt.NDArray[np.float32]
    bias_C: npt.NDArray[np.float32]


@dataclass(frozen=True)
class DropoutDraws:
    """Predictions under random dropout: their mean (N, C) and the mean entropy of the single draws (N,), in nats."""

    mean_probs_NC: npt.NDArray[np.float32]
    mean_entropy_N: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Picks:
    """A selector's answer.

    Attributes:
        positions: in the order of their rank. scores, reasons: one for each.
        figures: numbers on the whole selection. notes: sentences on it, by a short name, for the manifest.
    """

    positions: IntArray
    scores: npt.NDArray[np.float64]
    reasons: Sequence[str]
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Selection:
    """The chosen items, best first; ``manifest`` holds method, options, seed and figures."""

    ids: Sequence[str]
    scores: Sequence[float]
    reasons: Sequence[str]
    manifest: Mapping[str, Any]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Labels:
    """Answers: one class name an item; ``classes`` is the sorted list that a model's outputs follow."""

    ids: Sequence[str]
    names: Sequence[str]
    classes: Sequence[str]

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def indices(self) -> IntArray:
        """(L,) class indices."""
        index = {name: number for number, name in enumerate(self.classes)}
        return np.asarray([index[name] for name in self.names], dtype=np.int64)

    @classmethod
    def of(cls, answers: Mapping[str, str], classes: Sequence[str] | None = None) -> Labels:
        """Labels from ``{id: class name}``; ``classes`` defaults to the names that occur, sorted."""
        return cls(list(answers), list(answers.values()), list(classes or sorted(set(answers.values()))))


@dataclass(frozen=True)
class Scores:
    """Accuracy on held-out items: shares in [0, 1], and how many items each stands on."""

    top1: float
    n: int
    per_class: Mapping[str, Mapping[str, float]]

    def as_dict(self) -> dict[str, Any]:
        """The content of ``scores.json``."""
        return {"top1": self.top1, "n": self.n, "per_class": {name: dict(row) for name, row in self.per_class.items()}}


def _label_count(labels: Sequence[str | None] | None) -> str:
    return "" if labels is None else f" and {len(labels):,} labels"
