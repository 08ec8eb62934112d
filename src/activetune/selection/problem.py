"""The evidence that a selector gets, and the picks that it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from activetune.base.arrays import NO_INDICES, FloatArray, IntArray
from activetune.features.holding import WHOLE, Holding


@dataclass(frozen=True)
class Evidence:
    """All that a selector may look at; positions are rows of ``features_ND``.

    The first five fields are always there. The others are None unless the selector names them in its ``needs`` or
    ``uses``; ``activetune.selection.evidence`` computes them from the labels that are known so far.

    Attributes:
        features_ND: (N, D) float32, rows of unit length (a zero vector stays zero).
        labelled: (L,) positions that already have a label: never picked, covered where the method can use it.
        excluded: positions that may not be picked and cover nothing: to be treated as if they were not there.
        closed: positions that may not be picked, yet belong to the population that the picks stand for.
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
        holding: the part of the rows that is here. Where several processes hold a part each, the fields above are those
            of this one's rows and count within them, and selectors that can ask all processes return global positions.
    """

    features_ND: npt.NDArray[np.float32]
    labelled: IntArray = field(default_factory=lambda: NO_INDICES)
    excluded: IntArray = field(default_factory=lambda: NO_INDICES)
    closed: IntArray = field(default_factory=lambda: NO_INDICES)
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
    holding: Holding = WHOLE

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

    @property
    def labelled_everywhere(self) -> IntArray:
        """(L,) global positions of all processes' labelled items, ascending."""
        return self.holding.joined(self.labelled + self.holding.start)

    @property
    def labelled_rows_LD(self) -> npt.NDArray[np.float32]:
        """Their features."""
        return self.holding.joined(self.features_ND[self.labelled])


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
        positions: in the order of their rank, global ones. scores, reasons: one for each.
        figures: numbers on the whole selection. notes: sentences on it, by a short name, for the manifest.
    """

    positions: IntArray
    scores: npt.NDArray[np.float64]
    reasons: Sequence[str]
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
